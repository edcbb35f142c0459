"""Measure, at the end of a run, where the maps of its model lie."""

from pathlib import Path

import lightning as L
import numpy as np
from typing_extensions import override

from boneage.callbacks.context import model_and_data
from boneage.callbacks.grad_cam import FOLDER
from boneage.callbacks.predictions import predictions_of
from boneage.data.dataset import sex_indices
from boneage.errors import UserError
from boneage.explain.attention import measure_model, write_attention
from boneage.explain.boxes import read_regions


class GradCamLocalisation(L.Callback):
    """Write how much of the Grad-CAM maps of the test fold lies in regions, beside controls.

    Args:
        boxes: table of boxes, or folder of a phantom's masks; hold its radiographs out of training
            with `data.hold_out`.
        annotator: whose boxes count; None is everybody's.
    """

    def __init__(self, boxes: str, annotator: str | None = None) -> None:
        self.boxes = Path(boxes)
        self.annotator = annotator
        self._regions: dict[str, dict[str, np.ndarray]] = {}

    @override
    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Read the regions, once, before anything is trained.

        Raises:
            UserError: when they cannot be read, or no test radiograph has one.
        """
        if self._regions:
            return
        _, data = model_and_data(trainer, pl_module)
        table = data.fold_table("test")
        files = {id_: Path(path) for id_, path in zip(table["id"], table["path"], strict=True)}
        self._regions = read_regions(self.boxes, files, data.preprocessing, self.annotator)
        if not self._regions:
            raise UserError(
                f"{self.boxes}: none of the {len(files)} test radiographs has a region; hold those "
                "that have one out of training with data.hold_out="
            )

    @override
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        model, data = model_and_data(trainer, pl_module)
        table = predictions_of(trainer)
        table = table[table["id"].isin(self._regions)]
        if not len(table):  # a partial test
            return
        summary = measure_model(
            model,
            data.images_of(table.index),
            sex_indices(table["sex"]),
            table["age_years"].to_numpy(np.float64),
            [self._regions[id_] for id_ in table["id"]],
            data.stages,
        )
        folder = Path(trainer.default_root_dir) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        write_attention([summary], folder)
