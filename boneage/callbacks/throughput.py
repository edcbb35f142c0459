"""Training speed in images per second."""

import time

import lightning as L
from typing_extensions import override

from boneage.data.dataset import Batch


class Throughput(L.Callback):
    """Log images per second of each training epoch, validation left out.

    Attributes:
        images: training images seen so far, over all epochs.
        seconds: time spent on them.
    """

    def __init__(self) -> None:
        self.images = 0
        self.seconds = 0.0

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
