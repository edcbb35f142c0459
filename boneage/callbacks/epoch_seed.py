"""Make each epoch's random numbers depend only on seed and epoch."""

import lightning as L
import numpy as np
import torch
from typing_extensions import override


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
