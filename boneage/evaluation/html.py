"""Self-contained HTML pages: their templates, and images embedded in them."""

import base64
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from boneage.errors import plural
from boneage.evaluation.metrics import describe, metric_label, metric_labels
from boneage.evaluation.numbers import (
    FEW,
    FEWER,
    interval,
    is_few,
    number,
    option_value,
    output,
    p_value,
    plain,
    span,
    with_limits,
)

EVALUATION = Path(__file__).parent
TEMPLATE_FOLDERS = ("evaluation", "evaluation/report", "evaluation/comparison", "predict")
FOLDERS = [EVALUATION.parent / name for name in TEMPLATE_FOLDERS]


def data_uri(image: bytes, kind: str = "png") -> str:
    """Return a PNG (or JPEG) as a data URI for a page."""
    return f"data:image/{kind};base64," + base64.b64encode(image).decode()


def embedded(folder: Path, name: str) -> str | None:
    """Return a JPEG file of a folder as a data URI for a page; None if the folder lacks it.

    The name may come from a stranger's table. A path or a link out of the folder counts as absent:
    pages are passed on, and must not contain other files of this machine.
    """
    file = folder / name
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        return None
    return data_uri(file.read_bytes(), "jpeg")


def render(template: str, **values: Any) -> str:  # noqa: ANN401 - template values
    """Return a page as one text without references to other files."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "metric_label": metric_label,
        "metric_labels": metric_labels,
        "number": number,
        "interval": interval,
        "option_value": option_value,
        "output": output,
        "p_value": p_value,
        "plain": plain,
        "plural": plural,
        "span": span,
        "with_limits": with_limits,
        "unit": lambda name: describe(name).unit,
        "meaning": lambda name: describe(name).meaning,
        "groupby_in_order": groupby_in_order,
    }
    environment.tests["few"] = is_few
    css = (EVALUATION / "page.css").read_text(encoding="utf-8")
    environment.globals |= {"css": css, "few": FEW, "fewer": FEWER}
    return environment


def groupby_in_order(rows: Iterable[Any], key: str) -> list[tuple[Any, list[Any]]]:
    """Return rows grouped by the value of a key, in order of first appearance."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return list(groups.items())
