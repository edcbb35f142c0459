"""Measure how much of the built-in model's error comes from readings on the ages of the atlas.

python studies/rsna/atlas.py /path/to/rsna

Readings are ages of the plates that a radiograph resembles. The age with the smallest expected
absolute error is therefore a median of such readings: here of the training radiographs of the same
sex, weighted by a normal density around the predicted age. Its standard deviation is chosen on the
validation radiographs. Writes errors and paired differences on the test radiographs to atlas.json.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from boneage import Predictor
from boneage.data.layouts import read_source
from boneage.evaluation.intervals import Metrics, paired_difference, with_interval
from boneage.predict.onnx_model import OnnxModel
from boneage.run.results import write_json
from boneage.weights import BUILTIN

SCALES = range(1, 13)  # months, standard deviation
COMMON = 12  # most frequent readings of a sex


def metrics(true: np.ndarray, predicted: np.ndarray) -> Metrics:
    """Return errors of (..., n) ages in months."""
    error = np.abs(predicted - true)
    return {
        "mae_months": error.mean(axis=-1),
        "rmse_months": np.sqrt((error**2).mean(axis=-1)),
        "within_12_months": (error <= 12).mean(axis=-1),
    }


def to_readings(table: pd.DataFrame, training: pd.DataFrame, scale: float) -> np.ndarray:
    """Return the (n,) median reading in months of the training radiographs near each prediction."""
    readings = dict(iter(training.groupby("sex")["age_months"]))
    medians = []
    for predicted, sex in zip(table["predicted"], table["sex"], strict=True):
        ages = np.sort(readings[sex].to_numpy())
        weights = np.exp(-0.5 * ((ages - predicted) / scale) ** 2).cumsum()
        medians.append(ages[np.searchsorted(weights, weights[-1] / 2)])
    return np.array(medians)


def predicted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the radiographs with their `predicted` ages in months."""
    answers = Predictor()(list(table["path"]), sex=list(table["sex"]))
    return table.assign(predicted=[12 * answer.age_years for answer in answers])


def main(root: Path) -> None:
    """Choose the scale, and measure."""
    ids = OnnxModel(BUILTIN).contract["radiographs"]
    table = read_source(root)
    seen, chosen_on = table["id"].isin(ids["train"]), table["id"].isin(ids["val"])
    training = table[seen & ~chosen_on]
    validation, test = (predicted(table[rows]) for rows in (chosen_on, ~seen))
    errors = {
        scale: np.abs(to_readings(validation, training, scale) - validation["age_months"]).mean()
        for scale in SCALES
    }
    best = min(errors, key=errors.__getitem__)
    true, age = (test[name].to_numpy(float) for name in ("age_months", "predicted"))
    reading = to_readings(test, training, best)
    measured = {
        "scale_months": best,
        "validation_mae_months": errors[best],
        "share_on_common_readings": {
            sex: ages.value_counts(normalize=True)[:COMMON].sum()
            for sex, ages in training.groupby("sex")["age_months"]
        },
        "age": with_interval(metrics, true, age),
        "reading": with_interval(metrics, true, reading),
        "difference": {
            name: paired_difference(
                lambda *columns, name=name: metrics(*columns)[name], (true, age), (true, reading)
            )
            for name in metrics(true, age)
        },
    }
    write_json(Path(__file__).with_name("atlas.json"), measured)
    print(measured)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
