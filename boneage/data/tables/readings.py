"""The ages that several readers gave, and which of these readers can be compared."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ages import read_ages
from boneage.data.tables.columns import READER, ReadUnit, require_present
from boneage.data.tables.read import is_known
from boneage.errors import UserError, plural

log = logging.getLogger(__name__)
LEAST_SHARED = 10  # radiographs that a reader and at least one other have both read


def reading_column(reader: str) -> str:
    """Return the column with the ages in years that a reader gave."""
    return f"{READER}{reader}_years"


def read_readings(
    path: Path,
    table: pd.DataFrame,
    readers: Sequence[str],
    unit: ReadUnit,
    units: pd.Series | None,
) -> pd.DataFrame:
    """Return the ages in months of each reader, NaN where a reader has not read."""
    require_present(path, table, readers, "data.columns.readers")
    if len(readers) == 1:
        raise UserError("data.columns.readers names one column: give two readers or more")
    if twice := [name for name in readers if list(readers).count(name) > 1]:
        raise UserError(f"data.columns.readers names {twice[0]!r} more than once")
    found = {}
    for name in readers:
        cells = table[name][is_known(table[name])]
        if cells.empty:
            raise UserError(f"{path}: column {name!r} has no reading: leave it out of the readers")
        ages = read_ages(path, cells, unit, units)
        found[f"{READER}{name}"] = ages.reindex(table.index)
    return pd.DataFrame(found, index=table.index)


def shared_radiographs(readings: np.ndarray, reader: int) -> np.ndarray:
    """Return (n,) bool, the radiographs that a reader and at least one other have read.

    Args:
        readings: (n, R) ages, NaN where a reader has not read a radiograph.
        reader: column of the reader.
    """
    read = np.isfinite(readings)
    shared: np.ndarray = read[:, reader] & np.delete(read, reader, axis=1).any(axis=1)
    return shared


def comparable_readers(
    table: pd.DataFrame, readers: Sequence[str]
) -> tuple[list[str], dict[str, int]]:
    """Choose the readers who share `LEAST_SHARED` radiographs or more with the others.

    The one with the fewest is left out first, because the others then share fewer as well.

    Args:
        table: a `reading_column` for each reader.
        readers: their names.

    Returns:
        The readers to compare, none or at least two, and for each other one the number of
        radiographs that were shared when the reader was left out.
    """
    chosen, left_out = list(readers), {}
    while chosen:
        readings = table[[reading_column(name) for name in chosen]].to_numpy(float)
        shared = [int(shared_radiographs(readings, k).sum()) for k in range(len(chosen))]
        if min(shared) >= LEAST_SHARED:
            break
        fewest = shared.index(min(shared))
        left_out[chosen.pop(fewest)] = shared[fewest]
    return chosen, left_out


def warn_of_readings(test: pd.DataFrame, readers: Sequence[str]) -> None:
    """Log which readers are copies, or have too few test radiographs in common with others.

    Args:
        test: the test fold, with a `reading_column` for each reader.
        readers: their names.
    """
    chosen, left_out = comparable_readers(test, readers)
    for first, second in combinations(chosen, 2):
        ages = test[[reading_column(first), reading_column(second)]].dropna().to_numpy(float)
        if len(ages) >= LEAST_SHARED and (ages[:, 0] == ages[:, 1]).all():
            log.warning(
                "Readers %s and %s have the same ages for all %s test radiographs that both have "
                "read. If they are copies, name one only: agreement and the limit of one reading "
                "are too good",
                first, second, f"{len(ages):,}",
            )  # fmt: skip
    for name, shared in left_out.items():
        log.warning(
            "Reader %s shares %s of the test fold with the remaining readers, fewer than %d: this "
            "reader is left out of the comparison",
            name, plural(shared, "radiograph"), LEAST_SHARED,
        )  # fmt: skip
    if readers and not chosen:
        log.warning(
            "No two readers have read %d test radiographs in common: readers are not compared",
            LEAST_SHARED,
        )
