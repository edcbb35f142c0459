"""Match the ids of one source with those of another, such as rows and images."""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boneage.data.formats import RADIOGRAPH_SUFFIXES
from boneage.data.radiographs import Folder, LabelTable, by_id, names_apart, single_files
from boneage.data.tables.ids import core, read_ids
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)

IDS_ARE_NAMES = (  # advice where no id fits, as for a table of accession numbers
    "an id is the name of the file without its suffix: write these names into the table"
)
FEW_MISSING = 0.1  # share of a table's rows: more without an image are systematic


def match_ids(wanted: Iterable[str], known: Iterable[str], where: object) -> dict[str, str]:
    """Return the known id that matches each wanted id; ids without a match are left out.

    An id matches itself. If it is not known, it matches the one that differs only in folder, file
    suffix, leading zeros, letter case or spaces, if there is exactly one such pair; this is logged.

    Args:
        wanted: ids, as `normal_id` writes them.
        known: ids, as `normal_id` writes them.
        where: file or folder, for the message.
    """
    wanted, known = list(dict.fromkeys(wanted)), set(known)
    matched = {id_: id_ for id_ in wanted if id_ in known}
    if len(matched) == len(wanted):  # the usual case
        return matched
    askers = Counter(map(file_core, wanted))
    alike = defaultdict(list)
    for id_ in known:
        alike[file_core(id_)].append(id_)
    pairs = {
        id_: alike[key][0]
        for id_ in wanted
        if id_ not in matched and askers[key := file_core(id_)] == len(alike[key]) == 1
    }
    if pairs:
        log.warning(
            "%s: %s matched ignoring folder, suffix, leading zeros, case and spaces: %s",
            where,
            plural(len(pairs), "id"),
            join_first([f"{a} = {b}" for a, b in pairs.items()]),
        )
    return matched | pairs


def file_core(id_: str) -> str:
    """Return the core of an id that may be a path or a file name."""
    name = re.split(r"[\\/]", id_)[-1]
    stem, suffix = os.path.splitext(name)
    return core(stem if suffix.lower() in RADIOGRAPH_SUFFIXES else name)


def path_core(id_: str) -> tuple[str, str]:
    """Return the folder and the core of an id that may be a path."""
    return id_.replace("\\", "/").rpartition("/")[0].casefold(), file_core(id_)


def radiograph_keys(*sides: Iterable[str]) -> list[list[str]]:
    """Return a key of each id; ids with equal keys may name one radiograph.

    Folders count only for names that several ids of one side have in different folders, such as
    `P001/film` and `P002/film`.

    Args:
        sides: ids of two or more sources.
    """
    cores = [list(map(path_core, side)) for side in sides]
    several = {
        name
        for side in cores
        for name, n in Counter(name for _, name in set(side)).items()
        if n > 1
    }
    return [
        [f"{folder}/{name}" if name in several else name for folder, name in side] for side in cores
    ]


def ids_among(ids: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the ids that are also among others, by their `radiograph_keys`."""
    asked = list(ids)
    keys, known = radiograph_keys(asked, others)
    found = set(known)
    return [id_ for id_, key in zip(asked, keys, strict=True) if key in found]


@dataclass(frozen=True)
class Pairs:
    """Rows of label tables and images below a folder.

    Args:
        files: of the images by id of the row.
        without_image: ids of rows.
        without_row: ids of images in no table.
    """

    files: dict[str, list[Path]]
    without_image: list[str]
    without_row: list[str]

    @property
    def repeated(self) -> dict[str, list[Path]]:
        """The files of each id that has several images."""
        return {id_: files for id_, files in self.files.items() if len(files) > 1}

    def missing(self) -> list[str]:
        """Return what has no counterpart, as clauses of a message."""
        clauses = []
        if self.without_image:
            clauses.append(clause(self.without_image, "id", "without an image"))
        if self.without_row:
            clauses.append(clause(self.without_row, "image", "without a row"))
        return clauses


def clause(ids: list[str], noun: str, what: str) -> str:
    """Return how many ids there are of a kind, and the first of them."""
    return f"{plural(len(ids), noun)} {what}: {join_first(ids)}"


def find_pairs(folder: Folder, used: Iterable[LabelTable], rows: pd.DataFrame) -> Pairs:
    """Match the rows of the label tables with the images; tables that are not used count as well.

    Args:
        folder: its images and tables.
        used: the tables that are used.
        rows: `id` of these.
    """
    others = [id_ for t in folder.unused(used) for id_ in read_ids(t.path, t.columns)]
    return pair(list(rows["id"]), folder.images, folder.root, others)


def pair(
    ids: Sequence[str], images: Iterable[Path], where: object, others: Sequence[str] = ()
) -> Pairs:
    """Match the ids of a table with radiograph files.

    Args:
        ids: of the rows.
        images: radiograph files.
        where: table or folder, for messages.
        others: ids of tables that may not be used: their images are not without a row.
    """
    files = by_id(images, [*ids, *others])
    matched = match_ids(ids, files, where)
    unused = set(others).difference(ids)
    known = {*matched.values(), *match_ids(sorted(unused), files, where).values()}
    return Pairs(
        {id_: files[matched[id_]] for id_ in ids if id_ in matched},
        [id_ for id_ in ids if id_ not in matched],
        [name for id_ in files if id_ not in known for name in names_apart(files[id_])],
    )


def match_images(
    folder: Folder, used: Iterable[LabelTable], rows: pd.DataFrame, missing: str
) -> pd.DataFrame:
    """Return the rows with the `path` of their image.

    Args:
        folder: its images and tables.
        used: the tables that are used.
        rows: `id` and `origin` of these.
        missing: "drop" leaves out rows and images without a counterpart, and logs them.

    Raises:
        UserError: when there are some and `missing` is "error", when no row has an image, or an id
            has several.
    """
    root, pairs = folder.root, find_pairs(folder, used, rows)
    if clauses := pairs.missing():
        unmatched = rows["id"].isin(pairs.without_image)
        systematic = unmatched.groupby(rows["origin"]).mean().max() > FEW_MISSING
        if missing == "error":
            advice = (
                "this share suggests a wrong table or folder: check that ids and names agree, and "
                "that no image is missing"
                if systematic
                else "data.missing=drop leaves them out"
            )
            lacking = {*pairs.without_image}
            of_folders = (n for n in pairs.without_row if lacking & {*n.split("/")[:-1]})
            if example := next(of_folders, None):
                advice = f"ids that are names of folders need the image too, as in {example}"
            raise UserError(f"{root}: {'; '.join(clauses)}; {advice}")
        level = logging.WARNING if systematic else logging.INFO
        log.log(level, "Left out in %s: %s", root, "; ".join(clauses))
        rows = rows[~unmatched].reset_index(drop=True)
    if rows.empty:
        raise UserError(f"{root}: no id of the label tables has an image named <id>.png or similar")
    files = single_files(pairs.files)
    return rows.assign(path=[str(files[id_]) for id_ in rows["id"]])
