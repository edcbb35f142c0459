"""Test a run under changes of the image that do not change the bone age."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from joblib import delayed

from boneage.data.atomic import make_writable, require_writable, write_file, writing
from boneage.data.decode import Preprocessing
from boneage.data.layouts import read_source
from boneage.data.parallel import with_progress
from boneage.data.phantom import write_phantom
from boneage.data.pool import run_pool
from boneage.data.sampler import evenly
from boneage.data.tables.columns import DEFAULT_COLUMNS, PREDICTED_AGE, Columns
from boneage.data.tables.ids import patient_codes
from boneage.errors import UserError
from boneage.evaluation.figures.comparison import stress_figure
from boneage.evaluation.figures.style import styled, write_figure
from boneage.evaluation.intervals import Metrics, Results, counts, with_interval
from boneage.evaluation.shares import widen_share
from boneage.run.calibrate import correcting_site, novelty_of, predictions_at
from boneage.run.changes import STRESSES, UNCHANGED, changed_square
from boneage.run.checkpoint import load_model, read_checkpoint, stages_of
from boneage.run.seen import SAME_MONTHS, find_seen
from boneage.run_files import STRESS_FIGURE, STRESS_TABLE
from boneage.uncertainty.novelty import UNUSUAL

PART = 128  # radiographs changed and predicted at a time
ROW = "row"
EXPORT_IT = "export it with boneage export, and give the exported file and --root"
LABELS = {  # of the metrics, in tables
    "mae_months": "MAE",
    "mae_months_difference": "difference",
    "change_months": "mean change",
    "accuracy": "accuracy",
    "accuracy_difference": "difference",
    "stage_changed": "changed stages",
    "flagged": "share flagged",
    "mae_months_not_flagged": "MAE if not flagged",
}
OF_STAGES = ("accuracy", "accuracy_difference", "stage_changed")
DIFFERENCES = ("mae_months_difference", "accuracy_difference")  # from the unchanged radiographs
BOUNDS = {"accuracy_difference": (-1.0, 1.0)}
SHARES = {"accuracy", "flagged", "stage_changed"}  # of the radiographs


def stress(
    checkpoint: Path,
    out: Path,
    root: Path | None = None,
    n: int | None = None,
    columns: Columns = DEFAULT_COLUMNS,
) -> pd.DataFrame:
    """Predict the test fold of a checkpoint under each change; write `stress.csv` and figures.

    Ages are as in `boneage predict`: corrected if the model is fitted to a site.

    Args:
        checkpoint: as for `checkpoint_file`.
        out: folder to write.
        root: folder of the radiographs, if they have moved.
        n: maximum number of radiographs, evenly over the fold; None is all.
        columns: of the table in `root`; names or an age unit that are not given are as in the
            training.

    Returns:
        One row per change and metric: `change`, `metric`, `value`, `low`, `high`, `n`. A
        `difference` is from the unchanged radiographs; a `change` is the mean absolute change of
        the prediction, for better or worse.

    Raises:
        UserError: if checkpoint or radiographs are missing, it predicts neither age nor stage, or
            `out` cannot be written.
    """
    loaded = read_checkpoint(checkpoint)
    record = loaded["boneage"]
    if not {"age", "stage"} & set(record["config"]["tasks"]):
        raise UserError(f"{checkpoint} predicts neither age nor stage, which this test measures")
    table = held_out(record, root, columns)
    require_writable(out)
    if n is not None:
        table = table.iloc[evenly(len(table), n)]
    model, preprocessing = load_model(loaded).eval(), Preprocessing(**record["preprocessing"])
    changes = (UNCHANGED, *STRESSES)
    rows: dict[str, list[dict[Hashable, Any]]] = {change: [] for change in changes}
    site = correcting_site(record, list(table["id"]))
    predictions = partial(predictions_at, site, model, novelty=novelty_of(record))
    predicted = _predict(predictions, table, preprocessing, changes)
    for change, row in with_progress(predicted, len(changes) * len(table), "Images tested"):
        rows[change] += [row] if row else []
    tables = {change: pd.DataFrame(own).set_index(ROW) for change, own in rows.items() if own}
    parts = [
        stress_metrics(table, tables[UNCHANGED], changed).assign(change=change)
        for change, changed in tables.items()
    ]
    measured = pd.concat(parts, ignore_index=True)
    make_writable(out)
    with writing(out), styled():
        write_file(out / STRESS_TABLE, measured.to_csv(index=False))
        write_figure(stress_figure(measured), out / STRESS_FIGURE)
    return measured


def held_out(
    record: dict[str, Any],
    root: Path | None = None,
    columns: Columns = DEFAULT_COLUMNS,
) -> pd.DataFrame:
    """Return `id`, `path`, `sex`, `age_years`, `stage` of the test radiographs of a model.

    An exported file has no test fold: then they are the radiographs of `root` that it has not seen.
    """
    find = _of_run if record["config_text"] else _not_seen
    table = find(record, root, columns)
    stages, age_years = stages_of(record), table["age_months"] / 12
    stage = np.array(stages.names)[stages.index_of(age_years.to_numpy())]
    return table.assign(age_years=age_years, stage=stage)


def _of_run(record: dict[str, Any], root: Path | None, columns: Columns) -> pd.DataFrame:
    """Return the test fold of a run."""
    try:
        data = yaml.safe_load(record["config_text"])["data"]
        given = data["root"]
        tables = {key: data[key] for key in ("table", "val_table", "test_table")}
        named = any(columns.single().values())
        columns = replace(
            columns if named else Columns.of(data["columns"]),
            age_unit=columns.age_unit or data["age_unit"],
            separator=data.get("separator"),
        )
        if root is None and isinstance(given, dict):  # a phantom: in the cache
            root = write_phantom(**{key: given[key] for key in ("n", "size", "seed")})
        root = root or Path(given)
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint's data options are damaged: {EXPORT_IT}") from error
    source = read_source(root, columns=columns, missing="drop", **tables)
    split = pd.DataFrame(record["split"])
    if not (split["fold"] == "test").any():
        raise UserError(f"a checkpoint of an older version lists no test radiographs: {EXPORT_IT}")
    source = source[["id", "path", "age_months"]].rename(columns={"age_months": "found"})
    table = split[split["fold"] == "test"].merge(source, on="id", how="left")
    if table["path"].isna().any():
        raise UserError(
            f"{root} lacks {int(table['path'].isna().sum()):,} of {len(table):,} test radiographs "
            "of this run: give their folder with --root"
        )
    if (other := (table["found"] - table["age_months"]).abs() > SAME_MONTHS).any():
        raise UserError(
            f"{root} has other bone ages for {int(other.sum()):,} of {len(table):,} test "
            "radiographs of this run: give the folder of the same data set with --root"
        )
    return table.drop(columns="found")


def _not_seen(record: dict[str, Any], root: Path | None, columns: Columns) -> pd.DataFrame:
    """Return the radiographs of a folder without an exported model's training radiographs."""
    if root is None:
        raise UserError("an exported model does not name its test radiographs: give --root")
    source = read_source(root, columns=columns, missing="drop")
    seen = chain(*find_seen(source, pd.DataFrame(record["split"])))
    table = source[~source["id"].isin([*seen])].reset_index(drop=True)
    if table.empty:
        raise UserError(f"this model was trained on all radiographs in {root}: give another --root")
    return table


def _predict(
    predictions: Callable[[np.ndarray, pd.Series], pd.DataFrame],
    table: pd.DataFrame,
    preprocessing: Preprocessing,
    changes: Iterable[str],
) -> Iterator[tuple[str, dict[Hashable, Any] | None]]:
    """Yield every change with the prediction of every radiograph; None if it cannot be changed.

    A prediction has the columns of `predictions.csv`, `flagged`, and in `ROW` its index in `table`.
    A sex that the table lacks is read from the DICOM header.
    """
    for change, start in product(changes, range(0, len(table), PART)):
        part = table.iloc[start : start + PART]
        calls = (delayed(changed_square)(path, preprocessing, change) for path in part["path"])
        results = list(run_pool(calls, n_jobs=-1))
        changed = [result for result in results if result is not None]
        yield from [(change, None)] * (len(results) - len(changed))
        if changed:
            changeable = part[[result is not None for result in results]]
            squares, of_headers, flawed = zip(*changed, strict=True)
            sexes = changeable["sex"].mask(changeable["sex"] == "unknown", np.array(of_headers))
            predicted = predictions(np.stack(squares), sexes)
            flagged = np.array(flawed)
            if "novelty" in predicted:
                flagged |= predicted["novelty"].to_numpy() > UNUSUAL
            predicted = predicted.assign(**{ROW: changeable.index}, flagged=flagged)
            for row in predicted.to_dict("records"):
                yield change, row


def stress_metrics(truth: pd.DataFrame, clean: pd.DataFrame, changed: pd.DataFrame) -> pd.DataFrame:
    """Return metrics of changed radiographs, and their differences from the unchanged ones.

    Args:
        truth: `age_years`, `stage` and, if known, `patient`, indexed by radiograph.
        clean: predictions of the unchanged radiographs, as in `predictions.csv`.
        changed: predictions of the changed ones, at least one; some may be missing. With whether
            they are `flagged`, if known.

    Returns:
        `metric`, `value`, `low`, `high`, `n`. For ages, in months: `mae_months`, its `difference`
        from the unchanged ones, and `change_months`, the mean absolute change of the prediction.
        For stages: `accuracy`, its `difference`, and the share of `changed` stages. The share
        `flagged` as noisy, strongly compressed or unlike the training radiographs, and the MAE of
        those `not_flagged` (n: their number). Shares of 0 or 1 have an exact interval, unless no
        stage can have changed.
    """
    unchanged = changed is clean
    truth, clean = truth.loc[changed.index], clean.loc[changed.index]
    patients = patient_codes(truth)
    scored = partial(with_interval, patients=patients, bounds=BOUNDS, differences=DIFFERENCES)
    results: Results = {}
    if PREDICTED_AGE in changed:
        ages = (truth["age_years"], clean[PREDICTED_AGE], changed[PREDICTED_AGE])
        months = (12 * age.to_numpy(float) for age in ages)
        results |= scored(_age_metrics, *months)
    if "stage_predicted" in changed:
        true, before, after = (
            table.to_numpy()
            for table in (truth["stage"], clean["stage_predicted"], changed["stage_predicted"])
        )
        columns = before == true, after == true, before != after
        results |= scored(_stage_metrics, *columns)
    if "flagged" in changed:
        flagged = changed["flagged"].to_numpy(bool)
        results |= scored(lambda hits: {"flagged": hits.mean(axis=-1)}, flagged)
        if PREDICTED_AGE in changed:
            error = 12 * np.abs((changed[PREDICTED_AGE] - truth["age_years"]).to_numpy(float))
            results |= scored(_not_flagged, error, flagged)
            own = None if patients is None else patients[~flagged]
            results["mae_months_not_flagged"] |= counts(int((~flagged).sum()), own)
    for name in results.keys() & (SHARES - {"stage_changed"} if unchanged else SHARES):
        widen_share(results[name])
    return pd.DataFrame([{"metric": name} | values for name, values in results.items()])


def _age_metrics(true: np.ndarray, before: np.ndarray, after: np.ndarray) -> Metrics:
    error, error_before = np.abs(after - true), np.abs(before - true)
    return {
        "mae_months": error.mean(axis=-1),
        "mae_months_difference": (error - error_before).mean(axis=-1),
        "change_months": np.abs(after - before).mean(axis=-1),
    }


def _stage_metrics(right_before: np.ndarray, right: np.ndarray, moved: np.ndarray) -> Metrics:
    return {
        "accuracy": right.mean(axis=-1),
        "accuracy_difference": right.mean(axis=-1) - right_before.mean(axis=-1),
        "stage_changed": moved.mean(axis=-1),
    }


def _not_flagged(error: np.ndarray, flagged: np.ndarray) -> Metrics:
    """Return the mean error of radiographs that are not flagged, NaN if all are."""
    total, kept = (error * ~flagged).sum(axis=-1), (~flagged).sum(axis=-1)
    return {"mae_months_not_flagged": total / np.where(kept, kept, np.nan)}
