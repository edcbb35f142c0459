"""A finished run, read from its folder alone."""

import hashlib
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from boneage.data.tables.columns import PREDICTED_AGE, READER
from boneage.errors import UserError, first_damage, join_first
from boneage.evaluation.metric_set import Metric
from boneage.evaluation.metrics import register
from boneage.evaluation.metrics_schema import Content, current_options
from boneage.evaluation.predictions import truth_and_prediction
from boneage.run_files import (
    CHECKPOINTS,
    HISTORY,
    HYDRA,
    METRICS,
    PREDICTIONS,
    SPLIT,
    STORED_IMAGES,
    SUBGROUPS,
    read_json,
    runs_below,
    why_failed,
)
from boneage.stages import PROBABILITY, Stages
from boneage.terminal import require_file

log = logging.getLogger(__name__)

TEXT = (
    "id", "patient", "sex", "stage", "stage_predicted", "fold", "band", "column", "level",
    "metric", "picture", "caption",
)  # fmt: skip
NUMERIC_COLUMNS = (
    "age_years", PREDICTED_AGE, "value", "low", "high", "n", "patients", "epoch", "learning_rate",
)  # fmt: skip
NUMERIC_PREFIXES = (PROBABILITY, READER, "train/", "val/")
NEEDED = {  # columns, by the name of a table
    PREDICTIONS: ("id", "sex", "age_years", "stage"),
    SUBGROUPS: ("band", "sex", "metric", "value", "low", "high", "n"),
    HISTORY: ("epoch", "learning_rate"),
    SPLIT: ("id", "fold", "age_years", "sex"),
}
COPY = "copy it again, or test the run's checkpoint in another folder (train=false ckpt_path=)"
# metrics that are computed again from the predictions: group, name, and scores of the radiographs
CHECKED = (
    ("age", "age/mae_months", lambda true, predicted: 12 * abs(true - predicted)),
    ("stage", "stage/accuracy", np.equal),
)
TOLERANCE = 1e-6  # relative


@dataclass(frozen=True)
class FinishedRun:
    """The results in the folder of a run.

    Args:
        path: the folder.
        metrics: the content of `metrics.json`.
        predictions: truth and prediction of every test radiograph.
        stages: the stages it was scored with.
    """

    path: Path
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    stages: Stages

    @property
    def is_ensemble(self) -> bool:
        """Whether it is the mean of several runs."""
        return "ensemble" in self.metrics

    @property
    def is_test_alone(self) -> bool:
        """Whether it only tested a model that was there already."""
        return not self.metrics["options"].get("train", True)

    @property
    def knows_training(self) -> bool:
        """Whether its options include those of the training, which an exported file lacks."""
        return "seed" in self.metrics["options"]

    @property
    def tests_all(self) -> bool:
        """Whether it is an external test of all radiographs of a data set, whatever the split."""
        folds = self.table(SPLIT).get("fold")
        return bool(self.metrics.get("external")) and folds is not None and set(folds) == {"test"}

    def table(self, name: str) -> pd.DataFrame:
        """Return another csv file of the folder; empty if it is missing or damaged."""
        file = self.path / name
        if not file.is_file():
            return pd.DataFrame()
        try:
            return read_split(self.path, self.metrics) if name == SPLIT else read_csv(file)
        except UserError as error:
            log.warning("Skipped: %s", error)
            return pd.DataFrame()

    def images(self) -> dict[str, np.ndarray]:
        """Return the stored images, if any: `cases` with `ids`, and `augmented`."""
        file = self.path / STORED_IMAGES
        if not file.is_file():
            return {}
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, zipfile.BadZipFile):
            log.warning("Skipped: %s is damaged", file)
            return {}


def contains_run(folder: Path) -> bool:
    """Tell whether a folder contains a run, finished or with at least one epoch."""
    return (folder / METRICS).exists() or (folder / CHECKPOINTS).exists()


def run_folder(path: Path) -> Path:
    """Return the folder of the run of a checkpoint file; folders are returned unchanged."""
    if not path.is_file():
        return path
    return path.parent.parent if path.parent.name == CHECKPOINTS else path.parent


def read_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Args:
        path: its folder, or one of its checkpoint files.

    Raises:
        UserError: when it is not a run, not finished, or damaged; the message names the file.
    """
    if path.suffix == ".ckpt" and contains_run(run_folder(path)):
        path = run_folder(path)
    file = path / METRICS
    if not file.is_file():
        raise UserError(f"{path}: {_why_unfinished(path)}")
    metrics = read_metrics(file)
    stages = Stages(metrics["stages"]["names"], metrics["stages"]["edges"])
    predictions = read_csv(path / PREDICTIONS, metrics.get("subgroups", []))
    rows, expected = predictions["id"].nunique(), metrics["n"]["test"]
    if len(predictions) != rows or rows != expected or predictions["age_years"].isna().any():
        raise UserError(
            f"{path / PREDICTIONS} is damaged: {len(predictions):,} rows and {rows:,} ids, but the "
            f"run tested {expected} radiographs, each with an age; {COPY}"
        )
    if hash_test_set(predictions) != metrics["test_set"]:
        raise UserError(
            f"{path / PREDICTIONS} does not contain the test radiographs of {METRICS}, "
            f"with their ages; {COPY}"
        )
    of_ages = np.array(stages.names)[stages.index_of(predictions["age_years"].to_numpy(float))]
    if (wrong := predictions["stage"].to_numpy() != of_ages).any():
        row = int(wrong.argmax())
        raise UserError(
            f"{path / PREDICTIONS} was edited or is damaged: row {row + 2}, column stage: "
            f"{predictions['stage'].iloc[row]!r} is not the stage of the age ({of_ages[row]}); "
            f"{COPY}"
        )
    for group, name, scores in CHECKED:
        if (stored := metrics["test"].get(name, {}).get("value")) is None:
            continue
        try:
            pair = truth_and_prediction(predictions, stages, group)
        except ValueError:  # a stage or a probability that is none
            pair = None
        if pair is None or not np.isclose(np.mean(scores(*pair)), stored, rtol=TOLERANCE):
            raise UserError(
                f"{path / PREDICTIONS} was edited or is damaged: its predictions do not give the "
                f"{name} of {METRICS}; {COPY}"
            )
    run = FinishedRun(path, metrics, predictions, stages)
    split = run.table(SPLIT).reindex(columns=["id", "sex", "fold"]).to_numpy().tolist()
    of_split = {id_: rest for id_, *rest in split}
    for id_, sex in zip(predictions["id"], predictions["sex"], strict=True):
        if of_split.get(id_, [sex, "test"]) != [sex, "test"]:
            differ = f"was edited or is damaged: sex or fold of {id_} differ from {SPLIT}"
            raise UserError(f"{path / PREDICTIONS} {differ}; {COPY}")
    return run


def read_split(path: Path, metrics: dict[str, Any]) -> pd.DataFrame:
    """Read the folds of a run's radiographs.

    Args:
        path: folder of the run.
        metrics: the content of its `metrics.json`.

    Raises:
        UserError: when the table is missing or damaged, or is not of the run.
    """
    split = read_csv(path / SPLIT)
    counts = split["fold"].value_counts()
    checked = ("train", "val") if metrics.get("partial") else metrics["n"]  # trials test a part
    differ = [fold for fold in checked if counts.get(fold, 0) != metrics["n"][fold]]
    if differ and metrics["options"].get("train", True):  # else n is that of the training
        raise UserError(
            f"{path / SPLIT} was edited or is damaged: it does not contain as many radiographs of "
            f"the fold {' and '.join(differ)} as {METRICS}; {COPY}"
        )
    return split


def read_metrics(file: Path) -> dict[str, Any]:
    """Return the content of `metrics.json`, with the current names of options.

    The metrics of new tasks that it describes are known afterwards.

    Raises:
        UserError: when it is damaged; the message names the key.
    """
    metrics = read_json(file)
    try:
        own = Content.model_validate(metrics).described.items()
        Stages(metrics["stages"]["names"], metrics["stages"]["edges"])
    except ValidationError as error:
        damage = first_damage(error)
        if error.errors()[0]["type"] == "missing":
            damage += ": not written by this version, or edited"
        raise UserError(f"{file} {damage}; {COPY}") from error
    except UserError as error:
        raise UserError(f"{file} is damaged: {error}; {COPY}") from error
    register({name: Metric(name.split("/", 1)[-1], **dict(described)) for name, described in own})
    return metrics | {"options": current_options(metrics["options"])}


def read_csv(file: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table that a run has written: ids and names as text, other columns as numbers.

    A column of a new task may be either.

    Args:
        file: the table.
        text: further columns that are text.

    Raises:
        UserError: when it is missing or damaged.
    """
    require_file(file)
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        for column in table:
            if column not in (*TEXT, *text):
                table[column] = _numbers(table[column])
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is missing or damaged: {error}; {COPY}") from error
    if lacking := [column for column in NEEDED.get(file.name, ()) if column not in table]:
        raise UserError(
            f"{file} lacks the column {', '.join(lacking)}: edited, or saved by another program; "
            f"{COPY}"
        )
    return table


def _numbers(cells: pd.Series) -> pd.Series:
    """Return cells as numbers, or as they are if one is text and the column may be a new task's."""
    present = ~cells.str.lower().isin(["", "nan"])
    numbers = pd.to_numeric(cells.where(present), errors="coerce")
    wrong = present & numbers.isna()
    if not wrong.any():
        return numbers
    if cells.name in NUMERIC_COLUMNS or str(cells.name).startswith(NUMERIC_PREFIXES):
        row = int(wrong.to_numpy().argmax())
        raise ValueError(f"row {row + 2}, column {cells.name}: {cells.iloc[row]!r} is no number")
    return cells


def hash_test_set(predictions: pd.DataFrame) -> str:
    """Return eight hex digits that name a test set: the same for the same ids and ages."""
    pairs = zip(predictions["id"].astype(str), predictions["age_years"].round(6), strict=True)
    text = "\n".join(f"{id_} {age}" for id_, age in sorted(pairs))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _why_unfinished(path: Path) -> str:
    """Return why a folder has no metrics."""
    if path.is_file():
        return "is a file, and in no run: give the folder of a run"
    if not path.exists():
        return "no such folder"
    if (reason := why_failed(path)) is not None:
        return f"failed: {reason}"
    if (path / HYDRA).is_dir() or (path / SPLIT).is_file():
        return "the run has not finished (it is still running, or was stopped)"
    if runs := runs_below(path, METRICS):
        return f"contains runs, but is not one: give runs in it: {join_first(runs)}"
    return f"not a run: it contains no {METRICS}"
