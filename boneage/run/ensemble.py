"""The mean of several runs' predictions of each test radiograph, as a run."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.atomic import write_files, writing
from boneage.data.tables.columns import LABEL
from boneage.data.tables.readings import reading_column
from boneage.data.tables.sexes import UNKNOWN, sex_codes
from boneage.errors import UserError, join_first, plural
from boneage.evaluation.evaluate import Scored, subgroups
from boneage.evaluation.metrics import is_built_in
from boneage.evaluation.predictions import count_not_finite
from boneage.evaluation.readers import readers_report
from boneage.evaluation.run_folder import FinishedRun, hash_test_set, read_run, read_split
from boneage.run.results import metric_report, to_json
from boneage.run_files import METRICS, PREDICTIONS, SUBGROUPS
from boneage.stages import PROBABILITY
from boneage.tasks.sex import MALE_PROBABILITY, SexClassification
from boneage.weights import find_copy

log = logging.getLogger(__name__)

OF_ONE_RUN = ("anomalies", "coverage", "own_test")
TRUTH = ["id", "sex", "age_years", "stage"]


def ensemble(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Average the predictions of runs, score them, and write a run folder.

    Runs of one test fold are an ensemble. Runs of several folds are pooled: each radiograph is
    predicted only by runs that had it in their test fold.

    Args:
        folders: finished runs of one task and one set of stages.
        out: folder to write; reports and comparisons read it like a run's.

    Returns:
        The content of its `metrics.json`. Baselines of a radiograph are of the training fold
        of the first run that tested it.

    Raises:
        UserError: if a run cannot be read, is given twice or has diverged, task, data or stages
            differ, or `out` contains a run.
    """
    runs = [read_run(folder) for folder in folders]
    _require_alike(runs)
    _warn_of_absent_folds(runs)
    first = runs[0]
    if any((out / name).exists() for name in (METRICS, PREDICTIONS)):
        raise UserError(f"{out} contains a run or predictions already: choose another --out")
    of_runs = [run.metrics.get("readers", []) for run in runs]
    readers = [name for name in of_runs[0] if all(name in names for names in of_runs)]
    columns = list(dict.fromkeys(c for run in runs for c in run.metrics.get("subgroups", [])))
    readings = [reading_column(name) for name in readers]
    margin = first.metrics["options"].get("readers_margin")  # runs without readers may lack it
    predictions = _mean_predictions(runs, columns, readings)
    tasks = _scored(predictions)
    (train, _), *others = _training_folds(runs, predictions["id"])
    report = metric_report(predictions, train, first.stages, tasks, others)
    own = [name for name in first.metrics["test"] if not is_built_in(name)]
    if lost := [name for name in own if name not in report["test"]]:
        log.warning(
            "%s: metrics of a new task are not computed for mean predictions", join_first(lost)
        )
    if first.metrics.get("external"):  # whose folder does not know the training fold
        if hash_test_set(predictions) != first.metrics["test_set"]:
            raise UserError(f"{first.path} was not tested on all radiographs of the other runs")
        report["baselines"] = first.metrics["baselines"]
    metrics = {
        **{key: value for key, value in first.metrics.items() if key not in OF_ONE_RUN},
        "ensemble": [str(run.path.absolute()) for run in runs],
        "differing": _differing_options(runs),
        "partial": list(dict.fromkeys(p for run in runs for p in run.metrics.get("partial", []))),
        "subgroups": columns,
        "parameters": sum(run.metrics["parameters"] for run in runs),
        "seconds": sum(run.metrics["seconds"] for run in runs),
        "images_per_second": None,  # each run has its own
        "test_set": hash_test_set(predictions),
        "n": first.metrics["n"] | {"test": len(predictions)},
        **report,
        "readers": readers,
        "readers_report": readers_report(predictions, readers, margin),
    }
    groups = subgroups(predictions, first.stages, tasks, columns)
    contents = {
        out / METRICS: to_json(metrics),
        out / PREDICTIONS: predictions.to_csv(index=False),
        out / SUBGROUPS: groups.to_csv(index=False),
    }
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_files(contents)
    return metrics


def _training_folds(
    runs: Sequence[FinishedRun], ids: pd.Series
) -> list[tuple[pd.DataFrame, np.ndarray]]:
    """Return training folds with (n,) bool the test radiographs that their run is first to test."""
    folds, left = [], np.full(len(ids), True)
    for run in runs:
        own = left & ids.isin(run.predictions["id"]).to_numpy()
        if own.any():
            split = read_split(run.path, run.metrics)
            folds.append((split[split["fold"] == "train"], own))
            left &= ~own
    return folds


def _scored(predictions: pd.DataFrame) -> list[Scored]:
    """Return the output of the sex task, if there is one; others are scored by their columns."""
    if MALE_PROBABILITY not in predictions:
        return []
    true, predicted = sex_codes(predictions["sex"]), predictions[MALE_PROBABILITY].to_numpy(float)
    task, has_target = SexClassification(in_features=1), true != UNKNOWN
    true, predicted = true[has_target], predicted[has_target]
    return [Scored("sex", task.metrics(), true, predicted, task.constant, has_target)]


def _require_alike(runs: Sequence[FinishedRun]) -> None:
    for run in runs:
        if "ensemble" in run.metrics:
            raise UserError(f"{run.path} is a mean of runs already: give these runs themselves")
        if broken := count_not_finite(run.predictions):
            raise UserError(
                f"{run.path} has no finite prediction for "
                f"{plural(max(broken.values()), 'test radiograph')}, because the training "
                "diverged: leave this run out"
            )
    first, *others = runs
    identity = _identity(first)
    for run in others:
        for what, value in _identity(run).items():
            if value != identity[what]:
                raise UserError(
                    f"{run.path} and {first.path} differ in {what}: they cannot be averaged"
                )
    # other weights give other predictions
    if copies := find_copy([run.path / PREDICTIONS for run in runs]):
        copy, earlier = (file.parent for file in copies)
        raise UserError(f"a run is given more than once: {copy} has the predictions of {earlier}")


def _warn_of_absent_folds(runs: Sequence[FinishedRun]) -> None:
    """Say which folds are absent where some are pooled."""
    of_runs = [run.metrics["options"] for run in runs]
    (n, *others), present = ({o.get(f"data.{key}") for o in of_runs} for key in ("folds", "fold"))
    if isinstance(n, int) and not others and 1 < len(present) < n:
        absent = [str(fold) for fold in range(n) if fold not in present]
        log.warning("%d of %d folds are pooled; absent: %s", len(present), n, join_first(absent))


def _identity(run: FinishedRun) -> dict[str, Any]:
    """Return what is the same in runs that can be averaged, by name.

    `task` is the name of the chosen config, which `~tasks.stage` does not change. `tasks` are what
    was scored, as a test of an exported model has no options of its tasks.
    """
    names = {what: run.metrics.get(what) for what in ("task", "data", "stages", "external")}
    return names | {"tasks": {metric.partition("/")[0] for metric in run.metrics["test"]}}


def _differing_options(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the options in which the runs differ, in the order of the first run that has each."""
    options = [run.metrics["options"] for run in runs]
    keys = dict.fromkeys(key for of_run in options for key in of_run)
    return [key for key in keys if any(o.get(key) != options[0].get(key) for o in options)]


def _mean_predictions(
    runs: Sequence[FinishedRun], columns: Sequence[str], readings: Sequence[str]
) -> pd.DataFrame:
    """Return truth and mean prediction of every radiograph, in order of first appearance.

    Args:
        runs: the runs.
        columns: further columns that are truth, which some runs may lack.
        readings: columns of the ages that readers gave.
    """
    rows = pd.concat([run.predictions for run in runs], ignore_index=True)
    further = ["patient", *columns]  # some runs may lack them
    labels = [column for column in rows if str(column).startswith(LABEL)]
    known = [*TRUTH, *(name for name in further if name in rows), *readings, *labels]
    truth = rows.groupby("id", sort=False)[known[1:]]
    changed = truth.nunique().gt(1).any(axis=1)
    if changed.any():
        raise UserError(
            f"the runs have different labels for {changed.index[changed][0]}: they were not "
            "trained on the same table"
        )
    numbers = rows.drop(columns=known).select_dtypes("number").columns
    means = rows.groupby("id", sort=False)[list(numbers)].mean()
    table = truth.first().join(means).reset_index()
    for name in further:
        if name in table:
            table[name] = table[name].fillna("")
    if "patient" in table:
        table.insert(1, "patient", table.pop("patient"))
    probabilities = [column for column in table if str(column).startswith(PROBABILITY)]
    if probabilities:
        likeliest = table[probabilities].idxmax(axis=1)
        table["stage_predicted"] = [str(c).removeprefix(PROBABILITY) for c in likeliest]
    return table
