"""TensorBoard content of a run: figures, graph and hyperparameters."""

import copy
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from pydantic import PositiveInt
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from typing_extensions import override

from boneage.callbacks.records import model_and_data, predictions_of
from boneage.data.dataset import augmented_sheet
from boneage.evaluation.figures.registry import ON_DASHBOARD, draw_figures
from boneage.evaluation.figures.style import styled
from boneage.evaluation.numbers import DASH
from boneage.models.module import BoneAgeModule
from boneage.models.network import Network
from boneage.options import TABLE

log = logging.getLogger(__name__)
Value = bool | int | float | str
FINAL_FOLDER = "final"  # below the event files of the run


def writer_of(trainer: L.Trainer) -> SummaryWriter | None:
    """Return the TensorBoard writer; None without its logger or outside the main process."""
    if not trainer.is_global_zero:
        return None
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers else None


def logged_step(trainer: L.Trainer) -> int:
    """Return the step at which Lightning logs scalars now, for images next to them."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def add_graph(writer: SummaryWriter, model: BoneAgeModule, size: int) -> None:
    """Write the graph of a model for images of a size, or log a warning if it cannot be traced."""
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8, device=model.device)
    example = image, torch.zeros(1, dtype=torch.int64, device=model.device)
    training = model.training
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer
            plain = copy.copy(model.backbone)  # a copy is not compiled: tracing needs that
            network = Network(plain, model.sex, model.tasks).eval()
            # add_graph itself would trace three times, and print errors
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                network, example, strict=False, check_trace=False
            )
            writer.add_graph(traced, example)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        log.warning("TensorBoard shows no graph of this model: %s", str(error).split("\n")[0])
    finally:
        model.train(training)


def hyperparameters(options: Mapping[str, Any]) -> dict[str, Value]:
    """Return the hyperparameters to sort a sweep by, with the same names for every task.

    Args:
        options: every option by its dotted name, and the choices of the config groups. A run
            started from Python has no choices; its class names are used instead.
    """
    values: dict[str, Any] = {}
    for row in TABLE:
        if not row.hparam:
            continue
        if row.group:
            target = str(options.get(f"{row.name}._target_", DASH))
            values[row.hparam] = options.get(row.name) or target.rsplit(".", 1)[-1]
        else:
            own = [options[key] for key in row.keys(options)]
            values[row.hparam] = own[0] if len(own) == 1 else ", ".join(map(str, own)) or None
    return {name: _plain(value) for name, value in values.items()}


def write_hyperparameters(
    folder: str | Path, options: Mapping[str, Any], final: Mapping[str, float], step: int
) -> None:
    """Write options and final metrics as a separate TensorBoard run, in `folder`/final.

    If runs describe an experiment, TensorBoard takes the columns of HPARAMS from an arbitrary run.
    If none does, it collects them from all runs, so that a sweep over tasks shows the metrics of
    each, and lists the options that differ first. It then treats every scalar of a run as a
    metric, so this run contains only the final ones, at the step of the end of training.

    The folder has the event files of the run; options are as for `hyperparameters`.
    """
    _, start, end = hparams(hyperparameters(options), {})  # type: ignore[no-untyped-call]
    with SummaryWriter(Path(folder) / FINAL_FOLDER) as writer:
        for summary in (start, end):
            writer._get_file_writer().add_summary(summary)
        for name, value in final.items():
            writer.add_scalar(name, value, step)


def _plain(value: object) -> Value:
    if value is None:
        return DASH  # runs that lack a name would be missing in TensorBoard's parallel coordinates
    return value if isinstance(value, bool | int | float) else str(value)


class Dashboard(L.Callback):
    """Write figures, augmented images, the graph, the config and HPARAMS for TensorBoard.

    Without a TensorBoard logger it does nothing.

    Args:
        every_n_epochs: epochs between figures of the validation fold. Figures of the test fold are
            always drawn.
    """

    def __init__(self, every_n_epochs: PositiveInt = 5) -> None:
        self.every_n_epochs = every_n_epochs
        self._undrawn: int | None = None  # step of the newest validation, if not drawn

    @override
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writer = writer_of(trainer)
        if writer is None:
            return
        model, data = model_and_data(trainer)
        writer.add_image("train/augmented", _tiled(augmented_sheet(data.train_radiographs())))
        writer.add_text("config", f"```yaml\n{model.record['config_text']}\n```")
        add_graph(writer, model, data.preprocessing.size)

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._undrawn = logged_step(trainer)
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._draw_validation(trainer)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last validation, if it was not drawn."""
        self._draw_validation(trainer)

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw(trainer, "test", logged_step(trainer))

    @override
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the main options and the metrics for HPARAMS."""
        writer = writer_of(trainer)
        if writer is None:
            return
        model, _ = model_and_data(trainer)
        final = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("test/") and not name.endswith("loss")  # units differ between tasks
        }
        options = model.record["options"]
        write_hyperparameters(writer.log_dir, options, final, trainer.global_step)

    def _draw_validation(self, trainer: L.Trainer) -> None:
        """Draw the newest validation, once."""
        if self._undrawn is not None:
            self._draw(trainer, "val", self._undrawn)
        self._undrawn = None

    def _draw(self, trainer: L.Trainer, fold: str, step: int) -> None:
        """Draw the newest predictions, of a training step."""
        writer = writer_of(trainer)
        if writer is None:
            return
        _, data = model_and_data(trainer)
        table = predictions_of(trainer)
        with styled():
            for name, figure in draw_figures(table, data.stages, entries=ON_DASHBOARD).items():
                writer.add_figure(f"{fold}/{name}", figure, step, close=False)


def _tiled(sheet: np.ndarray) -> np.ndarray:
    """Return (1, rows * H, columns * W) of a (rows, columns, H, W) sheet."""
    rows, columns, height, width = sheet.shape
    return sheet.swapaxes(1, 2).reshape(1, rows * height, columns * width)
