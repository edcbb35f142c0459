"""What a folder of radiographs holds: label tables with their roles, and images by id."""

import logging
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from boneage.data.labels import KNOWN, Columns, find_columns, read_ids
from boneage.data.tables import SUFFIXES as TABLE_SUFFIXES
from boneage.data.tables import read_table
from boneage.errors import UserError

log = logging.getLogger(__name__)

Role = Literal["train", "val", "test", "without ages"]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
HIDDEN = (".", "~$")
VALIDATION_NAME, TEST_NAME = r"(?<![a-z])val", r"(?<![a-z])test"  # not interval, not latest
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
        tables: label tables in order of their path.
        images: image files by id, the file name without its suffix.
        others: tables that are no label tables, with their columns.
    """

    tables: list[LabelTable] = field(default_factory=list)
    images: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    others: dict[str, list[str]] = field(default_factory=dict)


def explore(root: Path, columns: Columns) -> Folder:
    """Walk a folder once, links included, and sort what it holds; hidden files are passed over.

    Args:
        root: the folder.
        columns: column names of one's own tables; tables with the known names count as well.

    Raises:
        UserError: when the folder is missing or is no folder.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root}: no such folder" + " (a file)" * root.is_file())
    folder = Folder()
    visited = set()
    walk = os.walk(root.absolute(), followlinks=True, onerror=_pass_over)
    for where, subfolders, names in walk:
        status = os.stat(where)
        if (status.st_dev, status.st_ino) in visited:  # a link back up, or to a sibling
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(HIDDEN))
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if name.startswith(HIDDEN):
                continue
            if suffix.lower() in IMAGE_SUFFIXES:
                folder.images[stem].append(os.path.join(where, name))
            elif suffix.lower() in TABLE_SUFFIXES:
                _sort_table(folder, Path(where, name), columns)
    folder.tables.sort(key=lambda table: table.path)
    return folder


def _pass_over(error: Exception) -> None:
    log.warning("Passed over: %s", error)


def _sort_table(folder: Folder, path: Path, columns: Columns) -> None:
    """Add a table to the folder's label tables, or to the others."""
    try:
        header = list(read_table(path, rows=1).columns)
    except UserError as error:
        _pass_over(error)
        header = []
    either = [(names, find_columns(header, names)) for names in (columns, KNOWN)]
    names, found = max(either, key=lambda one: len(one[1]))
    if "id" in found and found.keys() & {"age", "sex"}:
        folder.tables.append(_assign_role(path, names, found))
    else:
        folder.others[str(path)] = header


def _assign_role(path: Path, columns: Columns, found: dict[str, str]) -> LabelTable:
    """Tell the role of a label table from its columns, then its name, then its length."""
    if "age" not in found:
        return LabelTable(path, "without ages", columns)
    id_column, name = found["id"].casefold(), path.name.casefold()
    if id_column == "image id":
        return LabelTable(path, "val", columns)
    if id_column == "case id":
        return LabelTable(path, "test", columns)
    if "train" not in name and re.search(VALIDATION_NAME, name):
        return LabelTable(path, "val", columns)
    if "train" not in name and re.search(TEST_NAME, name):
        official = len(read_ids(path, columns)) == OFFICIAL_VALIDATION_ROWS
        return LabelTable(path, "val" if official else "test", columns)
    return LabelTable(path, "train", columns)
