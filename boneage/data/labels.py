"""One label table: ids, bone ages in months, and sex, checked row by row."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from boneage.data.headers import ID_NAMES, as_written, letters
from boneage.data.ids import normal_ids
from boneage.data.sexes import UNKNOWN, read_sexes
from boneage.data.subgroups import read_subgroups
from boneage.data.tables import read_table, refuse
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)

# Names in the tables of RSNA (Halabi et al., Radiology 2019), their copies, RHPE and Deeplasia, and
# other common ones; letter case, spaces and punctuation are ignored: "image_ID" is "image id".
KNOWN_NAMES = {
    "id": ID_NAMES,
    "age": ("boneage", "bone age (months)", "bone age (years)", "bone age in months",
            "bone age in years", "ground truth bone age (months)", "ground truth bone age"),
    "sex": ("male", "sex", "sex (m/f)", "gender", "gender (m/f)", "female", "is male", "is female",
            "m/f", "male/female", "patient sex", "patient's sex", "patient gender", "sex at birth"),
    "site": (),  # only where it is named
    "patient": tuple(
        f"{who} {mark}"
        for who in ("patient", "subject", "participant")
        for mark in ("", "id", "no", "number")
    ),
}  # fmt: skip
OPTIONAL = ("sex", "patient", "site")
READER = "reader_"  # before the name of a column of one reader's ages
PERHAPS_A_PATIENT = r"(?<![a-z])(patient|subject|participant|person|child|case|mrn|pid)"
NO_PATIENT = (*UNKNOWN, "-", "?")
MONTHS_PER_UNIT = {"months": 1.0, "years": 12.0}
MAX_AGE_YEARS = 25


@dataclass(frozen=True)
class Columns:
    """Column names of one's own table; None recognises the known names in any case.

    Args:
        id: ids of the radiographs.
        age: bone ages; the mean of the readers where there is none.
        sex: sexes.
        patient: patients.
        site: hospitals, or other sources; only read where it is named.
        readers: the bone ages that each of several readers gave.
        others: columns that are kept as they are, to group results by.
    """

    id: str | None = None
    age: str | None = None
    sex: str | None = None
    patient: str | None = None
    site: str | None = None
    readers: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, names: Mapping[str, str | Sequence[str] | None], others: Sequence[str]
    ) -> "Columns":
        """Return the names that a config gives; the site is grouped by in any case."""
        readers = names.get("readers") or ()
        readers = (readers,) if isinstance(readers, str) else readers
        site = names.get("site")
        others = [name for name in dict.fromkeys(others) if not site or name not in ("site", site)]
        single = {meaning: name for meaning, name in names.items() if meaning != "readers"}
        return cls(**single, readers=tuple(readers), others=tuple(others))  # type: ignore[arg-type]

    def single(self) -> dict[str, str | None]:
        """Return the names of the columns that each have one meaning."""
        return {meaning: getattr(self, meaning) for meaning in KNOWN_NAMES}


DEFAULT_COLUMNS = Columns()


def find_columns(header: list[str], columns: Columns) -> dict[str, str]:
    """Return which column contains "id", "age", "sex" and "patient", as far as present.

    The column of the ids is also that of the patients only if both are requested.
    """
    column_of: dict[str, str] = {}
    for meaning, own in columns.single().items():
        for known in (own,) if own else KNOWN_NAMES[meaning]:
            spelled = as_written if own else letters
            if present := [name for name in header if spelled(name) == spelled(known)]:
                column_of[meaning] = present[0]
                break
    if not columns.patient and column_of.get("patient") == column_of.get("id"):
        column_of.pop("patient", None)
    return column_of


def read_labels(
    path: Path,
    columns: Columns = DEFAULT_COLUMNS,
    age_unit: Literal["months", "years"] | None = None,
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
        column and none of theirs; `columns.others` as text.

    Raises:
        UserError: naming file, row, column and value of the mistake.
    """
    if age_unit not in (None, *MONTHS_PER_UNIT):
        raise UserError(f"data.age_unit={age_unit}: must be months or years")
    table = read_table(path, separator)
    names = find_columns(list(table.columns), columns)
    _require_columns(path, table, names, columns)
    if table.empty:
        raise UserError(f"{path} has a header but no rows")
    ids = read_unique_ids(path, table[names["id"]])
    one_reading = "age" in names and not {*columns.readers} & {*table.columns}
    readings = _readings(path, table, () if one_reading else columns.readers, age_unit)
    if "age" in names:
        months = _ages(path, table[names["age"]], age_unit)
    else:
        months = readings.mean(axis=1)
        refuse(path, ids, months.isna(), "has no reading: give one, or remove the row")
    sex = read_sexes(path, table, names.get("sex"))
    labels = pd.DataFrame({"id": ids, "age_months": months, "sex": sex}).join(readings)
    if "site" in names:
        refuse(path, table[names["site"]], table[names["site"]] == "", "is empty: name the site")
        labels["site"] = table[names["site"]]
    require_present(path, table, columns.others, "data.subgroups")
    labels = labels.join(read_subgroups(path, table, columns.others))
    if "patient" in names:
        labels["patient"] = _patients(path, table[names["patient"]])
    else:
        _warn_of_patients(path, table.drop(columns=list(names.values())))
    return labels.reset_index(drop=True)


def read_ids(
    path: Path, columns: Columns = DEFAULT_COLUMNS, separator: str | None = None
) -> pd.Series:
    """Return the ids of a table, which may repeat; it needs no ages.

    Raises:
        UserError: when it cannot be read, or has no id column.
    """
    table = read_table(path, separator)
    header = list(table.columns)
    name = find_columns(header, columns).get("id") or find_columns(header, DEFAULT_COLUMNS).get(
        "id"
    )
    if name is None:
        raise UserError(without_column(path, header, "id"))
    require_single(path, table, [name])
    return normal_ids(table[name])


def without_column(path: Path, header: list[str], meaning: str, own: str | None = None) -> str:
    """Return a message: which column a table lacks, which it has, and which names are known."""
    missing = f"column {own!r}" if own else f"{meaning} column"
    known = "" if own else f"; known names are {', '.join(KNOWN_NAMES[meaning])}"
    return f"{path} has no {missing} (it has {', '.join(header)}){known}"


def _require_columns(
    path: Path, table: pd.DataFrame, names: dict[str, str], columns: Columns
) -> None:
    """Raise UserError when id, age, or a column asked for by name is missing, or stands twice."""
    optional = (*OPTIONAL, "age") if columns.readers else OPTIONAL
    for meaning, own in columns.single().items():
        if meaning in names or (meaning in optional and not own):
            continue
        advice = (
            f"name it with data.columns.{meaning}= in training, rename it, or use another table"
        )
        if meaning == "age":
            advice += "; a table without ages, such as the test table of Kaggle's rsna-bone-age, "
            advice += (
                "cannot be used for training or testing; boneage predict reads its radiographs "
                "and flags anomalies"
            )
        raise UserError(f"{without_column(path, list(table.columns), meaning, own)}; {advice}")
    require_single(path, table, names.values())
    others = [str(name) for name in table if name != names["id"]]
    spelled = {letters(name) for name in KNOWN_NAMES["patient"]}
    known = [name for name in others if letters(name) in spelled]
    if len(known) > 1 and not columns.patient:
        raise UserError(
            f"{path} has several columns that may contain the patient ({', '.join(known)}): choose "
            "one with data.columns.patient="
        )


def require_single(path: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise UserError when a table has several columns of one of these names, in any case."""
    header = [as_written(name) for name in table.columns]
    for name in names:
        if header.count(as_written(name)) > 1:
            raise UserError(f"{path} has several columns called {name!r}: rename all but one")


def read_unique_ids(path: Path, cells: pd.Series) -> pd.Series:
    """Return ids in normal form; raise UserError if one is empty or repeated."""
    refuse(path, cells, cells == "", "is empty: give every row an id")
    rounded = cells.str.fullmatch(r"\d\.\d+E\+\d+")
    refuse(path, cells, rounded, "was rounded by a spreadsheet program: save the ids as text")
    ids = normal_ids(cells)
    if repeated := list(ids[ids.duplicated()].unique()):
        raise UserError(
            f"{path}: {plural(len(repeated), 'id')} more than once in column {cells.name!r}: "
            f"{join_first(repeated)}; keep one row of each"
        )
    return ids


def _readings(
    path: Path, table: pd.DataFrame, readers: Sequence[str], unit: str | None
) -> pd.DataFrame:
    """Return the ages in months of each reader, NaN where a reader has not read."""
    require_present(path, table, readers, "data.columns.readers")
    if len(readers) == 1:
        raise UserError("data.columns.readers names one column: give two readers or more")
    if twice := [name for name in readers if list(readers).count(name) > 1]:
        raise UserError(f"data.columns.readers names {twice[0]!r} more than once")
    found = {}
    for name in readers:
        cells = table[name]
        if (cells == "").all():
            raise UserError(f"{path}: column {name!r} has no reading: leave it out of the readers")
        found[f"{READER}{name}"] = _ages(path, cells[cells != ""], unit).reindex(table.index)
    return pd.DataFrame(found, index=table.index)


def require_present(path: Path, table: pd.DataFrame, names: Sequence[str], option: str) -> None:
    """Raise UserError when a table lacks one of the columns that an option names."""
    for name in names:
        if name not in table:
            header = ", ".join(map(str, table.columns))
            raise UserError(f"{option} names {name!r}, which {path} has not (it has {header})")
    require_single(path, table, names)


def _patients(path: Path, cells: pd.Series) -> pd.Series:
    """Return the patients as text, "" where a cell names none."""
    patients = normal_ids(cells).mask(cells.str.casefold().isin(NO_PATIENT), "")
    if (patients == "").all():
        raise UserError(
            f"{path}: column {cells.name!r} contains no patient: fill it, rename it, or choose "
            "another with data.columns.patient="
        )
    return patients


def _warn_of_patients(path: Path, others: pd.DataFrame) -> None:
    """Warn about an unused column that may name patients with several radiographs."""
    for name in others:
        alike = re.search(PERHAPS_A_PATIENT, str(name).casefold())
        if alike and len(others) / 10 <= others[name].nunique() < len(others):
            log.warning(
                "%s: column %r has %d values in %d rows. If it names the patients, set "
                "data.columns.patient=%s: otherwise one patient may be in training and in test",
                path, name, others[name].nunique(), len(others), name,
            )  # fmt: skip


def _ages(path: Path, cells: pd.Series, unit: str | None) -> pd.Series:
    refuse(path, cells, cells == "", "is empty: give the bone age or remove the row")
    ages = read_numbers(cells)
    hint = "is not a number such as 87 or 7.25 (dates and '7y 3m' are not accepted)"
    refuse(path, cells, ages.isna(), hint + ": correct it or remove the row")
    refuse(path, cells, ages < 0, "is negative: correct it or remove the row")
    stated = unit or _unit_in(str(cells.name))
    months = ages * MONTHS_PER_UNIT[stated or "months"]
    hint = f"{stated or 'months'} is above {MAX_AGE_YEARS} years: correct it, or set data.age_unit="
    refuse(path, cells, months > MAX_AGE_YEARS * 12, hint + "months or years")
    if stated is None and months.max() <= MAX_AGE_YEARS:
        raise UserError(
            f"{path}, column {cells.name!r}: the highest age is {ages.max():g}, which looks like "
            "years: set data.age_unit=years, or, if all are infants, data.age_unit=months (in "
            "boneage calibrate: --age-unit)"
        )
    return months


def read_numbers(cells: pd.Series) -> pd.Series:
    """Return cells as float64, NaN if one is not a number; 12,5 is 12.5."""
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    if numbers.isna().any():
        points = cells.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
        numbers = pd.to_numeric(points, errors="coerce").astype("float64")
    return numbers


def _unit_in(column: str) -> str | None:
    """Return the unit of time in the name of a column, if it contains exactly one."""
    units = [unit for unit in MONTHS_PER_UNIT if unit.removesuffix("s") in column.casefold()]
    return units[0] if len(units) == 1 else None
