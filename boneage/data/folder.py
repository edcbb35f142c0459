"""What a folder of radiographs holds: label tables with their roles, and images by id."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from boneage.data.ids import normal_id
from boneage.data.labels import KNOWN, Columns, find_columns, read_ids
from boneage.data.tables import SUFFIXES as TABLE_SUFFIXES
from boneage.data.tables import check_separator, read_header
from boneage.data.walk import pass_over, walk
from boneage.errors import UserError

Role = Literal["train", "val", "test", "without ages"]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VALIDATION_NAME, TEST_NAME = r"(?<![a-z])val", r"(?<![a-z])test"  # not interval, not latest
OFFICIAL_VALIDATION_ROWS = 1425


@dataclass(frozen=True)
class LabelTable:
    """A table with an id column and an age or sex column."""

    path: Path
    role: Role
    columns: Columns
    separator: str | None = None


@dataclass
class Folder:
    """Everything found below one root.

    Args:
        tables: label tables in order of their path.
        images: image files by id, the file name without its suffix.
        others: tables that are no label tables, with their columns.
    """

    tables: list[LabelTable] = field(default_factory=list)
    images: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, list[str]] = field(default_factory=dict)


def explore(root: Path, columns: Columns, separator: str | None = None) -> Folder:
    """Walk a folder once, links included, and sort what it holds; hidden files are passed over.

    Args:
        root: the folder.
        columns: column names of one's own tables; tables with the known names count as well.
        separator: of csv files; None finds it.

    Raises:
        UserError: when the folder is missing or is no folder, or the separator is none.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder" + " (a file)" * root.is_file())
    check_separator(separator)
    folder = Folder()
    for file in walk(root.absolute()):
        stem, suffix = os.path.splitext(os.path.basename(file))
        if suffix.lower() in IMAGE_SUFFIXES:
            folder.images[normal_id(stem)].append(file)
        elif suffix.lower() in TABLE_SUFFIXES:
            _sort_table(folder, Path(file), columns, separator)
    folder.tables.sort(key=lambda table: table.path)
    return folder


def _sort_table(folder: Folder, path: Path, columns: Columns, separator: str | None) -> None:
    """Add a table to the folder's label tables, or to the others."""
    try:
        header = read_header(path, separator)
    except UserError as error:
        pass_over(error)
        header = []
    either = [(names, find_columns(header, names)) for names in (columns, KNOWN)]
    names, found = max(either, key=lambda one: len(one[1]))
    if "id" in found and found.keys() & {"age", "sex"}:
        role = _role(path, names, found, separator)
        folder.tables.append(LabelTable(path, role, names, separator))
    else:
        folder.others[str(path)] = header


def _role(path: Path, columns: Columns, found: dict[str, str], separator: str | None) -> Role:
    """Tell the role of a label table from its columns, then its name, then its length."""
    if "age" not in found:
        return "without ages"
    id_column, name = found["id"].casefold(), path.name.casefold()
    if id_column == "image id":
        return "val"
    if id_column == "case id":
        return "test"
    if "train" not in name and re.search(VALIDATION_NAME, name):
        return "val"
    if "train" not in name and re.search(TEST_NAME, name):
        official = len(read_ids(path, columns, separator)) == OFFICIAL_VALIDATION_ROWS
        return "val" if official else "test"
    return "train"
