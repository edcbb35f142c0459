"""The metrics of one run's predictions, and of trivial baselines on the same radiographs."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from boneage.evaluation.metrics import age_metrics, stage_metrics, with_interval
from boneage.stages import Stages

Results = dict[str, dict[str, float | int | None]]


def evaluate(predictions: pd.DataFrame, stages: Stages) -> Results:
    """Return the metrics that the columns of a prediction table allow, with intervals.

    Ages are scored as `age/...`. `stage/...` scores the predicted stage; a table without one is
    scored by its thresholded age, and a table with both has `stage_from_age/...` as well.

    Args:
        predictions: `age_years` (truth) and, as far as predicted, `age_years_predicted` and
            `stage_predicted` (names).
        stages: the stages.
    """
    true_age = predictions["age_years"].to_numpy(float)
    results: Results = {}
    if "stage_predicted" in predictions:
        stage = predictions["stage_predicted"].map(stages.names.index).to_numpy()
        results |= score_stage(true_age, stage, stages)
    if "age_years_predicted" in predictions:
        age = predictions["age_years_predicted"].to_numpy(float)
        results = score_age(true_age, age) | results
        from_age = score_stage(true_age, stages.of(age), stages)
        if "stage_predicted" in predictions:
            from_age = {name.replace("stage", "stage_from_age"): m for name, m in from_age.items()}
        results |= from_age
    return results


def score_age(true: np.ndarray, predicted: np.ndarray) -> Results:
    """Return the age metrics of (n,) ages in years, with intervals."""
    return with_interval(age_metrics, true, predicted)


def score_stage(true_age: np.ndarray, predicted: np.ndarray, stages: Stages) -> Results:
    """Return the stage metrics of (n,) true ages in years and predicted stage indices.

    The n of a recall is the number of radiographs of that stage.
    """
    true = stages.of(true_age)
    results = with_interval(partial(stage_metrics, names=stages.names), true, predicted)
    for index, name in enumerate(stages.names):
        results[f"stage/recall_{name}"]["n"] = int((true == index).sum())
    for name in ("accuracy", *(f"recall_{name}" for name in stages.names)):
        _open_collapsed(results[f"stage/{name}"])
    return results


def _open_collapsed(share: dict[str, float | int | None]) -> None:
    """Give a share of exactly 0 or 1 its exact interval (Clopper & Pearson 1934).

    No bootstrap draw differs from it, which says nothing: 0 of 9 is compatible with 34 %.
    """
    tail = 0.025 ** (1 / max(1, share["n"] or 0))
    if share["value"] == 0:
        share["high"] = 1 - tail
    elif share["value"] == 1:
        share["low"] = tail


def baselines(train: pd.DataFrame, test: pd.DataFrame, stages: Stages) -> Mapping[str, Results]:
    """Return the metrics of predictors that see no radiograph.

    Args:
        train: the training fold: `age_years`, `sex`.
        test: the test fold, likewise.
        stages: the stages.

    Returns:
        `constant` (mean training age), `median_by_sex` (median training age of the sex) and
        `majority_class` (most frequent training stage).
    """
    true = test["age_years"].to_numpy(float)
    by_sex = test["sex"].map(train.groupby("sex")["age_years"].median())
    median = by_sex.fillna(train["age_years"].median()).to_numpy(float)
    majority = np.bincount(stages.of(train["age_years"].to_numpy())).argmax()
    return {
        "constant": score_age(true, np.full(len(true), train["age_years"].mean())),
        "median_by_sex": score_age(true, median),
        "majority_class": score_stage(true, np.full(len(true), majority), stages),
    }
