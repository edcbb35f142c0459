"""Output of a run while it trains: model, bar, a line per epoch, speed, learning curves."""

import logging
import math
import sys
import time
from typing import Any

import lightning as L
import pandas as pd
from lightning.pytorch.callbacks import ModelSummary, RichProgressBar, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.trainer.states import RunningStage
from typing_extensions import override

from boneage.data.dataset import Batch
from boneage.data.splits import FOLDS
from boneage.errors import plural
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import duration, number

log = logging.getLogger(__name__)


class History(L.Callback):
    """Record the logged values of each epoch of training and validation.

    An epoch without validation has no values of `val/...`; of several validations in an epoch, it
    has those of the last. The values are stored in the checkpoint, so that a resumed run has the
    curves from the first epoch.

    Attributes:
        validated: the current epoch has had a validation.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self.validated = False

    @property
    def table(self) -> pd.DataFrame:
        """The epochs so far: `epoch`, `learning_rate` at its end, and every logged name."""
        return pd.DataFrame(self._epochs)

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated = False

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated = True

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logged = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if self.validated or not name.startswith("val/")  # Lightning keeps those of before
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self._epochs.append(logged | {"epoch": trainer.current_epoch, "learning_rate": rate})

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self._epochs}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint; testing loads one too, and must not cut the curves."""
        if len(state_dict["epochs"]) > len(self._epochs):
            self._epochs = list(state_dict["epochs"])


class EpochLines(L.Callback):
    """Log a line per epoch: loss, the monitored metric, its best value, and the time.

    Args:
        history: the epochs so far, also those before a resume; it must precede this callback.
        monitor: metric that decides which epoch is best.
        mode: "min" or "max", whether smaller or larger is better.
    """

    def __init__(self, history: History, monitor: str, mode: str) -> None:
        self.history = history
        self.monitor = monitor
        self.mode = mode

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begun = time.perf_counter()
        self._first_step = trainer.global_step

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_begun = time.perf_counter()

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("%s", ", ".join(self._parts(trainer)))

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        why = _why_stopped(trainer) if trainer.should_stop and trainer.is_global_zero else None
        if why is not None and len(self.history.table):
            last = int(self.history.table["epoch"].iloc[-1]) + 1
            log.info("Stopped after epoch %d%s: %s", last, _of_epochs(trainer), why)

    def _parts(self, trainer: L.Trainer) -> list[str]:
        seconds = time.perf_counter() - self._epoch_begun
        parts = [f"Epoch {trainer.current_epoch + 1}{_of_epochs(trainer)}"]
        parts[0] += f": train loss {number(self._logged(trainer, 'train/loss'))}"
        if self.history.validated and self.monitor in trainer.callback_metrics:
            parts.append(self._monitored(trainer))
        parts.append(duration(seconds))
        if trainer.should_stop:
            parts.append("stops early")
        elif left := self._seconds_left(trainer):
            parts.append(f"{duration(left)} left")
        return parts

    def _monitored(self, trainer: L.Trainer) -> str:
        """Return the monitored metric of this epoch and of the best epoch."""
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
        """Return the remaining training time at the current speed; None without an end."""
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


def _why_stopped(trainer: L.Trainer) -> str | None:
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


def _of_epochs(trainer: L.Trainer) -> str:
    """Return " of n", the total number of epochs; empty without an end."""
    steps = trainer.estimated_stepping_batches
    per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return f" of {math.ceil(steps / per_epoch)}" if math.isfinite(steps) else ""


class ModelLine(ModelSummary):
    """Lightning's summary of a model as one line: the class and parameters of each part."""

    @staticmethod
    @override
    def summarize(summary_data: list[tuple[str, list[str]]], *sizes: Any, **more: Any) -> None:
        columns = dict(summary_data)
        parts = zip(columns["Name"], columns["Type"], columns["Params"], strict=True)
        lines = [
            f"{name} {kind} {n.strip()}".replace(" ModuleDict", "")
            for name, kind, n in parts
            if n.strip() != "0"
        ]
        log.info("Parameters: %s", ", ".join(lines))


class TerminalBar(RichProgressBar):
    """Lightning's progress bar; off if the output is not a terminal, where epoch lines suffice."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=100 if sys.stdout.isatty() else 0)

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from one, as in all other output."""
        last = self.trainer.max_epochs or -1
        description = f"Epoch {current_epoch + 1}" + (f" of {last}" if last > 0 else "")
        return description.ljust(len(self.validation_description))


class Throughput(L.Callback):
    """Log images per second of each training epoch, without validation.

    The counts are stored in the checkpoint, so that a resumed run includes its earlier epochs.

    Attributes:
        images: training images seen so far, over all epochs.
        seconds: time spent on them.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0
        self._earlier = 0.0
        self._begun = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far: of this process, and of those it resumes from."""
        return self._earlier + time.perf_counter() - self._begun

    @property
    def images_per_second(self) -> float | None:
        """The mean over the run, None before the first epoch has ended."""
        return self.images / self.seconds if self.seconds else None

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.perf_counter()
        self._images = 0

    @override
    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        self._images += len(batch["image"]) * trainer.world_size
        if trainer.is_last_batch:  # validation runs before on_train_epoch_end
            seconds = time.perf_counter() - self._start
            self.images += self._images
            self.seconds += seconds
            speed = self._images / seconds
            pl_module.log(
                "images_per_second",
                speed,
                on_epoch=True,
                on_step=False,
                batch_size=1,
                sync_dist=True,
            )

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "elapsed": self.elapsed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint; testing loads one too, and must not count twice."""
        if state_dict["images"] > self.images:
            self.images, self.seconds = state_dict["images"], state_dict["seconds"]
            self._earlier = state_dict["elapsed"]
