"""The difference of two runs that were tested on the same radiographs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.ids import patient_codes
from boneage.evaluation.comparison.group import DEFAULT_SORT, Group
from boneage.evaluation.intervals import Result, paired_difference
from boneage.evaluation.metrics import AGE, stage_metrics
from boneage.evaluation.run_folder import FinishedRun

Columns = tuple[np.ndarray, np.ndarray]
ACROSS_TASKS = ("age/mae_months", "stage/accuracy", "stage/balanced_accuracy")


def differences_within(group: Group) -> list[dict[str, Any]]:
    """Return the difference of each run of a group from the first, on the same draws.

    The metric is the one the group is sorted by. If that is not computed over all radiographs, it
    is the MAE or the balanced accuracy.

    Returns:
        Per run except the first: `run`, `reference`, `metric`, `difference` (second minus first,
        with `value`, `low`, `high`, `p`, `n`).
    """
    rows = []
    for run in group.runs[1:]:
        metrics = dict.fromkeys((group.sort, *DEFAULT_SORT))
        candidates = (_row(group.runs[0], run, metric) for metric in metrics)
        rows += [row for row in candidates if row is not None][:1]
    return rows


def differences_across(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the differences between the first runs of the tasks, in the metrics they share.

    Args:
        groups: the tasks of one test set.

    Returns:
        Rows as in `differences_within`.
    """
    firsts = [group.runs[0] for group in groups]
    rows = (
        _row(reference, run, metric)
        for metric in ACROSS_TASKS
        for reference, run in combinations(firsts, 2)
    )
    return [row for row in rows if row is not None]


def _row(reference: FinishedRun, run: FinishedRun, metric: str) -> dict[str, Any] | None:
    difference = difference_of(reference, run, metric)
    if difference is None:
        return None
    return {"run": run, "reference": reference, "metric": metric, "difference": difference}


def difference_of(first: FinishedRun, second: FinishedRun, metric: str) -> Result | None:
    """Return second minus first in one metric; None if a run lacks the predictions for it."""
    ids = first.predictions["id"]
    if set(ids) != set(second.predictions["id"]):  # edited by hand: the hash is from the test
        return None
    columns = [
        _columns(run, run.predictions.set_index("id").loc[ids], metric) for run in (first, second)
    ]
    if columns[0] is None or columns[1] is None:
        return None
    tables = [run.predictions for run in (first, second) if "patient" in run.predictions]
    patients = patient_codes(tables[0].set_index("id").loc[ids]) if tables else None
    name = metric.split("/", 1)[1]
    metrics = AGE if metric.startswith("age/") else stage_metrics(first.stages.names)
    scored = metrics.number(name).for_draws_of(columns[0][0])
    if any(entry.among is not None for entry in scored.metrics) or name not in scored.by_name():
        return None

    def score(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return scored.values(true, predicted)[name]

    return paired_difference(score, columns[0], columns[1], patients)


def _columns(run: FinishedRun, table: pd.DataFrame, metric: str) -> Columns | None:
    """Return the truth and prediction that a metric is computed from."""
    true_age = table["age_years"].to_numpy(float)
    age = None
    if "age_years_predicted" in table:
        age = table["age_years_predicted"].to_numpy(float)
        if not np.isfinite(age).all():
            return None
    if metric.startswith("age/"):
        return None if age is None else (true_age, age)
    true = run.stages.index_of(true_age)
    if metric.startswith("stage/") and "stage_predicted" in table:
        return true, table["stage_predicted"].map(run.stages.names.index).to_numpy()
    if metric.startswith(("stage/", "stage_from_age/")) and age is not None:
        return true, run.stages.index_of(age)
    return None
