"""One label table: ids, bone ages in months, and sex, checked row by row."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ages import (
    MONTHS_PER_UNIT,
    as_numbers,
    read_ages,
    read_numbers,
    read_units,
    refuse_split_ages,
)
from boneage.data.tables.columns import (
    ADD_LABEL,
    DEFAULT_COLUMNS,
    KNOWN_NAMES,
    LABEL,
    OPTIONAL,
    PREDICTED_AGE,
    READER,
    Columns,
    column_option,
    find_columns,
    label_column,
    letters,
    require_present,
    require_single,
    without_column,
)
from boneage.data.tables.ids import (
    read_patient_names,
    read_unique_ids,
    unify_spellings,
    warn_of_patients,
)
from boneage.data.tables.read import is_known, read_table, refuse
from boneage.data.tables.readings import read_readings
from boneage.data.tables.sexes import read_sexes
from boneage.errors import UserError, join_first
from boneage.stages import PROBABILITY

log = logging.getLogger(__name__)

ROUNDING_MONTHS = 1.0  # months between one age in months and in years
TAKEN = (  # columns of the results
    "id", "age_months", "age_years", PREDICTED_AGE, "soft_age_months", "sex", "patient",
    "origin", "path", "cache_row", "fold", "stage", "stage_predicted", "male_probability",
    "kind", "image",
)  # fmt: skip
TAKEN_BEGINNINGS = (PROBABILITY, READER, LABEL)
MAX_VALUES = 50  # different values of a column of text: more name radiographs, not groups
NEAR = 24  # months, median difference between two readings of the same radiographs


def read_labels(path: Path, columns: Columns = DEFAULT_COLUMNS) -> pd.DataFrame:
    """Read a label table.

    Args:
        path: csv or xlsx file.
        columns: of a custom table.

    Returns:
        Columns `id` (as `normal_id` writes it), `age_months` (float64), `sex` ("female", "male" or
        "unknown") and, where the table has it, `patient` (as `normal_id` writes it, "" if unknown),
        in the order of the file. With `columns.site` also `site`; with `columns.readers` the months
        that each reader gave, NaN for none, as `reader_<column>`, unless the table has an age
        column and none of theirs; `columns.labels` as numbers, NaN for none, as `label_<column>`;
        `columns.others` as text.

    Raises:
        UserError: naming file, row, column and value of the mistake.
    """
    table = read_table(path, columns.separator)
    names = find_columns(list(table.columns), columns)
    _require_columns(path, table, names, columns)
    single = table.loc[:, ~table.columns.duplicated(keep=False)]
    refuse_split_ages(path, single, [names.get("age", ""), *columns.readers])
    ids = read_unique_ids(path, table[names["id"]])
    if names.get("age") in columns.readers:
        log.info(
            "%s: column %r is one of the readers, so the age is their mean", path, names.pop("age")
        )
    one_reading = "age" in names and not {*columns.readers} & {*table.columns}
    unit, units = columns.age_unit, read_units(table)
    readings = read_readings(path, table, () if one_reading else columns.readers, unit, units)
    if "age" in names:
        months = read_ages(path, table[names["age"]], unit, units)
        if not columns.age:
            _warn_of_other_ages(path, table, names["age"], months, columns)
    else:
        months = readings.mean(axis=1)
        refuse(path, ids, months.isna(), "has no reading: give one, or remove the row")
    sex = read_sexes(path, table, names.get("sex"))
    labels = pd.DataFrame({"id": ids, "age_months": months, "sex": sex}).join(readings)
    if "site" in names:
        labels["site"] = table[names["site"]]
        unknown = ~is_known(labels["site"])
        refuse(path, table[names["site"]], unknown, "is no site: name it, or remove the row")
    labels = labels.join(_subgroups(path, table, columns.others))
    labels = labels.join(_own_labels(path, table, columns.labels))
    if "patient" in names:
        labels["patient"] = read_patient_names(path, table[names["patient"]])
    else:
        warn_of_patients(path, table.drop(columns=list(names.values())))
    return labels.reset_index(drop=True)


def _warn_of_other_ages(
    path: Path, table: pd.DataFrame, column: str, months: pd.Series, columns: Columns
) -> None:
    """Warn of columns that look like other bone ages, and are not read."""
    used = {column, *columns.readers, *columns.others}
    others = [
        name
        for name in map(str, table.columns[~table.columns.duplicated(keep=False)])
        if name not in used
        and "boneage" in letters(name)
        and _is_other_reading(table[name], months)
    ]
    if others:
        log.warning(
            "%s: the bone age is read from column %r, not from %s with other ages: choose one with "
            "%s, or name readers with data.columns.readers=",
            path, column, join_first(list(map(repr, others))), column_option("age"),
        )  # fmt: skip


def _is_other_reading(cells: pd.Series, months: pd.Series) -> bool:
    """Tell whether a column has bone ages near some in months, but not the same, in either unit."""
    differences = [(read_numbers(cells) * n - months).abs() for n in MONTHS_PER_UNIT.values()]
    nearest = min(differences, key=lambda months: months.fillna(np.inf).median())
    return bool(nearest.median() < NEAR and (nearest > ROUNDING_MONTHS).any())


def _require_columns(
    path: Path, table: pd.DataFrame, names: dict[str, str], columns: Columns
) -> None:
    """Raise UserError when id, age, or a column asked for by name is missing or repeated."""
    optional = (*OPTIONAL, "age") if columns.readers else OPTIONAL
    for meaning, own in columns.single().items():
        if meaning in names or (meaning in optional and not own):
            continue
        advice = (
            f"name it with data.columns.{meaning}= in training or --column {meaning}= in boneage "
            "commands, or use another table"
        )
        if meaning == "age":
            advice += (
                "; a table without ages, such as the test table of Kaggle's rsna-bone-age, cannot "
                "be used for training or testing; boneage predict FOLDER --checkpoint RUN "
                "--out DIR --report shows its anomalies and predicted ages"
            )
        raise UserError(f"{without_column(path, list(table.columns), meaning, own)}; {advice}")
    require_single(path, table, names.values())
    others = [str(name) for name in table if name != names["id"]]
    spelled = {letters(name) for name in KNOWN_NAMES["patient"]}
    known = [name for name in others if letters(name) in spelled]
    if len(known) > 1 and not columns.patient:
        raise UserError(
            f"{path} has several columns that may contain the patient ({', '.join(known)}): choose "
            f"one with {column_option('patient')}"
        )


def _own_labels(path: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the columns of other numbers to learn, NaN where a cell is empty."""
    require_present(path, table, names, "data.columns.labels", ADD_LABEL)
    found = {}
    for name in names:
        present = is_known(table[name])
        numbers = found[label_column(name)] = read_numbers(table[name].where(present, ""))
        hint = "is not a number such as 87 or 7.25: correct it, or leave the cell empty"
        refuse(path, table[name], present & ~np.isfinite(numbers), hint)
    return pd.DataFrame(found, index=table.index)


def _subgroups(path: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the columns to group results by, as they are, if their names and values allow it."""
    require_present(path, table, names, "data.subgroups")
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


def unify_groups(cells: pd.Series) -> pd.Series:
    """Return a column of text with one spelling for each group; numbers stay as they are."""
    if as_numbers(cells) is not None:
        return cells
    known = is_known(cells)
    unified = unify_spellings(cells.where(known, ""), f"value of {cells.name}")
    return cells.where(~known, unified)
