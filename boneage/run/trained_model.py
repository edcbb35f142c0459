"""A checkpoint as a model for prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing
from boneage.explain.methods import maps_of
from boneage.models.inference import predictions_of
from boneage.run.calibrate import intervals_by_sex, novelty_of, site_of
from boneage.run.checkpoint import fold_of, load_model, read_checkpoint, stages_of
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.seen import seen_by


class TrainedModel:
    """A model from a checkpoint, run by torch; see `boneage.predict.onnx_model.Model`.

    Args:
        path: checkpoint file, or folder of a run.
        mirror: average with the mirror image, even if the run did not.

    Raises:
        UserError: if it cannot be read.
    """

    def __init__(self, path: Path, mirror: bool) -> None:
        self.file = checkpoint_file(path)
        checkpoint = read_checkpoint(self.file)
        record = checkpoint["boneage"]
        with torch.random.fork_rng(devices=[]):  # a program's random numbers stay the same
            self.module = load_model(checkpoint).eval()
        self.module.mirror_test |= mirror
        self.mirror = self.module.mirror_test
        self.tasks = frozenset(self.module.tasks)
        self.predicts_age = "age" in self.tasks
        self.stages = stages_of(record)
        self.preprocessing = Preprocessing(**record["preprocessing"])
        self.intervals = intervals_by_sex(record)
        self.site = site_of(record)
        self.validated = len(fold_of(record, "val"))
        self.seen = frozenset(seen_by(checkpoint)["id"])
        self.novelty = novelty_of(record)
        self.calibrated = self.novelty is not None

    def predict(
        self, squares: np.ndarray, sexes: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Predict (n, size, size) uint8 radiographs."""
        table, features = predictions_of(self.module, squares, sex_indices(sexes))
        numbers = table.select_dtypes("number")
        columns = {str(name): numbers[name].to_numpy() for name in numbers}
        if self.novelty is None:
            return columns, np.full(len(squares), np.nan)
        return columns, self.novelty.distance(features)

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray:
        """Return (n, size, size) signed Grad-CAM maps of the first task."""
        task = next(iter(self.module.tasks))
        return maps_of(self.module, squares, sex_indices(sexes), task, "gradcam")
