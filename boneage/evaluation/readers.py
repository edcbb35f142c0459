"""Several readers of the same radiographs: how far they agree, and a model compared with them."""

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from boneage.data.tables.readings import LEAST_SHARED, shared_radiographs
from boneage.errors import UserError, plural
from boneage.evaluation.intervals import (
    Metrics,
    Result,
    counts,
    mean_absolute,
    paired_difference,
    with_interval,
)

MONTHS = 12


@dataclass(frozen=True)
class Comparison:
    """A model and one reader, both compared with the mean of the other readers.

    Attributes:
        reader: name of the reader who is left out of the mean.
        reader_mae: months, of the reader.
        model_mae: months, of the model on the same radiographs.
        difference: model minus reader, months, paired on the radiographs.
        inferior: False if the upper limit of the difference is below the margin, so that the model
            is no worse than the reader by more than that; True if the lower limit is above the
            margin; None if these radiographs cannot tell.
    """

    reader: str
    reader_mae: Result
    model_mae: Result
    difference: Result
    inferior: bool | None


def mean_of_others(readings: np.ndarray, reader: int) -> np.ndarray:
    """Return (n,) the mean of all readings but one reader's; NaN where no other has read.

    Args:
        readings: (n, R) years, NaN where a reader has not read a radiograph.
        reader: column of the reader.
    """
    others = np.delete(readings, reader, axis=1)
    number = np.isfinite(others).sum(axis=1)
    mean: np.ndarray = np.nansum(others, axis=1) / np.where(number, number, np.nan)
    return mean


def agreement(
    readings: np.ndarray, names: list[str], patients: np.ndarray | None = None
) -> dict[str, Result]:
    """Return the MAE and the bias of each reader against the mean of the others, in months.

    Args:
        readings: (n, R) years, NaN where a reader has not read a radiograph.
        names: R names.
        patients: (n,) numbers of the patients, as for `with_interval`.

    Raises:
        UserError: when a reader shares fewer than `LEAST_SHARED` radiographs with the others.
    """
    results: dict[str, Result] = {}
    for k, name in enumerate(names):
        shared = _shared(readings, k, name)
        error = MONTHS * (readings[:, k] - mean_of_others(readings, k))[shared]
        own = None if patients is None else patients[shared]
        measured = mae_and_bias(error, own)
        results |= {f"readers/{metric}_{name}": value for metric, value in measured.items()}
    return results


def mae_and_bias(error: np.ndarray, patients: np.ndarray | None = None) -> dict[str, Result]:
    """Return `mae_months` and `bias_months` of (n,) errors in months, with their intervals.

    Args:
        error: (n,) months.
        patients: (n,) numbers of the patients, as for `with_interval`.
    """
    return with_interval(_errors, error, patients=patients)


def reading_sd(readings: np.ndarray, patients: np.ndarray | None = None) -> Result:
    """Return the standard deviation of one reading around the true age, in months.

    The root of the mean variance within radiographs, weighted by their degrees of freedom; what
    all readers of a radiograph have in common cannot be seen from their differences.

    Args:
        readings: (n, R) years; radiographs with one reading tell nothing and are left out.
        patients: (n,) numbers of the patients.
    """
    number = np.isfinite(readings).sum(axis=1)
    several = number > 1
    chosen = readings[several] * MONTHS
    squares = np.nansum((chosen - np.nanmean(chosen, axis=1, keepdims=True)) ** 2, axis=1)
    own = None if patients is None else patients[several]
    return with_interval(_pooled_sd, squares, number[several] - 1.0, patients=own)["readers/sd"]


def single_reading_mae(sd_months: float) -> float:
    """Return the MAE, in months, of a perfect model against one reading with this error.

    The mean absolute value of a normal error: sd * sqrt(2 / pi), less if readers differ in the SD.
    No model can be seen to be better on a data set with one reading per radiograph.
    """
    return sd_months * sqrt(2 / pi)


def icc(readings: np.ndarray, patients: np.ndarray | None = None) -> Result:
    """Return ICC(2,1), absolute agreement of single readings, with its 95 % interval.

    There is no interval with several radiographs of a patient: it would be too narrow.

    Two-way random effects: Shrout & Fleiss, Psychological Bulletin 1979;86:420-428; the interval as
    in McGraw & Wong, Psychological Methods 1996;1:30-46, table 7.

    Args:
        readings: (n, R) years; only radiographs that all have read count.
        patients: (n,) numbers of the patients, if known.
    """
    from scipy.stats import f

    read_by_all = np.isfinite(readings).all(axis=1)
    complete = readings[read_by_all]
    n, k = complete.shape
    own = counts(n, None if patients is None else patients[read_by_all])
    if n < 2 or k < 2 or not np.ptp(complete):
        return {"value": None, "low": None, "high": None} | own
    mean = complete.mean()
    rows, columns = complete.mean(axis=1), complete.mean(axis=0)
    between_rows = k * ((rows - mean) ** 2).sum() / (n - 1)
    between_columns = n * ((columns - mean) ** 2).sum() / (k - 1)
    rest = ((complete - rows[:, None] - columns + mean) ** 2).sum() / ((n - 1) * (k - 1))
    below = between_rows + (k - 1) * rest + k * (between_columns - rest) / n
    value = (between_rows - rest) / below
    differ_by_a_constant, several = rest == 0, own.get("patients", n) != n
    if differ_by_a_constant or several:
        return {"value": float(value), "low": None, "high": None} | own
    ratio = between_columns / rest
    a = k * value * ratio
    b = n * (1 + (k - 1) * value) - k * value
    freedom = (k - 1) * (n - 1) * (a + b) ** 2 / ((n - 1) * a**2 + b**2)
    upper, lower = f.ppf(0.975, n - 1, freedom), f.ppf(0.975, freedom, n - 1)
    others = k * between_columns + (k * n - k - n) * rest
    low = n * (between_rows - upper * rest) / (upper * others + n * between_rows)
    high = n * (lower * between_rows - rest) / (others + n * lower * between_rows)
    return {"value": float(value), "low": float(low), "high": float(high)} | own


def compare(
    predicted: np.ndarray,
    readings: np.ndarray,
    names: list[str],
    margin_months: float,
    patients: np.ndarray | None = None,
) -> list[Comparison]:
    """Compare a model with each reader, both against the mean of the other readers.

    Non-inferiority is read from the two-sided 95 % interval of the paired difference, which is a
    one-sided test at 2.5 % (Piaggio et al., JAMA 2012;308:2594-2604).

    Args:
        predicted: (n,) years.
        readings: (n, R) years, NaN where a reader has not read a radiograph.
        names: R names.
        margin_months: how much worse than a reader still counts as no worse.
        patients: (n,) numbers of the patients.

    Raises:
        UserError: when a reader shares fewer than `LEAST_SHARED` radiographs with the others.
    """
    found = []
    for k, name in enumerate(names):
        shared = _shared(readings, k, name)
        others = mean_of_others(readings, k)[shared]
        reader = MONTHS * (readings[shared, k] - others)
        model = MONTHS * (predicted[shared] - others)
        own = None if patients is None else patients[shared]
        difference = paired_difference(mean_absolute, (reader,), (model,), patients=own)
        low, high = difference["low"], difference["high"]
        inferior = None
        if high is not None and high < margin_months:
            inferior = False
        elif low is not None and low > margin_months:
            inferior = True
        maes = [mae_and_bias(error, own)["mae_months"] for error in (reader, model)]
        found.append(Comparison(name, maes[0], maes[1], difference, inferior))
    return found


def _shared(readings: np.ndarray, reader: int, name: str) -> np.ndarray:
    """Return (n,) bool, the radiographs that a reader and at least one other have read."""
    shared = shared_radiographs(readings, reader)
    if shared.sum() < LEAST_SHARED:
        raise UserError(
            f"reader {name} shares {plural(int(shared.sum()), 'radiograph')} with the other "
            f"readers; at least {LEAST_SHARED} are needed to compare readers: leave this column out"
        )
    return shared


def _errors(error: np.ndarray) -> Metrics:
    return {"mae_months": mean_absolute(error), "bias_months": error.mean(axis=-1)}


def _pooled_sd(squares: np.ndarray, freedom: np.ndarray) -> Metrics:
    return {"readers/sd": np.sqrt(squares.sum(axis=-1) / freedom.sum(axis=-1))}
