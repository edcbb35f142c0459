"""What callbacks see of a run: its model and data, and where TensorBoard's events go."""

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from boneage.data.module import BoneAgeDataModule
from boneage.models.module import BoneAgeModule


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return where TensorBoard's events go; None without its logger or beside the main process."""
    if not trainer.is_global_zero:
        return None
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def model_and_data(
    trainer: L.Trainer, pl_module: L.LightningModule
) -> tuple[BoneAgeModule, BoneAgeDataModule]:
    """Return the project's own model and data module, which every run has."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(pl_module, BoneAgeModule)
    assert isinstance(data, BoneAgeDataModule)
    return pl_module, data
