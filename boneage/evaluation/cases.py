"""The radiographs with the largest errors, and typical ones for comparison."""

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.evaluation.predictions import has_probability, stage_probability
from boneage.stages import Stages

MOST_CASES = 12  # of each kind


def pick_cases(predictions: pd.DataFrame, stages: Stages, k: int = MOST_CASES) -> pd.DataFrame:
    """Return the k worst radiographs and the k around the median, the worst first.

    The error of a radiograph is that of `case_errors`.

    Args:
        predictions: as for `evaluate`.
        stages: the stages.
        k: largest number of each kind, at most half of all radiographs; none is in both.

    Returns:
        Their rows with `kind` ("worst" or "median") as first column; empty if neither an age nor
        stage probabilities are predicted.
    """
    errors = case_errors(predictions, stages)
    if errors is None:
        return predictions.iloc[:0].assign(kind=[])
    order = worst_first(errors)
    k = min(k, len(order) // 2)
    worst, rest = order[:k], order[k:]
    start = max(0, min(len(order) // 2 - len(worst) - k // 2, len(rest) - k))
    chosen = np.concatenate([worst, rest[start : start + k]])
    cases = predictions.iloc[chosen].copy()
    cases.insert(0, "kind", ["worst"] * len(worst) + ["median"] * (len(chosen) - len(worst)))
    return cases


def worst_first(errors: np.ndarray) -> np.ndarray:
    """Return the positions of (n,) errors, the largest first; undefined ones count as infinite."""
    return np.argsort(-np.nan_to_num(errors, nan=np.inf), kind="stable")


def case_errors(predictions: pd.DataFrame, stages: Stages) -> np.ndarray | None:
    """Return the (n,) error of each prediction; None if it cannot be computed.

    It is the absolute error of the age in years or, without a predicted age, 1 minus the predicted
    probability of the true stage.
    """
    true_age = predictions["age_years"].to_numpy(float)
    if PREDICTED_AGE in predictions:
        error: np.ndarray = np.abs(predictions[PREDICTED_AGE].to_numpy(float) - true_age)
        return error
    if not has_probability(predictions):
        return None
    probability = stage_probability(predictions, stages)
    of_true_stage: np.ndarray = probability[np.arange(len(probability)), stages.index_of(true_age)]
    return 1 - of_true_stage
