"""What a run leaves behind: predictions, metrics, and the table that the terminal ends with."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from boneage.evaluation.evaluate import Results, baselines, evaluate
from boneage.stages import Stages

PACKAGES = ("boneage", "torch", "torchvision", "lightning", "torchmetrics", "albumentations")


def prediction_table(predicted: pd.DataFrame, table: pd.DataFrame, stages: Stages) -> pd.DataFrame:
    """Return truth and prediction of every test radiograph, one a row.

    Args:
        predicted: the tasks' columns, indexed by row of `table`.
        table: `id`, `sex`, `age_years` of all radiographs.
        stages: the stages.
    """
    truth = table.loc[predicted.index, ["id", "sex", "age_years"]]
    names = [stages.names[k] for k in stages.of(truth["age_years"].to_numpy())]
    return truth.assign(stage=names).join(predicted)


def metric_report(
    predictions: pd.DataFrame,
    train: pd.DataFrame,
    stages: Stages,
    logged: dict[str, float],
) -> dict[str, Any]:
    """Return the `test` and `baselines` parts of `metrics.json`.

    Args:
        predictions: from `prediction_table`.
        train: the training fold, for the baselines.
        stages: the stages.
        logged: what the tasks' own metrics logged on the test fold; those without a counterpart
            here (a new task's) are reported without an interval.
    """
    test = evaluate(predictions, stages)
    for name, value in logged.items():
        key = name.removeprefix("test/")
        if key not in test and not key.endswith("loss"):
            test[key] = {"value": value, "low": None, "high": None, "n": len(predictions)}
    return {"test": test, "baselines": baselines(train, predictions, stages)}


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide a number."""
    return {package: version(package) for package in PACKAGES}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is either whole or absent."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    partial.replace(path)


def print_results(metrics: dict[str, Any], run_dir: Path) -> None:
    """Print the test metrics beside the baselines, as a table for a terminal of 80 columns."""
    others: dict[str, Results] = metrics["baselines"]
    table = Table(
        title=f"{metrics['task']}: {metrics['n']['test']:,} test radiographs of {metrics['data']}",
        caption=_caption(metrics, run_dir),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for baseline in others:
        table.add_column(baseline.replace("_", " "), justify="right", style="dim", max_width=9)
    section = ""
    for name, result in metrics["test"].items():
        prefix, metric = name.split("/", 1)
        if prefix != section:
            table.add_section()
            table.add_row(f"[bold]{prefix}")
            section = prefix
        table.add_row(
            f"  {metric}",
            _number(result["value"]),
            _interval(result),
            f"{result['n']:,}",
            *(_number(other[name]["value"]) if name in other else "" for other in others.values()),
        )
    Console().print(table)


def _caption(metrics: dict[str, Any], run_dir: Path) -> str:
    speed = metrics["images_per_second"]
    trained = f", trained on {speed:,.0f} images/s" if speed else ""
    return (
        "Intervals: 95 % bootstrap over radiographs.\n"
        f"{metrics['parameters']:,} parameters{trained}, {metrics['seconds']:,.0f} s in all.\n"
        f"Everything is in {os.path.relpath(run_dir)}"
    )


def _interval(result: dict[str, float | int | None]) -> str:
    if result["low"] is None:
        return ""
    return f"{_number(result['low'])} to {_number(result['high'])}"


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"
