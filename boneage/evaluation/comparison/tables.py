"""The rows of a comparison: one a run, and one a setting over its seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boneage.evaluation.comparison.group import Group
from boneage.evaluation.glossary import describe
from boneage.evaluation.run_folder import FinishedRun

SHOWN = (
    "age/mae_months", "age/rmse_months", "age/r2", "stage/accuracy", "stage/balanced_accuracy",
)  # fmt: skip


def shown_metrics(group: Group) -> list[str]:
    """Return the metrics of a group's table: what it is sorted by, and the most important ones."""
    test = group.first["test"]
    recalls = [name for name in test if name.startswith("stage/recall_")]
    others = [name for name in (*SHOWN, *recalls) if name in test]
    own = [name for name in test if describe(name).meaning == ""]  # a new task's
    return list(dict.fromkeys(filter(None, (group.sort, *others, *own))))


def short_names(runs: Sequence[FinishedRun]) -> list[str]:
    """Return the runs' paths without what all of them share; partial runs are marked."""
    paths = [run.path.resolve() for run in runs]
    parts = [path.parts for path in paths]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    names = (str(Path(*p[shared:])) for p in parts)
    return [
        f"{name} (partial)" if run.metrics.get("partial") else name
        for name, run in zip(names, runs, strict=True)
    ]


def seed_rows(group: Group) -> list[dict[str, Any]]:
    """Return mean and standard deviation over the seeds of each setting that has several.

    Returns:
        Rows with `setting` (differing options but the seed), `runs`, and `metrics`: per name
        `mean` and `sd` (n - 1). A seed that was run again counts once, by its latest run; tests of
        a checkpoint do not count, as their options are not those it was trained with, nor do
        means of several runs.
    """
    rows = []
    for setting, members in group.settings().items():
        trained = [
            run
            for run in members
            if run.metrics["options"].get("train", True) and "ensemble" not in run.metrics
        ]
        trained.sort(key=lambda run: str(run.metrics.get("started")))
        latest = {run.metrics["seed"]: run for run in trained}
        runs = [latest[seed] for seed in sorted(latest)]
        if len(runs) < 2:
            continue
        metrics = {}
        for name in shown_metrics(group):
            values = [run.metrics["test"].get(name, {}).get("value") for run in runs]
            known = np.array([np.nan if value is None else value for value in values], float)
            metrics[name] = {"mean": float(known.mean()), "sd": float(known.std(ddof=1))}
        rows.append({"setting": setting, "runs": runs, "metrics": metrics})
    return rows


def comparison_table(groups: Sequence[Group]) -> pd.DataFrame:
    """Return one row a run: what it is, the options in which it differs, and every metric."""
    rows = []
    for group in groups:
        for run in group.runs:
            m = run.metrics
            row: dict[str, Any] = {
                "run": str(run.path),
                "test_set": m["test_set"],
                "task": m["task"],
                "data": m["data"],
                "synthetic": bool(m.get("synthetic")),
                "n": m["n"]["test"],
                "seed": m["seed"],
            }
            row |= {f"option/{key}": group.shown(run, key) for key in group.differing}
            for name, result in m["test"].items():
                row |= {f"{name}/{part}": result[part] for part in ("value", "low", "high")}
            rows.append(row)
    return pd.DataFrame(rows)
