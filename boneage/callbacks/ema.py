"""Exponential moving average of the weights."""

from typing import Annotated, Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field
from torch import Tensor
from typing_extensions import override

WARMUP = 10  # steps


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
