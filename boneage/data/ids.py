"""Ids of radiographs and of patients: one way to write them, whatever table they come from."""

import logging
import re
import unicodedata

import numpy as np
import pandas as pd

from boneage.errors import first_five, plural

STORED_AS_DECIMAL = re.compile(r"(\d+)\.0+")
log = logging.getLogger(__name__)


def normal_id(text: str) -> str:
    """Return an id as it is compared: 1377.0 is 1377, and each accented letter is one character.

    File names of macOS spell an accented letter as two characters; tables mostly as one.
    """
    text = unicodedata.normalize("NFC", text.strip())
    whole = STORED_AS_DECIMAL.fullmatch(text)
    return whole[1] if whole else text


def core(id_: str) -> str:
    """Return an id without what is written one way or the other: case, spaces, leading zeros."""
    text = " ".join(normal_id(id_).casefold().split())
    return text.lstrip("0") or "0" if text.isdigit() else text


def normal_ids(cells: pd.Series) -> pd.Series:
    """Return the ids of a column as `normal_id` writes them."""
    return cells.map(normal_id).astype(str)


def patient_codes(table: pd.DataFrame) -> np.ndarray | None:
    """Return (n,) int64, equal for radiographs of one patient; None without a column `patient`.

    An empty cell is an unknown patient: the radiograph counts as one of a patient of its own.
    """
    if "patient" not in table:
        return None
    names = table["patient"].fillna("").astype(str)
    keys = [name or row for row, name in enumerate(names)]
    codes: np.ndarray = pd.factorize(pd.Series(keys, dtype=object))[0]
    return codes


def unify_spellings(patients: pd.Series) -> pd.Series:
    """Return the patients of all tables, each as it is spelled first; what is merged is said.

    Spellings that differ in nothing but letter case, spaces or leading zeros are one patient: two
    that are taken for one cost nothing, but one that is taken for two is trained and tested on.
    """
    spellings = pd.Series(patients[patients != ""].unique(), dtype=object)
    first = spellings.groupby(spellings.map(core)).transform("first")
    if merged := [f"{a} = {b}" for a, b in zip(spellings, first, strict=True) if a != b]:
        log.warning(
            "%s counted as the same patient as another one, where only letter case, spaces or "
            "leading zeros differ: %s",
            plural(len(merged), "spelling"),
            first_five(merged),
        )
    return patients.map(dict(zip(spellings, first, strict=True))).fillna("")


def count_patients(table: pd.DataFrame) -> int | None:
    """Return of how many patients the radiographs are; None without a column `patient`."""
    codes = patient_codes(table)
    return None if codes is None else len(np.unique(codes))


def patients_with_several(table: pd.DataFrame, column: str) -> list[str]:
    """Return the patients whose radiographs have more than one value in another column."""
    known = table[table["patient"] != ""] if "patient" in table else table.iloc[:0]
    if known.empty:
        return []
    values = known.groupby("patient", sort=False)[column].nunique()
    return [str(name) for name in values.index[values > 1]]
