"""What a run leaves behind: predictions, metrics, learning curves, and images for its report."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.module import BoneAgeDataModule
from boneage.data.patients import count_patients
from boneage.data.sheet import augmented_sheet
from boneage.evaluation.cases import pick_cases
from boneage.evaluation.evaluate import baselines, count_not_finite, evaluate
from boneage.evaluation.subgroups import subgroups
from boneage.stages import Stages


def metric_report(
    predictions: pd.DataFrame,
    train: pd.DataFrame,
    stages: Stages,
    logged: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Return the `test`, `baselines` and `not_finite` parts of `metrics.json`.

    Where the patients are known, `patients` is how many were tested.

    Args:
        predictions: truth and prediction of every test radiograph.
        train: the training fold, for the baselines.
        stages: the stages.
        logged: what the tasks' own metrics logged on the test fold; those without a counterpart
            here (a new task's) are reported without an interval.
    """
    test = evaluate(predictions, stages)
    broken = count_not_finite(predictions)
    for name, value in logged.items():
        key = name.removeprefix("test/")
        if key not in test and not key.endswith("loss") and not broken:
            known = float(value) if isfinite(value) else None
            test[key] = {"value": known, "low": None, "high": None, "n": len(predictions)}
    patients = count_patients(predictions)
    return {
        **({} if patients is None else {"patients": patients}),
        "test": test,
        "baselines": baselines(train, predictions, stages),
        "not_finite": broken,
    }


def write_results(
    run_dir: Path,
    metrics: dict[str, Any],
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    data: BoneAgeDataModule,
) -> None:
    """Write everything that a run's report and comparisons are made from, `metrics.json` last."""
    predictions.to_csv(run_dir / "predictions.csv", index=False)
    subgroups(predictions, data.stages).to_csv(run_dir / "subgroups.csv", index=False)
    if len(history):
        history.to_csv(run_dir / "history.csv", index=False)
    cases = pick_cases(predictions, data.stages)
    images = {"ids": cases["id"].to_numpy(str), "cases": data.images_of(cases.index)}
    if len(history):
        images["augmented"] = augmented_sheet(data.train_radiographs())
    np.savez_compressed(run_dir / "images.npz", allow_pickle=False, **images)
    write_json(run_dir / "metrics.json", metrics)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that is either whole or absent; null is what is not finite."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
    partial.replace(path)


def _finite(node: Any) -> Any:  # noqa: ANN401 - plain containers
    """Return plain containers with None where a number is not finite, which JSON cannot say."""
    if isinstance(node, dict):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not isfinite(node) else node
