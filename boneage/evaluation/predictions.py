"""What a prediction table (`predictions.csv`) says: its columns, and its largest errors."""

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.evaluation.metrics import FROM_AGE
from boneage.stages import PROBABILITY, Stages

PREDICTED_PREFIXES = (PREDICTED_AGE, PROBABILITY)  # beginnings of columns
BEYOND_ANY_AGE = 150.0  # years, positive or negative: larger ages are from a diverged model
MOST_CASES = 12  # of each kind


def count_not_finite(predictions: pd.DataFrame) -> dict[str, int]:
    """Return how many predictions of a diverged model are not finite, by column."""
    columns = [str(c) for c in predictions if str(c).startswith(PREDICTED_PREFIXES)]
    counts = {c: int((~np.isfinite(predictions[c].to_numpy(float))).sum()) for c in columns}
    return {column: count for column, count in counts.items() if count}


def has_scorable_stage(predictions: pd.DataFrame) -> bool:
    """Tell whether a prediction table has predicted stages, and all probabilities are finite."""
    broken = count_not_finite(predictions)
    return "stage_predicted" in predictions and not any("stage" in column for column in broken)


def error_months(predictions: pd.DataFrame) -> np.ndarray:
    """Return (n,) predicted minus true age in months."""
    error: np.ndarray = 12 * (predictions[PREDICTED_AGE] - predictions["age_years"]).to_numpy(float)
    return error


def predicted_stage(predictions: pd.DataFrame, stages: Stages) -> np.ndarray:
    """Return (n,) indices of the predicted stages, or of the stages of the predicted ages.

    Raises:
        KeyError: if the table has neither stages nor ages.
    """
    if "stage_predicted" not in predictions:
        return stages.index_of(predictions[PREDICTED_AGE].to_numpy(float))
    return predictions["stage_predicted"].map(stages.names.index).to_numpy()


def truth_and_prediction(
    predictions: pd.DataFrame, stages: Stages, group: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the (n,) truth and (n,) predictions that the metrics of a group are computed from.

    Args:
        predictions: as for `evaluate`.
        stages: the stages.
        group: "age" (years), "stage" (indices; of the predicted ages where no stage is predicted)
            or "stage_from_age".

    Returns:
        None for any other group, if the group was not predicted, and if a prediction is not finite.
    """
    if group not in ("age", "stage", FROM_AGE):
        return None
    true_age = predictions["age_years"].to_numpy(float)
    true_stage = stages.index_of(true_age)
    if group == "stage" and "stage_predicted" in predictions:
        scorable = has_scorable_stage(predictions)
        return (true_stage, predicted_stage(predictions, stages)) if scorable else None
    if PREDICTED_AGE not in predictions or PREDICTED_AGE in count_not_finite(predictions):
        return None
    age = predictions[PREDICTED_AGE].to_numpy(float)
    return (true_age, age) if group == "age" else (true_stage, stages.index_of(age))


def has_probability(predictions: pd.DataFrame) -> bool:
    """Tell whether a prediction table contains probabilities of the stages."""
    return any(str(column).startswith(PROBABILITY) for column in predictions)


def stage_probability(predictions: pd.DataFrame, stages: Stages) -> np.ndarray:
    """Return (n, K) probabilities of the stages, in the order of the stages."""
    columns = [PROBABILITY + name for name in stages.names]
    return predictions[columns].to_numpy(float)


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
