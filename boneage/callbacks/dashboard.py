"""What TensorBoard shows of a run beside its curves."""

import lightning as L
import numpy as np
from pydantic import PositiveInt
from typing_extensions import override

from boneage.callbacks.context import model_and_data, writer_of
from boneage.callbacks.graph import add_graph
from boneage.callbacks.hyperparameters import write_hyperparameters
from boneage.callbacks.predictions import predictions_of
from boneage.data.sheet import augmented_sheet
from boneage.evaluation.figures.predictions import prediction_figures
from boneage.evaluation.figures.style import styled

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
        self._drawn = True

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if writer is None:
            return
        model, data = model_and_data(trainer, pl_module)
        writer.add_image("train/augmented", _tiled(augmented_sheet(data.train_radiographs())))
        writer.add_text("config", f"```yaml\n{model.record['config_text']}\n```")
        add_graph(writer, model, data.preprocessing.size)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epochs = trainer.current_epoch + 1
        self._drawn = epochs % self.every_n_epochs == 0
        if self._drawn and not trainer.sanity_checking:
            self._draw(trainer, "val", epochs)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last validation, which nobody knew to be the last."""
        if not self._drawn:
            self._draw(trainer, "val", trainer.current_epoch)

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, "test", trainer.current_epoch)

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the options that matter against the metrics, for HPARAMS."""
        writer = writer_of(trainer)
        if writer is None:
            return
        model, _ = model_and_data(trainer, pl_module)
        final = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("test/") and not name.endswith("loss")  # of other tasks, other units
        }
        options = model.record["options"]
        write_hyperparameters(writer.log_dir, options, final, trainer.global_step)

    def _draw(self, trainer: L.Trainer, fold: str, epochs: int) -> None:
        """Draw the newest predictions after so many epochs of training."""
        writer = writer_of(trainer)
        if writer is None:
            return
        _, data = model_and_data(trainer, trainer.lightning_module)
        table = predictions_of(trainer)
        with styled():
            for name, figure in prediction_figures(table, data.stages, FIGURES).items():
                writer.add_figure(f"{fold}/{name}", figure, epochs, close=False)


def _tiled(sheet: np.ndarray) -> np.ndarray:
    """Return (1, rows * H, columns * W) of a (rows, columns, H, W) sheet."""
    rows, columns, height, width = sheet.shape
    return sheet.swapaxes(1, 2).reshape(1, rows * height, columns * width)
