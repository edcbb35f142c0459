"""Other ages of the same radiographs: of several readers, and those that a teacher predicted."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ages import read_ages, read_numbers
from boneage.data.tables.columns import (
    DEFAULT_COLUMNS,
    PREDICTED_AGE,
    READER,
    Columns,
    ReadUnit,
    find_columns,
    require_present,
    require_single,
)
from boneage.data.tables.ids import read_unique_ids
from boneage.data.tables.matching import match_ids
from boneage.data.tables.read import is_known, read_table, refuse
from boneage.errors import UserError, join_first, plural
from boneage.stages import MAX_AGE_YEARS

log = logging.getLogger(__name__)
LEAST_SHARED = 10  # radiographs that a reader and at least one other have both read
LEAST_PREDICTED = -1.0  # years: networks may predict less than 0 for a newborn, but -1 is missing
# the age of `boneage predict`, and a column that identifies its tables
ANSWER_COLUMNS = ("age_years", "novelty")


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
    """Return the ages in months of each reader, NaN where a reader has not read.

    Args:
        path: of the table, for messages.
        table: text, as `read_table` gives it.
        readers: names of their columns.
        unit: of the ages, as for `read_ages`.
        units: by row, as for `read_ages`.

    Returns:
        A column `reader_<name>` for each reader.

    Raises:
        UserError: when a column is missing, empty, the only one or named twice, and as `read_ages`.
    """
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


def read_soft_targets(
    path: Path, table: pd.DataFrame, columns: Columns = DEFAULT_COLUMNS
) -> pd.Series:
    """Return a teacher's predicted age of each radiograph, and log how many have one.

    Args:
        path: `predictions.csv` of a run, of `boneage ensemble` or of `boneage predict`, or a table
            with the columns `id` and `age_years_predicted`.
        table: the radiographs, with `id`, `age_months` and `fold`.
        columns: of a custom table, which this one may have as well.

    Returns:
        The age in months by the index of `table`: the reading if the teacher has none.

    Raises:
        UserError: when it is missing or malformed, or has no age of a training radiograph.
    """
    rows = read_table(path, columns.separator)
    name = find_columns(list(rows.columns), columns).get("id", "id")
    age = PREDICTED_AGE if PREDICTED_AGE in rows else ANSWER_COLUMNS[0]
    if name not in rows or (age != PREDICTED_AGE and not set(ANSWER_COLUMNS) <= set(rows)):
        raise UserError(
            f"data.soft_targets={path} needs the columns id and {PREDICTED_AGE} "
            f"(it has {', '.join(map(str, rows.columns))})"
        )
    require_single(path, rows, (name, age))
    if len(rows) and (rows[age] == "").all():
        raise UserError(f"data.soft_targets={path}: column {age!r} is empty in every row")
    rows = rows[rows[age] != ""]  # `boneage predict` withholds some
    years = read_numbers(rows[age])
    possible = years.between(LEAST_PREDICTED, MAX_AGE_YEARS, inclusive="right")
    hint = "is not a bone age in years: correct it, or leave the cell empty"
    refuse(path, rows[age], ~possible, hint)
    if below := int((years < 0).sum()):
        log.info("%s: %s below 0 learned as 0", path, plural(below, "age"))
    by_id = pd.Series(years.clip(lower=0).to_numpy() * 12, index=read_unique_ids(path, rows[name]))
    matched = match_ids(by_id.index, table["id"], path)
    soft = table["id"].map(pd.Series({known: by_id[id_] for id_, known in matched.items()}))
    train = table["fold"] == "train"
    if not (with_one := int(soft[train].notna().sum())):
        raise UserError(
            f"data.soft_targets={path} has no age of any training radiograph: its ids are "
            f"{join_first(list(by_id.index))}, those of the training fold "
            f"{join_first(list(table['id'][train]))}"
        )
    log.info("Soft targets: %s of %s training radiographs", f"{with_one:,}", f"{train.sum():,}")
    return soft.astype(float).fillna(table["age_months"])
