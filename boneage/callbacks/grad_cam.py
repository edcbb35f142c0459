"""Grad-CAM of a run: a fixed panel over the epochs, test cases, and localisation of the maps."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from typing_extensions import override

from boneage.callbacks.dashboard import logged_step, writer_of
from boneage.callbacks.records import model_and_data, predictions_of
from boneage.data.atomic import write_file
from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing
from boneage.data.sampler import evenly
from boneage.errors import UserError
from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.reference import reference_of
from boneage.explain.attention import measure_model, write_attention
from boneage.explain.cases import captions, overlay_sheet, representative_cases, write_cases
from boneage.explain.film import Film, read_film, square_film
from boneage.explain.localisation import Sample
from boneage.explain.methods import grad_cam
from boneage.explain.regions import read_regions
from boneage.run_files import MAPS
from boneage.stages import Stages


class GradCam(L.Callback):
    """Draw Grad-CAM maps of every task into `gradcam/` of the run folder and TensorBoard.

    Args:
        panel: number of validation radiographs, from the youngest to the oldest, the same in all
            epochs.
        every_n_epochs: epochs between drawings; the last is always drawn. Of several validations
            in an epoch, it is the last.
        cases: number of test radiographs with the largest, median and smallest error, each.
        per_band: number of test radiographs of each age band.
        target: the stage to explain: "predicted", "truth", or the name of a stage. Ages ignore it.
    """

    def __init__(
        self,
        panel: NonNegativeInt = 8,
        every_n_epochs: PositiveInt = 5,
        cases: NonNegativeInt = 4,
        per_band: NonNegativeInt = 2,
        target: str = "predicted",
    ) -> None:
        self.panel = panel
        self.every_n_epochs = every_n_epochs
        self.cases = cases
        self.per_band = per_band
        self.target = target
        self._draw_panel: Callable[[], None] | None = None  # of the newest validation, if not drawn

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Check the target before training.

        Raises:
            UserError: when it is not a stage.
        """
        _, data = model_and_data(trainer)
        names = data.stages.names
        if self.target not in ("predicted", "truth", *names):
            raise UserError(
                f"callbacks.grad_cam.target={self.target}: must be predicted, truth or one of "
                f"{', '.join(names)}"
            )

    @override
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not _is_last_of_epoch(trainer):
            return
        table = predictions_of(trainer).sort_values(["age_years", "id"], kind="stable")
        chosen = table.iloc[evenly(len(table), self.panel)]
        epochs = trainer.current_epoch + 1
        maps = self._maps(trainer, chosen)
        step = logged_step(trainer)
        self._draw_panel = partial(self._draw, trainer, chosen, maps, "val", epochs, step)
        if epochs % self.every_n_epochs == 0:
            self.on_train_end(trainer, pl_module)

    @override
    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the last validation, if it was not drawn; only now is it known to be the last."""
        if self._draw_panel is not None:
            self._draw_panel()
        self._draw_panel = None

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _, data = model_and_data(trainer)
        chosen = representative_cases(
            predictions_of(trainer), data.stages, self.cases, self.per_band
        )
        maps = self._maps(trainer, chosen)
        self._draw(trainer, chosen, maps, "test", trainer.current_epoch, logged_step(trainer))

    def _maps(self, trainer: L.Trainer, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return (n, h, w) maps by task of n radiographs; none outside the main process."""
        if not len(rows) or not trainer.is_global_zero:
            return {}
        model, data = model_and_data(trainer)
        image = torch.from_numpy(data.images_of(rows.index))[:, None].to(model.device)
        sex = sex_indices(rows["sex"]).to(model.device)
        target = self._stages(rows, data.stages, model.device)
        return {
            task: grad_cam(model, image, sex, task, target).cpu().numpy() for task in model.tasks
        }

    def _draw(
        self,
        trainer: L.Trainer,
        rows: pd.DataFrame,
        maps: dict[str, np.ndarray],
        fold: str,
        epochs: int,
        step: int,
    ) -> None:
        """Draw the maps of radiographs of a fold after a number of epochs and steps."""
        if not maps:
            return
        _, data = model_and_data(trainer)
        folder = Path(trainer.default_root_dir) / MAPS
        folder.mkdir(parents=True, exist_ok=True)
        paths, images = data.table.loc[rows.index, "path"], data.images_of(rows.index)
        films = [
            _film(Path(path), square, data.preprocessing)
            for path, square in zip(paths, images, strict=True)
        ]
        for task, of_task in maps.items():
            name = f"{task}_test" if fold == "test" else f"{task}_epoch_{epochs:03d}"
            if fold == "test":
                write_cases(folder / name, films, of_task, rows)
            with styled():
                figure = overlay_sheet(films, of_task, captions(rows))
                write_file(folder / f"{name}.png", to_png(figure))
                if (writer := writer_of(trainer)) is not None:
                    writer.add_figure(f"{fold}/gradcam_{task}", figure, step, close=False)

    def _stages(self, rows: pd.DataFrame, stages: Stages, device: torch.device) -> Tensor | None:
        """Return the stage to explain for each radiograph; None is the predicted stage."""
        if self.target == "predicted":
            return None
        if self.target == "truth":
            return torch.from_numpy(stages.index_of(rows["age_years"].to_numpy())).to(device)
        return torch.full((len(rows),), stages.names.index(self.target), device=device)


def _is_last_of_epoch(trainer: L.Trainer) -> bool:
    """Tell whether no other validation of this epoch can follow the current one."""
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    ends = trainer.global_step >= trainer.max_steps > 0
    every = trainer.val_check_batch  # None if validations are timed
    return ends or every is None or done + every > trainer.num_training_batches


def _film(path: Path, square: np.ndarray, preprocessing: Preprocessing) -> Film:
    """Return the film of a file, or the network's input if the file no longer exists."""
    try:
        return read_film(path, preprocessing)
    except UserError:
        return square_film(square)


class GradCamLocalisation(L.Callback):
    """Write the share of the test fold's Grad-CAM maps in regions, compared with controls.

    Args:
        boxes: table of boxes, or folder of a phantom's masks. Keep its radiographs out of training
            with `data.hold_out`.
        annotator: use only boxes of this annotator; None uses all.
    """

    def __init__(self, boxes: str, annotator: str | None = None) -> None:
        self.boxes = Path(boxes)
        self.annotator = annotator
        self._regions: dict[str, dict[str, np.ndarray]] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Read the regions once, before training.

        Raises:
            UserError: when they cannot be read, or no test radiograph has a region.
        """
        if self._regions:
            return
        _, data = model_and_data(trainer)
        table = data.fold_table("test")
        files = {id_: Path(path) for id_, path in zip(table["id"], table["path"], strict=True)}
        self._regions = read_regions(self.boxes, files, data.preprocessing, self.annotator)
        if not self._regions:
            raise UserError(
                f"{self.boxes}: none of the {len(files):,} test radiographs has a region; keep "
                "radiographs with regions out of training with data.hold_out="
            )

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        model, data = model_and_data(trainer)
        table = predictions_of(trainer)
        table = table[table["id"].isin(self._regions)]
        if not len(table):  # a partial test
            return
        sample = Sample.of(table, data.images_of(table.index), self._regions, data.stages)
        summary = measure_model(model, sample)
        folder = Path(trainer.default_root_dir) / MAPS
        folder.mkdir(parents=True, exist_ok=True)
        write_attention([summary], folder, reference_of(model.record))
