"""Predictions as images and as pages: one card per radiograph, and a summary of many."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.atomic import write_file
from boneage.data.folders import PICTURES
from boneage.data.hand import to_jpeg
from boneage.data.radiographs import unused_name
from boneage.data.tables.sexes import SEXES
from boneage.evaluation.html import embedded, render
from boneage.evaluation.intervals import NORMAL_LIMIT
from boneage.explain.film import film_image
from boneage.predict.answer import Answer
from boneage.predict.radiograph import Radiograph
from boneage.run_files import PAGE
from boneage.stages import ALL, MAX_AGE_YEARS
from boneage.weights import name_of

MAX_ID = 50  # characters of an id in a file name
CARDS = 200  # per page
MANY = 10  # radiographs that have a summary
SCALE_YEARS = 19  # end of the scale on a card
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
VALUE = re.compile(r""" (['"]).*\1(?= )| [-+][\d.]+""")  # in a flag: a quoted text, or an SD score


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


@dataclass(frozen=True)
class Share:
    """A share of the radiographs.

    Args:
        label: what it is of.
        count: radiographs.
        n: all radiographs.
    """

    label: str
    count: int
    n: int

    @property
    def value(self) -> float:
        """The share, 0 to 1."""
        return self.count / self.n

    @property
    def limits(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (Journal of the American Statistical Association 1927).

        Not the exact one, which needs SciPy: that is installed for training only.
        """
        z, p, n = NORMAL_LIMIT, self.value, self.n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class Ages:
    """The predicted ages of the radiographs of one sex, or of all.

    Args:
        sex: "all", "female", "male" or "unknown".
        n: radiographs with a predicted age.
        quantiles: years, at `QUANTILES`.
    """

    sex: str
    n: int
    quantiles: list[float]


@dataclass(frozen=True)
class Summary:
    """Anomalies and predicted ages of radiographs.

    Args:
        shares: not readable, flagged, and each kind of flag, the most frequent first.
        ages: of all and by sex; empty if no age was predicted.
        years: number of predicted ages in each year of age, from 0 on; the year `MAX_AGE_YEARS`
            includes all above.
        stages: number of radiographs by stage, in the order of their frequency.
    """

    shares: list[Share]
    ages: list[Ages]
    years: list[int]
    stages: list[tuple[str, int]]


def summarise(answers: Sequence[Answer]) -> Summary:
    """Summarise one answer or more."""
    n = len(answers)
    flags = Counter(kind for answer in answers for kind in {_kind(flag) for flag in answer.flags})
    shares = [
        Share("not readable", sum(answer.status == "error" for answer in answers), n),
        Share("flagged", sum(bool(answer.flags) for answer in answers), n),
        *(Share(flag, count, n) for flag, count in flags.most_common()),
    ]
    groups = {ALL: answers} | {sex: [a for a in answers if a.sex == sex] for sex in SEXES}
    ages = {sex: _ages(group) for sex, group in groups.items()}
    tables = [
        Ages(sex, len(years), np.quantile(years, QUANTILES).tolist())
        for sex, years in ages.items()
        if len(years)
    ]
    by_year = Counter(floor(min(max(age, 0), MAX_AGE_YEARS)) for age in ages[ALL])
    counts = [by_year[year] for year in range(max(by_year, default=-1) + 1)]
    stages = Counter(answer.stage for answer in answers if answer.stage)
    return Summary(shares, tables, counts, stages.most_common())


def _kind(flag: str) -> str:
    """Return a flag without its values, and without its details after a colon or a bracket."""
    return VALUE.sub("", flag).partition(":")[0].partition(" (")[0]


def _ages(answers: Sequence[Answer]) -> np.ndarray:
    return np.array([a.age_years for a in answers if a.age_years is not None], float)
