"""Find radiograph files and their tables in folders."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from boneage.data.folders import log_skipped, walk
from boneage.data.formats import (
    FORMAT_NAMES,
    RADIOGRAPH_SUFFIXES,
    describe_file,
    is_binary,
    is_radiograph,
)
from boneage.data.tables.columns import Columns, find_columns
from boneage.data.tables.ids import normal_id, read_ids
from boneage.data.tables.read import TABLE_SUFFIXES, read_header
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)
MASKS = ".npz"  # of a phantom, named by the ids of its radiographs
NAME_BYTES = 240  # of a new file: most systems take 255, and a suffix is added while it is written
NOT_FILMS = (*TABLE_SUFFIXES, MASKS)
Role = Literal["train", "val", "test", "without ages"]
# words of a file's name: not interval, validated or latest, nor "test of ..."
NOUNS = "set|data|label|table|split|fold|image|film|radiograph|case|patient|group|cohort|age"
OF_A_SET = rf"(s|_?(sub|data)?({NOUNS})s?)?(?![a-z]|[ _-]of[ _-])"
VALIDATION_NAME = rf"(?<![a-z])val(id(ation)?)?{OF_A_SET}"
TEST_NAME = rf"(?<![a-z])test(ing)?{OF_A_SET}"
OFFICIAL_HEADERS: dict[tuple[str, str], Role] = {  # id and age
    ("image id", "bone age (months)"): "val",
    ("case id", "ground truth bone age (months)"): "test",
}
OFFICIAL_VALIDATION_ROWS = 1425


@dataclass(frozen=True)
class LabelTable:
    """A table with an id column and an age or sex column."""

    path: Path
    role: Role
    columns: Columns


@dataclass
class Folder:
    """Everything found below one root.

    Args:
        root: as it was given, for messages.
        tables: label tables in order of their path.
        images: radiograph files.
        others: tables that are not label tables, with their columns.
    """

    root: Path
    tables: list[LabelTable] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    others: dict[str, list[str]] = field(default_factory=dict)

    def unused(self, used: Iterable[LabelTable]) -> list[LabelTable]:
        """Return the label tables that are not used."""
        paths = {table.path.resolve() for table in used}
        return [table for table in self.tables if table.path.resolve() not in paths]


def explore(root: Path, columns: Columns) -> Folder:
    """Walk a folder once, links included, and sort its files; hidden ones are skipped.

    Folders of runs and images that `boneage` drew are left out.

    Args:
        root: the folder.
        columns: of custom tables; tables with the known names count as well.

    Raises:
        UserError: when the folder is missing or not a folder.
    """
    if not root.is_dir():
        what = describe_file(root) if root.is_file() else "no such folder"
        raise UserError(f"data.root={root}: {what} (in boneage stress: --root)")
    folder = Folder(root)
    for file in map(Path, walk(root.absolute())):
        if file.suffix.lower() in TABLE_SUFFIXES:
            _sort_table(folder, file, columns)
        elif is_radiograph(file):
            folder.images.append(file)
    folder.tables.sort(key=lambda table: table.path)
    return folder


def _sort_table(folder: Folder, path: Path, columns: Columns) -> None:
    """Add a table to the folder's label tables, or to the others."""
    try:
        header = read_header(path, columns.separator)
    except UserError as error:
        log_skipped(error)
        header = []
    known = Columns(separator=columns.separator)
    either = [(names, find_columns(header, names)) for names in (columns, known)]
    names, found = max(either, key=lambda one: len(one[1]))
    if names.readers and {*names.readers} <= {*header}:
        found.setdefault("age", names.readers[0])
    if "id" in found and found.keys() & {"age", "sex"}:
        folder.tables.append(LabelTable(path, _role(path, names, found), names))
    else:
        folder.others[str(path)] = header


def _role(path: Path, columns: Columns, column_of: dict[str, str]) -> Role:
    """Tell the role of a label table from its name and columns, then its length."""
    if "age" not in column_of:
        return "without ages"
    name = path.name.casefold()
    if "train" in name:
        return "train"
    header = column_of["id"].casefold(), column_of["age"].casefold()
    if header in OFFICIAL_HEADERS:
        return OFFICIAL_HEADERS[header]
    if re.search(VALIDATION_NAME, name):
        return "val"
    if re.search(TEST_NAME, name):
        official = len(read_ids(path, columns)) == OFFICIAL_VALIDATION_ROWS
        return "val" if official else "test"
    return "train"


def find_radiographs(paths: Sequence[Path]) -> list[Path]:
    """Return the files given, and the radiographs in and below the folders given, in order.

    Other files in these folders are logged, except texts, tables and masks. Folders of runs and
    images that `boneage` drew are left out.

    Raises:
        UserError: when a path does not exist, or there is no radiograph.
    """
    files: list[Path] = []
    others: list[Path] = []
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        if not path.is_dir():
            files.append(path)
            continue
        for file in map(Path, walk(path)):
            if is_radiograph(file):
                files.append(file)
            elif file.suffix.lower() not in NOT_FILMS and is_binary(file):
                others.append(file)
    not_read = f"{plural(len(others), 'other file')} ({join_first([file.name for file in others])})"
    if not files:
        where = join_first([str(path) for path in paths])
        only = f", only {not_read}" if others else ""
        raise UserError(f"no radiograph in {where}{only}; the formats are {FORMAT_NAMES}")
    if others:
        log.warning("Not read: %s; the formats are %s", not_read, FORMAT_NAMES)
    return list(dict.fromkeys(files))


def radiograph_id(file: PurePath) -> str:
    """Return a file's name without its suffix; of a DICOM file named by its UID, all of it."""
    return normal_id(file.stem if file.suffix.lower() in RADIOGRAPH_SUFFIXES else file.name)


def unused_name(stem: str, end: str, taken: Counter[str]) -> str:
    """Return the name of a new file, with a number before its end if taken; it is taken then.

    Args:
        stem: its beginning, such as a radiograph's id; cut where a file system may not take more.
        end: such as a suffix.
        taken: names in use, without differences of letter case, each with its last number, or 1.
    """
    while len(os.fsencode(f"{stem}{end}")) > NAME_BYTES:
        stem = stem[:-1]
    name = plain = f"{stem}{end}"
    while taken[name.casefold()]:
        taken[plain.casefold()] += 1
        name = f"{stem}_{taken[plain.casefold()]}{end}"
    taken[name.casefold()] = 1
    return name


def by_id(files: Iterable[Path], known: Iterable[str] = ()) -> dict[str, list[Path]]:
    """Return the files of each id, in order.

    Args:
        files: of radiographs.
        known: ids of a table. Where these name folders, as `a/film` and `b/film`, files of one
            name are told apart, and a file gets the id with its folder unless the table has its
            name alone.
    """
    named: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        named[radiograph_id(file)].append(file)
    known = set(known)
    row_of: dict[tuple[str, ...], str] = {}
    for id_ in sorted(id_ for id_ in known if "/" in id_ or "\\" in id_):
        row_of.setdefault(_parts(PurePath(id_.replace("\\", "/"))), id_)
    if not row_of:  # the usual case
        return dict(named)
    found: dict[str, list[Path]] = defaultdict(list)
    for id_, alike in named.items():
        for file in alike:
            parts = _parts(file) if len(alike) > 1 or id_ not in known else ()
            tails = (parts[n:] for n in range(len(parts) - 1))  # the most folders first
            found[next((row_of[tail] for tail in tails if tail in row_of), id_)].append(file)
    return dict(found)


def names_apart(files: Sequence[Path]) -> list[str]:
    """Return the ids of files of one name, with the folders that tell them apart."""
    if len(files) == 1:
        return [radiograph_id(files[0])]
    paths = [file.absolute().with_name(radiograph_id(file)) for file in files]
    shared = set.intersection(*(set(path.parents) for path in paths))  # none on different drives
    start = max((len(folder.parts) for folder in shared), default=0)
    return [type(path)(*path.parts[start:]).as_posix() for path in paths]


def single_files(files: Mapping[str, Sequence[Path]], apart: str = "") -> dict[str, Path]:
    """Return the file of each id.

    Args:
        files: of each id, one or more.
        apart: what to do with different radiographs of one name, where no table can name folders.

    Raises:
        UserError: if an id has several.
    """
    several = {id_: same for id_, same in files.items() if len(same) > 1}
    for id_, same in several.items():
        names = names_apart(same)
        if not apart and len(set(names)) > 1:
            apart = f"write the ids with folders: {join_first(names)}"
        advice = f", or, if they are different radiographs, {apart}" if apart else ""
        more = f" ({len(several):,} such ids)" if len(several) > 1 else ""
        raise UserError(
            f"id {id_} has {len(same)} images: {join_first([str(file) for file in same])}{more}; "
            f"keep one of them{advice}"
        )
    return {id_: file for id_, (file,) in files.items()}


def _parts(file: PurePath) -> tuple[str, ...]:
    """Return the folders of a file, or of an id that is a path, and the radiograph's id."""
    return (*map(normal_id, file.parent.parts), radiograph_id(file))
