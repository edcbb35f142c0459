"""A test on another data set than the checkpoint's, compared with its own test fold."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.module import BoneAgeDataModule
from boneage.data.phantom.write import PHANTOM_FILE
from boneage.data.tables.ids import patient_codes
from boneage.errors import UserError
from boneage.evaluation.intervals import (
    Result,
    Results,
    bounded,
    mean_absolute,
    unpaired_difference,
)
from boneage.evaluation.predictions import count_not_finite, error_months, predicted_stage
from boneage.evaluation.run_folder import FinishedRun, read_run, run_folder
from boneage.evaluation.shares import exact_share, limits_of_difference
from boneage.models.inference import features_of
from boneage.models.module import BoneAgeModule
from boneage.run.calibrate import novelty_of
from boneage.run.checkpoint import fold_of
from boneage.run.seen import find_seen, in_months
from boneage.run_files import METRICS
from boneage.stages import Stages
from boneage.uncertainty.novelty import UNUSUAL
from boneage.weights import is_exported

log = logging.getLogger(__name__)
ACCURACY = "stage/accuracy"  # the only share that is compared


def external_report(
    checkpoint: Path,
    model: BoneAgeModule,
    data: BoneAgeDataModule,
    predictions: pd.DataFrame,
    test: Results,
) -> dict[str, Any]:
    """Return what `metrics.json` contains of an external test.

    Args:
        checkpoint: file of the checkpoint that was tested.
        model: its model.
        data: the external radiographs.
        predictions: of those that were tested, indexed by the row of the data module's table.
        test: their metrics.

    Returns:
        `external`; `trained_on`, name of the checkpoint's data set, None if unknown;
        `trained_on_synthetic`, whether a model that knows only synthetic hands was tested on
        radiographs; `anomalies`, shares of the radiographs; and, where the folder of its run is
        there, `own_test`: metrics of the run's own test fold, how much the external ones differ,
        and how many radiographs are in both (`shared`).
    """
    report: dict[str, Any] = {
        "external": True,
        "trained_on": _trained_on(model.record),
        "trained_on_synthetic": not data.synthetic and _is_of_phantom(model.record),
        "anomalies": anomalies(model, data, predictions),
    }
    if is_exported(checkpoint):  # its run is not known
        return report
    try:
        own = own_run(checkpoint, model)
    except UserError as error:
        log.warning("There is no comparison with the test fold of the checkpoint's run: %s", error)
        return report
    compared = differences(own.predictions, own.metrics["test"], predictions, test, own.stages)
    return report | {
        "trained_on": own.metrics["data"],
        "trained_on_synthetic": not data.synthetic and own.metrics["synthetic"],
        "own_test": {
            "run": own.path.name,
            "n": own.metrics["n"]["test"],
            "shared": len(find_seen(in_months(predictions), in_months(own.predictions))[0]),
            "test": {name: own.metrics["test"][name] for name in compared},
            "differences": compared,
        },
    }


def differences(
    own: pd.DataFrame, own_test: Results, external: pd.DataFrame, test: Results, stages: Stages
) -> Results:
    """Return how much metrics of an external test differ from those of a run's own test fold.

    Each set is resampled on its own. Radiographs in both would make the intervals too wide.

    Args:
        own: `predictions.csv` of the run.
        own_test: its metrics.
        external: the predictions of the external radiographs.
        test: their metrics.
        stages: the stages of both.

    Returns:
        Per metric that both have `value`, `low` and `high`, external minus own. There is no
        interval where one of the two metrics has none, as for a single radiograph. Where a share
        is exactly 0 or 1 it is that of Newcombe (`limits_of_difference`), from the intervals of the
        two shares.
    """
    scored: dict[str, tuple[Callable[..., np.ndarray], Callable[[pd.DataFrame], np.ndarray]]] = {
        "age/mae_months": (mean_absolute, error_months),
        "age/bias_months": (_mean, error_months),
        ACCURACY: (_mean, lambda table: _hits(table, stages)),
    }
    found: Results = {}
    if count_not_finite(own) or count_not_finite(external):
        return found
    patients = patient_codes(own), patient_codes(external)
    for name, (metric, column) in scored.items():
        pair = [results[name] for results in (own_test, test) if name in results]
        if len(pair) < 2 or None in (result["value"] for result in pair):
            continue
        difference = unpaired_difference(metric, (column(own),), (column(external),), patients)
        if None in (result["low"] for result in pair):
            difference |= {"low": None, "high": None}
        elif name == ACCURACY and any(result["value"] in (0, 1) for result in pair):
            low, high = limits_of_difference(*map(_with_limits, pair))
            difference |= {"low": low, "high": high}
        found[name] = bounded(difference, 1.0) if name == ACCURACY else difference
    return found


def _hits(table: pd.DataFrame, stages: Stages) -> np.ndarray:
    true = stages.index_of(table["age_years"].to_numpy(float))
    hits: np.ndarray = (predicted_stage(table, stages) == true).astype(float)
    return hits


def _mean(values: np.ndarray) -> np.ndarray:
    mean: np.ndarray = values.mean(axis=-1)
    return mean


def _with_limits(share: Result) -> list[float]:
    return [float(share[part] or 0) for part in ("value", "low", "high")]


def anomalies(model: BoneAgeModule, data: BoneAgeDataModule, predictions: pd.DataFrame) -> Results:
    """Return shares of the tested radiographs, as far as the checkpoint can tell.

    Returns:
        `unusual`: farther from the training radiographs than 99 % of the validation fold (novelty
        above `UNUSUAL`); `without_hand`: no hand was found to crop to.
    """
    patients = patient_codes(predictions)
    found: Results = {}
    novelty = novelty_of(model.record)
    if novelty is not None:
        features = features_of(model.eval(), data.cached(predictions.index))
        found["unusual"] = exact_share(novelty.distance(features) > UNUSUAL, patients)
    if data.preprocessing.crop == "hand":
        rows = data.table.loc[predictions.index, "cache_row"]
        hits = rows.isin(data.cache.without_hand).to_numpy(bool)
        found["without_hand"] = exact_share(hits, patients)
    return found


def own_run(checkpoint: Path, model: BoneAgeModule) -> FinishedRun:
    """Return the finished run that a checkpoint was trained and tested in.

    Raises:
        UserError: when its folder is not there, is another run's, or has results of other weights.
    """
    folder = run_folder(checkpoint)
    if not (folder / METRICS).is_file():
        raise UserError(f"{folder} has no {METRICS}")
    run = read_run(folder)
    known, _ = find_seen(in_months(run.predictions), fold_of(model.record, "test"))
    if len(known) < len(run.predictions) or not run.metrics["options"].get("train", True):
        raise UserError(f"{folder} is the folder of another run")
    best = checkpoint.with_name("best.ckpt")
    if best.is_file() and checkpoint.name != best.name:
        raise UserError(f"the run has tested {best.name}, not {checkpoint.name}")
    if bool(run.metrics["options"].get("mirror_test")) != model.mirror_test:
        raise UserError(
            f"mirror_test differs: test with mirror_test={str(not model.mirror_test).lower()}"
        )
    return run


def _trained_on(record: dict[str, Any]) -> str | None:
    """Return the name of the data set of a checkpoint; None where its options do not name it."""
    root = record["options"].get("data.root")
    if root:
        return Path(os.path.abspath(root)).name
    return "phantom" if _is_of_phantom(record) else None


def _is_of_phantom(record: dict[str, Any]) -> bool:
    """Tell whether a checkpoint's data set was synthetic, as far as its options and files show."""
    root = record["options"].get("data.root")
    if root:
        return os.path.isfile(os.path.join(root, PHANTOM_FILE))  # False where it may not look
    return "data.root._target_" in record["options"]
