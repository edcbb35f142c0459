"""Intervals of bone age in years, closed on the left: maturity stages and age bands."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from boneage.errors import UserError

MAX_AGE_YEARS = 25
ROUNDING_YEARS = 1e-5  # years: 10.7 years in months, in years again and in float32 are all 10.7


class AgeBins:
    """Named intervals of age, in order.

    Args:
        names: K names, youngest first.
        edges: K - 1 inner edges in years, strictly increasing; each belongs to the older interval.
    """

    def __init__(self, names: Sequence[str], edges: Sequence[float]) -> None:
        self.names = tuple(names)
        self.edges = tuple(float(edge) for edge in edges)

    def __len__(self) -> int:
        return len(self.names)

    def index_of(self, age_years: np.ndarray) -> np.ndarray:
        """Return the index (int64, same shape) of the interval of each age in years."""
        return np.searchsorted(np.subtract(self.edges, ROUNDING_YEARS), age_years, side="right")


class Stages(AgeBins):
    """An ordered set of maturity stages.

    The default is that of the reference study, in years: child [0, 10), adolescent [10, 18) and
    adult [18, inf).

    Args:
        names: K stage names, youngest first.
        edges: K - 1 inner edges in years, strictly increasing.

    Raises:
        UserError: when names and edges do not match, a name is empty, or edges are no bone ages
            in years.
    """

    def __init__(
        self,
        names: Sequence[str] = ("child", "adolescent", "adult"),
        edges: Sequence[float] = (10.0, 18.0),
    ) -> None:
        if len(set(names)) != len(names) or len(names) != len(edges) + 1:
            raise UserError(
                f"stages: {len(names)} names need to be distinct and have "
                f"{len(names) - 1} inner edges, but names={list(names)} and edges={list(edges)}"
            )
        if not all(name.strip() for name in names):
            raise UserError(f"stages.names={list(names)}: a name is empty")
        if any(b <= a for a, b in pairwise(edges)):
            raise UserError(f"stages.edges must increase strictly, but are {list(edges)}")
        if not all(0 < edge <= MAX_AGE_YEARS for edge in edges):
            raise UserError(
                f"stages.edges are years of bone age, above 0 and up to {MAX_AGE_YEARS}, but are "
                f"{list(edges)}"
            )
        super().__init__(names, edges)

    def text(self) -> str:
        """Return names and edges in years on one line."""
        parts = [self.names[0]]
        for edge, name in zip(self.edges, self.names[1:], strict=True):
            parts += [f"{edge:g}", name]
        return " | ".join(parts)


PROBABILITY = "stage_probability_"  # beginning of a column, before the name of a stage
BANDS = AgeBins(("0-2", "2-5", "5-10", "10-14", "14-17", "17+"), (2, 5, 10, 14, 17))
ALL = "all"  # all bands, or all sexes
