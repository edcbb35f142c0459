"""Predictions as images and as pages, one card per radiograph."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.atomic import write_file
from boneage.data.folders import PICTURES
from boneage.data.hand import to_jpeg
from boneage.data.radiographs import unused_name
from boneage.evaluation.html import embedded, render
from boneage.explain.film import film_image
from boneage.predict.answer import Answer
from boneage.predict.radiograph import Radiograph
from boneage.predict.summary import summarise
from boneage.run_files import PAGE
from boneage.stages import MAX_AGE_YEARS
from boneage.weights import name_of

MAX_ID = 50  # characters of an id in a file name
CARDS = 200  # per page
MANY = 10  # radiographs that have a summary
SCALE_YEARS = 19  # end of the scale on a card


def write_pictures(
    names: Sequence[str], radiographs: Sequence[Radiograph], maps: np.ndarray | None, out: Path
) -> None:
    """Write images of radiographs.

    Args:
        names: n file names, relative to `out`.
        radiographs: n radiographs with films.
        maps: (n, h, w) signed maps of the first model's squares; None draws only the films.
        out: the folder.
    """
    (out / PICTURES).mkdir(exist_ok=True)
    for i, (name, radiograph) in enumerate(zip(names, radiographs, strict=True)):
        assert radiograph.film is not None
        drawn = film_image(radiograph.film, None if maps is None else maps[i])
        write_file(out / name, to_jpeg(drawn))


class PictureNames:
    """Names of images: the radiograph's id, with a number if that name is taken.

    Names that differ only in letter case are one file on many disks.

    Args:
        taken: names in use.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = Counter({name.casefold() for name in taken})

    def new(self, id_: str) -> str:
        """Return an unused name, relative to the folder of the predictions."""
        stem = id_.encode(errors="replace").decode()[:MAX_ID]
        return unused_name(f"{PICTURES}/{stem}", ".jpg", self.taken)


def write_pages(answers: Sequence[Answer], about: dict[str, Any], out: Path) -> list[Path]:
    """Write `report.html`, and further pages where there are many radiographs.

    The first begins with a summary of all, unless they are fewer than `MANY`.

    Args:
        answers: the predictions.
        about: models and options of the predictions.
        out: the folder, with the images.

    Returns:
        The files of the pages.
    """
    common = Counter(answer.id for answer in answers)
    models = [name_of(Path(file)) for file in about["checkpoints"]]
    parts = range(0, len(answers), CARDS)
    pages = [out / (f"report_{k + 1}.html" if k else PAGE) for k in range(len(parts))]
    for number, (start, page) in enumerate(zip(parts, pages, strict=True)):
        cards = [
            card_of(answer, out, answer.file if common[answer.id] > 1 else answer.id)
            for answer in answers[start : start + CARDS]
        ]
        text = render(
            "predictions.html.j2", cards=cards, models=models, n=len(answers), first=start + 1,
            pages=[page.name for page in pages], number=number + 1, oldest=SCALE_YEARS,
            last_year=MAX_AGE_YEARS,
            summary=summarise(answers) if number == 0 and len(answers) >= MANY else None,
        )  # fmt: skip
        write_file(page, text)
    return pages


def card_of(answer: Answer, folder: Path, title: str) -> dict[str, Any]:
    """Return an answer with title, image from a folder, and positions on the scale in percent.

    There is no image if it was removed, together with a radiograph of an earlier call.
    """
    image = embedded(folder, answer.picture)
    ends = (answer.interval_low_years, answer.age_years, answer.interval_high_years)
    low, at, high = (None if end is None else _percent(end) for end in ends)
    return {"answer": answer, "title": title, "image": image, "low": low, "at": at, "high": high}


def _percent(years: float) -> float:
    return round(100 * min(max(years / SCALE_YEARS, 0), 1), 1)
