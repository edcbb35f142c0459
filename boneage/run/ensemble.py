"""Several runs as one: the mean of their predictions of each test radiograph."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from boneage.errors import UserError, first_five
from boneage.evaluation.evaluate import subgroups
from boneage.evaluation.run_folder import (
    METRICS,
    PREDICTIONS,
    FinishedRun,
    hash_test_set,
    read_csv,
    read_run,
)
from boneage.run.results import metric_report, write_json

OF_ONE_RUN = ("anomalies", "own_test")  # of an external test
TRUTH = ["id", "sex", "age_years", "stage"]


def ensemble(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Average the predictions of runs, score them, and write a run folder.

    Runs of one test fold are an ensemble. Runs of several folds are pooled: each radiograph is
    predicted by the runs that it was a test radiograph of, so by none that has seen it.

    Args:
        folders: finished runs of one task and one set of stages.
        out: folder to write; reports and comparisons read it like a run's.

    Returns:
        What its `metrics.json` holds. The baselines are those of the first run's training fold.

    Raises:
        UserError: when a run cannot be read or is given twice, runs do not fit together, or `out`
            holds a run.
    """
    runs = [read_run(folder) for folder in folders]
    places = [run.path.resolve() for run in runs]
    if twice := [str(place) for place in dict.fromkeys(places) if places.count(place) > 1]:
        raise UserError(f"the same run is given more than once: {first_five(twice)}")
    first = runs[0]
    for run in runs[1:]:
        for what in ("task", "data", "stages", "external"):
            if run.metrics.get(what) != first.metrics.get(what):
                raise UserError(
                    f"{run.path} and {first.path} differ in {what}: they cannot be averaged"
                )
    if (out / METRICS).exists():
        raise UserError(f"{out} holds a run already: choose another --out")
    predictions = _mean_predictions(runs)
    split = read_csv(first.path / "split.csv")
    report = metric_report(predictions, split[split["fold"] == "train"], first.stages)
    if first.metrics.get("external"):  # whose folder does not know the training fold
        if hash_test_set(predictions) != first.metrics["test_set"]:
            raise UserError(f"{first.path} was not tested on all radiographs of the other runs")
        report["baselines"] = first.metrics["baselines"]
    metrics = {
        **{key: value for key, value in first.metrics.items() if key not in OF_ONE_RUN},
        "ensemble": [str(run.path) for run in runs],
        "parameters": sum(run.metrics["parameters"] for run in runs),
        "seconds": sum(run.metrics["seconds"] for run in runs),
        "test_set": hash_test_set(predictions),
        "n": first.metrics["n"] | {"test": len(predictions)},
        **report,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        predictions.to_csv(out / PREDICTIONS, index=False)
        subgroups(predictions, first.stages).to_csv(out / "subgroups.csv", index=False)
        write_json(out / METRICS, metrics)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    return metrics


def _mean_predictions(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Return truth and mean prediction of every radiograph, in the order they first come in."""
    rows = pd.concat([run.predictions for run in runs], ignore_index=True)
    known = [*TRUTH, *(["patient"] if "patient" in rows else [])]  # some runs may not know it
    truth = rows.groupby("id", sort=False)[known[1:]]
    changed = truth.nunique().gt(1).any(axis=1)
    if changed.any():
        raise UserError(
            f"the runs do not agree about the truth of {changed.index[changed][0]}: they were not "
            "trained on the same labels"
        )
    numbers = rows.drop(columns=[*known, "stage_predicted"], errors="ignore").columns
    means = rows.groupby("id", sort=False)[list(numbers)].mean()
    table = truth.first().join(means).reset_index()
    if "patient" in table:
        table.insert(1, "patient", table.pop("patient").fillna(""))
    chances = [column for column in table if str(column).startswith("stage_probability_")]
    if chances:
        likeliest = table[chances].idxmax(axis=1)
        table["stage_predicted"] = [str(c).removeprefix("stage_probability_") for c in likeliest]
    return table
