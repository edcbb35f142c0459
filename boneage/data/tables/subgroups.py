"""Columns of a label table that results are grouped by: what their cells are, and which may be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ages import read_numbers
from boneage.data.tables.columns import LABEL, PREDICTED_AGE, READER
from boneage.data.tables.ids import unify_spellings
from boneage.data.tables.read import NO_VALUE
from boneage.errors import UserError
from boneage.stages import PROBABILITY

TAKEN = (
    "id", "age_months", "age_years", PREDICTED_AGE, "soft_age_months", "sex", "patient",
    "origin", "path", "cache_row", "fold", "stage", "stage_predicted", "male_probability",
    "kind", "image",
)  # fmt: skip
TAKEN_BEGINNINGS = (PROBABILITY, READER, LABEL)
MAX_VALUES = 50  # different values of a column of text: more name radiographs, not groups


def is_known(cells: pd.Series) -> pd.Series:
    """Tell which cells of text have a value."""
    return ~cells.str.strip().str.casefold().isin(NO_VALUE)


def as_numbers(cells: pd.Series) -> pd.Series | None:
    """Return cells of text as `read_numbers` reads them, NaN where unknown; None if one is none."""
    known = is_known(cells)
    numbers = read_numbers(cells.where(known, ""))
    return numbers if known.any() and np.isfinite(numbers[known]).all() else None


def unify_groups(cells: pd.Series) -> pd.Series:
    """Return a column of text with one spelling for each group; numbers stay as they are."""
    if as_numbers(cells) is not None:
        return cells
    known = is_known(cells)
    unified = unify_spellings(cells.where(known, ""), f"value of {cells.name}")
    return cells.where(~known, unified)


def read_subgroups(path: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return columns of a table as they are.

    Args:
        path: the table's file, for messages.
        table: its cells as text.
        names: columns that it has.

    Raises:
        UserError: when a name is one that results have, or a column of text has so many values that
            it cannot name groups.
    """
    for name in names:
        if name in TAKEN or name.startswith(TAKEN_BEGINNINGS):
            raise UserError(
                f"data.subgroups names {name!r}, which the results use: rename the column in {path}"
            )
        cells = table[name].astype(str)
        values = cells[is_known(cells)].nunique()
        if values > MAX_VALUES and as_numbers(cells) is None:
            raise UserError(
                f"data.subgroups names {name!r}, which has {values:,} different values in {path}: "
                f"name a column of at most {MAX_VALUES} groups, or of numbers such as 1200 or 7.25 "
                "(1,200 and 1.200 are ambiguous)"
            )
    return table[list(names)]
