"""Exact intervals of shares, and the bootstrap intervals that shares of 0 or 1 widen."""

from collections.abc import Callable, Sequence
from math import hypot

import numpy as np

from boneage.evaluation.intervals import Result, counts
from boneage.evaluation.numbers import count_units


def limits_of_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % limits of second minus first, each a value with its own low and high limit.

    They count as independent (MOVER; Zou & Donner, Statistics in Medicine 2008;27:1693-1702). Of
    two shares it is the interval of Newcombe (Statistics in Medicine 1998;17:873-890).
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return b - a - hypot(b - b_low, a_high - a), b - a + hypot(b_high - b, a - a_low)


def exact_interval(count: float, n: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a share (Clopper & Pearson 1934); (0, 1) for n = 0.

    Radiographs of one patient are not independent. With known patients, n is the number of patients
    and the count is the share of the radiographs times n (Korn & Graubard, Survey Methodology
    1998;24:193-201, with the smallest effective sample size).
    """
    if count in (0, n):  # has a closed form
        beyond = 0.025 ** (1 / n) if n else 0.0
        return (beyond, 1.0) if count else (0.0, 1 - beyond)
    from scipy.stats import beta  # only in the framework; prediction does not need it

    low = beta.ppf(0.025, count, n - count + 1)
    high = beta.ppf(0.975, count + 1, n - count)
    return float(low), float(high)


def exact_share(hits: np.ndarray, patients: np.ndarray | None = None) -> Result:
    """Return the share of (n,) bool radiographs with its exact 95 % interval and `count`.

    Args:
        hits: which radiographs count.
        patients: (n,) numbers of the patients, where these are known (`exact_interval`).

    Returns:
        `value` (NaN for n = 0), `count`, `n` (and `patients`), `low` and `high`.
    """
    n, count = len(hits), int(hits.sum())
    number = counts(n, patients)
    units = count_units(number)
    low, high = exact_interval(count * units / n if n else 0, units)
    value = count / n if n else np.nan
    return {"value": value, "count": count, **number, "low": low, "high": high}


def widen_share(
    share: Result, from_share: Callable[[float], float] | None = None, trials: Result | None = None
) -> None:
    """Set the exact interval of a share of exactly 0 or 1.

    All its bootstrap draws are equal, so they give no interval: 0 of 9 is compatible with 34 %.

    Args:
        share: a share, or a number that rises from 0 to 1 with a share.
        from_share: from that share to the number; None for a share.
        trials: the `n` (and `patients`) that it is a share of; by default its own.
    """
    if share["value"] in (0, 1):
        n = count_units(trials or share)
        limits = exact_interval(n * int(share["value"]), n)
        share["low"], share["high"] = map(from_share, limits) if from_share else limits


def widen_mean(mean: Result, shares: Sequence[Result]) -> None:
    """Widen the bootstrap interval of a mean of shares if some of these are exactly 0 or 1.

    The distance of a limit from the sum is the root of the sum of the squared distances of the
    independent parts (MOVER; Zou & Donner, Statistics in Medicine 2008;27:1693-1702).

    Args:
        mean: over the defined shares.
        shares: the shares; those of 0 or 1 with their exact interval.
    """
    if any(share["value"] in (0, 1) for share in shares):
        for side, sign in (("low", -1), ("high", 1)):
            limit = _limit(mean, side, sign, _exact_parts(shares, side))
            mean[side] = min(1.0, max(0.0, limit))  # may exceed it by a rounding error


def widen_difference(
    difference: Result, first: Sequence[Sequence[Result]], second: Sequence[Sequence[Result]]
) -> None:
    """Widen the interval of a difference of means of shares if some are exactly 0 or 1; no p.

    As for `widen_mean`, of independent shares. Runs of one side err alike in the same share.

    Args:
        difference: second minus first, each the mean over its runs.
        first: for each run the shares that its metric is the mean of.
        second: likewise.
    """
    shares = [share for runs in (first, second) for run in runs for share in run]
    if difference["value"] is None or not any(share["value"] in (0, 1) for share in shares):
        return
    limits = {}
    for side, sign, opposite in (("low", -1, "high"), ("high", 1, "low")):
        parts = [
            sum(of_share) / len(runs)
            for runs, end in ((first, opposite), (second, side))
            for of_share in zip(*(_exact_parts(run, end) for run in runs), strict=True)
        ]
        limits[side] = _limit(difference, side, sign, parts)
    difference.update(limits, p=None)


def _exact_parts(shares: Sequence[Result], side: str) -> list[float]:
    """Return how far a limit of each share of 0 or 1 is from it, as a part of the mean; else 0."""
    defined = sum(share["value"] is not None for share in shares)
    return [_distance(one, side) / defined if one["value"] in (0, 1) else 0.0 for one in shares]


def _limit(result: Result, side: str, sign: int, parts: Sequence[float]) -> float:
    own = 0.0 if result[side] is None else _distance(result, side)
    return float(result["value"] or 0) + sign * hypot(own, *parts)


def _distance(result: Result, side: str) -> float:
    return float(result[side] or 0) - float(result["value"] or 0)
