"""Which figures a table of predictions allows."""

from collections.abc import Collection

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from boneage.data.ids import patient_codes
from boneage.evaluation.evaluate import (
    BEYOND_ANY_AGE,
    NUMERIC,
    has_probability,
    stage_probability,
)
from boneage.evaluation.figures import age, failures, stage
from boneage.evaluation.figures.style import styled
from boneage.evaluation.intervals import Result, counts
from boneage.evaluation.numbers import FEW, is_few
from boneage.evaluation.stage import confusion, reliability
from boneage.stages import Stages


def prediction_figures(
    predictions: pd.DataFrame, stages: Stages, names: Collection[str] | None = None
) -> dict[str, Figure]:
    """Return the figures that the columns of a prediction table allow, by name.

    Radiographs without a finite prediction, or with an age that nobody reaches, are left out;
    nothing is drawn where none is left.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.
        names: which of them; None is all.
    """
    numeric = [column for column in predictions if str(column).startswith(NUMERIC)]
    drawn = (predictions[numeric].abs() <= BEYOND_ANY_AGE).all(axis=1)  # and finite, not NaN
    table = predictions[drawn]
    figures: dict[str, Figure] = {}
    with styled():
        if len(table) and "age_years_predicted" in table:
            figures |= _age_figures(table, stages)
        if len(table) and "stage_predicted" in table:
            figures |= _stage_figures(table, stages)
    return {name: figure for name, figure in figures.items() if names is None or name in names}


def _age_figures(table: pd.DataFrame, stages: Stages) -> dict[str, Figure]:
    true = table["age_years"].to_numpy(float)
    predicted = table["age_years_predicted"].to_numpy(float)
    figures = {
        "scatter": age.scatter(true, predicted, stages),
        "bland_altman": age.bland_altman(true, predicted),
        "residuals": failures.residuals(true, predicted, table["sex"].to_numpy(str)),
    }
    if "stage_predicted" not in table:
        figures |= _hit_figures(true, stages.of(predicted), stages, patient_codes(table))
    return figures


def _stage_figures(table: pd.DataFrame, stages: Stages) -> dict[str, Figure]:
    true_age = table["age_years"].to_numpy(float)
    predicted = table["stage_predicted"].map(stages.names.index).to_numpy()
    figures = _hit_figures(true_age, predicted, stages, patient_codes(table))
    if has_probability(table):
        true, probability = stages.of(true_age), stage_probability(table, stages)
        confidence, hit = probability.max(axis=1), probability.argmax(axis=1) == true
        figures["reliability"] = stage.reliability_diagram(*reliability(confidence, hit), FEW)
        figures["precision_recall"] = stage.precision_recall(probability, true, stages.names)
    return figures


def _hit_figures(
    true_age: np.ndarray, predicted: np.ndarray, stages: Stages, patients: np.ndarray | None
) -> dict[str, Figure]:
    """Return what predicted stages allow, with or without probabilities."""
    true = stages.of(true_age)
    few = [is_few(_of_stage(true == i, patients)) for i in range(len(stages))]
    table = confusion(true, predicted, len(stages))
    figures = {"confusion": stage.confusion_matrix(table, stages.names, np.array(few))}
    if stages.edges:
        hit = predicted == true
        figures["error_near_edge"] = failures.error_near_edge(true_age, hit, stages, patients)
    return figures


def _of_stage(chosen: np.ndarray, patients: np.ndarray | None) -> Result:
    return counts(int(chosen.sum()), None if patients is None else patients[chosen])
