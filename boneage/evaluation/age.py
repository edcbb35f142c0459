"""Errors of predicted ages and their metrics, over the last axis, so also of bootstrap draws."""

from functools import cached_property

import numpy as np

from boneage.stages import ROUNDING_YEARS

LIMITS_OF_AGREEMENT = 1.96  # standard deviations: 95 % of normal differences (Bland & Altman 1986)
INFANT_YEARS = 2.0
CEILING_YEARS = 17.0
TAIL = 0.05


class Errors:
    """Errors of predicted ages, and the terms that several metrics share.

    Metrics are arrays of shape (...), NaN where undefined: R2 if all true ages are equal, every
    metric if a prediction is NaN. Predictions must not be infinite.

    Args:
        true: (..., n) true ages in years.
        predicted: (..., n) predicted ages in years.
    """

    def __init__(self, true: np.ndarray, predicted: np.ndarray) -> None:
        self.true, self.predicted = true, predicted
        self.error = predicted - true

    @cached_property
    def absolute(self) -> np.ndarray:
        """(..., n) absolute errors in years."""
        absolute: np.ndarray = np.abs(self.error)
        return absolute

    @cached_property
    def median_and_p90(self) -> np.ndarray:
        """(2, ...) median and 90th percentile of the absolute error."""
        quantiles: np.ndarray = np.quantile(self.absolute, [0.5, 0.9], axis=-1)
        return quantiles

    @cached_property
    def squared(self) -> np.ndarray:
        """(...) mean squared error."""
        mean: np.ndarray = (self.error**2).mean(axis=-1)
        return mean

    @cached_property
    def bias(self) -> np.ndarray:
        """(...) mean of predicted minus true."""
        mean: np.ndarray = self.error.mean(axis=-1)
        return mean

    @cached_property
    def sd(self) -> np.ndarray:
        """(...) standard deviation of the error."""
        sd: np.ndarray = self.error.std(axis=-1, ddof=1)
        return sd

    @cached_property
    def spread(self) -> np.ndarray:
        """(...) distance of the limits of agreement from the bias."""
        spread: np.ndarray = LIMITS_OF_AGREEMENT * self.sd
        return spread

    @cached_property
    def variance(self) -> np.ndarray:
        """(...) variance of the true ages."""
        variance: np.ndarray = self.true.var(axis=-1)
        return variance

    @cached_property
    def varies(self) -> np.ndarray:
        """(...) whether the true ages differ."""
        return varies(self.true)

    @cached_property
    def sorted_squares(self) -> np.ndarray:
        """(..., n) squared errors, ascending."""
        return np.sort(self.error**2, axis=-1)


def varies(values: np.ndarray) -> np.ndarray:
    """Tell whether (..., n) values differ: the computed variance of equal values may exceed 0."""
    different: np.ndarray = (values != values[..., :1]).any(axis=-1)
    return different


def r2(ages: Errors) -> np.ndarray:
    """Return the explained share of the variance."""
    return np.where(ages.varies, 1 - ages.squared / ages.variance, np.nan)


def concordance(ages: Errors) -> np.ndarray:
    """Return the concordance correlation (Lin 1989)."""
    # squared error = var(true) + var(predicted) + bias ** 2 - 2 cov
    agreement = ages.variance + ages.predicted.var(axis=-1) + ages.bias**2
    defined = ages.varies | varies(ages.predicted) | (ages.bias != 0)
    return np.where(defined, 1 - ages.squared / agreement, np.nan)


def within(ages: Errors, months: int) -> np.ndarray:
    """Return the share of radiographs with an error of at most this number of months."""
    near = np.where(np.isnan(ages.error), np.nan, ages.absolute <= months / 12 + 1e-9)
    share: np.ndarray = near.mean(axis=-1)
    return share


def slope(ages: Errors) -> np.ndarray:
    """Return the least-squares slope of predicted on true age: 1 is ideal, 0 is constant."""
    centred = ages.true - ages.true.mean(axis=-1, keepdims=True)
    square = np.where(ages.varies, (centred**2).sum(axis=-1), np.nan)
    slope: np.ndarray = (centred * ages.predicted).sum(axis=-1) / square
    return slope


def rmse_minus_mae(ages: Errors) -> np.ndarray:
    """Return the root mean squared error minus the mean absolute error."""
    rmse, mae = np.sqrt(ages.sorted_squares.mean(axis=-1)), ages.absolute.mean(axis=-1)
    difference: np.ndarray = rmse - mae
    return difference


def share_of_tail(ages: Errors) -> np.ndarray:
    """Return the share of the squared error in the worst 5 % (28 % if errors are normal)."""
    squares = ages.sorted_squares
    n = squares.shape[-1]
    share: np.ndarray = squares[..., n - size_of_tail(n) :].sum(axis=-1) / squares.sum(axis=-1)
    return share


def size_of_tail(n: int) -> int:
    """Return the number of the worst 5 % of n radiographs, rounded up."""
    return int(np.ceil(TAIL * n))


def infant(true_years: np.ndarray) -> np.ndarray:
    """Tell which of (n,) true ages are below 2 years."""
    return true_years < INFANT_YEARS - ROUNDING_YEARS  # as of bands


def older(true_years: np.ndarray) -> np.ndarray:
    """Tell which of (n,) true ages are not below 2 years."""
    return ~infant(true_years)


def near_maturity(true_years: np.ndarray) -> np.ndarray:
    """Tell which of (n,) true ages are 17 years or more."""
    return true_years >= CEILING_YEARS - ROUNDING_YEARS
