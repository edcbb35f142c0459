"""Intervals of metrics: by the bootstrap, and exact ones of shares of 0 or 1."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import hypot

import numpy as np

from boneage.evaluation.metric_set import ANY, Bounds

Metrics = dict[str, np.ndarray]
Result = dict[str, float | int | None]
Results = dict[str, Result]
DRAWS = 2000  # Efron & Tibshirani 1993 advise 1,000 or more for percentiles
CHUNK = 2_000_000  # resampled values held at a time


def with_interval(
    metrics: Callable[..., Metrics],
    *columns: np.ndarray,
    patients: np.ndarray | None = None,
    bounds: Mapping[str, Bounds] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Results:
    """Return each metric with its 95 % percentile bootstrap interval over radiographs.

    Args:
        metrics: function of (..., n) arrays.
        columns: its (n,) arguments, resampled together.
        patients: (n,) numbers, equal for radiographs of one patient: whole patients are resampled
            (the cluster bootstrap; Davison & Hinkley 1997, section 3.8), each with all its
            radiographs. None resamples radiographs.
        bounds: per metric the least and the greatest value that it can have; any if not given.
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        Per metric `value`, `low`, `high` and `n`, and `patients`, how many they are, if given; None
        where it is undefined, as an interval is when no draw differs: for a single radiograph, say.
        No interval leaves the bounds of its
        metric, and each contains its value: the draws of a metric that sampling itself raises, such
        as the calibration error, may all lie on one side of it.
    """
    n = len(columns[0])
    drawn: dict[str, list[np.ndarray]] = {}
    for sample in _samples(n, draws, seed, patients):
        for name, values in metrics(*(column[sample] for column in columns)).items():
            drawn.setdefault(name, []).append(values)
    results: Results = {}
    for name, value in metrics(*columns).items():
        ends = (bounds or {}).get(name, ANY)
        value = np.clip(value, *ends)  # a sum of rounded numbers can end just beside them
        low, high = np.clip(_limits(value, np.concatenate(drawn[name])), *ends)
        if np.isclose(low, high, rtol=1e-9, atol=1e-12):  # no draw differs, which says nothing
            low = high = np.nan
        results[name] = {k: _number(v) for k, v in (("value", value), ("low", low), ("high", high))}
        results[name] |= counts(n, patients)
    return results


def paired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: np.ndarray | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Result:
    """Return how much a metric of two runs on the same radiographs differs, second minus first.

    Both runs are scored on the same draws. The two-sided p-value is twice the smaller share of
    draws on one side of zero, counting the sample itself (Davison & Hinkley 1997, section 4.2).

    Args:
        metric: function of (..., n) arrays to (...) values.
        first: its (n,) arguments for one run.
        second: those of the other, in the same order of radiographs.
        patients: (n,) numbers, as for `with_interval`.
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        `value`, `low`, `high`, `p` and `n` (and `patients`); None where the metric is undefined.
    """
    n = len(first[0])
    difference = np.concatenate(
        [
            metric(*(c[sample] for c in second)) - metric(*(c[sample] for c in first))
            for sample in _samples(n, draws, seed, patients)
        ]
    )
    value = float(metric(*second) - metric(*first))
    low, high = _limits(value, difference)
    difference = difference[np.isfinite(difference)]
    tail = min((difference <= 0).sum(), (difference >= 0).sum())
    p = np.nan if not np.isfinite(value) else min(1.0, 2 * (tail + 1) / (len(difference) + 1))
    numbers = {"value": value, "low": low, "high": high, "p": p}
    return {name: _number(number) for name, number in numbers.items()} | counts(n, patients)


def unpaired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    draws: int = DRAWS,
    seed: int = 0,
) -> Result:
    """Return how much a metric differs between two sets of radiographs, second minus first.

    Each set is resampled on its own.

    Args:
        metric: function of (..., n) arrays to (...) values.
        first: its (n,) arguments for one set.
        second: its (m,) arguments for the other.
        patients: numbers of the patients of each set, as for `with_interval`; none is in both.
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        `value`, `low` and `high`; None where the metric is undefined.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for columns, own in zip((first, second), patients, strict=True):
        samples = _samples(len(columns[0]), draws, seed, own)
        values = np.concatenate([metric(*(c[sample] for c in columns)) for sample in samples])
        drawn.append(rng.permutation(values))  # draws of patients come sorted by their length
    value = float(metric(*second) - metric(*first))
    low, high = _limits(value, drawn[1] - drawn[0])
    numbers = {"value": value, "low": low, "high": high}
    return {name: _number(number) for name, number in numbers.items()}


def counts(n: int, patients: np.ndarray | None) -> Result:
    """Return the `n` of a result, and its number of `patients` if these are known."""
    return {"n": n} if patients is None else {"n": n, "patients": len(np.unique(patients))}


def _samples(
    n: int, draws: int, seed: int, patients: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield positions drawn with replacement, `draws` rows in all: (chunk, n) of them.

    Draws of patients are sorted by how many radiographs they hold: an array has rows of one length.
    """
    rng = np.random.default_rng(seed)
    films = None if patients is None else _films_of(patients)
    units = n if films is None else len(films)
    for chunk in np.array_split(np.arange(draws), max(1, draws * n // CHUNK)):
        drawn = rng.integers(0, max(units, 1), (len(chunk), units))
        if films is None:
            yield drawn
            continue
        rows = [np.concatenate([films[unit] for unit in row]) for row in drawn]
        lengths = np.array([len(row) for row in rows])
        for length in np.unique(lengths):
            yield np.stack([rows[i] for i in np.flatnonzero(lengths == length)])


def _films_of(patients: np.ndarray) -> list[np.ndarray]:
    """Return the positions of the radiographs of each patient."""
    _, codes, films = np.unique(patients, return_inverse=True, return_counts=True)
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(films)[:-1])


def _limits(value: np.ndarray | float, drawn: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile limits of the draws in which a metric was defined.

    Where nearly all draws lie on one side of the value, the limit on the other is the value.
    """
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return np.nan, np.nan
    low, high = np.percentile(drawn, [2.5, 97.5])
    return min(float(low), float(value)), max(float(high), float(value))


def _number(value: np.ndarray | float) -> float | None:
    return float(value) if np.isfinite(value) else None


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
