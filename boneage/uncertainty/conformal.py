"""Intervals that contain the true age, or the true stage, as often as they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil, inf, isfinite

import numpy as np

from boneage.errors import plural
from boneage.evaluation.intervals import Results, open_share, with_interval
from boneage.stages import ALL, BANDS

COVERAGE = 0.9
KNOWN = {True: "sex_known", False: "sex_unknown"}  # how files name the intervals of either
ENOUGH = 50  # radiographs in a band for a width of its own
LEAST = next(n for n in count(1) if ceil(COVERAGE * (n + 1)) <= n)  # radiographs for any width


@dataclass(frozen=True)
class Intervals:
    """Half-widths of intervals, by band of the predicted age (years, `BANDS`).

    Args:
        widths: K half-widths in years; infinite where there is too little to tell.
    """

    widths: tuple[float, ...]

    @classmethod
    def of(cls, plain: Sequence[float | None]) -> "Intervals":
        """Return the intervals that `plain` wrote."""
        return cls(tuple(inf if width is None else float(width) for width in plain))

    def plain(self) -> list[float | None]:
        """Return the half-widths as JSON has them: None where they are infinite."""
        return [width if isfinite(width) else None for width in self.widths]

    @property
    def known(self) -> bool:
        """Whether there were enough radiographs for a width at every age."""
        return all(map(isfinite, self.widths))

    def width_of(self, predicted_years: np.ndarray) -> np.ndarray:
        """Return the half-width in years of each of (n,) predicted ages."""
        width: np.ndarray = np.asarray(self.widths)[BANDS.index_of(predicted_years)]
        return width


def fit_intervals(true_years: np.ndarray, predicted_years: np.ndarray) -> Intervals:
    """Return half-widths that hold 90 % of new radiographs, from ones not trained on.

    Of n absolute errors it is the ceil(0.9 (n + 1))-th smallest (Lei et al., JASA 2018;113:1094),
    within bands of the predicted age, and over all where a band has too few.

    Args:
        true_years: (n,) true ages.
        predicted_years: (n,) predicted ages.
    """
    error = np.abs(predicted_years - true_years)
    band = BANDS.index_of(predicted_years)
    by_band = [error[band == k] for k in range(len(BANDS))]
    return Intervals(tuple(_quantile(own if len(own) >= ENOUGH else error) for own in by_band))


def why_unknown(n: int) -> str:
    """Say why n radiographs give no interval; empty where they give one."""
    if n >= LEAST:
        return ""
    return (
        f"no {100 * COVERAGE:.0f} % interval is given, since the validation fold has "
        f"{plural(n, 'radiograph')}: at least {LEAST} are needed"
    )


def coverage(
    true_years: np.ndarray,
    predicted_years: np.ndarray,
    intervals: Intervals,
    patients: np.ndarray | None = None,
) -> dict[str, Results]:
    """Return, over all and by band of the predicted age, how many true ages lie in the interval.

    Args:
        true_years: (n,) true ages.
        predicted_years: (n,) predicted ages.
        intervals: the intervals.
        patients: (n,) numbers of the patients, as for `with_interval`.

    Returns:
        Per band that holds any, `covered`, the share with its 95 % interval, and `width_months`,
        the mean half-width.
    """
    width = intervals.width_of(predicted_years)
    inside = np.abs(predicted_years - true_years) <= width
    band = BANDS.index_of(predicted_years)
    found = {}
    for k, name in [(None, ALL), *enumerate(BANDS.names)]:
        chosen = np.full(len(band), True) if k is None else band == k
        if chosen.any():
            own = None if patients is None else patients[chosen]
            columns = inside[chosen].astype(float), width[chosen]
            found[name] = with_interval(_scores, *columns, patients=own)
            open_share(found[name]["covered"])
    return found


def _scores(inside: np.ndarray, width: np.ndarray) -> dict[str, np.ndarray]:
    return {"covered": inside.mean(axis=-1), "width_months": 12 * width.mean(axis=-1)}


def _quantile(error: np.ndarray) -> float:
    rank = ceil(COVERAGE * (len(error) + 1))
    return float(np.sort(error)[rank - 1]) if rank <= len(error) else float("inf")
