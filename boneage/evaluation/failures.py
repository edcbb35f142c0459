"""Where predicted ages fail: the youngest, the oldest, the tail, and the edges between stages."""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from boneage.evaluation.age import varies
from boneage.evaluation.intervals import Metrics, Results, counts, exact_interval, with_interval

INFANT_YEARS = 2.0
CEILING_YEARS = 17.0
TAIL = 0.05
EDGE_DISTANCES_YEARS = (-np.inf, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, np.inf)


def failure_metrics(
    true: np.ndarray, predicted: np.ndarray, patients: np.ndarray | None = None
) -> Results:
    """Return how the youngest, the oldest and the tail fail, as numbers with intervals.

    - `infant_sd_years`, `infant_bias_years`: standard deviation and mean of the error under 2
      years, beside `older_sd_years` for everybody else;
    - `ceiling_slope`: least-squares slope of predicted on true age from 17 years on (1
      follows the age, 0 is a ceiling), and `ceiling_bias_years`;
    - `rmse_minus_mae_years` and `worst_5_percent_share`, the share of the squared error that the
      worst 5 % of the radiographs carry (28 % where errors are normal).

    Args:
        true: (n,) true ages in years.
        predicted: (n,) predicted ages in years.
        patients: (n,) numbers of the patients, as for `with_interval`.

    Returns:
        The numbers, named `age/...`; the n of each is that of its age range.
    """
    infant, ceiling = true < INFANT_YEARS, true >= CEILING_YEARS
    results: Results = {}
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an age range without a radiograph
        for chosen, metrics in (
            (infant, _infant),
            (~infant, _older),
            (ceiling, _ceiling),
            (np.ones_like(infant), _tail),
        ):
            own = None if patients is None else patients[chosen]
            results |= with_interval(metrics, true[chosen], predicted[chosen], patients=own)
    return results


def _infant(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    error = predicted - true
    return {
        "age/infant_sd_years": error.std(axis=-1, ddof=1),
        "age/infant_bias_years": error.mean(axis=-1),
    }


def _older(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    return {"age/older_sd_years": (predicted - true).std(axis=-1, ddof=1)}


def _ceiling(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    centred = true - true.mean(axis=-1, keepdims=True)
    square = (centred**2).sum(axis=-1)
    slope = (centred * predicted).sum(axis=-1) / np.where(varies(true), square, np.nan)
    return {
        "age/ceiling_slope": slope,
        "age/ceiling_bias_years": (predicted - true).mean(axis=-1),
    }


def _tail(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    error = predicted - true
    squared = np.sort(error**2, axis=-1)
    worst = int(np.ceil(TAIL * true.shape[-1]))
    share = squared[..., true.shape[-1] - worst :].sum(axis=-1) / squared.sum(axis=-1)
    rmse = np.sqrt(squared.mean(axis=-1))
    return {
        "age/rmse_minus_mae_years": rmse - np.abs(error).mean(axis=-1),
        "age/worst_5_percent_share": share,
    }


def errors_by_edge_distance(
    true_age: np.ndarray, hit: np.ndarray, edge: float, patients: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return how often the stage is wrong, by distance of the true age from an edge.

    Args:
        true_age: (n,) true ages in years.
        hit: (n,) whether the stage is right.
        edge: age in years at which one stage passes into the next.
        patients: (n,) numbers of the patients, if known: intervals rest on them.

    Returns:
        A row per band of `EDGE_DISTANCES_YEARS`, closed on the left: `from_years`, `to_years`
        (signed, true age minus edge), `n` (and `patients`), `errors`, `rate` with `low` and `high`.
    """
    band = np.searchsorted(EDGE_DISTANCES_YEARS, true_age - edge, side="right") - 1
    rows = []
    for i, (start, end) in enumerate(pairwise(EDGE_DISTANCES_YEARS)):
        n, errors = int((band == i).sum()), int((~hit[band == i]).sum())
        rate = errors / n if n else np.nan
        number = counts(n, None if patients is None else patients[band == i])
        units = int(number.get("patients") or n)
        low, high = exact_interval(errors * units / n if n else 0, units)
        ages = {"from_years": start, "to_years": end}
        rows.append({**ages, **number, "errors": errors, "rate": rate, "low": low, "high": high})
    return rows
