"""Which column of a label table has which meaning."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from boneage.data.tables.headers import ID_NAMES, as_written, letters
from boneage.errors import UserError, suggestion

# Names in the tables of RSNA (Halabi et al., Radiology 2019), their copies, RHPE and Deeplasia, and
# other common ones; letter case, spaces and punctuation are ignored: "image_ID" is "image id".
KNOWN_NAMES = {
    "id": ID_NAMES,
    "age": ("boneage", "bone age (months)", "bone age (years)", "bone age in months",
            "bone age in years", "ground truth bone age (months)", "ground truth bone age"),
    "sex": ("male", "sex", "sex (m/f)", "gender", "gender (m/f)", "female", "is male", "is female",
            "m/f", "male/female", "patient sex", "patient's sex", "patient gender", "sex at birth",
            "geschlecht", "sexe", "cinsiyet"),
    "site": (),  # only where it is named
    "patient": tuple(
        f"{who} {mark}"
        for who in ("patient", "subject", "participant")
        for mark in ("", "id", "no", "number")
    ),
}  # fmt: skip
COMMAND_LINE = ("id", "age", "sex", "patient")
OPTIONAL = ("sex", "patient", "site")
AgeUnit = Literal["months", "years"]
ReadUnit = AgeUnit | Literal["any"] | None  # any: the ages are only checked, in no certain unit
PREDICTED_AGE = "age_years_predicted"  # of runs and ensembles, next to `age_years`
READER = "reader_"  # before the name of a column of one reader's ages


def column_option(meaning: str, name: str = "") -> str:
    """Return how to name a column: by the option of a training, and that of other commands."""
    return f"data.columns.{meaning}={name} (--column {meaning}={name} in boneage commands)"


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
        """Return the names that a config gives; the site is grouped by in any case.

        Raises:
            UserError: when a meaning other than the readers has several columns.
        """
        readers = names.get("readers") or ()
        readers = (readers,) if isinstance(readers, str) else readers
        site = names.get("site")
        others = [name for name in dict.fromkeys(others) if not site or name not in ("site", site)]
        single = {meaning: name for meaning, name in names.items() if meaning != "readers"}
        for meaning, name in single.items():
            if meaning not in KNOWN_NAMES:
                valid = suggestion(meaning, (*KNOWN_NAMES, "readers"))
                raise UserError(f"data.columns.{meaning}: there is no such option{valid}")
            if name is not None and not isinstance(name, str):
                raise UserError(f"data.columns.{meaning}={name}: give one column, not a list")
        return cls(**single, readers=tuple(readers), others=tuple(others))  # type: ignore[arg-type]

    @classmethod
    def given(cls, named: Sequence[str]) -> "Columns":
        """Return the names given as "age=reading" on the command line.

        Raises:
            UserError: when one is of another form, of an unknown meaning, or of one given before.
        """
        names: dict[str, str] = {}
        for part in named:
            meaning, _, name = part.partition("=")
            if meaning not in COMMAND_LINE or not name:
                raise UserError(
                    f"--column {part}: write MEANING=NAME, as in --column age=reading, with one of "
                    f"{', '.join(COMMAND_LINE)}"
                )
            if meaning in names:
                raise UserError(f"--column {meaning}= is given more than once")
            names[meaning] = name
        return cls(**names)  # type: ignore[arg-type]

    def single(self) -> dict[str, str | None]:
        """Return the names of the columns that each have one meaning."""
        return {meaning: getattr(self, meaning) for meaning in KNOWN_NAMES}


DEFAULT_COLUMNS = Columns()


def find_columns(header: list[str], columns: Columns) -> dict[str, str]:
    """Return which column contains "id", "age", "sex", "patient" and "site", as far as present.

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


def without_column(path: Path, header: list[str], meaning: str, own: str | None = None) -> str:
    """Return a message: which column a table lacks, which it has, and which names are known."""
    missing = f"column {own!r}" if own else f"{meaning} column"
    known = "" if own else f"; known names are {', '.join(KNOWN_NAMES[meaning])}"
    return f"{path} has no {missing} (it has {', '.join(header)}){known}"


def require_single(path: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise UserError when a table has several columns of one of these names, in any case."""
    header = [as_written(name) for name in table.columns]
    for name in names:
        if header.count(as_written(name)) > 1:
            raise UserError(f"{path} has several columns called {name!r}: rename all but one")


def require_present(path: Path, table: pd.DataFrame, names: Sequence[str], option: str) -> None:
    """Raise UserError when a table lacks one of the columns that an option names."""
    for name in names:
        if name not in table:
            header = ", ".join(map(str, table.columns))
            raise UserError(f"{option} names {name!r}, which {path} lacks (it has {header})")
    require_single(path, table, names)
