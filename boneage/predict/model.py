"""One or several checkpoints as one predictor."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing
from boneage.errors import UserError
from boneage.evaluation.conformal import Intervals
from boneage.explain.inference import features_of, maps_of, predictions_of
from boneage.run.calibrate import AGE, intervals_of, novelty_of
from boneage.run.checkpoint import checkpoint_file, load_model, read_checkpoint
from boneage.stages import Stages

log = logging.getLogger(__name__)

Row = dict[str, Any]
CHANCE = "stage_probability_"


class Predictor:
    """The mean of what some checkpoints predict.

    Args:
        checkpoints: checkpoint files, or folders of runs.
        mirror: average with the mirror image, whatever the runs did.

    Raises:
        UserError: when one cannot be read or is given twice, or they predict different things.
    """

    def __init__(self, checkpoints: Sequence[Path], mirror: bool = False) -> None:
        self.files = [checkpoint_file(path) for path in checkpoints]
        if len({file.resolve() for file in self.files}) < len(self.files):
            raise UserError(f"the same checkpoint twice: {', '.join(map(str, self.files))}")
        loaded = [read_checkpoint(file) for file in self.files]
        self.records: list[dict[str, Any]] = [checkpoint["boneage"] for checkpoint in loaded]
        for file, record in zip(self.files[1:], self.records[1:], strict=True):
            for what in ("name", "stages"):
                if record["config"][what] != self.records[0]["config"][what]:
                    raise UserError(
                        f"{self.files[0]} and {file} differ in their "
                        f"{'task' if what == 'name' else what}: they cannot answer together"
                    )
        self.models = [load_model(checkpoint).eval() for checkpoint in loaded]
        for model in self.models:
            model.mirror_test |= mirror
        self.preprocessings = tuple(Preprocessing(**r["preprocessing"]) for r in self.records)
        stages = self.records[0]["config"]["stages"]
        self.stages = Stages(stages["names"], stages["edges"])
        for file, record in zip(self.files, self.records, strict=True):
            if "calibration" not in record:
                log.warning("%s holds no calibration: no intervals, and no novelty of it", file)
        self.novelties = [novelty_of(record) for record in self.records]
        self.intervals = {
            known: _mean_intervals([intervals_of(record, known) for record in self.records])
            for known in (True, False)
        }

    def predict(self, squares: Sequence[np.ndarray], sex: Tensor) -> list[Row]:
        """Return the mean prediction of n radiographs.

        Args:
            squares: per checkpoint (n, size, size) uint8.
            sex: (n,) int64, index into `SEXES`.

        Returns:
            One dict a radiograph: the tasks' columns of `predictions.csv`; `spread`, the standard
            deviation of the models' ages in years, where there are several; and `novelty`, the
            least of the distances, NaN where no checkpoint holds what is needed.
        """
        tables, features = zip(
            *(
                predictions_of(model, images, sex)
                for model, images in zip(self.models, squares, strict=True)
            ),
            strict=True,
        )
        numbers = tables[0].select_dtypes("number").columns
        mean = sum(table[numbers] for table in tables) / len(tables)
        assert isinstance(mean, pd.DataFrame)
        chances = [column for column in mean if str(column).startswith(CHANCE)]
        if chances:
            likeliest = mean[chances].idxmax(axis=1)
            mean["stage_predicted"] = [str(c).removeprefix(CHANCE) for c in likeliest]
        if AGE in mean and len(tables) > 1:
            mean["spread"] = np.std([table[AGE] for table in tables], axis=0, ddof=1)
        mean["novelty"] = self._distance(features)
        return [{str(k): v for k, v in row.items()} for row in mean.to_dict("records")]

    def novelty(self, squares: Sequence[np.ndarray]) -> np.ndarray:
        """Return (n,) distances to the training radiographs, NaN where no checkpoint knows them.

        Args:
            squares: per checkpoint (n, size, size) uint8.
        """
        return self._distance(
            [features_of(m, images) for m, images in zip(self.models, squares, strict=True)]
        )

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray:
        """Return (n, size, size) signed Grad-CAM maps of the first checkpoint's first task.

        Args:
            squares: (n, size, size) uint8, as the first checkpoint sees radiographs.
            sexes: n sexes.
        """
        model = self.models[0]
        return maps_of(model, squares, sex_indices(sexes), next(iter(model.tasks)), "gradcam")

    def _distance(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Return the least distance of each radiograph, from (n, F) features per checkpoint."""
        distances = [
            known.distance(some)
            for known, some in zip(self.novelties, features, strict=True)
            if known is not None
        ]
        return np.min(distances, axis=0) if distances else np.full(len(features[0]), np.nan)


def _mean_intervals(members: Sequence[Intervals | None]) -> Intervals | None:
    """Return the mean half-widths; a mean prediction errs no more than its members on average."""
    known = [member for member in members if member is not None]
    if len(known) < len(members):
        return None
    widths = np.mean([member.widths for member in known], axis=0)
    return Intervals(tuple(widths.tolist()))
