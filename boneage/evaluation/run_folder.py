"""A finished run, read from its folder alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boneage.errors import UserError
from boneage.stages import Stages

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"
TEXT = ("id", "sex", "stage", "stage_predicted", "fold", "band", "metric")
NEEDED = ("task", "data", "n", "test", "baselines", "stages", "options", "test_set", "seed")


@dataclass(frozen=True)
class FinishedRun:
    """What a run has left in its folder.

    Args:
        path: the folder.
        metrics: what `metrics.json` holds.
        predictions: truth and prediction of every test radiograph.
        stages: the stages it was scored by.
    """

    path: Path
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    stages: Stages

    def table(self, name: str) -> pd.DataFrame:
        """Return another csv of the folder; empty where the run has none."""
        file = self.path / name
        return read_csv(file) if file.is_file() else pd.DataFrame()

    def images(self) -> dict[str, np.ndarray]:
        """Return the stored images: `cases` with their `ids`, and `augmented`; may be empty."""
        file = self.path / "images.npz"
        if not file.is_file():
            return {}
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is damaged: {error}") from error


def read_run(path: Path) -> FinishedRun:
    """Read the folder of a finished run.

    Raises:
        UserError: when it is no run, not finished, or damaged; the message names the file.
    """
    file = path / METRICS
    if not file.is_file():
        raise UserError(f"{path}: {_why_unfinished(path)}")
    try:
        metrics = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    absent = [k for k in NEEDED if k not in metrics] if isinstance(metrics, dict) else NEEDED
    if absent:
        raise UserError(f"{file} lacks {', '.join(absent)}: it is of an older version or no run's")
    predictions = read_csv(path / PREDICTIONS)
    if lacking := {"id", "sex", "age_years"} - set(predictions):
        raise UserError(f"{path / PREDICTIONS} lacks the column {', '.join(sorted(lacking))}")
    return FinishedRun(path, metrics, predictions, Stages(**metrics["stages"]))


def read_csv(file: Path) -> pd.DataFrame:
    """Read a table that a run has written: ids and names as text, all else as numbers.

    Raises:
        UserError: when it is missing or damaged.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        for column in table:
            if column not in TEXT:
                table[column] = pd.to_numeric(table[column].where(table[column] != ""))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is missing or damaged: {error}") from error
    return table


def _why_unfinished(path: Path) -> str:
    """Say what a folder without metrics is."""
    error = path / "error.txt"
    if error.is_file():
        return f"failed: {error.read_text().strip()}"
    if (path / ".hydra").is_dir() or (path / "split.csv").is_file():
        return "the run has not finished (it goes on, or was stopped)"
    return f"no run: it holds no {METRICS}"
