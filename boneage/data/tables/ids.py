"""Ids of radiographs and of patients: one way to write them, whatever table they come from."""

import logging
import re
import unicodedata
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from boneage.data.tables.columns import (
    DEFAULT_COLUMNS,
    INVISIBLE,
    Columns,
    column_option,
    find_columns,
    require_single,
    without_column,
)
from boneage.data.tables.read import NO_VALUE, read_table, refuse
from boneage.errors import UserError, join_first, plural

NO_PATIENT = (*NO_VALUE, "-", "?")  # cells of a column of patients, in any case
PERHAPS_A_PATIENT = (
    r"(?<![a-z])(patient|subject|participant|person|child|case|mrn|pid|name|fall|hasta|ipp|uhid)"
)
STORED_AS_DECIMAL = re.compile(r"(\d+)\.0+")
Row = TypeVar("Row", int, str)
log = logging.getLogger(__name__)


def normal_id(text: str) -> str:
    """Return the normal form of an id: 1377.0 is 1377, and an accented letter is one character.

    File names of macOS spell an accented letter as two characters; tables mostly as one. Invisible
    characters are left out.
    """
    text = unicodedata.normalize("NFC", re.sub(INVISIBLE, "", text).strip())
    decimal = STORED_AS_DECIMAL.fullmatch(text)
    return decimal[1] if decimal else text


def core(id_: str) -> str:
    """Return an id without differences of case, spaces and leading zeros."""
    text = " ".join(normal_id(id_).casefold().split())
    return text.lstrip("0") or "0" if text.isdigit() else text


def normal_ids(cells: pd.Series) -> pd.Series:
    """Return the ids of a column as `normal_id` writes them."""
    return cells.map(normal_id).astype(str)


def read_ids(path: Path, columns: Columns = DEFAULT_COLUMNS) -> pd.Series:
    """Return the ids of a table, which may repeat; it needs no ages.

    Raises:
        UserError: when it cannot be read, or has no id column.
    """
    table = read_table(path, columns.separator)
    header = list(table.columns)
    either = (find_columns(header, names).get("id") for names in (columns, DEFAULT_COLUMNS))
    name = next(filter(None, either), None)
    if name is None:
        raise UserError(without_column(path, header, "id"))
    require_single(path, table, [name])
    return normal_ids(table[name])


def read_unique_ids(path: Path, cells: pd.Series) -> pd.Series:
    """Return ids in normal form; raise UserError if there is none, or one is empty or repeated."""
    if cells.empty:
        raise UserError(f"{path} has a header but no rows: it needs one for each radiograph")
    refuse(path, cells, cells == "", "is empty: give every row an id, or remove the row")
    rounded = cells.str.fullmatch(r"\d([.,]\d+)?E\+\d+")
    refuse(path, cells, rounded, "was rounded by a spreadsheet program: save the ids as text")
    ids = normal_ids(cells)
    if repeated := list(ids[ids.duplicated()].unique()):
        raise UserError(
            f"{path}: {plural(len(repeated), 'id')} more than once in column {cells.name!r}: "
            f"{join_first(repeated)}; keep one row of each, with a column for each reader if "
            "several have read it, or, if they are different radiographs, write the ids with "
            "folders, such as P001/hand"
        )
    return ids


def read_patient_names(path: Path, cells: pd.Series) -> pd.Series:
    """Return the patients of a column, "" where a cell names none.

    Raises:
        UserError: when none does.
    """
    patients = normal_ids(cells).mask(cells.str.casefold().isin(NO_PATIENT), "")
    if (patients == "").all():
        raise UserError(
            f"{path}: column {cells.name!r} contains no patient: fill it, rename it, or choose "
            f"another with {column_option('patient')}"
        )
    return patients


def warn_of_patients(path: Path, others: pd.DataFrame) -> None:
    """Warn about an unused column that may name patients with several radiographs."""
    others = others.loc[:, ~others.columns.duplicated()]
    for name in others:
        alike = re.search(PERHAPS_A_PATIENT, str(name).casefold())
        if alike and len(others) / 10 <= others[name].nunique() < len(others):
            log.warning(
                "%s: column %r has %s values in %s rows. If it names the patients, set "
                "%s: otherwise one patient may be in training and in test",
                path, name, f"{others[name].nunique():,}", f"{len(others):,}",
                column_option("patient", str(name)),
            )  # fmt: skip


def patient_codes(table: pd.DataFrame) -> np.ndarray | None:
    """Return (n,) int64, equal for radiographs of one patient; None without a column `patient`.

    An empty cell is an unknown patient, who counts as a separate one.
    """
    if "patient" not in table:
        return None
    names = table["patient"].fillna("").astype(str)
    keys = [name or row for row, name in enumerate(names)]
    return pd.factorize(pd.Series(keys, dtype=object))[0]


def unify_spellings(names: pd.Series, what: str) -> pd.Series:
    """Return names, such as those of patients, each in its first spelling; merged ones are logged.

    Spellings that differ only in letter case, spaces or leading zeros are one name: merging two
    patients does no harm, but splitting one puts it into both training and test.

    Args:
        names: (n,) text, "" if unknown.
        what: what they name, for the log.
    """
    spellings = pd.Series(names[names != ""].unique(), dtype=object)
    first = spellings.groupby(spellings.map(core)).transform("first")
    if merged := [f"{a} = {b}" for a, b in zip(spellings, first, strict=True) if a != b]:
        log.warning(
            "%s merged with another %s, because only letter case, spaces or leading zeros "
            "differ: %s",
            plural(len(merged), "spelling"),
            what,
            join_first(merged),
        )
    return names.map(dict(zip(spellings, first, strict=True))).fillna("")


def unify_patients(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with one spelling of each patient; warn of patients of both sexes.

    Args:
        rows: `patient`, NaN or "" if unknown, and `sex`.
    """
    rows = rows.assign(patient=unify_spellings(rows["patient"].fillna(""), "patient"))
    if both := patients_with_several(rows[rows["sex"] != "unknown"], "sex"):
        log.warning(
            "%s with radiographs of both sexes: %s; if their column does not contain "
            "patients, set %s",
            plural(len(both), "patient"),
            join_first(both),
            column_option("patient"),
        )
    return rows


def count_patients(table: pd.DataFrame) -> int | None:
    """Return the number of patients; None without a column `patient`."""
    codes = patient_codes(table)
    return None if codes is None else len(np.unique(codes))


def patients_with_several(table: pd.DataFrame, column: str) -> list[str]:
    """Return the patients whose radiographs have more than one value in another column."""
    known = table[table["patient"] != ""] if "patient" in table else table.iloc[:0]
    if known.empty:
        return []
    values = known.groupby("patient", sort=False)[column].nunique()
    return [str(name) for name in values.index[values > 1]]


def rows_alike(values: Mapping[Row, Hashable]) -> list[list[Row]]:
    """Return the rows of each value that several rows have, such as a PatientID."""
    rows = pd.Series(values, dtype=object)
    rows = rows[rows.duplicated(keep=False)]
    return [same.index.tolist() for _, same in rows.groupby(rows, sort=False)]
