"""The ages of a table: their unit, and codes and ways of writing that would be misread."""

import logging
import re
from collections.abc import Collection
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from boneage.data.tables.columns import AgeUnit, ReadUnit, as_written, letters
from boneage.data.tables.read import is_known, refuse
from boneage.errors import UserError, plural
from boneage.stages import MAX_AGE_YEARS

log = logging.getLogger(__name__)

MONTHS_PER_UNIT = {"months": 1.0, "years": 12.0}
UNIT_SHARE = 0.9  # share of ages that tells the unit: a few may be typing errors
UNIT_NAMES = ("unit", "units", "ageunit", "ageunits", "boneageunit", "boneageunits")
SPELLED = {
    "months": ("m", "mo", "mos", "mth", "mths", "mon", "month", "months"),
    "years": ("y", "yr", "yrs", "year", "years"),
}
OTHER_LANGUAGES = {
    "months": ("monat", "monate", "monaten", "mois", "meses", "ay"),
    "years": ("jahr", "jahre", "jahren", "ans", "año", "años", "yıl"),
}
UNIT_OF = {
    text: unit
    for table in (SPELLED, OTHER_LANGUAGES)
    for unit, texts in table.items()
    for text in texts
}
# Of decimal years, one fraction in nine with two digits is at most .11: at least 9 of 10 are with a
# probability of 2e-8, 18 of 20 of 1e-15. One in 50 is .10 or .11: four of four with 2e-7.
LEAST_FRACTIONS = 10  # with two digits
LEAST_TENS = 4  # with two digits, all .10 or .11, as where 13.6 is 13 years and 6 months
LEAST_MONTHS = 6  # different numbers of months after the years
LEAST_WARNED = 4  # fractions: all of decimal years are at most .11 with a probability of 2e-4
MISSING_CODE = 99  # months; other common codes are no ages
LEAST_CODES = 10  # radiographs
LEAST_MIXED = 5  # ages of at most `MAX_AGE_YEARS` with fractions among months without
LEAST_DAYS = 5  # ages, most of them too great: fewer may be typing errors


def read_ages(
    path: Path, cells: pd.Series, unit: ReadUnit, units: pd.Series | None = None
) -> pd.Series:
    """Return bone ages in months.

    Args:
        path: of the table, for messages.
        cells: text, as `read_table` gives it.
        unit: of the ages, as the caller gives it; None takes it from the column's name, and "any"
            checks them without a unit, as months.
        units: by row, from the table's own column of units (`read_units`).

    Raises:
        UserError: naming the first wrong cell; or when the unit is unknown and the ages look like
            years, the rows have different units, or 13.06 is 13 years and 6 months.
    """
    refuse(path, cells, cells == "", "is empty: give the bone age or remove the row")
    ages = read_numbers(cells)
    hint = "is not a number such as 87 or 7.25 (dates, '7y 3m' and '1,200' are not accepted)"
    refuse(path, cells, ages.isna(), hint + ": correct it or remove the row")
    refuse(path, cells, ages < 0, "is negative: correct it or remove the row")
    most = ages.quantile(UNIT_SHARE, interpolation="higher")
    maybe_years = most <= MAX_AGE_YEARS
    stated = "months" if unit == "any" else unit or _unit_in(str(cells.name))
    if units is not None and unit != "any":
        of_column = _unit_of_all(path, ages, units.reindex(ages.index))
        if maybe_years and of_column:
            if stated not in (None, of_column):
                log.warning(
                    "%s: column %r is read as %s, but column %r says %s",
                    path, cells.name, stated, units.name, of_column,
                )  # fmt: skip
            stated = stated or of_column
    if stated != "months" and maybe_years and (example := years_with_months(cells)):
        years, months_after = map(int, re.split("[.,]", example))
        raise UserError(
            f"{path}, column {cells.name!r}: {example} seems to be {years} years and "
            f"{months_after} months, because almost no fraction is above .11: write all ages in "
            f"months ({12 * years + months_after})"
        )
    months = ages * MONTHS_PER_UNIT[stated or "months"]
    if len(ages) >= LEAST_DAYS and ages.median() > MAX_AGE_YEARS * 12:
        hint = (
            f"is above {MAX_AGE_YEARS} years, also as months: if the ages are days, write months "
            "(days / 30.44)"
        )
    else:
        hint = (
            f"{stated or 'months'} is above {MAX_AGE_YEARS} years: correct it, or set "
            "data.age_unit=months or years, one unit for the ages and all readers (in boneage "
            "commands: --age-unit); if it is a code for a missing age, remove the row, or a "
            "reader's reading"
        )
    refuse(path, cells, months > MAX_AGE_YEARS * 12, hint)
    if stated is None and maybe_years:
        raise UserError(
            f"{path}, column {cells.name!r}: nine ages in ten are at most {most:g} (the highest is "
            f"{ages.max():g}), which looks like years: set data.age_unit=years, or, if nearly all "
            "are infants, data.age_unit=months (in boneage commands: --age-unit)"
        )
    _warn_of_codes(path, cells, months)
    if stated != "months" and maybe_years and (example := maybe_with_months(cells)):
        log.warning(
            "%s, column %r: %s is read as decimal years, but no fraction is above .11: if it is "
            "years and months, write all ages in months",
            path, cells.name, example,
        )  # fmt: skip
    if stated != "years" and unit != "any":
        _warn_of_years(path, cells, ages)
    return months


def years_with_months(cells: pd.Series) -> str | None:
    """Return a cell where years and months are written as one number, as 13.06; None if none are.

    Also recognised is 13.6 for 13 years and 6 months, with 13.11 for 11 months. Ages below 1 year
    do not count: newborns have decimal years up to .11.

    Args:
        cells: (n,) ages as text; those that are no numbers are ignored.
    """
    fractions = _fractions(cells)
    fractions = fractions[fractions.str.len() <= len("11")]
    two_digits = fractions[(fractions.str.len() == 2) & (fractions != "00")]
    longer = cells.str.fullmatch(r"\d+[.,]\d{3,}").sum()
    as_months = two_digits[two_digits.astype(int) <= 11]
    least = LEAST_TENS if two_digits.isin(("10", "11")).all() else LEAST_FRACTIONS
    if len(two_digits) < least or len(as_months) < UNIT_SHARE * (len(two_digits) + longer):
        return None
    if len(set(fractions.astype(int)) & set(range(1, 12))) < LEAST_MONTHS:
        return None
    return str(cells[as_months.index[0]])


def maybe_with_months(cells: pd.Series) -> str | None:
    """Return a cell such as 13.10 or 13.11 if no cell has a fraction above .11, else None.

    Args:
        cells: (n,) ages as text; those that are no numbers are ignored.
    """
    fractions = _fractions(cells)
    fractions = fractions[fractions.astype(float) > 0]  # some have more digits than an int
    tens = fractions[fractions.isin(("10", "11"))]
    if tens.empty or len(fractions) < LEAST_WARNED or fractions.astype(float).max() > 11:
        return None
    return str(cells[tens.index[0]])


def _fractions(cells: pd.Series) -> pd.Series:
    """Return the digits after the point or comma of ages from 1 year."""
    return cells.str.extract(r"^[1-9]\d*[.,](\d+)$")[0].dropna()


def refuse_split_ages(path: Path, table: pd.DataFrame, used: Collection[str]) -> None:
    """Raise UserError for an age in two columns, such as `bone_age_years` and `bone_age_months`.

    They are one age if no month is above 11 although some years are 1 or more.

    Args:
        path: of the table, for messages.
        table: text, as `read_table` gives it, with columns of different names.
        used: columns that are read as ages.
    """
    years_of = {
        re.sub("years?", "month", as_written(name)): name
        for name in table.columns
        if "year" in as_written(name)
    }
    for name in table.columns:
        years = years_of.get(as_written(name).replace("months", "month"))
        if years is None or not {years, name} & {*used}:
            continue
        rest = read_numbers(table[name])
        if rest.max() < 12 and (read_numbers(table[years])[rest.notna()] >= 1).any():
            raise UserError(
                f"{path}: columns {years!r} and {name!r} seem to be the years and months of one "
                "age, because no month is above 11: write all ages in months, in one column"
            )


def _warn_of_codes(path: Path, cells: pd.Series, months: pd.Series) -> None:
    """Warn of ages that may be a code for a missing one, and are possible ages."""
    counts = months.round(6).value_counts()
    for code, least in ((0, 1), (MISSING_CODE, max(LEAST_CODES, counts.max()))):
        if (n := int(counts.get(code, 0))) >= least:
            log.warning(
                "%s, column %r: %s of %d months: if this is a code for a missing age, remove the "
                "rows",
                path, cells.name, plural(n, "age"), code,
            )  # fmt: skip


def _warn_of_years(path: Path, cells: pd.Series, ages: pd.Series) -> None:
    """Warn of years among months: small ages have fractions, such as 12.5, and large have not."""
    whole, small = ages % 1 == 0, ages <= MAX_AGE_YEARS
    mixed = ages[small & ~whole]
    if len(mixed) >= LEAST_MIXED and whole[small].mean() < UNIT_SHARE <= whole[~small].mean():
        log.warning(
            "%s, column %r: %s ages of at most %d have fractions, such as %s, and larger ones have "
            "hardly any: if these are years among months, write all ages in one unit",
            path, cells.name, f"{len(mixed):,}", MAX_AGE_YEARS, cells[mixed.index[0]],
        )  # fmt: skip


def read_units(table: pd.DataFrame) -> pd.Series | None:
    """Return "months", "years" or NaN by row, from a column such as `age_unit`; None without one.

    Args:
        table: text, as `read_table` gives it.
    """
    for name in table.columns:
        if letters(name) in UNIT_NAMES and list(table.columns).count(name) == 1:
            units: pd.Series = table[name].str.casefold().str.rstrip(".").map(UNIT_OF)
            if units.notna().any():
                return units
    return None


def _unit_of_all(path: Path, ages: pd.Series, units: pd.Series) -> AgeUnit | None:
    """Return the one unit in a column of units; None if it belongs to other ages than these.

    Raises:
        UserError: when it has both units, and the ages agree with it.
    """
    in_years = units == "years"
    if in_years.all() or (units == "months").all():
        return "years" if in_years.all() else "months"
    if in_years.any() and (ages[in_years] <= MAX_AGE_YEARS).mean() >= UNIT_SHARE:
        raise UserError(
            f"{path}: column {units.name!r} says years in {in_years.sum():,} of "
            f"{len(units):,} rows, first in row {in_years.idxmax()}: write all ages in one unit"
        )
    return None


def read_numbers(cells: pd.Series) -> pd.Series:
    """Return cells as float64, NaN if one is not a number; 12,5 is 12.5.

    1,200 and 1.200 may be thousands, and are then NaN; 10,125 would be too old, even in days.
    1,200 is NaN if all cells with a comma look like it, and others are numbers without a comma.
    1.200 is NaN if other cells have a comma. It is also NaN if all cells with a point look like it,
    there are cells without one, and one of these is 100 or more, or one with a point ends with 0:
    decimals are written with equally many digits, or without zeros at the end.
    """
    numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    commas = cells.str.fullmatch(r"[+-]?\d+,\d+")
    thousands = cells.str.fullmatch(r"[1-9][.,]\d{3}")
    if not commas.any():
        points = cells.str.contains(".", regex=False)
        whole = numbers[~points]
        zeros = whole.notna().any() and cells[points].str.endswith("0").any()
        grouped = thousands[points].all() and (zeros or (whole >= 100).any())
        return numbers.mask(points) if grouped else numbers
    if numbers.notna().any() and thousands[commas].all():
        return numbers
    points = cells.where(~commas, cells.str.replace(",", "."))
    return pd.to_numeric(points.mask(thousands & ~commas), errors="coerce").astype("float64")


def as_numbers(cells: pd.Series) -> pd.Series | None:
    """Return cells of text as `read_numbers` reads them, NaN where unknown; None if one is none."""
    known = is_known(cells)
    numbers = read_numbers(cells.where(known, ""))
    return numbers if known.any() and np.isfinite(numbers[known]).all() else None


def _unit_in(column: str) -> AgeUnit | None:
    """Return the unit of time in the name of a column, if it contains exactly one."""
    name = as_written(column)
    words = {*re.findall(r"[^\W\d_]+", name)}  # "ay" and "ans" are also parts of other words
    units = [
        unit
        for unit in get_args(AgeUnit)
        if unit.removesuffix("s") in name or words & {*OTHER_LANGUAGES[unit]}
    ]
    return units[0] if len(units) == 1 else None
