"""The part of `metrics.json` on several readers: their agreement, and the model against them."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.readings import comparable_readers, reading_column
from boneage.evaluation.intervals import Result, counts
from boneage.evaluation.predictions import count_not_finite
from boneage.evaluation.readers import (
    MONTHS,
    agreement,
    compare,
    icc,
    mae_and_bias,
    reading_sd,
    single_reading_mae,
)


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
        bias in months against that mean, and `comparisons` (see `Comparison`). None where fewer
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
        compared = compare(predicted, readings, names, margin_months, patients)
        report["comparisons"] = [asdict(comparison) for comparison in compared]
    return report


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
