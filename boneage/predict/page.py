"""Predictions as pages to scan and print, one card a radiograph."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boneage.evaluation.data_uri import data_uri
from boneage.evaluation.report.environment import render
from boneage.predict.answer import Answer
from boneage.weights import name_of

CARDS = 200  # on a page
OLDEST_YEARS = 19  # where the scale of a card ends


def write_pages(answers: Sequence[Answer], about: dict[str, Any], out: Path) -> list[Path]:
    """Write `report.html`, and further pages where there are many radiographs.

    Args:
        answers: what was predicted.
        about: what the answers rest on.
        out: the folder, with the pictures.

    Returns:
        The pages.
    """
    pages, common = [], Counter(answer.id for answer in answers)
    models = [name_of(Path(file)) for file in about["checkpoints"]]
    parts = range(0, len(answers), CARDS)
    for number, start in enumerate(parts):
        cards = [
            card_of(answer, out, answer.file if common[answer.id] > 1 else answer.id)
            for answer in answers[start : start + CARDS]
        ]
        text = render(
            "predictions.html.j2", cards=cards, models=models, n=len(answers), first=start + 1,
            pages=len(parts), number=number + 1, oldest=OLDEST_YEARS,
        )  # fmt: skip
        page = out / ("report.html" if number == 0 else f"report_{number + 1}.html")
        page.write_text(text, encoding="utf-8", errors="backslashreplace")
        pages.append(page)
    return pages


def card_of(answer: Answer, folder: Path, title: str) -> dict[str, Any]:
    """Return an answer with title, picture from a folder, and places on the scale in percent."""
    image = data_uri((folder / answer.picture).read_bytes(), "jpeg") if answer.picture else None
    ends = (answer.interval_low_years, answer.age_years, answer.interval_high_years)
    low, at, high = (None if end is None else _percent(end) for end in ends)
    return {"answer": answer, "title": title, "image": image, "low": low, "at": at, "high": high}


def _percent(years: float) -> float:
    return round(100 * min(max(years / OLDEST_YEARS, 0), 1), 1)
