"""Calibration of a checkpoint after training, and the calibrated model for prediction."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from boneage.callbacks.checkpoint import checkpoint_content
from boneage.data.atomic import write_file
from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing
from boneage.data.module import BoneAgeDataModule
from boneage.data.sampler import evenly
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.matching import ids_among
from boneage.errors import join_first, plural
from boneage.evaluation.intervals import Results
from boneage.explain.methods import maps_of
from boneage.models.inference import features_of, predictions_of
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import fold_of, load_model, read_checkpoint, stages_of
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.seen import seen_by
from boneage.uncertainty.calibration import (
    INTERVAL_KEYS,
    MIN_VALIDATION,
    Intervals,
    IntervalsBySex,
    Site,
    coverage,
    fit_intervals,
)
from boneage.uncertainty.novelty import Novelty, fit_novelty, from_whitening

log = logging.getLogger(__name__)
FEATURES = 2000  # training radiographs for the distribution of features


def calibrate(model: BoneAgeModule, data: BoneAgeDataModule) -> dict[str, Any]:
    """Return the calibration to store in a checkpoint, as plain containers and tensors.

    Returns:
        `predicted_years` and `predicted_years_sex_unknown` of the validation fold, in the order of
        the record's split, if an age is predicted; and `novelty`, fitted to features of the
        training fold, with its limit fitted to those of the validation fold.
    """
    model.eval()
    val, train = data.fold_table("val"), data.fold_table("train")
    images = data.cached(val.index)
    calibration: dict[str, Any] = {}
    unknown = pd.Series("unknown", index=val.index)
    for name, sex in (("predicted_years", val["sex"]), ("predicted_years_sex_unknown", unknown)):
        predicted, validated = predictions_of(model, images, sex_indices(sex))
        if PREDICTED_AGE in predicted:
            calibration[name] = predicted[PREDICTED_AGE].tolist()
    sample = evenly(len(train), FEATURES)
    trained = features_of(model, data.cached(train.index[sample]))
    novelty = fit_novelty(trained, validated)
    calibration["novelty"] = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in asdict(novelty).items()
    }
    return calibration


def add_calibration(checkpoint: Path, out: Path, calibration: dict[str, Any]) -> None:
    """Write a copy of a checkpoint with more entries of its calibration; `out` may be the same.

    Raises:
        OSError: if it cannot be written.
    """
    loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    loaded["boneage"]["calibration"] = loaded["boneage"].get("calibration", {}) | calibration
    write_file(out, checkpoint_content(loaded))


def site_of(record: dict[str, Any]) -> Site | None:
    """Return the site of a checkpoint's record; None if it is fitted to none."""
    site = record.get("calibration", {}).get("site")
    return Site.of(site) if site else None


def correcting_site(record: dict[str, Any], tested: Sequence[str] = ()) -> Site | None:
    """Return the site of a checkpoint's record; log if predicted ages are corrected for it.

    Args:
        record: of the checkpoint.
        tested: ids of radiographs whose errors are measured. It warns of those that the correction
            was fitted to.
    """
    site = site_of(record)
    if site is None or not site.correction.lines:
        return site
    log.info("The ages are corrected for the model's site, as in boneage predict")
    if both := ids_among(tested, site.ids):
        log.warning(
            "The correction was fitted to radiographs with the ids of %s tested here: %s. If they "
            "are the same, the errors are too small: test it on others",
            plural(len(both), "radiograph"), join_first(both),
        )  # fmt: skip
    return site


def predictions_at(
    site: Site | None,
    model: BoneAgeModule,
    images: np.ndarray,
    sexes: pd.Series,
    novelty: Novelty | None = None,
) -> pd.DataFrame:
    """Return the columns of `predictions_of`, with the ages corrected for a site.

    Args:
        site: whose correction applies, if any.
        model: the model.
        images: (n, size, size) uint8.
        sexes: n sexes.
        novelty: adds the column `novelty`, the distance to the training radiographs.
    """
    predicted, features = predictions_of(model, images, sex_indices(sexes))
    if novelty is not None:
        predicted["novelty"] = novelty.distance(features)
    if site is not None and PREDICTED_AGE in predicted:
        years, names = predicted[PREDICTED_AGE].to_numpy(float), sexes.to_numpy(str)
        predicted[PREDICTED_AGE] = site.correction.correct(years, names)
    return predicted


def intervals_of(record: dict[str, Any], sex_known: bool = True) -> Intervals | None:
    """Return the intervals of a checkpoint's record; None if it contains none."""
    calibration = record.get("calibration", {})
    widths = calibration.get("half_widths_years", {}).get(INTERVAL_KEYS[sex_known])
    if widths is not None:  # of an exported file
        return Intervals.of(widths)
    name = "predicted_years" if sex_known else "predicted_years_sex_unknown"
    stored = calibration.get(name)
    if stored is None:
        return None
    val, predicted = fold_of(record, "val"), np.asarray(stored, float)
    given = (val["sex"] != "unknown").to_numpy()
    rows = given if sex_known and given.sum() >= MIN_VALIDATION else np.full(len(val), True)
    return fit_intervals(val["age_years"].to_numpy(float)[rows], predicted[rows])


def intervals_by_sex(record: dict[str, Any]) -> IntervalsBySex:
    """Return the intervals of a checkpoint's record for known and unknown sex."""
    return {sex_known: intervals_of(record, sex_known) for sex_known in INTERVAL_KEYS}


def novelty_of(record: dict[str, Any]) -> Novelty | None:
    """Return the novelty of a checkpoint's record; None if it contains none."""
    stored = record.get("calibration", {}).get("novelty")
    if stored is None:
        return None
    values: dict[str, Any] = {
        k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in stored.items()
    }
    return from_whitening(**values) if "whiten" in values else Novelty(**values)


def coverage_of(record: dict[str, Any], test: pd.DataFrame) -> dict[str, Results]:
    """Return the coverage of a record's intervals on a test fold; empty if unknown.

    As in predictions, a radiograph of unknown sex has the wider interval of unknown sexes.
    """
    known, unknown = intervals_of(record), intervals_of(record, sex_known=False)
    if known is None or unknown is None:
        return {}
    true, predicted = test["age_years"].to_numpy(), test[PREDICTED_AGE].to_numpy()
    given = (test["sex"] != "unknown").to_numpy()
    width = np.where(given, known.width_of(predicted), unknown.width_of(predicted))
    if not np.isfinite([*width, *predicted]).all():
        return {}
    return coverage(true, predicted, width, patient_codes(test))


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
