"""Train a model, and say which of its weights are to be tested."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException

from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError
from boneage.models.module import BoneAgeModule

log = logging.getLogger(__name__)


def fit(
    trainer: L.Trainer,
    model: BoneAgeModule,
    data: BoneAgeDataModule,
    ckpt_path: Path | str | None,
    steps_before: int,
) -> str | None:
    """Train a model as far as the trainer's limits allow.

    A run that trains nothing, or that never validates and so has no best epoch, says so.

    Args:
        trainer: with its callbacks.
        model: to train.
        data: the radiographs.
        ckpt_path: checkpoint to resume from; None starts anew.
        steps_before: training steps that this checkpoint has behind it.

    Returns:
        The checkpoint to test: the best, else the last; None tests the weights as they are.

    Raises:
        UserError: when the trainer refuses what is asked of it.
    """
    for early_stopping in trainer.early_stopping_callbacks:
        early_stopping.strict = False  # an epoch without validation is no reason to stop
    with _refusals():
        trainer.fit(model, data, ckpt_path=ckpt_path)
    kept = [c.best_model_path for c in trainer.checkpoint_callbacks if c.best_model_path]  # type: ignore[attr-defined]
    tested = kept[0] if kept else None
    if not trainer.is_global_zero:
        return tested
    if trainer.global_step == steps_before:
        weights = tested or "the weights as they were before training"
        log.warning("Nothing was trained: %s; tested: %s", _why_untrained(trainer), weights)
    elif kept and not trainer.checkpoint_callback.best_model_path:  # type: ignore[union-attr]
        log.warning(
            "No validation took place, so no epoch is the best; the weights after the last step "
            "are tested: %s", tested
        )  # fmt: skip
    return tested


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what Lightning refuses once it knows the number of batches into one line."""
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, ValueError) and "val_check_interval" not in text:
            raise
        raise UserError(f"trainer: {text}") from error


def _why_untrained(trainer: L.Trainer) -> str:
    """Say which limit leaves no training step."""
    for name in ("limit_train_batches", "max_epochs", "max_steps"):
        if getattr(trainer, name) == 0:
            return f"trainer.{name}=0"
    if not trainer.global_step:
        return "training was stopped before its first step"
    limit = f"trainer.max_epochs={trainer.max_epochs}"
    if trainer.max_steps > 0:
        limit += f", trainer.max_steps={trainer.max_steps}"
    done = f"{trainer.current_epoch} epochs ({trainer.global_step:,} steps)"
    return f"the checkpoint has {done} behind it, and {limit} asks for no more"
