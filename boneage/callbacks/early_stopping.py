"""Stop a training whose validation no longer improves, and say why a training has stopped."""

from typing import Any

import lightning as L
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import RunningStage
from typing_extensions import override

from boneage.errors import plural


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but a resumed training has the patience of its command.

    Validations without improvement before the resume count. If they exhaust the patience, nothing
    is trained. Checkpoints contain the name of this class: do not rename it.
    """

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep a training stopped if its checkpoint has no patience left."""
        if 0 < self.wait_count >= self.patience:
            trainer.should_stop = True

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide again after an epoch that `trainer.min_epochs` demands."""
        if self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            self.stopping_reason = EarlyStoppingReason.NOT_STOPPED
            trainer.should_stop = False

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})


def why_stopped(trainer: L.Trainer) -> str | None:
    """Return which limit ended the training before its last epoch; None if no callback did."""
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        left = timer.time_remaining(RunningStage.TRAINING) if isinstance(timer, Timer) else None
        if left is not None and left <= 0:
            return "trainer.max_time has elapsed"
    for stopping in trainer.early_stopping_callbacks:
        monitor, reason = stopping.monitor, stopping.stopping_reason
        if reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
            each_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1
            times = plural(stopping.wait_count, "epoch" if each_epoch else "validation")
            return f"{monitor} has not improved for {times}"
        if reason is EarlyStoppingReason.NON_FINITE_METRIC:
            return f"{monitor} is not finite"
        if reason is not EarlyStoppingReason.NOT_STOPPED:
            return f"{monitor} has reached {reason.name.lower()}"
    return None
