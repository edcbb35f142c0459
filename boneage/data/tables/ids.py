"""Ids of radiographs and of patients: one way to write them, whatever table they come from."""

import logging
import re
import unicodedata
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from boneage.data.tables.columns import INVISIBLE, column_option
from boneage.data.tables.read import NO_VALUE
from boneage.errors import join_first, plural

NO_PATIENT = (*NO_VALUE, "-", "?")  # cells of a column of patients, in any case
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


def patient_codes(table: pd.DataFrame) -> np.ndarray | None:
    """Return (n,) int64, equal for radiographs of one patient; None without a column `patient`.

    An empty cell is an unknown patient, who counts as a separate one.
    """
    if "patient" not in table:
        return None
    names = table["patient"].fillna("").astype(str)
    keys = [name or row for row, name in enumerate(names)]
    codes: np.ndarray = pd.factorize(pd.Series(keys, dtype=object))[0]
    return codes


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
