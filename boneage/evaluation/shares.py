"""Intervals of shares of 0 or 1, which the bootstrap takes for certain."""

from collections.abc import Sequence
from math import hypot

from boneage.evaluation.bootstrap import Result


def exact_interval(count: float, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper & Pearson 1934); (0, 1) for n = 0.

    Radiographs of one patient tell less than as many patients: there n is the number of patients,
    and the count the share of the radiographs times n (Korn & Graubard, Survey Methodology
    1998;24:193-201, with the least effective sample size).
    """
    if count in (0, n):  # has a closed form
        beyond = 0.025 ** (1 / n) if n else 0.0
        return (beyond, 1.0) if count else (0.0, 1 - beyond)
    from scipy.stats import beta  # of the framework: prediction does not need it

    low = beta.ppf(0.025, count, n - count + 1)
    high = beta.ppf(0.975, count + 1, n - count)
    return float(low), float(high)


def open_share(share: Result) -> None:
    """Give a share of exactly 0 or 1 its exact interval.

    No bootstrap draw differs from it, which says nothing: 0 of 9 is compatible with 34 %.
    """
    if share["value"] in (0, 1):
        n = int(share.get("patients", share["n"]) or 0)
        share["low"], share["high"] = exact_interval(n * int(share["value"]), n)


def open_mean(mean: Result, shares: Sequence[Result]) -> None:
    """Widen the bootstrap interval of a mean of shares by those of them that are exactly 0 or 1.

    The limits of independent parts lie as far from their sum as the root of the squares of their
    own distances (MOVER; Zou & Donner, Statistics in Medicine 2008;27:1693-1702).

    Args:
        mean: over the shares that are defined.
        shares: each with its exact interval, where it is 0 or 1.
    """
    defined = [share for share in shares if share["value"] is not None]
    if certain := [share for share in defined if share["value"] in (0, 1)]:
        for side, sign in (("low", -1), ("high", 1)):
            parts = [_distance(share, side) / len(defined) for share in certain]
            own = 0.0 if mean[side] is None else _distance(mean, side)
            limit = float(mean["value"] or 0) + sign * hypot(own, *parts)
            mean[side] = min(1.0, max(0.0, limit))  # a rounding error beyond, at most


def _distance(result: Result, side: str) -> float:
    return float(result[side] or 0) - float(result["value"] or 0)
