"""Speed of a training, and its duration over all its processes."""

import time
from typing import Any

import lightning as L
from typing_extensions import override

from boneage.data.dataset import Batch


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
        self._begun = self._start = time.perf_counter()

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
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_begun = time.perf_counter()

    @override
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave out the time of a validation within an epoch."""
        self._start += time.perf_counter() - self._validation_begun

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
        if trainer.is_last_batch:  # the last validation runs before on_train_epoch_end
            seconds = time.perf_counter() - self._start
            self.images += self._images
            self.seconds += seconds
            pl_module.log("images_per_second", self._images / seconds, on_step=False, on_epoch=True,
                batch_size=1, sync_dist=True)  # fmt: skip

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.seconds, "elapsed": self.elapsed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a checkpoint; testing loads one too, and must not count twice."""
        if state_dict["images"] > self.images:
            self.images, self.seconds = state_dict["images"], state_dict["seconds"]
            self._earlier = state_dict["elapsed"]
