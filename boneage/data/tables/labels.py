"""One label table: ids, bone ages in months, and sex, checked row by row."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ages import (
    MONTHS_PER_UNIT,
    read_ages,
    read_numbers,
    read_units,
    refuse_split_ages,
)
from boneage.data.tables.columns import (
    DEFAULT_COLUMNS,
    KNOWN_NAMES,
    OPTIONAL,
    READER,
    Columns,
    ReadUnit,
    column_option,
    find_columns,
    label_column,
    letters,
    require_present,
    require_single,
    without_column,
)
from boneage.data.tables.ids import NO_PATIENT, normal_ids
from boneage.data.tables.read import read_table, refuse
from boneage.data.tables.sexes import read_sexes
from boneage.data.tables.subgroups import is_known, read_subgroups
from boneage.errors import UserError, join_first, plural, require_choice

log = logging.getLogger(__name__)

PERHAPS_A_PATIENT = (
    r"(?<![a-z])(patient|subject|participant|person|child|case|mrn|pid|name|fall|hasta|ipp|uhid)"
)
ROUNDING_MONTHS = 1.0  # months between one age in months and in years
NEAR = 24  # months, median difference between two readings of the same radiographs


def read_labels(
    path: Path,
    columns: Columns = DEFAULT_COLUMNS,
    age_unit: ReadUnit = None,
    separator: str | None = None,
) -> pd.DataFrame:
    """Read a label table.

    Sex may be M/F, male/female, boy/girl or man/woman; in a column that asks for one (`male`,
    `is_female`) also True/False, T/F, yes/no or 1/0.
    Elsewhere 1/0 is ambiguous and refused. An empty cell, or no such column, is "unknown".

    Args:
        path: csv or xlsx file.
        columns: column names of a custom table.
        age_unit: unit of the ages in the file. None takes it from the column's name, else
            months, and ages that look like years are refused.
        separator: of a csv file; None finds it.

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
    if age_unit not in (None, "any"):
        require_choice("data.age_unit", age_unit, *MONTHS_PER_UNIT)
    table = read_table(path, separator)
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
    units = read_units(table)
    readings = _readings(path, table, () if one_reading else columns.readers, age_unit, units)
    if "age" in names:
        months = read_ages(path, table[names["age"]], age_unit, units)
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
    require_present(path, table, columns.others, "data.subgroups")
    labels = labels.join(read_subgroups(path, table, columns.others))
    labels = labels.join(_own_labels(path, table, columns.labels))
    if "patient" in names:
        labels["patient"] = _patients(path, table[names["patient"]])
    else:
        _warn_of_patients(path, table.drop(columns=list(names.values())))
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


def read_ids(
    path: Path, columns: Columns = DEFAULT_COLUMNS, separator: str | None = None
) -> pd.Series:
    """Return the ids of a table, which may repeat; it needs no ages.

    Raises:
        UserError: when it cannot be read, or has no id column.
    """
    table = read_table(path, separator)
    header = list(table.columns)
    either = (find_columns(header, names).get("id") for names in (columns, DEFAULT_COLUMNS))
    name = next(filter(None, either), None)
    if name is None:
        raise UserError(without_column(path, header, "id"))
    require_single(path, table, [name])
    return normal_ids(table[name])


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


def _readings(
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


def _own_labels(path: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the columns of other numbers to learn, NaN where a cell is empty."""
    hint = "; add the column, with empty cells where there is no value"
    require_present(path, table, names, "data.columns.labels", hint)
    found = {}
    for name in names:
        present = is_known(table[name])
        numbers = found[label_column(name)] = read_numbers(table[name].where(present, ""))
        hint = "is not a number such as 87 or 7.25: correct it, or leave the cell empty"
        refuse(path, table[name], present & ~np.isfinite(numbers), hint)
    return pd.DataFrame(found, index=table.index)


def _patients(path: Path, cells: pd.Series) -> pd.Series:
    """Return the patients as text, "" where a cell names none."""
    patients = normal_ids(cells).mask(cells.str.casefold().isin(NO_PATIENT), "")
    if (patients == "").all():
        raise UserError(
            f"{path}: column {cells.name!r} contains no patient: fill it, rename it, or choose "
            f"another with {column_option('patient')}"
        )
    return patients


def _warn_of_patients(path: Path, others: pd.DataFrame) -> None:
    """Warn about an unused column that may name patients with several radiographs."""
    others = others.loc[:, ~others.columns.duplicated()]
    for name in others:
        alike = re.search(PERHAPS_A_PATIENT, str(name).casefold())
        if alike and len(others) / 10 <= others[name].nunique() < len(others):
            log.warning(
                "%s: column %r has %d values in %d rows. If it names the patients, set "
                "%s: otherwise one patient may be in training and in test",
                path, name, others[name].nunique(), len(others),
                column_option("patient", str(name)),
            )  # fmt: skip
