"""Metrics of predicted age over the last axis, so that they work on bootstrap draws as well."""

import warnings

import numpy as np

from boneage.evaluation.intervals import Metrics

AGE = "age_years_predicted"  # the column of predictions
LIMITS_OF_AGREEMENT = 1.96  # standard deviations: 95 % of normal differences (Bland & Altman 1986)
WITHIN_MONTHS = (6, 12, 24)


def age_metrics(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Return the metrics of ages in years, those with a unit both in years and in months.

    MAE, RMSE, median and 90th percentile of the absolute error, bias (predicted - true) and
    Bland-Altman limits of agreement (1986); R2; concordance correlation (Lin 1989); share of
    radiographs whose age is at most 6, 12 and 24 months off.

    Args:
        true: (..., n) true ages in years.
        predicted: (..., n) predicted ages in years.

    Returns:
        Arrays of shape (...) by name; NaN where a metric is undefined, as R2 is where all true ages
        are equal, and everything where a prediction is not finite.
    """
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the spread of a single error
        error = predicted - true
        absolute = np.abs(error)
        median, p90 = np.quantile(absolute, [0.5, 0.9], axis=-1)
        squared, bias = (error**2).mean(axis=-1), error.mean(axis=-1)
        spread = LIMITS_OF_AGREEMENT * error.std(axis=-1, ddof=1)
        years = {
            "mae": absolute.mean(axis=-1),
            "rmse": np.sqrt(squared),
            "median_ae": median,
            "p90_ae": p90,
            "bias": bias,
            "loa_low": bias - spread,
            "loa_high": bias + spread,
        }
        variance = true.var(axis=-1)
        r2 = np.where(varies(true), 1 - squared / variance, np.nan)
        # squared error = variance of true and predicted and squared bias, less twice the covariance
        agreement = variance + predicted.var(axis=-1) + bias**2
        metrics = {
            f"age/{name}_{unit}": value * factor
            for name, value in years.items()
            for unit, factor in (("years", 1), ("months", 12))
        }
        metrics["age/r2"] = r2
        apart = varies(true) | varies(predicted) | (bias != 0)
        metrics["age/ccc"] = np.where(apart, 1 - squared / agreement, np.nan)
        for months in WITHIN_MONTHS:
            within = np.where(np.isnan(error), np.nan, absolute <= months / 12 + 1e-9)
            metrics[f"age/within_{months}_months"] = within.mean(axis=-1)
    return metrics


def varies(values: np.ndarray) -> np.ndarray:
    """Tell of (..., n) values whether they differ: the variance of equal ones is not always 0."""
    different: np.ndarray = (values != values[..., :1]).any(axis=-1)
    return different
