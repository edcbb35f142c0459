"""One line an epoch, for logs and terminals."""

import logging
import math
import time

import lightning as L
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import RunningStage
from typing_extensions import override

from boneage.callbacks.history import History
from boneage.evaluation.glossary import describe
from boneage.evaluation.numbers import duration, number

log = logging.getLogger(__name__)

FOLDS = {"train": "training", "val": "validation"}


class EpochLines(L.Callback):
    """Say what each epoch brought: losses, the monitored metric, its best, and the time.

    Args:
        history: the epochs so far, also those before a resume; it comes before this callback.
        monitor: metric that decides which epoch is best.
        mode: "min" or "max", whether it should be small or large.
    """

    def __init__(self, history: History, monitor: str, mode: str) -> None:
        self.history = history
        self.monitor = monitor
        self.mode = mode
        self._validated = False

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begun = time.perf_counter()
        self._first_step = trainer.global_step

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_begun = time.perf_counter()
        self._validated = False

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("%s", ", ".join(self._parts(trainer)))

    def _parts(self, trainer: L.Trainer) -> list[str]:
        seconds = time.perf_counter() - self._epoch_begun
        parts = [f"Epoch {trainer.current_epoch + 1}{_of_epochs(trainer)}"]
        parts[0] += f": train loss {number(self._logged(trainer, 'train/loss'))}"
        if self._validated and self.monitor in trainer.callback_metrics:
            parts.append(self._monitored(trainer))
        parts.append(duration(seconds))
        if trainer.should_stop:
            parts.append("stops early")
        elif left := self._seconds_left(trainer):
            parts.append(f"{duration(left)} left")
        return parts

    def _monitored(self, trainer: L.Trainer) -> str:
        """Return the monitored metric of this epoch, and of the best so far."""
        fold, _, name = self.monitor.partition("/")
        metric = describe(name)
        unit = f" {metric.unit}" if metric.unit else ""
        now = f"{FOLDS.get(fold, fold)} {metric.label} {number(self._logged(trainer))}{unit}"
        epochs = self.history.table.dropna(subset=[self.monitor])
        if not len(epochs):
            return now
        values = epochs[self.monitor].to_numpy()
        best = epochs.iloc[values.argmin() if self.mode == "min" else values.argmax()]
        if best["epoch"] == trainer.current_epoch:
            return f"{now} (best so far)"
        return f"{now} (best {number(best[self.monitor])} in epoch {best['epoch'] + 1:.0f})"

    def _logged(self, trainer: L.Trainer, name: str | None = None) -> float | None:
        value = trainer.callback_metrics.get(name or self.monitor)
        return None if value is None else float(value)

    def _seconds_left(self, trainer: L.Trainer) -> float | None:
        """Return how long training takes on at the pace so far; None where it has no end."""
        done = trainer.global_step - self._first_step
        elapsed = time.perf_counter() - self._begun
        left = [
            (trainer.estimated_stepping_batches - trainer.global_step) * elapsed / max(done, 1),
            *(
                remaining
                for timer in trainer.callbacks  # type: ignore[attr-defined]
                if isinstance(timer, Timer)
                and (remaining := timer.time_remaining(RunningStage.TRAINING)) is not None
            ),
        ]
        return max(0.0, min(left)) if math.isfinite(min(left)) else None


def _of_epochs(trainer: L.Trainer) -> str:
    """Return " of n" with the number of epochs that all steps make, where there is one."""
    steps = trainer.estimated_stepping_batches
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return f" of {math.ceil(steps / per_epoch)}" if math.isfinite(steps) else ""
