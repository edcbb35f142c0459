"""What the predictions of many radiographs say together: anomalies, and the predicted ages."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, sqrt

import numpy as np

from boneage.data.tables.sexes import SEXES
from boneage.evaluation.intervals import NORMAL_LIMIT
from boneage.predict.answer import Answer
from boneage.stages import ALL, MAX_AGE_YEARS

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
VALUE = re.compile(r""" (['"]).*\1(?= )| [-+][\d.]+""")  # in a flag: a quoted text, or an SD score


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
