"""Results of a run: description, predictions, metrics, learning curves and the printed table."""

import io
import json
import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from boneage.data.atomic import atomic_file, write_file
from boneage.data.dataset import augmented_sheet
from boneage.data.layouts import looks_official
from boneage.data.module import BoneAgeDataModule
from boneage.data.tables.ids import count_patients
from boneage.errors import plural
from boneage.evaluation.evaluate import Scored, baselines, evaluate, subgroups
from boneage.evaluation.intervals import Results
from boneage.evaluation.metrics import common_name, describe, is_built_in, shown_baselines
from boneage.evaluation.numbers import FEW, interval, is_few, number, resampled, with_limits
from boneage.evaluation.predictions import count_not_finite, pick_cases
from boneage.evaluation.report.statements import limit_of_readers
from boneage.models.module import BoneAgeModule
from boneage.models.network import count_parameters, describe_architecture
from boneage.options import TABLE, kind_of
from boneage.run.options import command, named_reference, options
from boneage.run_files import (
    HISTORY,
    METRICS,
    PAGE,
    PREDICTIONS,
    STORED_IMAGES,
    SUBGROUPS,
)
from boneage.stages import Stages
from boneage.terminal import plain_markup, relative_path

PACKAGES = (
    "boneage",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "albumentations",
)
log = logging.getLogger(__name__)  # writes to the log file only
TABLE_WIDTH = 80  # columns of the table in the log
DESCRIPTION_KEYS = (  # of a new task's metrics
    "label", "meaning", "unit", "better", "headline", "compared", "curve",
)  # fmt: skip


def describe_run(
    cfg: DictConfig, data: BoneAgeDataModule, model: BoneAgeModule, trainer: L.Trainer
) -> dict[str, Any]:
    """Return task, data, model, options, device and versions of a run, as plain containers.

    `partial` lists options that limit the data: such a run is only a trial.
    """
    chosen = _options(cfg, model)
    return {
        "task": cfg.name,
        "data": "phantom" if data.synthetic else Path(os.path.abspath(data.root)).name,
        "synthetic": data.synthetic,
        "partial": [
            f"{row.name}={chosen[row.name]}"
            for row in TABLE
            if row.partial and chosen.get(row.name, row.default) != row.default
        ],
        "subgroups": data.subgroups,
        "readers": list(data.columns.readers),
        "official": looks_official(data.table) and not data.synthetic,
        **named_reference(cfg),
        "stages": {"names": list(data.stages.names), "edges": list(data.stages.edges)},
        "train_labels": _train_labels(data, model) if cfg.train else {},
        "parameters": count_parameters(model),
        "architecture": describe_architecture(model, data.preprocessing.size),
        "epochs": trainer.current_epoch,
        "device": _device_name(trainer),
        "command": command(),
        "seed": chosen.get("seed"),  # an exported file does not contain that of its training
        "options": chosen,
        "versions": {package: version(package) for package in PACKAGES},
    }


def _options(cfg: DictConfig, model: BoneAgeModule) -> dict[str, Any]:
    """Return the options of a run; a test of a checkpoint has the identity of its training."""
    current = options(cfg)
    if cfg.train:
        return current
    trained: dict[str, Any] = model.record["options"]
    return {key: v for key, v in trained.items() if kind_of(key) == "identity"} | {
        key: v for key, v in current.items() if kind_of(key) != "identity"
    }


def _train_labels(data: BoneAgeDataModule, model: BoneAgeModule) -> dict[str, int]:
    """Return the number of training radiographs with a label, of each task that some lack."""
    train = data.fold_table("train")
    numbers = {name: len(task.rows_with_target(train)) for name, task in model.tasks.items()}
    return {name: number for name, number in numbers.items() if number < len(train)}


def _device_name(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {plural(torch.get_num_threads(), 'thread')}"


def metric_report(
    predictions: pd.DataFrame,
    train: pd.DataFrame,
    stages: Stages,
    tasks: Sequence[Scored] = (),
    others: Sequence[tuple[pd.DataFrame, np.ndarray]] = (),
) -> dict[str, Any]:
    """Return the `test`, `baselines` and `not_finite` parts of `metrics.json`.

    If the patients are known, `patients` is their number in the test fold. `described` has labels
    and meanings of the metrics of a new task, so that pages need only the run's folder.

    Args:
        predictions: truth and prediction of every test radiograph.
        train: the training fold, for the baselines; empty if its ages are unknown.
        stages: the stages.
        tasks: outputs of the tasks, in the order of the predictions.
        others: training folds of the other radiographs of pooled folds, as for `baselines`.
    """
    test = evaluate(predictions, stages, tasks)
    own = {name: describe(name) for name in test if not is_built_in(name)}
    described = {
        name: {part: getattr(metric, part) for part in DESCRIPTION_KEYS}
        for name, metric in own.items()
    }
    patients = count_patients(predictions)
    return {
        **({} if patients is None else {"patients": patients}),
        "test": test,
        **({"described": described} if described else {}),
        "baselines": baselines(train, predictions, stages, tasks, others),
        "not_finite": count_not_finite(predictions),
    }


def write_results(
    run_dir: Path,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    data: BoneAgeDataModule,
    tasks: Sequence[Scored],
) -> None:
    """Write all data for a run's report and for comparisons, `metrics.json` last."""
    write_file(run_dir / PREDICTIONS, predictions.to_csv(index=False))
    groups = subgroups(predictions, data.stages, tasks, data.subgroups)
    write_file(run_dir / SUBGROUPS, groups.to_csv(index=False))
    if len(history):
        write_file(run_dir / HISTORY, history.to_csv(index=False))
    cases = pick_cases(predictions, data.stages)
    images = {"ids": cases["id"].to_numpy(str), "cases": data.images_of(cases.index)}
    if len(history):
        images["augmented"] = augmented_sheet(data.train_radiographs())
    with atomic_file(run_dir / STORED_IMAGES) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **images)
    write_json(run_dir / METRICS, metrics)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file in one step, with null for numbers that are not finite."""
    write_file(path, to_json(content))


def to_json(content: dict[str, Any]) -> str:
    """Return a JSON file's content, with null for numbers that are not finite."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def _finite(node: Any) -> Any:  # noqa: ANN401 - plain containers
    """Return plain containers with None for numbers that are not finite, which JSON lacks."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not isfinite(node) else node


def print_results(metrics: dict[str, Any], run_dir: Path) -> None:
    """Print and log the headline metrics next to the baselines, as a table of 80 columns."""
    baseline_results: dict[str, Results] = shown_baselines(metrics)
    table = Table(
        title=plain_markup(_title(metrics)),
        caption=plain_markup(_caption(metrics)),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
        show_edge=False,
        padding=0,
        pad_edge=False,
    )
    table.add_column("metric", no_wrap=True)
    for heading in ("value", "95 % interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for baseline in baseline_results:
        table.add_column(baseline.replace("_", " "), justify="right", style="dim", min_width=8)
    section = ""
    for name, result in metrics["test"].items():
        described = describe(name)
        if not described.headline:
            continue
        prefix, metric = name.split("/", 1)
        if prefix != section:
            table.add_section()
            table.add_row(f"[bold]{plain_markup(prefix)}")
            section = prefix
        table.add_row(
            f" {plain_markup(metric)}",
            number(result["value"], described.unit) + "†" * is_few(result),
            interval(result, described.unit),
            f"{result['n']:,}",
            *(_baseline(results, name) for results in baseline_results.values()),
        )
    page = run_dir / PAGE
    where = f"Results are in {relative_path(run_dir)}" + f", page: {PAGE}" * page.exists()
    plain = Console(file=io.StringIO(), width=TABLE_WIDTH)
    for console in (Console(), plain):
        console.print(table)
        console.print(where, soft_wrap=True, markup=False)
    log.info("Results\n%s", plain.file.getvalue())  # type: ignore[attr-defined]


def _baseline(results: Results, name: str) -> str:
    result = results.get(common_name(name))
    return number(result["value"], describe(name).unit) if result else ""


def _title(metrics: dict[str, Any]) -> str:
    kind = "external test radiograph" if metrics.get("external") else "test radiograph"
    return f"{metrics['task']}: {plural(metrics['n']['test'], kind)} of {metrics['data']}"


def _caption(metrics: dict[str, Any]) -> str:
    speed = metrics["images_per_second"]
    limit = limit_of_readers(metrics)
    trained = f", trained at {speed:,.0f} images/s" if speed else ""
    return (
        f"{limit}\n" * (limit is not None)
        + "The model was trained on synthetic hands only, but tested on radiographs.\n"
        * bool(metrics.get("trained_on_synthetic"))
        + f"Intervals: 95 % bootstrap over {resampled(metrics)}. † fewer than {FEW} of them.\n"
        f"{metrics['parameters']:,} parameters{trained}, {metrics['seconds']:,.0f} s in total.\n"
        f"{_compared(metrics)}"
    ).rstrip()


def _compared(metrics: dict[str, Any]) -> str:
    """Return how an external test compares with the test fold of the checkpoint's run, if known."""
    own = metrics.get("own_test")
    if own is None:
        return ""
    lines = [f"External, compared with the run's own test fold (n = {own['n']:,}):\n"]
    for name, difference in own["differences"].items():
        unit = describe(name).unit
        before, change = (with_limits(r, unit) for r in (own["test"][name], difference))
        lines.append(f"  {name}: own {before}, difference {change}\n")
    return "".join(lines)
