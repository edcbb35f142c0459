"""The rows of the report's tables."""

from typing import Any

import pandas as pd

from boneage.evaluation.glossary import describe, group_label
from boneage.evaluation.intervals import Result
from boneage.evaluation.published import PUBLISHED
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import ALL

STORIES = (
    "age/infant_sd_years",
    "age/older_sd_years",
    "age/infant_bias_years",
    "age/ceiling_slope",
    "age/ceiling_bias_years",
    "age/rmse_minus_mae_years",
    "age/worst_5_percent_share",
)
OF_SUBGROUPS = ("age/mae_months", "age/bias_months", "age/rmse_months", "stage/accuracy")
THAT_MATTER = {
    "backbone": "backbone",
    "sex": "sex input",
    "loss": "loss of the age",
    "data.size": "image size (pixels)",
    "data.fit": "fit to the square",
    "data.contrast": "contrast",
    "augment": "augmentation",
    "data.sampling": "sampling",
    "optimizer": "optimizer",
    "optimizer.lr": "learning rate",
    "scheduler": "schedule",
    "data.batch_size": "batch size",
    "trainer.max_epochs": "epochs at most",
    "precision": "precision",
    "seed": "seed",
    "data.split_seed": "split seed",
    "data.folds": "parts of the split",
    "data.fold": "test part",
}


def metric_rows(run: FinishedRun, headline: bool) -> list[dict[str, Any]]:
    """Return a row per metric: its name, result, baselines and published value, by group.

    Args:
        run: the run.
        headline: the short table, else all metrics.
    """
    baselines = run.metrics["baselines"]
    rows = []
    for name, result in run.metrics["test"].items():
        metric = describe(name)
        if headline and not metric.headline:
            continue
        common = name.replace("stage_from_age/", "stage/")
        others = [other.get(common) for other in baselines.values()]
        rows.append(
            {
                "group": _heading(run, name),
                "name": name,
                "meaning": metric.meaning,
                "result": result,
                "baselines": others,
                "published": PUBLISHED.get(name) if run.metrics.get("official") else None,
            }
        )
    return rows


def story_rows(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the numbers of the report's two stories and of the tail, as far as there are any."""
    test: dict[str, Result] = run.metrics["test"]
    return [
        {"name": name, "meaning": describe(name).meaning, "result": test[name]}
        for name in STORIES
        if name in test
    ]


def subgroup_rows(groups: pd.DataFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the metrics and, per age band and sex, their results.

    Args:
        groups: `subgroups.csv`.
    """
    metrics = [name for name in OF_SUBGROUPS if (groups["metric"] == name).any()]
    rows = []
    for (band, sex), part in groups.groupby(["band", "sex"], sort=False):
        results = part.set_index("metric").to_dict("index")
        number = {name: int(part[name].max()) for name in ("n", "patients") if name in part}
        rows.append({"band": band, "sex": sex, "results": [results[m] for m in metrics]} | number)
    rows.sort(key=lambda row: (row["sex"] != ALL, row["band"] == ALL))
    return metrics, rows


def option_rows(run: FinishedRun) -> list[tuple[str, Any]]:
    """Return the options that matter most, under the names that readers know."""
    options = run.metrics["options"]
    of_tasks = [k for k in options if k.startswith("tasks.") and k.endswith(".balance")]
    named = {name: label for name, label in THAT_MATTER.items() if name in options}
    named |= {name: name.removeprefix("tasks.").replace(".", " ") for name in of_tasks}
    return [(label, options[name]) for name, label in named.items()]


def _heading(run: FinishedRun, name: str) -> str:
    """Return the group of a metric; a run without a stage head is scored by its age."""
    if name.startswith("stage/") and "stage_predicted" not in run.predictions:
        return group_label("stage_from_age/")
    return group_label(name)
