"""What the columns of a prediction table (`predictions.csv`) say."""

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.stages import PROBABILITY, Stages

PREDICTED_PREFIXES = (PREDICTED_AGE, PROBABILITY)  # beginnings of columns
BEYOND_ANY_AGE = 150.0  # years, positive or negative: larger ages are from a diverged model


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


def has_probability(predictions: pd.DataFrame) -> bool:
    """Tell whether a prediction table contains probabilities of the stages."""
    return any(str(column).startswith(PROBABILITY) for column in predictions)


def stage_probability(predictions: pd.DataFrame, stages: Stages) -> np.ndarray:
    """Return (n, K) probabilities of the stages, in the order of the stages."""
    columns = [PROBABILITY + name for name in stages.names]
    return predictions[columns].to_numpy(float)
