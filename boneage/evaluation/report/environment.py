"""How pages are made from templates: everything that comes from data is escaped."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from boneage.evaluation.bootstrap import Result
from boneage.evaluation.glossary import describe

EVALUATION = Path(__file__).parent.parent
FOLDERS = (EVALUATION / "report", EVALUATION / "comparison")


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - whatever a template shows
    """Return a page as one text that needs no other file."""
    environment = Environment(
        loader=FileSystemLoader(FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "plain": plain,
        "groupby_in_order": groupby_in_order,
    }
    environment.globals |= {"describe": describe, "css": (FOLDERS[0] / "page.css").read_text()}
    return environment.get_template(template).render(**values)


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


def groupby_in_order(rows: Iterable[Any], key: str) -> list[tuple[Any, list[Any]]]:
    """Return rows by the value of a key, in the order in which the values appear."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return list(groups.items())
