"""Metrics of age and stage over the last axis, so that they work on bootstrap draws as well."""

import warnings
from collections.abc import Callable

import numpy as np

Metrics = dict[str, np.ndarray]


def age_metrics(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Return MAE (years and months), RMSE (years) and R2 of ages in years.

    Args:
        true: (..., n) true ages in years.
        predicted: (..., n) predicted ages in years.

    Returns:
        Arrays of shape (...) by name; R2 is NaN where all true ages are equal.
    """
    error = predicted - true
    mae = np.abs(error).mean(axis=-1)
    squared = (error**2).mean(axis=-1)
    variance = true.var(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, 1 - squared / variance, np.nan)
    return {
        "age/mae_years": mae,
        "age/mae_months": 12 * mae,
        "age/rmse_years": np.sqrt(squared),
        "age/r2": r2,
    }


def confusion(true: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Return (..., K, K) counts, true class by row, of (..., n) class indices."""
    shape = true.shape[:-1]
    codes = (true * k + predicted).reshape(-1, true.shape[-1])
    codes = codes + k * k * np.arange(len(codes))[:, None]
    counts = np.bincount(codes.ravel(), minlength=len(codes) * k * k)
    return counts.reshape(*shape, k, k)


def stage_metrics(true: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> Metrics:
    """Return accuracy, balanced accuracy, quadratic-weighted kappa and the recall of each stage.

    Args:
        true: (..., n) true stage indices.
        predicted: (..., n) predicted stage indices.
        names: the K stage names.

    Returns:
        Arrays of shape (...) by name. The recall of a stage without an example is NaN, and the
        balanced accuracy is the mean recall of the stages that have one. Kappa: Cohen 1968.
    """
    k = len(names)
    counts = confusion(true, predicted, k)
    total = counts.sum(axis=(-2, -1))
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    distance = (np.arange(k)[:, None] - np.arange(k)) ** 2
    by_chance = rows[..., :, None] * columns[..., None, :] / total[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no stage at all
        recall = hits / rows
        kappa = 1 - (counts * distance).sum((-2, -1)) / (by_chance * distance).sum((-2, -1))
        balanced = np.nanmean(recall, axis=-1)
    return {
        "stage/accuracy": hits.sum(axis=-1) / total,
        "stage/balanced_accuracy": balanced,
        "stage/kappa": kappa,
        **{f"stage/recall_{name}": recall[..., i] for i, name in enumerate(names)},
    }


def with_interval(
    metrics: Callable[..., Metrics], *columns: np.ndarray, draws: int = 2000, seed: int = 0
) -> dict[str, dict[str, float | int | None]]:
    """Return each metric with its 95 % percentile bootstrap interval over radiographs.

    Args:
        metrics: function of (..., n) arrays.
        columns: its (n,) arguments, resampled together.
        draws: bootstrap draws (Efron & Tibshirani 1993 advise 1,000 or more for percentiles).
        seed: seed of the draws.

    Returns:
        Per metric `value`, `low`, `high` and `n`; None where it is undefined.
    """
    n = len(columns[0])
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {}
    for chunk in np.array_split(np.arange(draws), max(1, draws * n // 2_000_000)):
        sample = rng.integers(0, n, (len(chunk), n))
        for name, values in metrics(*(column[sample] for column in columns)).items():
            drawn.setdefault(name, []).append(values)
    result = {}
    for name, value in metrics(*columns).items():
        values = np.concatenate(drawn[name])
        values = values[~np.isnan(values)]
        low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
        result[name] = {"value": _number(value), "low": _number(low), "high": _number(high), "n": n}
    return result


def _number(value: np.ndarray | float) -> float | None:
    return None if np.isnan(value) else float(value)
