"""Bootstrap over radiographs: intervals of metrics, and the difference of two runs."""

from collections.abc import Callable, Iterator

import numpy as np

from boneage.evaluation.glossary import describe

Metrics = dict[str, np.ndarray]
Result = dict[str, float | int | None]
Results = dict[str, Result]

DRAWS = 2000  # Efron & Tibshirani 1993 advise 1,000 or more for percentiles
CHUNK = 2_000_000  # resampled values held at a time


def with_interval(
    metrics: Callable[..., Metrics], *columns: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> Results:
    """Return each metric with its 95 % percentile bootstrap interval over radiographs.

    Args:
        metrics: function of (..., n) arrays.
        columns: its (n,) arguments, resampled together.
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        Per metric `value`, `low`, `high` and `n`; None where it is undefined, as an interval is
        when no draw differs: for a single radiograph, say. No interval leaves the bounds of its
        metric, and each contains its value: the draws of a metric that sampling itself raises, such
        as the calibration error, may all lie on one side of it.
    """
    n = len(columns[0])
    drawn: dict[str, list[np.ndarray]] = {}
    for sample in _samples(n, draws, seed):
        for name, values in metrics(*(column[sample] for column in columns)).items():
            drawn.setdefault(name, []).append(values)
    results: Results = {}
    for name, value in metrics(*columns).items():
        bounds = describe(name).bounds
        value = np.clip(value, *bounds)  # a sum of rounded numbers can end just beside them
        low, high = np.clip(_limits(value, np.concatenate(drawn[name])), *bounds)
        if np.isclose(low, high, rtol=1e-9, atol=1e-12):  # no draw differs, which says nothing
            low = high = np.nan
        results[name] = {k: _number(v) for k, v in (("value", value), ("low", low), ("high", high))}
        results[name]["n"] = n
    return results


def paired_difference(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
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
        draws: bootstrap draws.
        seed: seed of the draws.

    Returns:
        `value`, `low`, `high`, `p` and `n`; None where the metric is undefined.
    """
    n = len(first[0])
    difference = np.concatenate(
        [
            metric(*(c[sample] for c in second)) - metric(*(c[sample] for c in first))
            for sample in _samples(n, draws, seed)
        ]
    )
    value = float(metric(*second) - metric(*first))
    low, high = _limits(value, difference)
    difference = difference[~np.isnan(difference)]
    tail = min((difference <= 0).sum(), (difference >= 0).sum())
    p = np.nan if np.isnan(value) else min(1.0, 2 * (tail + 1) / (len(difference) + 1))
    numbers = {"value": value, "low": low, "high": high, "p": p}
    return {name: _number(number) for name, number in numbers.items()} | {"n": n}


def _samples(n: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (chunk, n) positions drawn with replacement, `draws` rows in all."""
    rng = np.random.default_rng(seed)
    for chunk in np.array_split(np.arange(draws), max(1, draws * n // CHUNK)):
        yield rng.integers(0, max(n, 1), (len(chunk), n))


def _limits(value: np.ndarray | float, drawn: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile limits of the draws in which a metric was defined.

    Where nearly all draws lie on one side of the value, the limit on the other is the value.
    """
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return np.nan, np.nan
    low, high = np.percentile(drawn, [2.5, 97.5])
    return min(float(low), float(value)), max(float(high), float(value))


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
