"""One label table: ids, bone ages in months, and sex, checked row by row."""

import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from boneage.data.tables import read_table
from boneage.errors import UserError, first_five

log = logging.getLogger(__name__)

# Names in the official RSNA tables (Halabi et al., Radiology 2019) and their copies.
KNOWN_NAMES = {
    "id": ("id", "image id", "case id"),
    "age": ("boneage", "bone age (months)", "ground truth bone age (months)"),
    "sex": ("male", "sex", "sex (m/f)"),
    "patient": tuple(
        f"{who}{mark}"
        for who in ("patient", "subject", "participant")
        for mark in ("", "id", " id", "_id", "-id", "no", " no", "_no", "_number", " number")
    ),
}
OPTIONAL = ("sex", "patient")
PERHAPS_A_PATIENT = r"(?<![a-z])(patient|subject|participant|person|child|case|mrn|pid)"
NO_PATIENT = ("", "unknown", "na", "n/a", "nan", "none", "null", "-", "?")
MONTHS_PER_UNIT = {"months": 1.0, "years": 12.0}
MAX_AGE_YEARS = 25
SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"} | dict.fromkeys(
    ("", "unknown"), "unknown"
)
YES, NO = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class Columns:
    """Column names of one's own table; None recognises the known names in any case."""

    id: str | None = None
    age: str | None = None
    sex: str | None = None
    patient: str | None = None


KNOWN = Columns()


def find_columns(header: list[str], columns: Columns) -> dict[str, str]:
    """Return which column holds "id", "age", "sex" and "patient", as far as they are there.

    A column that holds the ids names the patient only where both are asked for.
    """
    names = {name.casefold(): name for name in header}
    found = {}
    for meaning, own in asdict(columns).items():
        known = (own.casefold(),) if own else KNOWN_NAMES[meaning]
        if present := [names[name] for name in known if name in names]:
            found[meaning] = present[0]
    if not columns.patient and found.get("patient") == found.get("id"):
        found.pop("patient", None)
    return found


def read_labels(
    path: Path, columns: Columns = KNOWN, age_unit: Literal["months", "years"] = "months"
) -> pd.DataFrame:
    """Read a label table.

    Sex may be M/F or male/female; in a column that asks for one (`male`, `is_female`) also
    True/False or 1/0.
    Elsewhere 1/0 has no agreed meaning and is refused. Empty, or no such column, is "unknown".

    Args:
        path: csv or xlsx file.
        columns: column names of one's own table.
        age_unit: unit of the ages in the file.

    Returns:
        Columns `id` (text; 1377.0 becomes "1377"), `age_months` (float64), `sex` ("female",
        "male" or "unknown") and, where the table has it, `patient` (text, "" if unknown), in the
        order of the file.

    Raises:
        UserError: naming file, row, column and value of what is wrong.
    """
    if age_unit not in MONTHS_PER_UNIT:
        raise UserError(f"data.age_unit={age_unit}: must be months or years")
    table = read_table(path)
    names = find_columns(list(table.columns), columns)
    _require_columns(path, table, names, columns)
    if table.empty:
        raise UserError(f"{path} has a header but no rows")
    ids = read_unique_ids(path, table[names["id"]])
    months = _ages(path, table[names["age"]], age_unit)
    sex = read_sexes(path, table[names["sex"]]) if "sex" in names else "unknown"
    labels = pd.DataFrame({"id": ids, "age_months": months, "sex": sex})
    if "patient" in names:
        labels["patient"] = _patients(path, table[names["patient"]])
    else:
        _warn_of_patients(path, table.drop(columns=list(names.values())))
    return labels.reset_index(drop=True)


def read_ids(path: Path, columns: Columns = KNOWN) -> pd.Series:
    """Return the ids of a table as they stand, unchecked: it may have no ages."""
    table = read_table(path)
    return _as_text(table[find_columns(list(table.columns), columns)["id"]])


def _require_columns(
    path: Path, table: pd.DataFrame, names: dict[str, str], columns: Columns
) -> None:
    """Raise UserError when id, age, or a column asked for by name is missing, or stands twice."""
    for meaning, own in asdict(columns).items():
        if meaning in names or (meaning in OPTIONAL and not own):
            continue
        missing = f"column {own!r}" if own else f"{meaning} column"
        advice = f"name it with data.columns.{meaning}=, or take another table"
        if meaning == "age":
            advice += "; a table without ages, such as the test table of Kaggle's rsna-bone-age, "
            advice += "can be neither trained nor tested on"
        raise UserError(f"{path} has no {missing} (it has {', '.join(table.columns)}): {advice}")
    require_single(path, table, names.values())
    others = [str(name) for name in table if name != names["id"]]
    known = [name for name in others if name.casefold() in KNOWN_NAMES["patient"]]
    if len(known) > 1 and not columns.patient:
        raise UserError(
            f"{path} has several columns that may name the patient ({', '.join(known)}): choose "
            "one with data.columns.patient="
        )


def require_single(path: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise UserError when a table has several columns of one of these names."""
    for name in names:
        if list(table.columns).count(name) > 1:
            raise UserError(f"{path} has several columns called {name!r}: rename all but one")


def read_unique_ids(path: Path, cells: pd.Series) -> pd.Series:
    """Return ids as text; raise UserError where one is empty or stands twice."""
    _refuse(path, cells, cells == "", "is empty: give every row its id")
    ids = _as_text(cells)
    if twice := list(ids[ids.duplicated()].unique()):
        raise UserError(
            f"{path}: {len(twice)} ids stand more than once in column {cells.name!r}: "
            f"{first_five(twice)}; leave one row each"
        )
    return ids


def _as_text(ids: pd.Series) -> pd.Series:
    """Turn ids that a program stored as decimal numbers, such as 1377.0, back into 1377."""
    return ids.str.replace(r"^(\d+)\.0+$", r"\1", regex=True)


def _patients(path: Path, cells: pd.Series) -> pd.Series:
    """Return the patients as text, "" where a cell names none."""
    patients = _as_text(cells).mask(cells.str.casefold().isin(NO_PATIENT), "")
    if (patients == "").all():
        raise UserError(
            f"{path}: column {cells.name!r} names no patient: fill it, rename it, or name another "
            "with data.columns.patient="
        )
    return patients


def _warn_of_patients(path: Path, others: pd.DataFrame) -> None:
    """Say that a column may name the patients of several radiographs each, which is not used."""
    for name in others:
        alike = re.search(PERHAPS_A_PATIENT, str(name).casefold())
        if alike and len(others) / 10 <= others[name].nunique() < len(others):
            log.warning(
                "%s: column %r has %d values in %d rows. If it names the patients, set "
                "data.columns.patient=%s: else one patient may be in training and in test",
                path, name, others[name].nunique(), len(others), name,
            )  # fmt: skip


def _ages(path: Path, cells: pd.Series, unit: str) -> pd.Series:
    _refuse(path, cells, cells == "", "is empty: give the bone age or remove the row")
    ages = pd.to_numeric(cells, errors="coerce").astype("float64")
    _refuse(path, cells, ages.isna(), "is not a number: correct it or remove the row")
    _refuse(path, cells, ages < 0, "is negative: correct it or remove the row")
    months = ages * MONTHS_PER_UNIT[unit]
    hint = f"{unit} is above {MAX_AGE_YEARS} years: correct it, or set data.age_unit"
    _refuse(path, cells, months > MAX_AGE_YEARS * 12, hint)
    return months


def read_sexes(path: Path, cells: pd.Series) -> pd.Series:
    """Return "female", "male" or "unknown" of each cell; raise UserError naming a wrong one."""
    answers = _answers(str(cells.name))
    sexes = cells.str.casefold().map(SEXES | answers)
    hint = "is no sex: write M, F or nothing"
    hint += ", or True and False" if answers else "; True/False and 1/0 only in a column 'male'"
    _refuse(path, cells, sexes.isna(), hint)
    return sexes


def _answers(column: str) -> dict[str, str]:
    """Return what yes and no mean in a column that asks for one sex, such as `male`."""
    asked = re.findall("female|male", column.casefold())
    if len(asked) != 1:
        return {}
    yes, no = ("male", "female") if asked[0] == "male" else ("female", "male")
    return dict.fromkeys(YES, yes) | dict.fromkeys(NO, no)


def _refuse(path: Path, cells: pd.Series, wrong: pd.Series, reason: str) -> None:
    """Raise UserError for the first wrong cell, saying how many there are."""
    if wrong.any():
        first = int(wrong.to_numpy().argmax())
        more = f" ({wrong.sum():,} such rows)" if wrong.sum() > 1 else ""
        raise UserError(
            f"{path}, row {cells.index[first]}, column {cells.name!r}: "
            f"{cells.iloc[first]!r} {reason}{more}"
        )
