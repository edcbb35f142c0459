"""How numbers are written for a reader, in pages and in the terminal."""

import math

from boneage.evaluation.bootstrap import Result


def number(value: float | None) -> str:
    """Return a value with three decimals, two from 10 on; a dash where it is undefined."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def interval(result: Result) -> str:
    """Return "low to high", nothing where there is no interval."""
    low, high = result["low"], result["high"]
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{number(low)} to {number(high)}"


def plain(value: float) -> str:
    """Return a number without needless decimals, an open end in words."""
    if math.isinf(value):
        return "any lower" if value < 0 else "any higher"
    return f"{value:g}"
