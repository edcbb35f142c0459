"""What TensorBoard shows of a run beside its curves."""

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from pydantic import PositiveInt
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from typing_extensions import override

from boneage.callbacks.graph import add_graph
from boneage.callbacks.hyperparameters import hyperparameters
from boneage.callbacks.predictions import Predictions
from boneage.data.module import BoneAgeDataModule
from boneage.data.sheet import augmented_sheet
from boneage.evaluation.figures.predictions import prediction_figures
from boneage.evaluation.figures.style import styled
from boneage.models.module import BoneAgeModule

FIGURES = ("scatter", "residuals", "confusion")


class Dashboard(L.Callback):
    """Write figures, augmented images, the graph, the config and HPARAMS for TensorBoard.

    Without a TensorBoard logger it does nothing.

    Args:
        every_n_epochs: how often figures of the validation fold are drawn; those of the test fold
            are always.
    """

    def __init__(self, every_n_epochs: PositiveInt = 5) -> None:
        self.every_n_epochs = every_n_epochs

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None:
            return
        model, data = _own(trainer, pl_module)
        writer.add_image("train/augmented", _tiled(augmented_sheet(data.train_radiographs())))
        writer.add_text("config", f"```yaml\n{model.record['config_text']}\n```")
        add_graph(writer, model, data.preprocessing.size)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw(trainer, pl_module, "val")

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, pl_module, "test")

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the options that matter against the metrics, for HPARAMS."""
        writer = _writer(trainer)
        if writer is None:
            return
        model, _ = _own(trainer, pl_module)
        final = {n: float(v) for n, v in trainer.callback_metrics.items() if n.startswith("test/")}
        chosen = hyperparameters(model.record["options"])
        for summary in hparams(chosen, final):  # type: ignore[no-untyped-call]
            writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
        writer.flush()

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, fold: str) -> None:
        writer = _writer(trainer)
        if writer is None or trainer.sanity_checking:
            return
        _, data = _own(trainer, pl_module)
        table = next(c for c in trainer.callbacks if isinstance(c, Predictions)).table  # type: ignore[attr-defined]
        figures = prediction_figures(table, data.stages, FIGURES)
        with styled():
            for name, figure in figures.items():
                writer.add_figure(f"{fold}/{name}", figure, trainer.current_epoch, close=False)


def _writer(trainer: L.Trainer) -> SummaryWriter | None:
    """Return where TensorBoard's events go; None without its logger or beside the main process."""
    if not trainer.is_global_zero:
        return None
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def _own(
    trainer: L.Trainer, pl_module: L.LightningModule
) -> tuple[BoneAgeModule, BoneAgeDataModule]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(pl_module, BoneAgeModule)
    assert isinstance(data, BoneAgeDataModule)
    return pl_module, data


def _tiled(sheet: np.ndarray) -> np.ndarray:
    """Return (1, rows * H, columns * W) of a (rows, columns, H, W) sheet."""
    rows, columns, height, width = sheet.shape
    return sheet.swapaxes(1, 2).reshape(1, rows * height, columns * width)
