"""What a change of the picture does to predictions."""

import numpy as np
import pandas as pd

from boneage.data.patients import patient_codes
from boneage.evaluation.bootstrap import Metrics, Results, with_interval


def stress_metrics(truth: pd.DataFrame, clean: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Return metrics of changed radiographs beside those of the same ones unchanged.

    Args:
        truth: `age_years`, `stage` and, where it is known, `patient`, indexed by radiograph.
        clean: predictions of the unchanged radiographs, as in `predictions.csv`.
        changed: predictions of the changed ones, at least one; some may be missing.

    Returns:
        `metric`, `value`, `low`, `high`, `n`. Of ages in months: `mae_months`, its `difference` to
        the unchanged ones, and `change_months`, the mean absolute change of the prediction. Of
        stages: `accuracy`, its `difference`, and the share whose stage has `changed`.
    """
    truth, clean = truth.loc[changed.index], clean.loc[changed.index]
    patients = patient_codes(truth)
    found: Results = {}
    if "age_years_predicted" in changed:
        column = "age_years_predicted"
        ages = (truth["age_years"], clean[column], changed[column])
        months = (12 * age.to_numpy(float) for age in ages)
        found |= with_interval(_of_ages, *months, patients=patients)
    if "stage_predicted" in changed:
        true, before, after = (
            table.to_numpy()
            for table in (truth["stage"], clean["stage_predicted"], changed["stage_predicted"])
        )
        columns = before == true, after == true, before != after
        found |= with_interval(_of_stages, *columns, patients=patients)
    return pd.DataFrame([{"metric": name} | values for name, values in found.items()])


def _of_ages(true: np.ndarray, before: np.ndarray, after: np.ndarray) -> Metrics:
    error, error_before = np.abs(after - true), np.abs(before - true)
    return {
        "mae_months": error.mean(axis=-1),
        "mae_months_difference": (error - error_before).mean(axis=-1),
        "change_months": np.abs(after - before).mean(axis=-1),
    }


def _of_stages(right_before: np.ndarray, right: np.ndarray, moved: np.ndarray) -> Metrics:
    return {
        "accuracy": right.mean(axis=-1),
        "accuracy_difference": right.mean(axis=-1) - right_before.mean(axis=-1),
        "stage_changed": moved.mean(axis=-1),
    }
