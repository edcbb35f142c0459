"""Predictions as pages to scan and print, one card a radiograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boneage.evaluation.figures.style import data_uri
from boneage.evaluation.report.environment import render
from boneage.predict.answer import Answer
from boneage.predict.pictures import FOLDER

CARDS = 200  # on a page
OLDEST_YEARS = 19  # where the scale of a card ends


def write_pages(
    answers: Sequence[Answer], names: Sequence[str], about: dict[str, Any], out: Path
) -> list[Path]:
    """Write `report.html`, and further pages where there are many radiographs.

    Args:
        answers: what was predicted.
        names: per answer the name of its picture.
        about: what the answers rest on.
        out: the folder, with the pictures.

    Returns:
        The pages.
    """
    pages = []
    parts = range(0, len(answers), CARDS)
    for number, start in enumerate(parts):
        cards = [
            card_of(answer, out / FOLDER / f"{name}.png", name)
            for answer, name in zip(answers[start : start + CARDS], names[start:], strict=False)
        ]
        text = render(
            "predictions.html.j2", cards=cards, about=about, n=len(answers), first=start + 1,
            pages=len(parts), number=number + 1, oldest=OLDEST_YEARS,
        )  # fmt: skip
        page = out / ("report.html" if number == 0 else f"report_{number + 1}.html")
        page.write_text(text, encoding="utf-8", errors="backslashreplace")
        pages.append(page)
    return pages


def card_of(answer: Answer, picture: Path, name: str) -> dict[str, Any]:
    """Return an answer with its picture, and places on the scale in percent.

    The card is headed by the id; by the file where the id alone would not tell it from another.
    """
    image = data_uri(picture.read_bytes()) if picture.exists() else None
    ends = (answer.interval_low_years, answer.age_years, answer.interval_high_years)
    low, at, high = (None if end is None else _percent(end) for end in ends)
    title = answer.id if name == answer.id else answer.file
    return {"answer": answer, "title": title, "image": image, "low": low, "at": at, "high": high}


def _percent(years: float) -> float:
    return round(100 * min(max(years / OLDEST_YEARS, 0), 1), 1)
