"""Calibration of a model: conformal intervals of the true age, and its correction at a site."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from math import ceil, inf, isfinite
from typing import Any

import numpy as np

from boneage.errors import plural
from boneage.evaluation.intervals import Results, with_interval
from boneage.evaluation.shares import widen_share
from boneage.stages import ALL, BANDS

COVERAGE = 0.9
NONE = "none"  # the form of no correction
INTERVAL_KEYS = {True: "sex_known", False: "sex_unknown"}  # keys in files
MIN_BAND = 50  # radiographs for a band to have its own width
# radiographs for any width
MIN_VALIDATION = next(n for n in count(1) if ceil(COVERAGE * (n + 1)) <= n)


@dataclass(frozen=True)
class Intervals:
    """Half-widths of intervals, by band of the predicted age (years, `BANDS`).

    Args:
        widths: K half-widths in years; infinite if there were too few radiographs.
    """

    widths: tuple[float, ...]

    @classmethod
    def of(cls, plain: Sequence[float | None]) -> "Intervals":
        """Return the intervals from the output of `plain`."""
        return cls(tuple(inf if width is None else float(width) for width in plain))

    def plain(self) -> list[float | None]:
        """Return the half-widths for JSON: None if infinite."""
        return [width if isfinite(width) else None for width in self.widths]

    @property
    def known(self) -> bool:
        """Whether there were enough radiographs for a width at every age."""
        return all(map(isfinite, self.widths))

    def width_of(self, predicted_years: np.ndarray) -> np.ndarray:
        """Return the half-width in years of each of (n,) predicted ages."""
        width: np.ndarray = np.asarray(self.widths)[BANDS.index_of(predicted_years)]
        return width


IntervalsBySex = dict[bool, Intervals | None]  # for known and unknown sex (the key)


def to_plain(intervals: IntervalsBySex) -> dict[str, list[float | None]]:
    """Return intervals for JSON, by `INTERVAL_KEYS`, without those that are None."""
    return {INTERVAL_KEYS[k]: own.plain() for k, own in intervals.items() if own is not None}


def from_plain(plain: Mapping[str, Sequence[float | None]]) -> IntervalsBySex:
    """Return the intervals from the output of `to_plain`."""
    return {
        sex_known: Intervals.of(plain[name]) if name in plain else None
        for sex_known, name in INTERVAL_KEYS.items()
    }


@dataclass(frozen=True)
class Line:
    """A correction of predicted bone ages: an offset with an optional slope in the age.

    Args:
        offset: years added at the age `middle`.
        slope: years added per year above it.
        middle: years.
        low, high: years; outside, the correction is that of the nearer limit.
    """

    offset: float = 0.0
    slope: float = 0.0
    middle: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def correct(self, years: np.ndarray) -> np.ndarray:
        """Return (n,) corrected ages of (n,) predicted ones, years."""
        above = np.clip(years, self.low, self.high) - self.middle
        corrected: np.ndarray = np.maximum(years + self.offset + self.slope * above, 0)
        return corrected


@dataclass(frozen=True)
class Correction:
    """The correction at a site.

    Args:
        form: one of `site_fit.FORMS`, or `NONE`.
        lines: by sex; a sex without a line is not corrected.
    """

    form: str = NONE
    lines: dict[str, Line] = field(default_factory=dict)

    def correct(self, years: np.ndarray, sexes: np.ndarray) -> np.ndarray:
        """Return (n,) corrected ages of (n,) predicted ones, years, and (n,) names of sexes."""
        corrected = np.array(years, float)
        for sex, line in self.lines.items():
            corrected[sexes == sex] = line.correct(corrected[sexes == sex])
        return corrected


@dataclass(frozen=True)
class Site:
    """Correction and intervals of a model at a site.

    Args:
        correction: of its ages.
        intervals: for known and unknown sex (the key); None if the model's own are used.
        ids: of the radiographs that they were fitted to; older versions did not store them.
    """

    correction: Correction
    intervals: IntervalsBySex
    ids: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return this as plain containers, to store in a model."""
        return {
            "form": self.correction.form,
            "lines": {sex: asdict(line) for sex, line in self.correction.lines.items()},
            "half_widths_years": to_plain(self.intervals),
            "ids": list(self.ids),
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Site":
        """Return the site from the output of `plain`."""
        lines = {sex: Line(**line) for sex, line in plain["lines"].items()}
        intervals = from_plain(plain["half_widths_years"])
        return cls(Correction(plain["form"], lines), intervals, tuple(plain.get("ids", ())))


def fit_intervals(true_years: np.ndarray, predicted_years: np.ndarray) -> Intervals:
    """Return half-widths for a coverage of 90 %, fitted to radiographs not used for training.

    A half-width is the ceil(0.9 (n + 1))-th smallest of n absolute errors (Lei et al., JASA
    2018;113:1094), within a band of the predicted age, or over all bands if the band has too few.
    Both ages are (n,) arrays.
    """
    error = np.abs(predicted_years - true_years)
    band = BANDS.index_of(predicted_years)
    by_band = [error[band == k] for k in range(len(BANDS))]
    return Intervals(tuple(_quantile(own if len(own) >= MIN_BAND else error) for own in by_band))


def why_unknown(n: int) -> str:
    """Return why n radiographs give no interval; empty if they give one."""
    if n >= MIN_VALIDATION:
        return ""
    return (
        f"no {100 * COVERAGE:.0f} % interval is given: the validation fold has "
        f"{plural(n, 'radiograph')}, and at least {MIN_VALIDATION} are needed"
    )


def coverage(
    true_years: np.ndarray,
    predicted_years: np.ndarray,
    width: np.ndarray,
    patients: np.ndarray | None = None,
) -> dict[str, Results]:
    """Return the coverage of intervals, over all and by band of the predicted age.

    The arrays are (n,): ages and half-widths in years, and patients as for `with_interval`.

    Returns:
        Per band with radiographs: `covered`, the share of true ages in the interval with its 95 %
        interval, and `width_months`, the mean half-width.
    """
    inside = np.abs(predicted_years - true_years) <= width
    band = BANDS.index_of(predicted_years)
    results = {}
    for k, name in [(None, ALL), *enumerate(BANDS.names)]:
        rows = np.full(len(band), True) if k is None else band == k
        if rows.any():
            own = None if patients is None else patients[rows]
            columns = inside[rows].astype(float), width[rows]
            results[name] = with_interval(_scores, *columns, patients=own)
            widen_share(results[name]["covered"])
    return results


def _scores(inside: np.ndarray, width: np.ndarray) -> dict[str, np.ndarray]:
    return {"covered": inside.mean(axis=-1), "width_months": 12 * width.mean(axis=-1)}


def _quantile(error: np.ndarray) -> float:
    rank = ceil(COVERAGE * (len(error) + 1))
    return float(np.sort(error)[rank - 1]) if rank <= len(error) else float("inf")
