"""Ages predicted by a teacher: targets for training in addition to a single noisy reading."""

import logging
from pathlib import Path

import pandas as pd

from boneage.data.tables.ages import read_numbers
from boneage.data.tables.columns import (
    DEFAULT_COLUMNS,
    PREDICTED_AGE,
    Columns,
    find_columns,
    require_single,
)
from boneage.data.tables.ids import read_unique_ids
from boneage.data.tables.matching import match_ids
from boneage.data.tables.read import read_table, refuse
from boneage.errors import UserError, join_first, plural
from boneage.stages import MAX_AGE_YEARS

log = logging.getLogger(__name__)

LEAST = -1.0  # years: a network may predict less than 0 for a newborn, but -1 means missing
# the age of `boneage predict`, and a column that identifies its tables
ANSWER_COLUMNS = ("age_years", "novelty")


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
    possible = years.between(LEAST, MAX_AGE_YEARS, inclusive="right")
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
