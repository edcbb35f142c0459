"""Output of a run while it trains: model, bar, a line per epoch."""

import logging
import math
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelSummary, RichProgressBar
from typing_extensions import override

from boneage.callbacks.early_stopping import remaining_times, why_stopped
from boneage.callbacks.records import History
from boneage.data.splits import FOLDS
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import duration, number
from boneage.terminal import is_terminal

log = logging.getLogger(__name__)


class EpochLines(L.Callback):
    """Log a line per epoch: loss, the monitored metric, its best value, and the time.

    Of several validations in an epoch, the last is logged, and the best counts. It is stored in the
    checkpoint.

    Args:
        history: the epochs so far, also those before a resume; it must precede this callback.
        monitor: metric that decides which epoch is best.
        mode: "min" or "max", whether smaller or larger is better.
    """

    def __init__(self, history: History, monitor: str, mode: str) -> None:
        self.history = history
        self.monitor = monitor
        self.mode = mode
        self._best: dict[str, float] = {}  # `value` and `epoch`

    @override
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.monitor in self.history.table:  # of a checkpoint of an older version
            for row in self.history.table.to_dict("records"):
                self._keep_best(row[self.monitor], int(row["epoch"]))
        self._begun = time.perf_counter()
        self._first_step = trainer.global_step

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch_begun = time.perf_counter()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = self._logged(trainer)
        if value is not None and not trainer.sanity_checking:
            self._keep_best(value, trainer.current_epoch)

    def _keep_best(self, value: float, epoch: int) -> None:
        best = self._best.get("value", math.nan)
        better = value < best if self.mode == "min" else value > best
        if better or (math.isnan(best) and not math.isnan(value)):
            self._best = {"value": value, "epoch": epoch}

    @override
    def state_dict(self) -> dict[str, Any]:
        return self._best

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict

    @override
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            log.info("%s", ", ".join(self._parts(trainer)))

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        why = why_stopped(trainer) if trainer.should_stop and trainer.is_global_zero else None
        if why is not None and len(self.history.table):
            last = int(self.history.table["epoch"].iloc[-1]) + 1
            log.info("Stopped after epoch %d%s: %s", last, _of_epochs(trainer), why)

    def _parts(self, trainer: L.Trainer) -> list[str]:
        seconds = time.perf_counter() - self._epoch_begun
        epoch, loss = trainer.current_epoch + 1, number(self._logged(trainer, "train/loss"))
        parts = [f"Epoch {epoch}{_of_epochs(trainer)}: train loss {loss}"]
        if self.history.validated and self.monitor in trainer.callback_metrics:
            parts.append(self._monitored(trainer))
        parts.append(duration(seconds))
        if trainer.should_stop and _met_minimum(trainer):
            parts.append("stops early")
        elif left := self._seconds_left(trainer):
            parts.append(f"{duration(left)} left")
        return parts

    def _monitored(self, trainer: L.Trainer) -> str:
        """Return the monitored metric at the end of this epoch, and the best so far."""
        fold, _, name = self.monitor.partition("/")
        metric = describe(name)
        unit = f" {metric.unit}" if metric.unit else ""
        value = self._logged(trainer)
        now = f"{FOLDS.get(fold, fold)} {metric.label} {number(value, metric.unit)}{unit}"
        if not self._best:
            return now
        if self._best["epoch"] != trainer.current_epoch:
            where = f"in epoch {self._best['epoch'] + 1}"
        elif self._best["value"] == value:
            return f"{now} (best so far)"
        else:
            where = "earlier in this epoch"
        return f"{now} (best {number(self._best['value'], metric.unit)} {where})"

    def _logged(self, trainer: L.Trainer, name: str | None = None) -> float | None:
        value = trainer.callback_metrics.get(name or self.monitor)
        return None if value is None else float(value)

    def _seconds_left(self, trainer: L.Trainer) -> float | None:
        """Return the remaining training time at the current speed; None without an end."""
        done = trainer.global_step - self._first_step
        elapsed = time.perf_counter() - self._begun
        steps = trainer.estimated_stepping_batches - trainer.global_step
        left = min([steps * elapsed / max(done, 1), *remaining_times(trainer)])
        return max(0.0, left) if math.isfinite(left) else None


def _met_minimum(trainer: L.Trainer) -> bool:
    """Tell whether `trainer.min_epochs` and `trainer.min_steps` are done at the end of an epoch."""
    epochs, steps = trainer.current_epoch + 1, trainer.global_step
    return epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)


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
        super().__init__(refresh_rate=100 if is_terminal() else 0)

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from one, as in all other output."""
        last = self.trainer.max_epochs or -1
        description = f"Epoch {current_epoch + 1}" + (f" of {last}" if last > 0 else "")
        return description.ljust(len(self.validation_description))
