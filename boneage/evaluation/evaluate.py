"""The metrics of one run's predictions, by subgroup too, and of trivial baselines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from boneage.data.tables.ids import patient_codes
from boneage.data.tables.sexes import SEXES
from boneage.evaluation.gaps import in_order, levels_of
from boneage.evaluation.intervals import Result, Results, counts, with_interval
from boneage.evaluation.metric_set import MetricSet
from boneage.evaluation.metrics import AGE, CALIBRATION, FROM_AGE, HEADS, stage_metrics
from boneage.evaluation.predictions import (
    has_probability,
    stage_probability,
    truth_and_prediction,
)
from boneage.evaluation.shares import widen_mean, widen_share
from boneage.stages import ALL, BANDS, Stages

GROUP = ("band", "sex", "column", "level")  # of `subgroups.csv`


@dataclass(frozen=True)
class Scored:
    """The predictions of a task for a fold, with its metrics.

    Args:
        name: name of the task.
        metrics: metrics of the task.
        true: (m,) true values, in the order of the prediction table.
        predicted: (m,) or (m, K) predictions.
        constant: from the training fold to the best prediction without a radiograph, or None.
        has_target: (n,) bool, the m radiographs of the table with a true value; None is all.
    """

    name: str
    metrics: MetricSet
    true: np.ndarray
    predicted: np.ndarray
    constant: Callable[[pd.DataFrame], float | None] = lambda train: None
    has_target: np.ndarray | None = None

    def of(self, chosen: np.ndarray) -> "Scored":
        """Return the part for the radiographs that are True in (n,) bool `chosen`."""
        own = self.among(chosen)
        has_target = None if self.has_target is None else self.has_target[chosen]
        true, predicted = self.true[own], self.predicted[own]
        return replace(self, true=true, predicted=predicted, has_target=has_target)

    def among(self, values: np.ndarray) -> np.ndarray:
        """Return the (m,) values of (n,) that belong to radiographs with a true value."""
        return values if self.has_target is None else values[self.has_target]


def evaluate(predictions: pd.DataFrame, stages: Stages, tasks: Sequence[Scored] = ()) -> Results:
    """Return the metrics that the columns of a prediction table allow, with intervals.

    Ages are scored as `age/...`, predicted stages as `stage/...`. Without a predicted stage, the
    stage is taken from the predicted age. A table with both also has `stage_from_age/...` and
    `heads/disagreement`, the share of radiographs whose predicted stage is not that of the
    predicted age. A column with a value that is not finite has no metrics (see
    `count_not_finite`). Metrics of a new task are named `<task>/...`. Intervals resample patients
    if the table has a column `patient`, otherwise radiographs.

    Args:
        predictions: `age_years` (truth) and, if predicted, `age_years_predicted`, and
            `stage_predicted` (names) with `stage_probability_<name>`; `patient` if known.
        stages: the stages.
        tasks: the predictions of the tasks of a run.
    """
    groups = ("age", "stage", *([FROM_AGE] if "stage_predicted" in predictions else []))
    pairs = {group: truth_and_prediction(predictions, stages, group) for group in groups}
    patients = patient_codes(predictions)
    results: Results = {}
    for group, pair in pairs.items():
        if pair is not None:
            metrics = AGE if group == "age" else stage_metrics(stages.names)
            results |= score(group, metrics, *pair, patients)
    of_stage = pairs["stage"] if "stage_predicted" in predictions else None
    of_age = pairs.get(FROM_AGE)
    if of_stage is not None and has_probability(predictions):
        probability = stage_probability(predictions, stages)
        hit = probability.argmax(axis=1) == of_stage[0]
        results |= score("stage", CALIBRATION, hit, probability.max(axis=1), patients)
    if of_stage is not None and of_age is not None:
        results |= score("heads", HEADS, of_stage[1], of_age[1], patients)
    for task in tasks:
        if np.isfinite(task.predicted).all():
            results |= _missing(results, task, task.predicted, patients)
    order = list(dict.fromkeys(map(_group, results)))  # a task's own metrics join its others
    return dict(sorted(results.items(), key=lambda item: order.index(_group(item[0]))))


def _group(name: str) -> str:
    return name.partition("/")[0]


def _missing(
    results: Results, task: Scored, predicted: np.ndarray, patients: np.ndarray | None
) -> Results:
    """Return the metrics of a task that the results lack."""
    names = {f"{task.name}/{metric}" for metric in task.metrics.by_name()} - results.keys()
    patients = None if patients is None else task.among(patients)
    own = score(task.name, task.metrics, task.true, predicted, patients) if names else {}
    return {name: result for name, result in own.items() if name in names}


def score(
    group: str,
    metrics: MetricSet,
    true: np.ndarray,
    predicted: np.ndarray,
    patients: np.ndarray | None = None,
) -> Results:
    """Return metrics with their intervals: by the bootstrap, and exact for shares of 0 or 1.

    Args:
        group: the name of the task, put before those of the metrics.
        metrics: the metrics.
        true: (n,) true values.
        predicted: (n,) or (n, K) predictions.
        patients: (n,) patient numbers, as for `with_interval`.

    Returns:
        Results by name. The n of a metric is the number of radiographs that it is computed from.
    """
    described = metrics.by_name()
    bounds = {name: metric.bounds for name, metric in described.items()}
    results: Results = {}
    for part, chosen in metrics.parts(true):
        columns = true[chosen], predicted[chosen]
        own = None if patients is None else patients[chosen]
        drawn = part.for_draws_of(true[chosen])
        results |= with_interval(drawn.values, *columns, patients=own, bounds=bounds)
    shared = metrics.shared(true, predicted)

    def number(chosen: np.ndarray) -> Result:
        return counts(int(chosen.sum()), None if patients is None else patients[chosen])

    trials: Results = {}
    for metric in metrics.metrics:
        if metric.of_class is None:
            continue
        classes = shared.true if metric.of_class == "true" else shared.predicted
        for i, name in enumerate(metrics.classes):
            results[f"{metric.name}_{name}"] |= number(classes == i)
            if metric.from_share is not None:
                either = (shared.true == i) | (shared.predicted == i)
                trials[f"{metric.name}_{name}"] = number(either)
    for name, metric in described.items():
        if metric.share or metric.from_share is not None:
            widen_share(results[name], metric.from_share, trials.get(name))
    for name, metric in described.items():
        if metric.mean_of is not None:
            widen_mean(results[name], [results[f"{metric.mean_of}_{c}"] for c in metrics.classes])
    return {f"{group}/{name}": results[name] for name in described}


def baselines(
    train: pd.DataFrame,
    test: pd.DataFrame,
    stages: Stages,
    tasks: Sequence[Scored] = (),
    others: Sequence[tuple[pd.DataFrame, np.ndarray]] = (),
) -> Mapping[str, Results]:
    """Return the metrics of predictors that see no radiograph.

    Args:
        train: the training fold: `age_years`, `sex`; empty if its ages are unknown.
        test: the test fold, likewise, with `patient` if known.
        stages: the stages.
        tasks: the predictions of the tasks of a run.
        others: of pooled folds, the other training folds, each with (n,) bool the test radiographs
            that it is used for.

    Returns:
        `constant` (mean training age, and what new tasks have), `median_by_sex` (median training
        age of the sex) and `majority_class` (most frequent training stage). Without a training fold
        only `best_constant`, from the test fold itself: its median age and most frequent stage.
    """
    true = test["age_years"].to_numpy(float)
    patients = patient_codes(test)

    def of_age(guess: np.ndarray) -> Results:
        return score("age", AGE, true, guess, patients)

    def of_stage(guess: np.ndarray) -> Results:
        return score("stage", stage_metrics(stages.names), stages.index_of(true), guess, patients)

    def most_frequent(ages: np.ndarray) -> int:
        return int(np.bincount(stages.index_of(ages)).argmax())

    folds = [(train, np.full(len(true), True)), *others]
    if any(fold.empty for fold, _ in folds):
        median, stage = np.full(len(true), np.median(true)), np.full(len(true), most_frequent(true))
        return {"best_constant": of_age(median) | of_stage(stage)}
    mean, median = np.empty((2, len(true)))
    stage = np.empty(len(true), int)
    for fold, own in folds:
        ages = fold["age_years"]
        mean[own], stage[own] = ages.mean(), most_frequent(ages.to_numpy(float))
        by_sex = test["sex"][own].map(fold.groupby("sex")["age_years"].median())
        median[own] = by_sex.fillna(ages.median())
    constant = of_age(mean)
    for task in tasks:
        guess = np.full(len(true), None)
        for fold, own in folds:
            guess[own] = task.constant(fold)
        if None not in guess:
            constant |= _missing(constant, task, task.among(guess).astype(float), patients)
    return {
        "constant": constant,
        "median_by_sex": of_age(median),
        "majority_class": of_stage(stage),
    }


def subgroups(
    predictions: pd.DataFrame,
    stages: Stages,
    tasks: Sequence[Scored] = (),
    columns: Sequence[str] = (),
) -> pd.DataFrame:
    """Return every metric by age band, by sex, by both, and by the levels of columns.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.
        tasks: the predictions of the tasks of a run.
        columns: columns of the predictions to group by as well (`levels_of`).

    Returns:
        One row per group and metric: `band` (years), `sex`, `column`, `level`, `metric`, `value`,
        `low`, `high`, `n`, and `patients` if known. A group without radiographs has
        n = 0 and no value. `column` and `level` are empty for age bands and sexes.
    """
    groups = _by_band_and_sex(predictions)
    for column in columns:
        levels = levels_of(predictions[column])
        for level in in_order(levels):
            groups[ALL, ALL, column, level] = (levels == level).to_numpy()
    known: dict[bytes, Results] = {bytes(len(predictions)): {}}  # by radiographs; of none
    for chosen in groups.values():
        if chosen.tobytes() not in known:
            parts = [task.of(chosen) for task in tasks]
            known[chosen.tobytes()] = evaluate(predictions[chosen], stages, parts)
    scored = {group: known[chosen.tobytes()] for group, chosen in groups.items()}
    metrics = dict.fromkeys(metric for results in scored.values() for metric in results)
    none = counts(0, patient_codes(predictions[:0]))
    nothing = {"value": None, "low": None, "high": None, **none}
    rows = [
        {**dict(zip(GROUP, group, strict=True)), "metric": metric, **results.get(metric, nothing)}
        for group, results in scored.items()
        for metric in metrics
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "metric", *nothing])


def without_levels(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `subgroups.csv` by age band and sex; older files have no others."""
    if "column" not in groups:
        return groups
    return groups[groups["column"] == ""].drop(columns=["column", "level"])


def _by_band_and_sex(predictions: pd.DataFrame) -> dict[tuple[str, str, str, str], np.ndarray]:
    """Return the (n,) bool radiographs of each age band, of each sex, and of both together."""
    band = BANDS.index_of(predictions["age_years"].to_numpy(float))
    sex_of = predictions["sex"].to_numpy()
    sexes = [ALL, *(sex for sex in SEXES if (sex_of == sex).any())]
    groups: dict[tuple[str, str, str, str], np.ndarray] = {}
    for i, name in [(None, ALL), *enumerate(BANDS.names)]:
        for sex in sexes:
            if (name, sex) == (ALL, ALL):
                continue
            chosen = np.isin(band, i if i is not None else range(len(BANDS)))
            groups[name, sex, "", ""] = chosen & ((sex_of == sex) | (sex == ALL))
    return groups
