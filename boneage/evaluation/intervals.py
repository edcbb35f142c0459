"""Bootstrap intervals of metrics and of their differences."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from math import isclose, nan, pi, sqrt, tan

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
WIDENED_BELOW = 100  # radiographs or patients: intervals of differences between fewer are wider
NORMAL_LIMIT = 1.959964  # 97.5 % quantile of the normal distribution


def with_interval(
    metrics: Callable[..., Metrics],
    *columns: np.ndarray,
    patients: np.ndarray | None = None,
    bounds: Mapping[str, Bounds] | None = None,
    differences: Collection[str] = (),
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
        differences: metrics that are differences: their intervals are wider for few (`widening`).
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        Per metric `value`, `low`, `high`, `n`, and, if given, the number of `patients`. Undefined
        numbers are None. An interval is undefined if its limits are equal, as for a single
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
        values = np.concatenate(drawn[name])
        if name in differences:
            values = _spread_out(values, float(value), count_units(counts(n, patients)))
        low, high = np.clip(_limits(value, values), *ends)
        if isclose(low, high, rel_tol=1e-9, abs_tol=1e-12):  # equal draws carry no information
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

    Both runs are scored on the same draws. The interval of few is widened (`widening`).

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
    units = count_units(counted)
    limits = _limits(value, _spread_out(difference, value, units)) if units > 1 else (nan, nan)
    return _result(value, *limits) | counted


def unpaired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
) -> Result:
    """Return how much a metric differs between two sets of radiographs, second minus first.

    Each set is resampled on its own. The draws of a set of few are spread out (`widening`).

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
        units = count_units(counts(len(columns[0]), own))
        values = _spread_out(values, float(metric(*columns)), units)
        drawn.append(rng.permutation(values))  # draws of patients come sorted by their length
    value = float(metric(*second) - metric(*first))
    return _result(value, *_limits(value, drawn[1] - drawn[0]))


@cache
def widening(units: int) -> float:
    """Return the factor by which the limits of a difference are farther from it than percentiles.

    The percentile bootstrap leaves out Student's t and n / (n - 1): its interval of few is too
    narrow (Hesterberg, The American Statistician 2015;69:371-386, section 5.1). From
    `WIDENED_BELOW` on, the factor is 1: it would be below 1.02, and other draws move a limit by
    more. Student's t is integrated here because a calibration on a desk has no SciPy.

    Args:
        units: radiographs, or patients if known; at least 2.
    """
    if units >= WIDENED_BELOW:
        return 1.0
    ends = np.linspace(0, pi / 2, 100_001)  # of angles: t is sqrt(n - 1) times their tangent
    share = np.cumsum(np.cos((ends[1:] + ends[:-1]) / 2) ** (units - 2))
    angle = float(np.interp(0.95 * share[-1], share, ends[1:]))
    return sqrt(units) * tan(angle) / NORMAL_LIMIT


def bounded(difference: Result, reach: float) -> Result:
    """Return a difference with limits at most `reach` from zero: 1 for one of two shares."""
    limits = {side: difference[side] for side in ("low", "high")}
    return difference | {
        side: None if limit is None else min(reach, max(-reach, limit))
        for side, limit in limits.items()
    }


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


def _spread_out(drawn: np.ndarray, value: float, units: int) -> np.ndarray:
    """Return draws with a larger distance from their value, for few radiographs or patients."""
    if 1 < units < WIDENED_BELOW:
        drawn = value + widening(units) * (drawn - value)
    return drawn


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
