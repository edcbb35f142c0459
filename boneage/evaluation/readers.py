"""Several readers of the same radiographs: how far they agree, and a model compared with them."""

from collections.abc import Sequence
from math import pi, sqrt
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.readings import comparable_readers, reading_column, shared_radiographs
from boneage.evaluation.intervals import (
    ROUNDING,
    Metrics,
    Result,
    counts,
    mean_absolute,
    paired_difference,
    with_interval,
)
from boneage.evaluation.predictions import count_not_finite

MONTHS = 12


def readers_report(
    predictions: pd.DataFrame, readers: Sequence[str], margin_months: float
) -> dict[str, Any] | None:
    """Compare readers with each other and a model with them, on the radiographs of a test.

    Args:
        predictions: a `reading_column` for each reader, `age_years_predicted` if ages are
            predicted, and `patient` where it is known.
        readers: their names.
        margin_months: how much worse than a reader still counts as no worse.

    Returns:
        `names` of the readers compared; `left_out`, of the others the number of radiographs
        shared; `margin_months`; `agreement` of each reader with the mean of the others (see
        `agreement`); `sd_months` of one reading; `icc`, ICC(2,1); `perfect_mae_months`, the MAE
        that a model without error would have against `one_reading` and against the
        `mean_of_readings` of a radiograph; and of a model that predicts ages `model`, its MAE and
        bias in months against that mean, and `comparisons` (see `compare`). None where fewer
        than two readers can be compared.
    """
    names, left_out = comparable_readers(predictions, readers)
    if not names:
        return None
    readings = predictions[[reading_column(name) for name in names]].to_numpy(float)
    patients = patient_codes(predictions)
    sd = reading_sd(readings, patients)
    report: dict[str, Any] = {
        "names": names,
        "left_out": left_out,
        "margin_months": margin_months,
        "agreement": agreement(readings, names, patients),
        "sd_months": sd,
        "icc": icc(readings, patients),
        "perfect_mae_months": _perfect_mae(sd, readings, patients),
    }
    if PREDICTED_AGE in predictions and PREDICTED_AGE not in count_not_finite(predictions):
        predicted = predictions[PREDICTED_AGE].to_numpy(float)
        read = np.isfinite(readings).any(axis=1)
        error = MONTHS * (predicted[read] - np.nanmean(readings[read], axis=1))
        own = None if patients is None else patients[read]
        report["model"] = mae_and_bias(error, own)
        report["comparisons"] = compare(predicted, readings, names, margin_months, patients)
    return report


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
    """
    results: dict[str, Result] = {}
    for k, name in enumerate(names):
        shared = shared_radiographs(readings, k)
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

    There is no value for fewer than two radiographs or readers, or if all readings are equal. There
    is no interval if readers differ by a constant only, or with several radiographs of a patient:
    it would be too narrow.

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
    differ_by_a_constant, several = rest < ROUNDING**2, own.get("patients", n) != n
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
) -> list[dict[str, Any]]:
    """Compare a model with each reader, both against the mean of the other readers.

    Non-inferiority is read from the two-sided 95 % interval of the paired difference, which is a
    one-sided test at 2.5 % (Piaggio et al., JAMA 2012;308:2594-2604).

    Args:
        predicted: (n,) years.
        readings: (n, R) years, NaN where a reader has not read a radiograph.
        names: R names.
        margin_months: how much worse than a reader still counts as no worse.
        patients: (n,) numbers of the patients.

    Returns:
        Per reader `reader` (the name), `reader_mae` and `model_mae` on the same radiographs, and
        their paired `difference`, model minus reader, all in months. `inferior` is False if its
        upper limit is below the margin, so that the model is no worse than the reader by more than
        that; True if its lower limit is above the margin; None if these radiographs cannot tell.
    """
    comparisons = []
    for k, name in enumerate(names):
        shared = shared_radiographs(readings, k)
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
        comparisons.append(
            {
                "reader": name,
                "reader_mae": mae_and_bias(reader, own)["mae_months"],
                "model_mae": mae_and_bias(model, own)["mae_months"],
                "difference": difference,
                "inferior": inferior,
            }
        )
    return comparisons


def _perfect_mae(
    sd: Result, readings: np.ndarray, patients: np.ndarray | None
) -> dict[str, Result]:
    """Return the MAE of a model without error, with the limits that follow from those of the SD.

    The mean of k readings has an SD smaller by the square root of k.
    """
    number = np.isfinite(readings).sum(axis=1)
    read = number > 0
    share = float((1 / np.sqrt(number[read])).mean())

    def scaled(factor: float) -> Result:
        limits = {key: sd[key] for key in ("value", "low", "high")}
        mae = {k: None if v is None else factor * single_reading_mae(v) for k, v in limits.items()}
        return sd | mae

    of_read = counts(int(read.sum()), None if patients is None else patients[read])
    return {"one_reading": scaled(1.0), "mean_of_readings": scaled(share) | of_read}


def _errors(error: np.ndarray) -> Metrics:
    return {"mae_months": mean_absolute(error), "bias_months": error.mean(axis=-1)}


def _pooled_sd(squares: np.ndarray, freedom: np.ndarray) -> Metrics:
    return {"readers/sd": np.sqrt(squares.sum(axis=-1) / freedom.sum(axis=-1))}
