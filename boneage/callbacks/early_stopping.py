"""End a training early: without improvement, or diverged."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor
from typing_extensions import override

from boneage.callbacks.checkpoint import saved_checkpoints
from boneage.callbacks.records import predictions_of
from boneage.data.dataset import Batch
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.errors import FailedRun, plural
from boneage.evaluation.predictions import count_not_finite
from boneage.models.module import all_finite
from boneage.stages import MAX_AGE_YEARS

EVERY = 10  # steps between checks of the loss: each check waits for the device
SKIPS = 20  # consecutive steps that a gradient scaler may skip; it halves its scale at each
EXPLODED = 1e6  # times the first loss, or times 1 if that is smaller
NEVER = 2**31 - 1


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


def remaining_times(trainer: L.Trainer) -> list[float]:
    """Return the seconds that each timer, as of `trainer.max_time`, leaves for training."""
    timers = [timer for timer in trainer.callbacks if isinstance(timer, Timer)]  # type: ignore[attr-defined]
    left = [timer.time_remaining(RunningStage.TRAINING) for timer in timers]
    return [seconds for seconds in left if seconds is not None]


def why_stopped(trainer: L.Trainer) -> str | None:
    """Return which limit ended the training before its last epoch; None if no callback did."""
    if any(left <= 0 for left in remaining_times(trainer)):
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


class Divergence(L.Callback):
    """End a run that has diverged, before a checkpoint of it is written.

    A run has diverged if its loss, predictions or weights are not finite, if its validation MAE is
    larger than any age, or if its loss has grown by a factor of a million. With
    `precision=16-mixed` a gradient scaler skips steps whose scale is too large, so only consecutive
    such losses count. This callback must come after `Predictions`.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._consecutive = 0
        self._limit = math.inf

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        assert isinstance(outputs, dict)
        self._losses.append(outputs["loss"].detach())
        if len(self._losses) == EVERY or trainer.is_last_batch:
            self._check_losses(trainer, batch_idx)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        table = predictions_of(trainer)
        if broken := max(count_not_finite(table).values(), default=0):
            films = f"{broken:,} of {len(table):,} validation radiographs"
            raise _diverged(trainer, f"the predictions of {films} are not finite")
        if PREDICTED_AGE in table:
            error = float((table[PREDICTED_AGE] - table["age_years"]).abs().mean())
            if error > MAX_AGE_YEARS:
                what = f"the MAE of the validation fold is {error:,.0f} years"
                raise _diverged(trainer, f"{what}, more than any age,")

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_last_batch:  # within an epoch: its best weights are saved now
            self.on_train_epoch_end(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and not float(loss) < self._limit:
            raise _diverged(trainer, _loss_text("the loss of the validation fold is", float(loss)))
        if not all_finite(pl_module.state_dict()):
            raise _diverged(trainer, "the weights are not finite")

    def _check_losses(self, trainer: L.Trainer, batch_idx: int) -> None:
        """Check the losses since the last check, in all processes at the same time."""
        losses = torch.stack(self._losses).float().tolist()
        self._losses.clear()
        if self._limit == math.inf and math.isfinite(losses[0]):
            self._limit = EXPLODED * max(1.0, losses[0])
        step, what = NEVER, "the loss is not finite"
        for place, loss in enumerate(losses):
            self._consecutive = 0 if loss < self._limit else self._consecutive + 1
            if self._consecutive > _skips(trainer):
                step = batch_idx + 1 - len(losses) + place + 2 - self._consecutive
                what = _loss_text("the loss is", loss)
                break
        shared = torch.tensor(step, device=trainer.strategy.root_device)
        step = int(trainer.strategy.reduce(shared, reduce_op="min"))
        if step < NEVER:
            raise _diverged(trainer, what, step)


def _loss_text(what: str, loss: float) -> str:
    return f"{what} {loss:.3g}" if math.isfinite(loss) else f"{what} not finite"


def _skips(trainer: L.Trainer) -> int:
    """Return the allowed number of consecutive losses that are not finite."""
    return SKIPS if getattr(trainer.precision_plugin, "scaler", None) is not None else 0


def _diverged(trainer: L.Trainer, what: str, step: int | None = None) -> FailedRun:
    """Return the error with what diverged, when, and what to do."""
    group = trainer.optimizers[0].param_groups[0]
    rate = group.get("initial_lr", group["lr"])
    advice = f"lower optimizer.lr (now {rate:g})"
    if trainer.current_epoch == 0 and step == 1:
        advice = "no weight has changed yet, so check the loss and the network"
    if trainer.precision != "32-true":
        advice += ", or try precision=32-true"
    if saved := saved_checkpoints(trainer):
        advice += f"; checkpoints of earlier epochs: {', '.join(saved)}"
    when = f"epoch {trainer.current_epoch + 1}" + (f", step {step}" if step else "")
    return FailedRun(f"{what} in {when}: {advice}")
