"""Pages that are one file: their templates, and images within them."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from boneage.evaluation.metrics import named
from boneage.evaluation.numbers import interval, is_few, number, p_value, plain, span

EVALUATION = Path(__file__).parent
ROOMS = ("evaluation", "evaluation/report", "evaluation/comparison", "predict")
FOLDERS = [EVALUATION.parent / room for room in ROOMS]


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return a PNG (or JPEG) as text that stands in for its address in a page."""
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()


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
        "named": named,
        "number": number,
        "interval": interval,
        "p_value": p_value,
        "plain": plain,
        "span": span,
        "groupby_in_order": groupby_in_order,
    }
    environment.tests["few"] = is_few
    environment.globals |= {"css": (EVALUATION / "page.css").read_text()}
    return environment.get_template(template).render(**values)


def groupby_in_order(rows: Iterable[Any], key: str) -> list[tuple[Any, list[Any]]]:
    """Return rows by the value of a key, in the order in which the values appear."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return list(groups.items())
