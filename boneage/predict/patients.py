"""What is known of the patients whose radiographs are predicted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.dicom_header import Header
from boneage.data.labels import (
    DEFAULT_COLUMNS,
    MAX_AGE_YEARS,
    find_columns,
    read_numbers,
    read_unique_ids,
    require_single,
    without_column,
)
from boneage.data.matching import match_ids
from boneage.data.radiographs import radiograph_id
from boneage.data.sexes import read_sex, read_sexes
from boneage.data.tables import read_table
from boneage.errors import UserError, join_first

log = logging.getLogger(__name__)

AGES = {"chronological_age_years": 1.0, "chronological_age_months": 1 / 12}  # in years


@dataclass(frozen=True)
class Patient:
    """What is known of a patient, and where from.

    Args:
        sex: "female", "male" or "unknown".
        sex_from: "option", "table", "header", or "" where it is unknown.
        age_years: chronological age, None where it is unknown.
        age_from: likewise.
        flags: what is odd about what the file says of them, where that counts.
    """

    sex: str = "unknown"
    sex_from: str = ""
    age_years: float | None = None
    age_from: str = ""
    flags: tuple[str, ...] = ()


def read_patients(path: Path) -> dict[str, Patient]:
    """Read a table of patients: `id`, and as far as they are there sex and chronological age.

    Returns:
        What is known, by id (the file's name without its suffix).

    Raises:
        UserError: naming file, row and column of what is wrong.
    """
    table = read_table(path)
    header = [str(name) for name in table]
    names = find_columns(header, DEFAULT_COLUMNS)
    if "id" not in names:
        raise UserError(f"{without_column(path, header, 'id')}; rename the right one")
    bone_age = names.pop("age", None)
    ages = {name: AGES[name.casefold()] for name in header if name.casefold() in AGES}
    require_single(path, table, [*names.values(), *ages])
    ids = read_unique_ids(path, table[names["id"]])
    sexes = read_sexes(path, table, names.get("sex"))
    if not ages:
        _warn_of_another_age(path, [name for name in header if name != bone_age])
    years = pd.Series(float("nan"), table.index)
    for name, unit in ages.items():
        years = years.fillna(_years(path, table[name], unit))
    return {
        str(id_): Patient(
            str(sex),
            "table" if sex != "unknown" else "",
            None if pd.isna(age) else float(age),
            "" if pd.isna(age) else "table",
        )
        for id_, sex, age in zip(ids, sexes, years, strict=True)
    }


def patients_of(files: Sequence[Path], table: Path | None) -> dict[str, Patient]:
    """Return what a table says of the patients of radiographs, by the radiographs' ids.

    Which of them it does not know is said.

    Raises:
        UserError: when it knows none, or is wrong.
    """
    if table is None:
        return {}
    patients = read_patients(table)
    ids = [radiograph_id(file) for file in files]
    meant = match_ids(ids, patients, table)
    missing = [id_ for id_ in ids if id_ not in meant]
    if not meant:
        raise UserError(
            f"{table} knows none of these radiographs: {join_first(missing)}; its ids are "
            f"{join_first(list(patients))}"
        )
    if missing:
        log.warning(
            "%d of %d radiographs are not in %s: %s", len(missing), len(files), table,
            join_first(missing),
        )  # fmt: skip
    return {id_: patients[known] for id_, known in meant.items()}


def _warn_of_another_age(path: Path, names: list[str]) -> None:
    """Say that a column that looks like an age is none that is read."""
    if alike := [name for name in names if "age" in name.casefold()]:
        log.warning(
            "%s: column %r is not read: a chronological age is called %s", path, alike[0],
            " or ".join(AGES),
        )  # fmt: skip


def _years(path: Path, cells: pd.Series, unit: float) -> pd.Series:
    """Return chronological ages in years, NaN where there is none."""
    years = read_numbers(cells) * unit
    wrong = (cells != "") & ~_plausible(years)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise UserError(
            f"{path}, row {cells.index[row]}, column {cells.name!r}: {cells.iloc[row]!r} is no age "
            f"up to {MAX_AGE_YEARS} years"
        )
    return years


def _plausible(years: pd.Series) -> pd.Series:
    """Tell which numbers may be chronological ages in years."""
    return years.between(0, MAX_AGE_YEARS)


def read_age(given: float | str) -> float:
    """Return a chronological age in years, from a number or a text in which 12,5 is 12.5.

    Raises:
        UserError: when it is no age from 0 to 25 years.
    """
    years = pd.Series([float("nan")])
    if isinstance(given, str):
        years = read_numbers(pd.Series([given.strip()]))
    elif isinstance(given, int | float | np.number):
        years = pd.Series([float(given)])
    if not _plausible(years).all():
        raise UserError(
            f"{given!r} is no chronological age: give years from 0 to {MAX_AGE_YEARS}, such as "
            "10.5, or none"
        )
    return float(years[0])


def patient_given(sex: str | None, age_years: float | str | None) -> Patient:
    """Return what a caller says of a patient, in numbers or as typed; None is what they leave open.

    Raises:
        UserError: when sex or age is none: see `read_sex`, `read_age`.
    """
    patient = Patient() if sex is None else Patient(read_sex(sex), "option")
    if age_years is None:
        return patient
    return replace(patient, age_years=read_age(age_years), age_from="option")


def patient_of(
    file: Path, given: Patient, table: dict[str, Patient], header: Header | None
) -> Patient:
    """Return what is known of a radiograph's patient: from the call, else the table, else DICOM."""
    known = table.get(radiograph_id(file), Patient())
    if given.sex_from:
        known = replace(known, sex=given.sex, sex_from=given.sex_from)
    if given.age_from:
        known = replace(known, age_years=given.age_years, age_from=given.age_from)
    if header is None:
        return known
    flags = []
    if not known.sex_from:
        flags.append(header.sex_flag)
        sex_from = "header" if header.sex != "unknown" else ""
        known = replace(known, sex=header.sex, sex_from=sex_from)
    if not known.age_from:
        flags.append(header.age_flag)
        age_from = "header" if header.age_years is not None else ""
        known = replace(known, age_years=header.age_years, age_from=age_from)
    return replace(known, flags=tuple(filter(None, flags)))
