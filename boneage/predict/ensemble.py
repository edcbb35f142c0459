"""The mean prediction of one or several models."""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.errors import UserError, framework
from boneage.predict.onnx_model import Columns, Model, OnnxModel, builtin_file
from boneage.run.checkpoint_file import checkpoint_file, require_weights
from boneage.stages import PROBABILITY
from boneage.uncertainty.calibration import INTERVAL_KEYS, Correction, Intervals, why_unknown
from boneage.weights import is_exported, require_distinct

log = logging.getLogger(__name__)

Row = dict[str, Any]
SITE = "site_correction_years"


class Ensemble:
    """Models that answer with the mean of their predictions.

    Args:
        checkpoints: exported `.onnx` files, checkpoint files, or folders of runs; empty for the
            built-in model.
        mirror: average with the mirror image, even if the runs did not.

    Raises:
        UserError: if one cannot be read or is given twice, or if tasks or stages differ.
    """

    def __init__(self, checkpoints: Sequence[Path] = (), mirror: bool = False) -> None:
        self.models = [_read(Path(p), mirror) for p in (checkpoints or [builtin_file()])]
        self.files = [model.file for model in self.models]
        require_distinct(self.files)
        _require_same_outputs(self.models)
        _warn_of_same_intervals(self.models)
        for model in self.models:
            _warn_of_missing_calibration(model)
        self.preprocessings = tuple(model.preprocessing for model in self.models)
        self.stages = self.models[0].stages
        self.intervals = {
            sex_known: _mean_intervals([_intervals(model, sex_known) for model in self.models])
            for sex_known in INTERVAL_KEYS
        }

    def predict(self, squares: Sequence[np.ndarray], sexes: Sequence[str]) -> list[Row]:
        """Return the mean prediction of n radiographs.

        Args:
            squares: per model (n, size, size) uint8.
            sexes: n sexes.

        Returns:
            One dict per radiograph: the numeric columns of `predictions.csv`; `stage_predicted`
            if there are probabilities; `spread`, the standard deviation of the models' ages in
            years, if there are several; `SITE`, the years added by site corrections, if a model
            has one; and `novelty`, the smallest distance, NaN if no model measures it.

        Raises:
            UserError: if predictions of a model are not finite.
        """
        predictions = [
            _predict(model, images, sexes, any(m.site is not None for m in self.models))
            for model, images in zip(self.models, squares, strict=True)
        ]
        columns = [columns for columns, _ in predictions]
        mean: Columns = {
            name: np.stack([own[name] for own in columns]).mean(axis=0, dtype=np.float64)
            for name in columns[0]
        }
        if PREDICTED_AGE in mean and len(columns) > 1:
            mean["spread"] = np.std([own[PREDICTED_AGE] for own in columns], axis=0, ddof=1)
        mean["novelty"] = np.fmin.reduce([novelty for _, novelty in predictions])
        if probabilities := [name for name in mean if name.startswith(PROBABILITY)]:
            likeliest = np.argmax([mean[name] for name in probabilities], axis=0)
            names = np.array([name.removeprefix(PROBABILITY) for name in probabilities])
            mean["stage_predicted"] = names[likeliest]
        return [
            {name: values[row].item() for name, values in mean.items()} for row in range(len(sexes))
        ]

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray | None:
        """Return (n, size, size) signed Grad-CAM maps of the first model's first task, or None.

        Args:
            squares: (n, size, size) uint8, preprocessed for the first model.
            sexes: n sexes.
        """
        return self.models[0].maps(squares, sexes)


def _read(path: Path, mirror: bool) -> Model:
    """Return the model of a file or folder; only checkpoints of training need torch."""
    path = checkpoint_file(path)
    if is_exported(path):
        return OnnxModel(path, mirror)
    require_weights(path)
    with framework():
        from boneage.run.calibrate import TrainedModel
    return TrainedModel(path, mirror)


def _require_same_outputs(models: Sequence[Model]) -> None:
    """Raise UserError if models differ in their tasks or stages."""
    first = models[0]
    for model in models[1:]:
        stages, first_stages = ((m.stages.names, m.stages.edges) for m in (model, first))
        for what, same in (
            ("tasks", model.tasks == first.tasks),
            ("stages", stages == first_stages),
        ):
            if not same:
                raise UserError(
                    f"{first.file} and {model.file} differ in their {what}: they cannot be averaged"
                )


def _warn_of_same_intervals(models: Sequence[Model]) -> None:
    for one, other in combinations(models, 2):
        own = one.intervals[True]
        if own is not None and own.known and one.intervals == other.intervals:
            log.warning(
                "%s and %s have the same intervals, so they seem to be one model, which counts "
                "twice",
                one.file, other.file,
            )  # fmt: skip


def _warn_of_missing_calibration(model: Model) -> None:
    intervals = [_intervals(model, sex_known) for sex_known in INTERVAL_KEYS]
    if not model.calibrated:
        lacking = "novelty" if any(intervals) else "intervals and no novelty"
        log.warning("%s has no calibration: it gives no %s", model.file, lacking)
    elif not all(each is None or each.known for each in intervals):
        log.warning("%s: %s", model.file, why_unknown(model.validated))


def _predict(
    model: Model, squares: np.ndarray, sexes: Sequence[str], at_site: bool
) -> tuple[Columns, np.ndarray]:
    """Return a model's predictions, corrected for its site; `at_site` adds the column `SITE`."""
    columns, novelty = model.predict(squares, sexes)
    if not all(np.isfinite(values).all() for values in columns.values()):
        raise UserError(
            f"model {model.file} cannot be used: its predictions are not finite, so the file is "
            "damaged or its training diverged; copy it again, or use another model"
        )
    if at_site and PREDICTED_AGE in columns:
        correction = Correction() if model.site is None else model.site.correction
        corrected = correction.correct(columns[PREDICTED_AGE], np.asarray(sexes))
        columns |= {PREDICTED_AGE: corrected, SITE: corrected - columns[PREDICTED_AGE]}
    return columns, novelty


def _intervals(model: Model, sex_known: bool) -> Intervals | None:
    """Return a model's intervals: those of its site, if any, else its own."""
    of_site = None if model.site is None else model.site.intervals[sex_known]
    return of_site or model.intervals[sex_known]


def _mean_intervals(members: Sequence[Intervals | None]) -> Intervals | None:
    """Return the mean half-widths: a mean prediction has at most its members' mean error."""
    calibrated = [member for member in members if member is not None]
    if len(calibrated) < len(members):
        return None
    widths = np.mean([member.widths for member in calibrated], axis=0)
    return Intervals(tuple(widths.tolist()))
