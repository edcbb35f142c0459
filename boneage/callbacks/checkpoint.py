"""Checkpoints of a run, exact resumes from them, and the moving average of its weights."""

import io
import logging
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from boneage.data.atomic import atomic_file, write_file

log = logging.getLogger(__name__)
WARMUP = 10  # steps


def checkpoint_content(checkpoint: dict[str, Any]) -> bytes:
    """Return a checkpoint file; on a full disk, torch would raise RuntimeError without its name."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints that are complete or unchanged, never partial.

    Lightning writes to the folder for temporary files, and moves the file from there. If that
    folder is on another device, the previous checkpoint is overwritten: a stop leaves neither.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Raises OSError, with the name of the file, when it cannot be written."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_file(Path(path), checkpoint_content(checkpoint))


class RunCheckpoint(ModelCheckpoint):
    """Keep one checkpoint of a run: the best by a metric, or the last.

    It is written at the end of an epoch, so that training can be resumed from it exactly. The best
    is also written after each validation within an epoch, before its weights change.

    A resumed run may write into a new folder. It copies the previous checkpoint, so that the best
    of the entire training is tested, not the best since the interruption. The copied one is that
    next to the resumed checkpoint: the run may have been moved, and another may be in its place.

    Args:
        dirpath: the run's checkpoint folder.
        filename: name of the file without `.ckpt`.
        monitor: metric that decides which is best; None saves the newest, after every epoch.
        mode: "min" or "max", whether smaller or larger is better.
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
            save_on_train_epoch_end=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self._resumed_folder = Path(str(self.dirpath))

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # no plugin was chosen
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.monitor is not None and not trainer.is_last_batch:
            self.on_train_epoch_end(trainer, pl_module)

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note the folder of a checkpoint, before its state is loaded."""
        self._resumed_folder = Path(str(trainer.ckpt_path)).parent

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from another run's checkpoint; testing loads one too, and copies nothing."""
        name, folder = Path(state_dict["best_model_path"]).name, Path(str(self.dirpath))
        previous, current = self._resumed_folder / name, folder / name
        if previous.is_file() and not current.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(current) as part:
                shutil.copy2(previous, part)
        if current.is_file():
            paths = {
                "dirpath": str(self.dirpath),
                "best_model_path": str(current),
                "kth_best_model_path": str(current),
                "best_k_models": {str(current): state_dict["best_model_score"]},
            }
            super().load_state_dict(state_dict | paths)
        elif name:
            log.warning(
                "%s is missing: %s.ckpt considers only the epochs from now on",
                previous,
                self.filename,
            )


def saved_checkpoints(trainer: L.Trainer) -> list[str]:
    """Return the files that a run's checkpoint callbacks have written, in their order."""
    return [c.best_model_path for c in trainer.checkpoint_callbacks if c.best_model_path]  # type: ignore[attr-defined]


class EpochSeed(L.Callback):
    """Seed torch at every epoch, so that dropout is the same in resumed and uninterrupted runs.

    Processes that train together have different dropout.

    Args:
        seed: training seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @override
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rank = [trainer.global_rank] if trainer.world_size > 1 else []
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, *rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))


class Ema(WeightAveraging):
    """Validate, test and save an exponential moving average of the weights.

    The decay grows with the number of steps n as min(decay, (1 + n) / (10 + n)), so that the
    initial random weights soon lose their effect (as in TensorFlow's ExponentialMovingAverage).
    Statistics of batch norm are averaged like the weights.

    Args:
        decay: decay of the average per step.
    """

    def __init__(self, decay: Annotated[float, Field(gt=0, lt=1)] = 0.99) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    @override
    def on_load_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average for training; in a test the weights are averaged already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            n = int(steps)
            decay = min(self.decay, (1 + n) / (WARMUP + n))
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # batch norm's counters
            for average, counter in zip(averaged, current, strict=True):
                average.copy_(counter)
