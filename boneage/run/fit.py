"""Train a model, and choose the weights to test."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from boneage.callbacks.checkpoint import saved_checkpoints
from boneage.callbacks.progress import why_stopped
from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError, one_line, plural, suggestion
from boneage.models.module import BoneAgeModule

log = logging.getLogger(__name__)


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
