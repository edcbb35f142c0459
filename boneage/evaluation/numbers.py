"""Format numbers for pages and the terminal."""

import math
import re
from collections.abc import Mapping
from typing import Any

from boneage.errors import plural

DECIMALS = {"months": 2}  # by unit
OTHER_DECIMALS = 3  # of years, shares and indices
DASH = "-"  # in place of a value that is absent or undefined
REFERRED = re.compile(r"\$\{([^{}]+)\}")  # to another option, in OmegaConf
FEW = 20  # radiographs or patients: estimates from fewer are marked
FEWER = f"fewer than {FEW} radiographs (or patients, if known)"
FEW_NOTE = f"† {FEWER}"


def is_few(result: Mapping[Any, Any]) -> bool:
    """Tell whether an estimate is from few patients, or radiographs if these are unknown."""
    return 0 < count_units(result) < FEW


def count_units(result: Mapping[Any, Any]) -> int:
    """Return the number of patients of a result, or of radiographs if these are unknown."""
    counts = (result.get("patients"), result.get("n"))  # NaN in a table where they are unknown
    return int(next((count for count in counts if count and not math.isnan(count)), 0))


def number(value: float | None, unit: str = "") -> str:
    """Return a value with the decimals of its unit; a dash if it is undefined."""
    return DASH if value is None else fixed(value, DECIMALS.get(unit, OTHER_DECIMALS))


def output(value: float | None) -> str:
    """Return a prediction whose unit is unknown: with two decimals, three if it is below 2."""
    return DASH if value is None else fixed(value, 3 if abs(value) < 2 else 2)


def fixed(value: float, decimals: int) -> str:
    """Return a value with this many decimals, a dash for NaN; zero without a minus sign."""
    if math.isnan(value):
        return DASH
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def interval(result: Mapping[Any, Any], unit: str = "") -> str:
    """Return "low to high"; empty if there is no interval."""
    low, high = result["low"], result["high"]
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{number(low, unit)} to {number(high, unit)}"


def with_limits(result: Mapping[Any, Any], unit: str = "") -> str:
    """Return "value (low to high)"; the value alone without an interval, a dash without a value."""
    value, limits = number(result["value"], unit), interval(result, unit)
    return f"{value} ({limits})" if limits and result["value"] is not None else value


def p_value(p: float | None) -> str:
    """Return "0.012", or "< 0.001"; a dash if it is undefined."""
    if p is None:
        return DASH
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def plain(value: float) -> str:
    """Return a number without trailing zeros."""
    return f"{value:g}"


def option_value(value: object) -> str:
    """Return the value of an option as text; "as seed" if it is that of the option `seed`."""
    return "none" if value is None else REFERRED.sub(r"as \1", str(value))


def in_months(value: float) -> str:
    """Return "1 month" or "1.5 months"."""
    return f"{plain(value)} month" + "s" * (value != 1)


def span(row: Mapping[str, float]) -> str:
    """Return the range of `from_years` to `to_years`, either of which may be open."""
    start, end = row["from_years"], row["to_years"]
    if math.isinf(start):
        return f"< {end:g}"
    return f"{start:g} +" if math.isinf(end) else f"{start:g} to {end:g}"


def duration(seconds: float) -> str:
    """Return a time as "14 s", "3 min 20 s" or "2 h 5 min"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def resampled(metrics: Mapping[str, Any]) -> str:
    """Return the units that the intervals of a run resample: patients if known, or radiographs."""
    return plural(metrics["patients"], "patient") if "patients" in metrics else "radiographs"
