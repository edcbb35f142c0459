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
        for what in ("task", "data", "stages"):
            if run.metrics[what] != first.metrics[what]:
                raise UserError(
                    f"{run.path} and {first.path} differ in {what}: they cannot be averaged"
                )
    if (out / METRICS).exists():
        raise UserError(f"{out} holds a run already: choose another --out")
    columns = list(dict.fromkeys(c for run in runs for c in run.metrics.get("subgroups", [])))
    predictions = _mean_predictions(runs, columns)
    split = read_csv(first.path / "split.csv")
    train = split[split["fold"] == "train"]
    metrics = {
        **first.metrics,
        "ensemble": [str(run.path) for run in runs],
        "subgroups": columns,
        "parameters": sum(run.metrics["parameters"] for run in runs),
        "seconds": sum(run.metrics["seconds"] for run in runs),
        "test_set": hash_test_set(predictions),
        "n": first.metrics["n"] | {"test": len(predictions)},
        **metric_report(predictions, train, first.stages),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        predictions.to_csv(out / PREDICTIONS, index=False)
        groups = subgroups(predictions, first.stages, columns=columns)
        groups.to_csv(out / "subgroups.csv", index=False)
        write_json(out / METRICS, metrics)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    return metrics


def _mean_predictions(runs: Sequence[FinishedRun], columns: Sequence[str]) -> pd.DataFrame:
    """Return truth and mean prediction of every radiograph, in the order they first come in.

    Args:
        runs: the runs.
        columns: further columns that are truth, which some runs may lack.
    """
    rows = pd.concat([run.predictions for run in runs], ignore_index=True)
    further = ["patient", *columns]  # some runs may lack them
    known = [*TRUTH, *(name for name in further if name in rows)]
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
    for name in further:
        if name in table:
            table[name] = table[name].fillna("")
    if "patient" in table:
        table.insert(1, "patient", table.pop("patient"))
    chances = [column for column in table if str(column).startswith("stage_probability_")]
    if chances:
        likeliest = table[chances].idxmax(axis=1)
        table["stage_predicted"] = [str(c).removeprefix("stage_probability_") for c in likeliest]
    return table
