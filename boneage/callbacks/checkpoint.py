"""Checkpoints of a run, and the moving average of its weights."""

import logging
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field
from torch import Tensor
from typing_extensions import override

log = logging.getLogger(__name__)
WARMUP = 10  # steps


class RunCheckpoint(ModelCheckpoint):
    """Keep one checkpoint of a run: the best by a metric, or the last.

    A resumed run writes into a folder of its own. It takes the checkpoint so far along, so that
    the best of the whole training is tested, not the best since the interruption.

    Args:
        dirpath: the run's checkpoint folder.
        filename: name of the file without `.ckpt`.
        monitor: metric that decides what is best; None keeps the newest, after every epoch.
        mode: whether it should be small or large.
    """

    def __init__(
        self,
        dirpath: str | Path,
        filename: str,
        monitor: str | None = None,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        super().__init__(
            dirpath=dirpath,
            filename=filename,
            monitor=monitor,
            mode=mode,
            save_on_train_epoch_end=True,  # after a validation alone, an epoch is not whole
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from another run's checkpoint; testing loads one too, and must move nothing."""
        theirs, folder = Path(state_dict["best_model_path"]), Path(str(self.dirpath))
        ours = folder / theirs.name
        if theirs.is_file() and not ours.exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(theirs, ours)
        if ours.is_file():
            taken_along = {
                "dirpath": str(self.dirpath),
                "best_model_path": str(ours),
                "kth_best_model_path": str(ours),
                "best_k_models": {str(ours): state_dict["best_model_score"]},
            }
            super().load_state_dict(state_dict | taken_along)
        elif theirs.name:
            log.warning("%s is gone: %s.ckpt starts anew", theirs, self.filename)


class Ema(WeightAveraging):
    """Validate, test and keep an exponential moving average of the weights.

    The decay grows with the number of steps n as min(decay, (1 + n) / (10 + n)), so that the first,
    random weights are soon forgotten (as TensorFlow's ExponentialMovingAverage does). Batch norm's
    statistics are averaged like the weights.

    Args:
        decay: of the average, per step.
    """

    def __init__(self, decay: Annotated[float, Field(gt=0, lt=1)] = 0.99) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the average; a test has the averaged weights already, and keeps them."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            n = int(steps)
            decay = min(self.decay, (1 + n) / (WARMUP + n))
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # batch norm's counters
            for mine, theirs in zip(averaged, current, strict=True):
                mine.copy_(theirs)
