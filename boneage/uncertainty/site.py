"""Correction and intervals of a model at a site."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from boneage.uncertainty.conformal import IntervalsBySex, from_plain, to_plain

NONE = "none"  # the form of no correction


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
