"""Read a folder in any supported layout of the RSNA bone age data into one table."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from boneage.data.formats import RADIOGRAPH_SUFFIXES
from boneage.data.radiographs import Folder, LabelTable, Role, explore
from boneage.data.tables.columns import (
    ADD_LABEL,
    DEFAULT_COLUMNS,
    READER,
    Columns,
    label_column,
)
from boneage.data.tables.ids import (
    count_patients,
    patients_with_several,
    unify_patients,
    unify_spellings,
)
from boneage.data.tables.labels import read_labels, unify_groups
from boneage.data.tables.matching import match_images
from boneage.data.tables.read import FOREIGN
from boneage.errors import UserError, join_first, plural, require_choice

log = logging.getLogger(__name__)

TABLE_OPTIONS: dict[Role, str] = {"train": "table", "val": "val_table", "test": "test_table"}
NO_TABLES: Mapping[Role, str | None] = {}
RSNA_IDS = (1377, 15612)  # of the training, validation and test sets of RSNA 2017 together
ENOUGH = 1000  # radiographs
PURPOSES = {"train": "to train on", "val": "for validation", "test": "for testing"}


def read_source(
    root: Path,
    table: str | None = None,
    val_table: str | None = None,
    test_table: str | None = None,
    columns: Columns = DEFAULT_COLUMNS,
    missing: Literal["error", "drop"] = "error",
) -> pd.DataFrame:
    """Read the label tables below a folder and find the image of every row.

    Supported are the official RSNA folders and their copies on Kaggle and GitHub, mixed and nested
    in any way. Ids are only compared with file names, never made into paths.

    Args:
        root: folder with label table(s) and radiographs `<id>.png`, or of another known format.
        table: training table, relative to `root`; None finds it.
        val_table: validation table; None finds it, if present.
        test_table: test table; None finds it, if present.
        columns: of a custom table.
        missing: "drop" leaves out ids without an image and images without a row.

    Returns:
        Columns `id`, `age_months`, `sex`, `path` of the image, `origin`, the kind of table the
        row came from: "train", "val" or "test", in this order, each in the order of its table,
        and `patient` ("" if unknown), `site`, readings, labels and other columns, if a table has.

    Raises:
        UserError: naming what is wrong, where, and what to do.
    """
    require_choice("data.missing", missing, "error", "drop")
    given: dict[Role, str | None] = {"train": table, "val": val_table, "test": test_table}
    folder, chosen, rows = read_rows(Path(root), given, columns)
    rows = match_images(folder, chosen, rows, missing)
    _log_findings(folder, chosen, rows)
    for name in columns.labels:
        number = f"{rows[label_column(name)].notna().sum():,} of {plural(len(rows), 'radiograph')}"
        log.info("data.columns.labels: %s is known for %s", name, number)
    return rows


def read_rows(
    root: Path,
    given: Mapping[Role, str | None] = NO_TABLES,
    columns: Columns = DEFAULT_COLUMNS,
) -> tuple[Folder, list[LabelTable], pd.DataFrame]:
    """Read the label tables below a folder, whether or not there are images of their rows.

    Args:
        root: folder with label table(s) and images.
        given: table by role, relative to `root`; None finds it.
        columns: of a custom table.

    Returns:
        The content of the folder, the tables that are read, and their rows: `id`,
        `age_months`, `sex` and `origin`.

    Raises:
        UserError: naming what is wrong, where, and what to do.
    """
    folder = explore(root, columns)
    chosen = _choose_tables(folder, given, columns)
    parts = [  # the training table must have the custom names; official tables next to it need not
        read_labels(t.path, columns if t.role == "train" else t.columns).assign(origin=t.role)
        for t in chosen
    ]
    if not folder.images:
        raise UserError(
            f"{root} contains no images: put radiographs named <id>.png "
            f"(or {', '.join(RADIOGRAPH_SUFFIXES)}) below it, or set data.root"
        )
    _require_disjoint(chosen, parts)
    rows = pd.concat(parts, ignore_index=True)
    if lacking := [name for name in columns.readers if f"{READER}{name}" not in rows]:
        raise UserError(
            f"data.columns.readers names {lacking[0]!r}, which no label table has: "
            f"{join_first([str(t.path) for t in chosen])}"
        )
    if lacking := [n for n in columns.labels if any(label_column(n) not in p for p in parts)]:
        raise UserError(
            f"data.columns.labels names {lacking[0]!r}, which not all label tables have: "
            f"{join_first([str(t.path) for t in chosen])}{ADD_LABEL}"
        )
    if "site" in rows:
        rows["site"] = unify_spellings(rows["site"].fillna(""), "site")
    for name in rows.columns.intersection([*columns.others]):
        rows[name] = unify_groups(rows[name].fillna(""))
    if "patient" in rows:
        rows = unify_patients(rows)
        _warn_without_patients(chosen, parts)
        _require_patients_apart(chosen, rows)
    return folder, chosen, rows


def _choose_tables(
    folder: Folder,
    given: Mapping[Role, str | None],
    columns: Columns,
) -> list[LabelTable]:
    """Return at most one table per role: the given one, or the only one found."""
    root = folder.root
    paths = {role: (root / name).resolve() for role, name in given.items() if name}
    chosen = []
    for role, option in TABLE_OPTIONS.items():
        if role in paths:
            names = [t.columns for t in folder.tables if t.path.resolve() == paths[role]]
            own = names[0] if names else columns
            chosen.append(LabelTable(paths[role], role, own))
            continue
        tables = [t for t in folder.tables if t.role == role]
        tables = [t for t in tables if t.path.resolve() not in paths.values()]
        if len(tables) > 1:
            raise UserError(
                f"{root} has {len(tables)} tables {PURPOSES[role]}: "
                f"{join_first([str(t.path.relative_to(root.absolute())) for t in tables])}; "
                f"choose one with data.{option}= in training; for boneage commands, move "
                "the others elsewhere"
            )
        chosen += tables
    if not chosen:
        for unusable in folder.tables:
            read_labels(unusable.path, columns)  # raises: it has no ages
        seen = [f"{path} ({', '.join(h) or 'not read'})" for path, h in folder.others.items()]
        foreign = [path for path in folder.others if path.lower().endswith(FOREIGN)]
        advice = f"; save as xlsx or csv: {join_first(foreign)}" if foreign else ""
        raise UserError(
            f"{root} has no label table: it needs a csv or xlsx file below it (elsewhere: "
            "data.table= in training) with columns id,boneage,male, or names given by "
            "data.columns, --column in boneage commands (a DICOM header contains no bone age); "
            "found: "
            f"{join_first(seen) or 'no table at all'}{advice}"
        )
    return chosen


def _require_disjoint(tables: list[LabelTable], parts: list[pd.DataFrame]) -> None:
    """Raise UserError when an id is in two tables."""
    for i, part in enumerate(parts):
        for j, other in enumerate(parts[:i]):
            if both := list(part["id"][part["id"].isin(other["id"])]):
                raise UserError(
                    f"{plural(len(both), 'id')} both in {tables[j].path} and in {tables[i].path}: "
                    f"{join_first(both)}; keep them in one of the two"
                )


def _warn_without_patients(tables: list[LabelTable], parts: list[pd.DataFrame]) -> None:
    """Warn if some tables name patients and others do not."""
    named: dict[bool, list[str]] = {True: [], False: []}
    for table, part in zip(tables, parts, strict=True):
        named["patient" in part].append(str(table.path))
    if named[False]:
        log.warning(
            "%s has no patient column, but %s has: patients in both cannot be detected. "
            "Add the column, or make sure that the tables share no patients",
            " and ".join(named[False]),
            " and ".join(named[True]),
        )


def _require_patients_apart(tables: list[LabelTable], rows: pd.DataFrame) -> None:
    """Raise UserError when a patient has radiographs in two tables."""
    if shared := patients_with_several(rows, "origin"):
        raise UserError(
            f"{plural(len(shared), 'patient')} with radiographs in more than one of the tables "
            f"{', '.join(str(table.path) for table in tables)}: {join_first(shared)}; keep each "
            "patient in one table, or rename different patients of the same name"
        )


def _log_findings(folder: Folder, tables: list[LabelTable], rows: pd.DataFrame) -> None:
    """Log in one line which tables and radiographs were found."""
    counts = rows["origin"].value_counts()
    only = len(tables) == 1 and tables[0].role == "train"
    purposes = {"train": ""} if only else PURPOSES
    parts = [
        " ".join(filter(None, [f"{counts.get(t.role, 0):,}", purposes[t.role], f"({t.path.name})"]))
        for t in tables
    ]
    notes = [
        f"; {t.path.name} is, despite its name, the official validation table"
        for t in tables
        if t.role == "val" and "test" in t.path.name.casefold()
    ]
    notes += [
        f"; {t.path.name} {'has no ages and ' if t.role == 'without ages' else ''}is not used"
        for t in folder.unused(tables)
    ]
    if (patients := count_patients(rows)) is not None:
        notes.append(f"; {plural(len(rows), 'radiograph')} of {plural(patients, 'patient')}")
        if unknown := int((rows["patient"] == "").sum()):
            notes.append(f", counting {unknown:,} without a patient as one each")
    log.info("Radiographs in %s: %s%s", folder.root, ", ".join(parts), "".join(notes))


def looks_official(table: pd.DataFrame) -> bool:
    """Tell whether radiographs are the RSNA 2017 data set, or a large part of it.

    Its ids are the whole numbers from 1377 to 15612; those of phantoms are above.

    Args:
        table: one row per radiograph, with `id`.
    """
    ids = pd.to_numeric(table["id"], errors="coerce")
    return len(ids) >= ENOUGH and bool(ids.between(*RSNA_IDS).all())
