"""Start from the weights of another model, train, and choose the weights to test."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from boneage.callbacks.checkpoint import saved_checkpoints
from boneage.callbacks.early_stopping import why_stopped
from boneage.data.module import BoneAgeDataModule
from boneage.data.splits import FOLDS
from boneage.errors import UserError, one_line, plural, suggestion
from boneage.evaluation.numbers import FEW
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import read_checkpoint
from boneage.run.seen import check_unseen, seen_by
from boneage.tasks.base import Task
from boneage.weights import BUILTIN_NAME

log = logging.getLogger(__name__)


def read_origin(path: str, model: BoneAgeModule) -> dict[str, Any]:
    """Return the checkpoint that training starts from: a checkpoint, or an exported ONNX file.

    Raises:
        UserError: if it cannot be read, or has another backbone than the model.
    """
    checkpoint = read_checkpoint(path)
    if _shapes(_weights_of("backbone", checkpoint)) != _shapes(model.backbone.state_dict()):
        own = ", ".join(f"{k}={v}" for k, v in checkpoint["boneage"]["config"]["backbone"].items())
        raise UserError(
            f"start_from={path} has another backbone than this command: choose its backbone ({own})"
            + " with experiment=box" * (path == BUILTIN_NAME)
        )
    return checkpoint


def check_labels(model: BoneAgeModule, data: BoneAgeDataModule) -> None:
    """Raise UserError when a task learns from a column that no option names."""
    for name, task in model.tasks.items():
        if lacking := [label for label in task.labels if label not in data.columns.labels]:
            raise UserError(
                f"tasks.{name} learns from the column {lacking[0]} of your table: add "
                f"data.columns.labels=[{','.join([*data.columns.labels, *lacking])}]"
            )


def check_targets(model: BoneAgeModule, data: BoneAgeDataModule, monitor: str | None) -> None:
    """Raise UserError when a task lacks the labels to learn from, and warn when it has few.

    Args:
        model: the model.
        data: the radiographs, after `setup`.
        monitor: the metric that selects the epoch; None if nothing is trained.
    """
    for name, task in model.tasks.items():
        for fold in FOLDS if monitor else ("test",):
            table = data.fold_table(fold)
            number = len(task.rows_with_target(table))
            if number == len(table) or number >= FEW:
                continue
            part = f"{number:,} of {plural(len(table), f'{FOLDS[fold]} radiograph')}"
            text = f"tasks.{name}: {' and '.join(task.labels) or name} is known for {part}"
            needed = fold == "train" or (monitor or "").startswith(f"val/{name}/")
            if needed and number == 0:
                raise UserError(
                    f"{text}: fill or name the column (data.columns), choose another split, or "
                    "remove the task"
                )
            of_few = "it learns from few" if fold == "train" else "its metrics are uncertain"
            log.warning("%s: %s", text, of_few if number else "no metrics")


def start_from(
    path: str, checkpoint: dict[str, Any], model: BoneAgeModule, table: pd.DataFrame
) -> None:
    """Load the weights of a checkpoint into a new model, part by part.

    Sex input and tasks that the checkpoint lacks, or has with other shapes, keep their initial
    weights; the others predict as before. Its training radiographs are added to the model's record:
    later tests refuse them too.

    Args:
        path: of the checkpoint, for messages.
        checkpoint: its content, as `read_origin` returns it.
        model: a model that has not been trained, with fitted tasks.
        table: the radiographs to train and test on, as in `BoneAgeDataModule.table`.

    Raises:
        UserError: if a test or validation radiograph was used to train the checkpoint.
    """
    check_unseen(checkpoint, table)
    check_unseen(checkpoint, table, "val")
    parts = {"backbone": model.backbone, "sex": model.sex}
    parts |= {f"tasks.{name}": task for name, task in model.tasks.items()}
    for name, part in parts.items():
        weights = _weights_of(name, checkpoint)
        if _shapes(weights) == _shapes(part.state_dict()):
            part.load_state_dict(weights)
            if isinstance(part, Task):
                part.refit(part.rows_with_target(table[table["fold"] == "train"]))
        else:
            log.warning("%s of %s does not fit: it starts from random weights", name, path)
    seen = seen_by(checkpoint)
    columns = [c for c in ("id", "age_months", "fold", "patient") if c in seen]
    model.record["earlier"] = seen[columns].to_dict("list")


def _weights_of(part: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
    stored = checkpoint["state_dict"].items()
    return {k.removeprefix(f"{part}."): v for k, v in stored if k.startswith(f"{part}.")}


def _shapes(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: value.shape for name, value in weights.items()}


def fit(
    trainer: L.Trainer,
    model: BoneAgeModule,
    data: BoneAgeDataModule,
    ckpt_path: Path | str | None,
    steps_before: int,
) -> str | None:
    """Train a model up to the trainer's limits.

    Warns if nothing is trained, and if there is no validation, so that no epoch is the best.

    Args:
        trainer: with its callbacks.
        model: to train.
        data: the radiographs.
        ckpt_path: checkpoint to resume from; None starts a new training.
        steps_before: training steps of this checkpoint.

    Returns:
        The checkpoint to test: the best, else the last; None tests the current weights.

    Raises:
        UserError: if the trainer refuses its options.
    """
    for early_stopping in trainer.early_stopping_callbacks:
        early_stopping.strict = False  # an epoch without validation is no reason to stop
    # With max_steps, Lightning would resume within an epoch: it would end that of the checkpoint a
    # second time. Here only complete epochs are resumed; there is no public option for it.
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
    with _refusals():
        trainer.fit(model, data, ckpt_path=ckpt_path)
    epochs = trainer.fit_loop.epoch_progress.current
    # Lightning counts an epoch as completed only after its checkpoint is written
    epochs.completed = epochs.processed  # type: ignore[attr-defined]
    saved = saved_checkpoints(trainer)
    tested = saved[0] if saved else None
    if not trainer.is_global_zero:
        return tested
    if trainer.global_step == steps_before:
        weights = tested or "the weights before training"
        log.warning("Nothing was trained: %s; tested: %s", _why_untrained(trainer), weights)
    elif saved and not trainer.checkpoint_callback.best_model_path:  # type: ignore[union-attr]
        log.warning(
            "There was no validation, so no epoch is the best; the weights after the last step are "
            "tested: %s", tested
        )  # fmt: skip
    return tested


def check_monitor(cfg: DictConfig, model: BoneAgeModule) -> None:
    """Raise UserError if what is monitored is no loss or metric, or its worst value is selected.

    A callback of another package may log what is monitored, which only the first epoch shows.
    """
    known = model.monitorable()
    nodes = {f"callbacks.{name}.": node for name, node in cfg.callbacks.items()}
    own = all(str(n["_target_"]).startswith(("boneage.", "lightning.")) for n in nodes.values())
    for where, node in {"": cfg, **nodes}.items():
        monitor, chosen = node.get("monitor"), node.get("mode")
        if monitor is None or (monitor not in known and not own):
            continue
        if monitor not in known:
            raise UserError(
                f"{where}monitor={monitor}: there is no such metric{suggestion(monitor, known)}"
            )
        mode = {"lower": "min", "higher": "max"}.get(str(known[monitor]))
        if mode and chosen and mode != chosen:
            raise UserError(
                f"{where}monitor={monitor} is better if {known[monitor]}, but {where}mode={chosen} "
                f"would select the worst epoch: set {where}mode={mode}"
            )


def check_test_batches(trainer: L.Trainer, data: BoneAgeDataModule) -> None:
    """Raise UserError if `trainer.limit_test_batches` is less than one batch of the test fold.

    Lightning would say so after training.
    """
    share = trainer.limit_test_batches
    radiographs = math.ceil(len(data.fold_table("test")) / trainer.world_size)
    batches = math.ceil(radiographs / data.batch_size)
    if isinstance(share, float) and int(share * batches) == 0:
        raise UserError(
            f"trainer.limit_test_batches={share:g} is less than one batch of the test fold, "
            f"which has {batches}: increase it, or give a number of batches"
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise Lightning's errors about the number of batches as one line."""
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        text = one_line(error)
        if isinstance(error, ValueError) and "val_check_interval" not in text:
            raise
        raise UserError(f"trainer: {text}") from error


def _why_untrained(trainer: L.Trainer) -> str:
    """Return which limit leaves no training step."""
    for name in ("limit_train_batches", "max_epochs", "max_steps"):
        if getattr(trainer, name) == 0:
            return f"trainer.{name}=0"
    if not trainer.global_step:
        return "training was stopped before its first step"
    limits = {"max_epochs": trainer.max_epochs, "max_steps": trainer.max_steps}
    limit = "the limit is " + ", ".join(
        f"trainer.{name}={value}" for name, value in limits.items() if value != -1
    )
    if trainer.should_stop and (why := why_stopped(trainer)):
        limit = why
    epochs, steps = plural(trainer.current_epoch, "epoch"), plural(trainer.global_step, "step")
    return f"the checkpoint was trained for {epochs} ({steps}), and {limit}"
