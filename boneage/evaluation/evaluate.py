"""The metrics of one run's predictions, by subgroup too, and of trivial baselines."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from boneage.data.ids import patient_codes
from boneage.data.sexes import SEXES
from boneage.evaluation.age import WITHIN_MONTHS, age_metrics
from boneage.evaluation.failures import failure_metrics
from boneage.evaluation.intervals import (
    Metrics,
    Results,
    counts,
    open_mean,
    open_share,
    with_interval,
)
from boneage.evaluation.stage import calibration_metrics, stage_metrics
from boneage.stages import ALL, BANDS, Stages

PROBABILITY = "stage_probability_"
NUMERIC = ("age_years_predicted", PROBABILITY)  # beginnings of columns
BEYOND_ANY_AGE = 150.0  # years, to either side: what a diverged model predicts


def evaluate(predictions: pd.DataFrame, stages: Stages) -> Results:
    """Return the metrics that the columns of a prediction table allow, with intervals.

    Ages are scored as `age/...`. `stage/...` scores the predicted stage; a table without one is
    scored by its thresholded age, and a table with both has `stage_from_age/...` and
    `heads/disagreement` as well, the share whose predicted stage is not that of the predicted age.
    A column that holds anything but finite numbers has no metrics (see `count_not_finite`).
    Intervals resample patients where the table has a column `patient`, else radiographs.

    Args:
        predictions: `age_years` (truth) and, as far as predicted, `age_years_predicted`, and
            `stage_predicted` (names) with `stage_probability_<name>`; `patient` where it is known.
        stages: the stages.
    """
    broken = count_not_finite(predictions)
    true_age = predictions["age_years"].to_numpy(float)
    patients = patient_codes(predictions)
    results: Results = {}
    stage = age = None
    if "stage_predicted" in predictions and not any("stage" in column for column in broken):
        stage = predictions["stage_predicted"].map(stages.names.index).to_numpy()
        results |= score_stage(true_age, stage, stages, patients)
        if has_probability(predictions):
            results |= _score_calibration(predictions, stages)
    if "age_years_predicted" in predictions and "age_years_predicted" not in broken:
        age = predictions["age_years_predicted"].to_numpy(float)
        results = score_age(true_age, age, patients) | results
        from_age = score_stage(true_age, stages.of(age), stages, patients)
        if "stage_predicted" in predictions:
            from_age = {name.replace("stage", "stage_from_age"): m for name, m in from_age.items()}
        results |= from_age
    if stage is not None and age is not None:
        results |= with_interval(_disagreement, stage, stages.of(age), patients=patients)
        open_share(results["heads/disagreement"])
    return results


def count_not_finite(predictions: pd.DataFrame) -> dict[str, int]:
    """Return how many radiographs a diverged model gave no finite number, by predicted column."""
    columns = [str(c) for c in predictions if str(c).startswith(NUMERIC)]
    counts = {c: int((~np.isfinite(predictions[c].to_numpy(float))).sum()) for c in columns}
    return {column: count for column, count in counts.items() if count}


def has_probability(predictions: pd.DataFrame) -> bool:
    """Tell whether a prediction table holds the probabilities of the stages."""
    return any(str(column).startswith(PROBABILITY) for column in predictions)


def stage_probability(predictions: pd.DataFrame, stages: Stages) -> np.ndarray:
    """Return (n, K) probabilities of the stages, in the order of the stages."""
    columns = [PROBABILITY + name for name in stages.names]
    return predictions[columns].to_numpy(float)


def score_age(
    true: np.ndarray, predicted: np.ndarray, patients: np.ndarray | None = None
) -> Results:
    """Return the age metrics of (n,) ages in years, with intervals (see `with_interval`)."""
    results = with_interval(age_metrics, true, predicted, patients=patients)
    for months in WITHIN_MONTHS:
        open_share(results[f"age/within_{months}_months"])
    return results | failure_metrics(true, predicted, patients)


def score_stage(
    true_age: np.ndarray,
    predicted: np.ndarray,
    stages: Stages,
    patients: np.ndarray | None = None,
) -> Results:
    """Return the stage metrics of (n,) true ages in years and predicted stage indices.

    The n of a recall and of an F1 is the number of radiographs of that stage, the n of a precision
    the number that were predicted to be of it.
    """
    true = stages.of(true_age)
    present = np.bincount(true, minlength=len(stages)) > 0
    metrics = partial(stage_metrics, names=stages.names, present=present)
    results = with_interval(metrics, true, predicted, patients=patients)
    open_share(results["stage/accuracy"])
    for index, name in enumerate(stages.names):
        for metric, classes in (("recall", true), ("f1", true), ("precision", predicted)):
            chosen = classes == index
            own = None if patients is None else patients[chosen]
            results[f"stage/{metric}_{name}"] |= counts(int(chosen.sum()), own)
        open_share(results[f"stage/recall_{name}"])
        open_share(results[f"stage/precision_{name}"])
    recalls = [results[f"stage/recall_{name}"] for name in stages.names]
    open_mean(results["stage/balanced_accuracy"], recalls)
    return results


def _score_calibration(predictions: pd.DataFrame, stages: Stages) -> Results:
    probability = stage_probability(predictions, stages)
    hit = probability.argmax(axis=1) == stages.of(predictions["age_years"].to_numpy(float))
    patients = patient_codes(predictions)
    return with_interval(calibration_metrics, probability.max(axis=1), hit, patients=patients)


def _disagreement(stage: np.ndarray, stage_of_age: np.ndarray) -> Metrics:
    return {"heads/disagreement": (stage != stage_of_age).mean(axis=-1)}


def baselines(train: pd.DataFrame, test: pd.DataFrame, stages: Stages) -> Mapping[str, Results]:
    """Return the metrics of predictors that see no radiograph.

    Args:
        train: the training fold: `age_years`, `sex`.
        test: the test fold, likewise, with `patient` where it is known.
        stages: the stages.

    Returns:
        `constant` (mean training age), `median_by_sex` (median training age of the sex) and
        `majority_class` (most frequent training stage).
    """
    true = test["age_years"].to_numpy(float)
    by_sex = test["sex"].map(train.groupby("sex")["age_years"].median())
    median = by_sex.fillna(train["age_years"].median()).to_numpy(float)
    patients = patient_codes(test)
    majority = np.bincount(stages.of(train["age_years"].to_numpy())).argmax()
    mean = np.full(len(true), train["age_years"].mean())
    return {
        "constant": score_age(true, mean, patients),
        "median_by_sex": score_age(true, median, patients),
        "majority_class": score_stage(true, np.full(len(true), majority), stages, patients),
    }


def subgroups(predictions: pd.DataFrame, stages: Stages) -> pd.DataFrame:
    """Return every metric of every age band, of every sex, and of both together.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.

    Returns:
        One row per group and metric: `band` (years), `sex`, `metric`, `value`, `low`, `high`, `n`,
        and `patients` where these are known; a group without radiographs has n = 0 and no value.
    """
    band = pd.Series(BANDS.of(predictions["age_years"].to_numpy(float)), index=predictions.index)
    sexes = [ALL, *(sex for sex in SEXES if (predictions["sex"] == sex).any())]
    scored: dict[tuple[str, str], Results] = {}
    for i, name in [(None, ALL), *enumerate(BANDS.names)]:
        for sex in sexes:
            in_band = band == i if i is not None else pd.Series(True, index=predictions.index)
            chosen = predictions[in_band & ((predictions["sex"] == sex) | (sex == ALL))]
            if (name, sex) != (ALL, ALL):
                scored[name, sex] = evaluate(chosen, stages) if len(chosen) else {}
    metrics = dict.fromkeys(metric for results in scored.values() for metric in results)
    none = counts(0, patient_codes(predictions[:0]))
    nothing = {"value": None, "low": None, "high": None, **none}
    rows = [
        {"band": band, "sex": sex, "metric": metric, **results.get(metric, nothing)}
        for (band, sex), results in scored.items()
        for metric in metrics
    ]
    return pd.DataFrame(rows, columns=["band", "sex", "metric", *nothing])
