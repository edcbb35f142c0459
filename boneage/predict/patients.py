"""Sex and chronological age of the patients, from the call, a table or the DICOM header."""

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_scalar

from boneage.data.dicom.header import CONTRADICTION, Header
from boneage.data.radiographs import by_id, names_apart, single_files
from boneage.data.tables.ages import (
    UNIT_NAMES,
    maybe_with_months,
    read_numbers,
    refuse_split_ages,
    years_with_months,
)  # fmt: skip
from boneage.data.tables.columns import (
    DEFAULT_COLUMNS,
    Columns,
    find_columns,
    letters,
    require_single,
    without_column,
)
from boneage.data.tables.ids import read_unique_ids
from boneage.data.tables.matching import IDS_ARE_NAMES, clause, match_ids, path_core
from boneage.data.tables.read import is_known, read_table
from boneage.data.tables.sexes import contradict, read_sex, read_sexes
from boneage.errors import UserError, join_first, plural
from boneage.stages import MAX_AGE_YEARS

log = logging.getLogger(__name__)

SEX_CONTRADICTED = "the file's PatientSex contradicts the given sex"
AGE_CONTRADICTED = "the file's age contradicts the given chronological age"
PERHAPS_AN_AGE = re.compile(  # ages begin a word: a stage, an image and an enfermedad are no ages
    r"(?<![^\W\d_])(patient|chronological|lebens|patienten)?"
    r"([aâ]ge(?!n[ct]| osseux)|alter(?!n)|edad|idade|(?<!kemik )yaş|dob|ca(?![^\W\d_]))"
    "|birth|geburt|nacimiento|nascimento|naissance|doğum|年龄|出生"
)
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of a name such as PatientAge
AGE_COLUMNS = {"chronological_age_years": 1.0, "chronological_age_months": 1 / 12}  # in years
YEARS_PER_UNIT = {letters(name): years for name, years in AGE_COLUMNS.items()}


@dataclass(frozen=True)
class Patient:
    """Sex and chronological age of a patient, and their sources.

    Args:
        sex: "female", "male" or "unknown".
        sex_from: "option", "table", "header", or "" if unknown.
        age_years: chronological age, None if unknown.
        age_from: as `sex_from`.
        flags: implausible values in the header, if the header is used; else contradictions with it.
    """

    sex: str = "unknown"
    sex_from: str = ""
    age_years: float | None = None
    age_from: str = ""
    flags: tuple[str, ...] = ()


UNKNOWN_PATIENT = Patient()


def read_patients(path: Path, columns: Columns = DEFAULT_COLUMNS) -> dict[str, Patient]:
    """Read a table of patients: `id`, and optionally sex and chronological age.

    Returns:
        The patients by id (the file's name without its suffix).

    Raises:
        UserError: naming file, row and column of an invalid value.
    """
    table = read_table(path)
    header = [str(name) for name in table]
    names = find_columns(header, columns)
    for meaning, own in columns.single().items():
        if meaning not in names and (own or meaning == "id"):
            lacking = without_column(path, header, meaning, own)
            raise UserError(f"{lacking}; name the right one with --column {meaning}=")
    bone_age = names.pop("age", None)
    ages = {n: YEARS_PER_UNIT[letters(n)] for n in header if letters(n) in YEARS_PER_UNIT}
    require_single(path, table, [*names.values(), *ages])
    refuse_split_ages(path, table[list(ages)], ages)
    ids = read_unique_ids(path, table[names["id"]])
    sexes = read_sexes(path, table, names.get("sex"))
    if not ages:
        used = {bone_age, *names.values()}
        _warn_of_another_age(path, [name for name in header if name not in used])
    years = _years(path, table, ages)
    patients = {}
    for id_, sex, age in zip(ids, sexes, years, strict=True):
        patient = Patient() if sex == "unknown" else Patient(str(sex), "table")
        if not pd.isna(age):
            patient = replace(patient, age_years=float(age), age_from="table")
        patients[str(id_)] = patient
    return patients


def patients_of(
    files: Sequence[Path], table: Path | None, columns: Columns = DEFAULT_COLUMNS
) -> dict[Path, Patient]:
    """Return the patient of each radiograph in a table, by file; unknown without a row.

    Files of one name are told apart by the last parts of their path: `a/film` and `b/film`. Warns
    of radiographs that are not in the table and, unless only one is given, counts rows that have no
    radiograph.

    Raises:
        UserError: if the table is invalid, contains none of them, or a row is that of several.
    """
    if table is None:
        return dict.fromkeys(files, UNKNOWN_PATIENT)
    patients = read_patients(table, columns)
    ids = {file: id_ for id_, alike in by_id(files, patients).items() for file in alike}
    meant = match_ids(ids.values(), patients, table)
    rows = {file: meant[id_] for file, id_ in ids.items() if id_ in meant}
    missing = _names([file for file, id_ in ids.items() if id_ not in meant], files)
    if not meant:
        raise UserError(
            f"{table} contains none of these radiographs: {join_first(missing)}; its ids are "
            f"{join_first(list(patients))}; {IDS_ARE_NAMES}"
        )
    _require_one_row_each(rows, patients, table)
    if missing:
        log.warning(
            "%s has no row for %s of %s: %s",
            table, f"{len(missing):,}", plural(len(files), "radiograph"), join_first(missing),
        )  # fmt: skip
    used = set(map(path_core, rows.values()))
    left = [row for row in patients if path_core(row) not in used]
    if left and len(files) > 1:  # the table of a hospital may be larger
        log.warning("%s: %s", table, clause(left, "row", "without a radiograph here"))
    known = {file: patients[row] for file, row in rows.items()}
    return dict.fromkeys(files, UNKNOWN_PATIENT) | known


def _names(some: Sequence[Path], files: Sequence[Path]) -> list[str]:
    """Return the ids of some of the files, with folders where another file has the same name."""
    if not some:
        return []
    names = {
        file: name
        for alike in by_id(files).values()
        for file, name in zip(alike, names_apart(alike), strict=True)
    }
    return [names[file] for file in some]


def _require_one_row_each(
    rows: Mapping[Path, str], patients: Mapping[str, Patient], table: Path
) -> None:
    """Raise UserError if a row is that of several files, or two different rows that of one."""
    files_of: dict[str, list[Path]] = {}
    for file, row in rows.items():
        files_of.setdefault(row, []).append(file)
    file_of = single_files(files_of)
    row_of = {path_core(row): row for row in file_of}
    for row, patient in patients.items():
        same = row_of.get(path_core(row), row)
        if row not in file_of and patient != patients[same]:
            raise UserError(
                f"{table}: the ids {same} and {row} name one radiograph, with different values: "
                "keep one of the rows"
            )


def _warn_of_another_age(path: Path, names: list[str]) -> None:
    """Warn of a column that looks like an age or a date of birth but is not read.

    Bone ages, and units of ages, are none.
    """
    words = {
        name: HUMP.sub(" ", name).casefold()
        for name in names
        if "boneage" not in letters(name) and letters(name) not in UNIT_NAMES
    }
    if similar := [name for name, text in words.items() if PERHAPS_AN_AGE.search(text)]:
        log.warning(
            "%s: column %r is not used: call a chronological age %s", path, similar[0],
            " or ".join(AGE_COLUMNS),
        )  # fmt: skip


def _years(path: Path, table: pd.DataFrame, ages: Mapping[str, float]) -> pd.Series:
    """Return chronological ages in years from columns by name, each with its unit; NaN without one.

    Warns if two columns differ by a year or more.
    """
    columns = [_column_years(path, table[name], unit) for name, unit in ages.items()]
    years = columns[0] if columns else pd.Series(float("nan"), table.index)
    for other in columns[1:]:
        differing = (years - other).abs() >= CONTRADICTION
        if n := int(differing.sum()):
            log.warning(
                "%s: columns %r and %r differ by a year or more in %s, first in row %d: the first "
                "column is used",
                path, years.name, other.name, plural(n, "row"), differing.idxmax(),
            )  # fmt: skip
        years = years.fillna(other)
    return years


def _column_years(path: Path, cells: pd.Series, unit: float) -> pd.Series:
    """Return chronological ages in years, NaN for cells without a value."""
    years = read_numbers(cells) * unit
    wrong = is_known(cells) & ~years.between(0, MAX_AGE_YEARS)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}, row {cells.index[row]}, column {cells.name!r}: {cells.iloc[row]!r} is not an "
            f"age from 0 to {MAX_AGE_YEARS} years: write a number such as {10.5 / unit:g}, or "
            "leave it empty"
        )
    if unit == 1 and (example := years_with_months(cells) or maybe_with_months(cells)):
        log.warning(
            "%s, column %r: almost no fraction is above .11: if %s means years and months, write "
            "months in a column chronological_age_months",
            path, cells.name, example,
        )  # fmt: skip
    return years


def read_age(given: object) -> float:
    """Return a chronological age in years, from any number or a text in which 12,5 is 12.5.

    Raises:
        UserError: if it is not an age from 0 to 25 years.
    """
    years = float("nan")
    if isinstance(given, str):
        years = float(read_numbers(pd.Series([given.strip()]))[0])
    elif not isinstance(given, bool | np.timedelta64) and isinstance(given, Real | Decimal):
        with suppress(OverflowError):
            years = float(given)
    if not 0 <= years <= MAX_AGE_YEARS:
        raise UserError(
            f"{given!r} is not a chronological age: give years from 0 to {MAX_AGE_YEARS}, such as "
            "10.5, or leave it out"
        )
    return years


def patient_given(sex: str | None, age_years: float | str | None) -> Patient:
    """Return a patient from values of the caller, as numbers or as typed.

    None, and a missing value of pandas or numpy (NA, NaN, masked), is unknown.

    Raises:
        UserError: if sex or age is invalid: see `read_sex`, `read_age`.
    """
    patient = Patient()
    if sex is not None and not _is_missing(sex):
        patient = Patient(read_sex(sex), "option")
    if age_years is None or _is_missing(age_years):
        return patient
    return replace(patient, age_years=read_age(age_years), age_from="option")


def _is_missing(value: Any) -> bool:  # noqa: ANN401 - any value of a caller
    return value is np.ma.masked or bool(is_scalar(value) and pd.isna(value))


def patient_of(given: Patient, header: Header | None, row: Patient = UNKNOWN_PATIENT) -> Patient:
    """Return the patient of a radiograph: as given, else by a table's row, else by the header."""
    by_sex, by_age = given if given.sex_from else row, given if given.age_from else row
    patient = Patient(by_sex.sex, by_sex.sex_from, by_age.age_years, by_age.age_from)
    if header is None:
        return patient
    flags = []
    if patient.sex_from and contradict(patient.sex, header.sex):
        flags.append(SEX_CONTRADICTED)
    age, own = patient.age_years, None if header.age_flag else header.age_years
    if age is not None and own is not None and abs(age - own) > CONTRADICTION:
        flags.append(AGE_CONTRADICTED)
    if not patient.sex_from:
        flags.append(header.sex_flag)
        sex_from = "header" if header.sex != "unknown" else ""
        patient = replace(patient, sex=header.sex, sex_from=sex_from)
    if not patient.age_from:
        flags.append(header.age_flag)
        age_from = "header" if header.age_years is not None else ""
        patient = replace(patient, age_years=header.age_years, age_from=age_from)
    return replace(patient, flags=tuple(filter(None, flags)))
