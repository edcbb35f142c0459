"""The header line of a label table, and which of its columns has which meaning."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from boneage.errors import UserError, require_choice, suggestion

log = logging.getLogger(__name__)

ID_NAMES = ("id", "image id", "case id", "image", "image name", "file name", "file")
INVISIBLE = (  # characters without width, above all marks of direction, as copied text has them
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)
TITLE_LINES = 10  # first lines that are searched for a header below a title

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
LISTS = ("readers", "labels")  # meanings of any number of columns
AgeUnit = Literal["months", "years"]
ReadUnit = AgeUnit | Literal["any"] | None  # any: the ages are only checked, in no certain unit
SEPARATORS = {"semicolon": ";", "tab": "\t", "pipe": "|", "comma": ","}  # text contains commas too
PREDICTED_AGE = "age_years_predicted"  # of runs and ensembles, next to `age_years`
READER = "reader_"  # before the name of a column of one reader's ages
LABEL = "label_"  # before the name of a column of other numbers to learn
ADD_LABEL = "; add the column, with empty cells where there is no value"


def column_option(meaning: str, name: str = "") -> str:
    """Return how to name a column: by the option of a training, and that of other commands."""
    return f"data.columns.{meaning}={name} (--column {meaning}={name} in boneage commands)"


@dataclass(frozen=True)
class Columns:
    """The columns of one's own table; a name of None recognises the known ones in any case.

    Args:
        id: ids of the radiographs.
        age: bone ages; the mean of the readers where there is none.
        sex: sexes.
        patient: patients.
        site: hospitals, or other sources; only read where it is named.
        readers: the bone ages that each of several readers gave.
        labels: other numbers to learn, such as a height.
        others: columns that are kept as they are, to group results by.
        age_unit: unit of the ages. None takes it from the column's name, else months, and ages that
            look like years are refused; "any" only checks them.
        separator: of a csv file, if its header contains it: comma, semicolon, tab or pipe, by name
            or as a character; None finds it.

    Raises:
        UserError: for another unit or separator.
    """

    id: str | None = None
    age: str | None = None
    sex: str | None = None
    patient: str | None = None
    site: str | None = None
    readers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    age_unit: ReadUnit = None
    separator: str | None = None

    def __post_init__(self) -> None:
        if self.age_unit not in (None, "any"):
            require_choice("data.age_unit", self.age_unit, *get_args(AgeUnit))
        if self.separator not in (None, *SEPARATORS, *SEPARATORS.values()):
            valid = ", ".join(SEPARATORS)
            raise UserError(f"data.separator={self.separator}: must be one of {valid}")

    @classmethod
    def of(
        cls,
        names: Mapping[str, str | Sequence[str] | None],
        others: Sequence[str] = (),
        age_unit: AgeUnit | None = None,
        separator: str | None = None,
    ) -> "Columns":
        """Return the names that a config gives; the site is grouped by in any case.

        Raises:
            UserError: when a meaning other than readers and labels has several columns.
        """
        site = names.get("site")
        others = [name for name in dict.fromkeys(others) if not site or name not in ("site", site)]
        named: dict[str, Any] = {}
        for meaning, name in names.items():
            if meaning in LISTS:
                named[meaning] = (name,) if name and isinstance(name, str) else tuple(name or ())
            elif meaning not in KNOWN_NAMES:
                valid = suggestion(meaning, (*KNOWN_NAMES, *LISTS))
                raise UserError(f"data.columns.{meaning}: there is no such option{valid}")
            elif name is not None and not isinstance(name, str):
                raise UserError(f"data.columns.{meaning}={name}: give one column, not a list")
            else:
                named[meaning] = name
        return cls(**named, others=tuple(others), age_unit=age_unit, separator=separator)

    @classmethod
    def given(cls, named: Sequence[str], age_unit: AgeUnit | None = None) -> "Columns":
        """Return the names given as "age=reading" on the command line, and the unit of the ages.

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
        return cls(**names, age_unit=age_unit)  # type: ignore[arg-type]

    def single(self) -> dict[str, str | None]:
        """Return the names of the columns that each have one meaning."""
        return {meaning: getattr(self, meaning) for meaning in KNOWN_NAMES}


DEFAULT_COLUMNS = Columns()


def find_columns(header: list[str], columns: Columns) -> dict[str, str]:
    """Return which column contains "id", "age", "sex", "patient" and "site", as far as present.

    The column of the ids is also that of the patients only if `columns` names it as such.
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


def require_present(
    path: Path, table: pd.DataFrame, names: Sequence[str], option: str, hint: str = ""
) -> None:
    """Raise UserError, which ends with a hint, when a table lacks a column that an option names."""
    for name in names:
        if name not in table:
            header = ", ".join(map(str, table.columns))
            raise UserError(f"{option} names {name!r}, which {path} lacks (it has {header}){hint}")
    require_single(path, table, names)


def label_column(name: str) -> str:
    """Return the column of a data set with the numbers of a column of `data.columns.labels`."""
    return f"{LABEL}{name}"


def as_written(name: str) -> str:
    """Return a column's name without regard to case and to how accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()


def letters(name: str) -> str:
    """Return a column's name without regard to case, spaces and signs."""
    return re.sub(r"[\W_]+", "", as_written(name))


def names_ids(header: Iterable[str]) -> bool:
    """Tell whether a header has a column of ids under a known name."""
    return bool({letters(name) for name in header} & {letters(name) for name in ID_NAMES})


def stripped(cells: pd.DataFrame) -> pd.DataFrame:
    """Return stripped text by line number, without blank lines."""
    texts: pd.DataFrame = cells.fillna("").astype(str).apply(lambda column: column.str.strip())
    texts.index += 1
    return texts.loc[(texts != "").any(axis="columns")]


def title_lines(lines: Sequence[Sequence[str]]) -> int:
    """Return how many lines there are above a header that names ids, else 0.

    Above it are only lines with fewer filled cells: a title of one cell, or the names of groups of
    columns, as merged cells have them. A header below such names contains no numbers.

    Args:
        lines: the cells of the first lines, without blank lines.
    """
    filled = [[cell for cell in line if cell] for line in lines[:TITLE_LINES]]
    above = next((n for n, line in enumerate(filled) if len(line) > 1 and names_ids(line)), 0)
    header, longest = filled[above] if filled else [], max(map(len, filled[:above]), default=0)
    has_numbers = any(re.fullmatch(r"[\d.,]+", cell) for cell in header)
    return above if longest == 1 or (longest < len(header) and not has_numbers) else 0


def without_title(texts: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the lines of a table from its header on; a title above it is logged."""
    above = title_lines(texts.iloc[:TITLE_LINES].to_numpy().tolist())
    if above:
        line = int(texts.index[above])
        warn_once("%s: line %d is read as the header, what is above it as a title", path, line)
    return texts.iloc[above:]


@cache  # a file is read more than once
def warn_once(message: str, *values: object) -> None:
    """Log a warning, unless it was logged before."""
    log.warning(message, *values)
