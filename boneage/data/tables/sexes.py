"""The sexes of a table, and a warning where a column of sexes is not read."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ids import normal_id
from boneage.data.tables.read import NO_VALUE, refuse
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)

SEXES = ("female", "male", "unknown")  # models encode a sex by its index here
UNKNOWN = SEXES.index("unknown")
SPELLINGS = (
    dict.fromkeys(("m", "male", "boy", "man"), "male")
    | dict.fromkeys(("f", "female", "girl", "woman"), "female")
    | dict.fromkeys(NO_VALUE, "unknown")
)
# Words of German, French and Turkish in tables. No letter with two meanings: K is kadin or Knabe,
# and M next to H is mujer.
TRANSLATIONS = dict.fromkeys(
    ("männlich", "maennlich", "masculin", "garçon", "garcon", "erkek"), "male"
) | dict.fromkeys(
    ("w", "weiblich", "féminin", "feminin", "fille", "kız", "kiz", "kadın", "kadin"), "female"
)
YES, NO = ("true", "yes", "y", "1"), ("false", "no", "n", "0")
# an unused column looks like sexes by its name, or by its cells
LIKELY_NAMES = re.compile("sex|gender|male|geschlecht|genre|cinsiyet")
MOST_CELLS = 4  # different ones in a column of sexes
LIKELY_CELLS = {*SPELLINGS, *TRANSLATIONS, "h"}


def sex_codes(sexes: Iterable[str]) -> np.ndarray:
    """Return (n,) int64 indices into `SEXES`."""
    return np.array([SEXES.index(sex) for sex in sexes], np.int64)


def read_sex(text: str) -> str:
    """Return which of `SEXES` a text means, in any English spelling that a column `sex` accepts.

    Raises:
        UserError: when it is not a sex.
    """
    sex = SPELLINGS.get(normal_id(text.casefold())) if isinstance(text, str) else None
    if sex is None:
        raise UserError(f"{text!r} is not a sex: write {', '.join(SEXES)}, or M or F")
    return sex


def contradict(sex: str, other: str) -> bool:
    """Tell whether two sexes are known and differ."""
    return sex != other and "unknown" not in (sex, other)


def warn_of_headers(ids: Iterable[str], sexes: Iterable[str], of_headers: Iterable[str]) -> None:
    """Warn of sexes of a table that contradict the DICOM headers of the same radiographs."""
    rows = zip(ids, sexes, of_headers, strict=True)
    if differing := [id_ for id_, sex, of_header in rows if contradict(sex, of_header)]:
        log.warning(
            "The table's sex contradicts the DICOM header of %s: %s; the table's is used",
            plural(len(differing), "radiograph"),
            join_first(differing),
        )


def read_sexes(path: Path, table: pd.DataFrame, column: str | None) -> pd.Series:
    """Return "female", "male" or "unknown" for each row of a table.

    Sex may be M/F, male/female, boy/girl or man/woman; in a column that asks for one (`male`,
    `is_female`) also True/False, T/F, yes/no or 1/0, which elsewhere are refused as ambiguous. An
    empty cell is "unknown".

    Unknown sexes, and unused columns that look like sexes, are logged in one line.

    Args:
        path: of the table, for messages.
        table: text, as `read_table` gives it.
        column: the sex column; None if there is no known one.

    Raises:
        UserError: naming the first wrong cell.
    """
    sexes = pd.Series("unknown", table.index)
    if column is not None:
        cells = table[column]
        sexes = _sexes(cells)
        hint = "is not a sex: write M (male), F (female) or nothing"
        asks = _answers(column, set())
        hint += ", or True and False" if asks else "; True/False and 1/0 only in a column 'male'"
        refuse(path, cells, sexes.isna(), hint)
        _warn_of_one_sex(path, column, sexes)
    _log_unused(path, table, column, sexes)
    return sexes


def _warn_of_one_sex(path: Path, column: str, sexes: pd.Series) -> None:
    """Warn if a column names one sex only, and leaves the other cells empty."""
    present = set(sexes) - {"unknown"}
    if len(present) == 1 and (empty := int((sexes == "unknown").sum())):
        (sex,) = present
        other = next(name for name in SEXES if name not in (sex, "unknown"))
        log.warning(
            "%s: column %r contains only %s, and no sex in %s, which count as unknown: if these "
            "are %s, fill them in",
            path, column, sex, plural(empty, "row"), other,
        )  # fmt: skip


def _sexes(cells: pd.Series) -> pd.Series:
    """Return the sex of each cell, NaN if it is not a sex."""
    answers = _answers(str(cells.name), {cell.casefold() for cell in cells.unique()})
    known = SPELLINGS | TRANSLATIONS | answers
    return cells.map({cell: known.get(normal_id(cell.casefold())) for cell in cells.unique()})


def _answers(column: str, cells: set[str]) -> dict[str, str]:
    """Return what yes and no mean in a column that asks for one sex, such as `male`.

    In a column with a T, F is false; else it is female.
    """
    asked = re.findall("female|male", column.casefold())
    if len(asked) != 1:
        return {}
    yes, no = ("male", "female") if asked[0] == "male" else ("female", "male")
    short = {"t": yes, "f": no} if "t" in cells else {}
    return dict.fromkeys(YES, yes) | dict.fromkeys(NO, no) | short


def _log_unused(path: Path, table: pd.DataFrame, column: str | None, sexes: pd.Series) -> None:
    """Warn if all sexes are unknown, or another column contains others."""
    unused = {
        name: _sexes(table[name])
        for name in dict.fromkeys(table.columns)
        if name != column and _looks_like_sexes(table, name)
    }
    others = {n: s for n, s in unused.items() if ((s != sexes) & (s != "unknown")).any()}
    if (sexes == "unknown").all():
        why = "no known sex column" if column is None else f"column {column!r} contains no sex"
        rows = f"all {len(sexes):,} rows" if len(sexes) > 1 else "the only row"
        message = f"{why}, so the sex of {rows} is unknown"
    elif not others:
        return
    else:
        message = f"the sex is read from column {column!r}"
        for name, other in others.items():
            known = (sexes != "unknown") & (other.fillna("unknown") != "unknown")
            if n := int((known & (other != sexes)).sum()):
                message += f", which column {name!r} contradicts in {n:,} of {len(sexes):,} rows"
    if others:
        message += (
            f"; not used, though it looks like a sex column: {join_first(list(map(repr, others)))} "
            "(rename the right column to 'sex', or set data.columns.sex= in training, --column "
            "sex= in boneage calibrate, predict, stress, verify)"
        )
    log.warning("%s: %s", path, message)


def _looks_like_sexes(table: pd.DataFrame, name: str) -> bool:
    if list(table.columns).count(name) > 1:
        return False
    cells = {cell.casefold() for cell in table[name].unique()} - set(NO_VALUE)
    named = LIKELY_NAMES.search(name.casefold()) and len(cells) <= MOST_CELLS
    return bool(cells) and bool(named or cells <= LIKELY_CELLS)
