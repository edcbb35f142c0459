"""Intervals of metrics: bootstrap intervals, and exact ones for shares of 0 or 1."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import hypot

import numpy as np

from boneage.evaluation.metric_set import ANY, Bounds
from boneage.evaluation.numbers import count_units

Metrics = dict[str, np.ndarray]
Result = dict[str, float | int | None]
Results = dict[str, Result]
DRAWS = 2000  # Efron & Tibshirani 1993 advise 1,000 or more for percentiles
SEED = 0  # of the draws
ROUNDING = 1e-9  # smaller differences are none
VALUES_IN_MEMORY = 2_000_000  # resampled, at a time


def with_interval(
    metrics: Callable[..., Metrics],
    *columns: np.ndarray,
    patients: np.ndarray | None = None,
    bounds: Mapping[str, Bounds] | None = None,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Results:
    """Return each metric with its 95 % percentile bootstrap interval over radiographs.

    Args:
        metrics: function of (..., n) arrays.
        columns: (n,) arguments of the metrics, resampled together.
        patients: (n,) numbers, equal for radiographs of one patient: patients are resampled with
            all their radiographs (the cluster bootstrap; Davison & Hinkley 1997, section 3.8).
            None resamples radiographs.
        bounds: per metric its smallest and largest possible value; any if not given.
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        Per metric `value`, `low`, `high`, `n`, and, if given, the number of `patients`. Undefined
        numbers are None. An interval is undefined if all draws are equal, as for a single
        radiograph. Intervals are within the bounds of their metric and contain its value, also if
        all draws lie on one side of it, as for the calibration error, which resampling increases.
    """
    n = len(columns[0])
    drawn: dict[str, list[np.ndarray]] = {}
    for sample in _samples(n, draws, seed, patients):
        for name, values in metrics(*(column[sample] for column in columns)).items():
            drawn.setdefault(name, []).append(values)
    results: Results = {}
    for name, value in metrics(*columns).items():
        ends = (bounds or {}).get(name, ANY)
        value = np.clip(value, *ends)  # a sum of rounded numbers can be just beyond them
        low, high = np.clip(_limits(value, np.concatenate(drawn[name])), *ends)
        if np.isclose(low, high, rtol=1e-9, atol=1e-12):  # equal draws carry no information
            low = high = np.nan
        results[name] = _result(value, low, high) | counts(n, patients)
    return results


def paired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: np.ndarray | None = None,
    draws: int = DRAWS,
) -> Result:
    """Return the difference of a metric between two runs on the same radiographs: second - first.

    Both runs are scored on the same draws.

    Args:
        metric: function of (..., n) arrays to (...) values.
        first: (n,) arguments of the metric for one run.
        second: arguments for the other, in the same order of radiographs.
        patients: (n,) numbers, as for `with_interval`.
        draws: bootstrap draws.

    Returns:
        `value`, `low`, `high` and `n` (and `patients`); None if the metric is undefined. One
        radiograph, or one patient, gives no interval.
    """
    n = len(first[0])
    difference = np.concatenate(
        [
            metric(*(c[sample] for c in second)) - metric(*(c[sample] for c in first))
            for sample in _samples(n, draws, SEED, patients)
        ]
    )
    value = float(metric(*second) - metric(*first))
    counted = counts(n, patients)
    low, high = _limits(value, difference) if count_units(counted) > 1 else (np.nan, np.nan)
    return _result(value, low, high) | counted


def unpaired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Result:
    """Return how much a metric differs between two sets of radiographs, second minus first.

    Each set is resampled on its own.

    Args:
        metric: function of (..., n) arrays to (...) values.
        first: its (n,) arguments for one set.
        second: its (m,) arguments for the other.
        patients: numbers of the patients of each set, as for `with_interval`; none is in both.

    Returns:
        `value`, `low` and `high`; None where the metric is undefined.
    """
    rng = np.random.default_rng(SEED)
    drawn = []
    for columns, own in zip((first, second), patients, strict=True):
        samples = _samples(len(columns[0]), DRAWS, SEED, own)
        values = np.concatenate([metric(*(c[sample] for c in columns)) for sample in samples])
        drawn.append(rng.permutation(values))  # draws of patients come sorted by their length
    value = float(metric(*second) - metric(*first))
    return _result(value, *_limits(value, drawn[1] - drawn[0]))


def mean_absolute(errors: np.ndarray) -> np.ndarray:
    """Return (...) the mean absolute value of (..., n) errors."""
    mean: np.ndarray = np.abs(errors).mean(axis=-1)
    return mean


def counts(n: int, patients: np.ndarray | None) -> Result:
    """Return the `n` of a result, and its number of `patients` if known."""
    return {"n": n} if patients is None else {"n": n, "patients": len(np.unique(patients))}


def _samples(
    n: int, draws: int, seed: int, patients: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield (chunk, n) positions drawn with replacement, `draws` rows in total.

    Draws of patients are grouped by their number of radiographs, since rows of an array have one
    length.
    """
    rng = np.random.default_rng(seed)
    by_patient = None if patients is None else _by_patient(patients)
    units = n if by_patient is None else len(by_patient[-1])
    for chunk in np.array_split(np.arange(draws), max(1, draws * n // VALUES_IN_MEMORY)):
        drawn = rng.integers(0, max(units, 1), (len(chunk), units))
        if by_patient is None:
            yield drawn
            continue
        order, firsts, films = by_patient
        lengths = films[drawn].sum(axis=1)
        for length in np.unique(lengths):
            rows = drawn[lengths == length]
            n_films = films[rows].ravel()
            shifts = firsts[rows].ravel() - (np.cumsum(n_films) - n_films)
            places = np.repeat(shifts, n_films) + np.arange(len(rows) * length)
            yield order[places].reshape(len(rows), length)


def _by_patient(patients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (n,) positions sorted by patient; by patient, the first place there and the number."""
    _, codes, films = np.unique(patients, return_inverse=True, return_counts=True)
    return np.argsort(codes, kind="stable"), np.cumsum(films) - films, films


def _limits(value: np.ndarray | float, drawn: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile limits of the draws in which a metric was defined.

    If nearly all draws lie on one side of the value, the limit on the other side is the value.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return np.nan, np.nan
    low, high = np.percentile(drawn, [2.5, 97.5])
    return min(float(low), float(value)), max(float(high), float(value))


def _result(value: np.ndarray | float, low: float, high: float) -> Result:
    """Return a result without `n`: None where a number is undefined."""
    numbers = {"value": value, "low": low, "high": high}
    return {name: float(v) if np.isfinite(v) else None for name, v in numbers.items()}


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


def widen_share(share: Result, from_share: Callable[[float], float] | None = None) -> None:
    """Set the exact interval of a share of exactly 0 or 1.

    All its bootstrap draws are equal, so they give no interval: 0 of 9 is compatible with 34 %.

    Args:
        share: a share, or a number that rises from 0 to 1 with a share.
        from_share: from that share to the number; None for a share.
    """
    if share["value"] in (0, 1):
        n = count_units(share)
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
        limits[side] = min(1.0, max(-1.0, _limit(difference, side, sign, parts)))
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
