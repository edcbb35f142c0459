"""Check the training radiographs of the models that made a table of soft targets."""

import logging
from itertools import chain
from pathlib import Path

import pandas as pd

from boneage.data.folders import ANSWERS
from boneage.data.tables.labels import read_ids
from boneage.data.tables.matching import match_ids
from boneage.errors import UserError, join_first, plural
from boneage.evaluation.run_folder import read_csv, read_json, read_metrics, read_run
from boneage.run.checkpoint import read_checkpoint
from boneage.run.seen import find_seen, seen_by
from boneage.run_files import BEST, METRICS, SPLIT

log = logging.getLogger(__name__)


def check_teachers(soft_targets: Path, table: pd.DataFrame) -> None:
    """Check that no teacher was trained on radiographs it predicts, or on this run's test fold.

    A teacher that was trained on a radiograph repeats the error of its reading. One that was
    trained on a test radiograph leaks its label. Runs, ensembles and `boneage predict` record next
    to their table which models made it; other tables give a warning.

    Args:
        soft_targets: the table, as for `read_soft_targets`.
        table: this run's radiographs, with `id`, `age_months` and `fold`.

    Raises:
        UserError: if a teacher was trained on such a radiograph.
    """
    folder = soft_targets.parent
    teachers: dict[str, pd.DataFrame] = {}
    predicted = table[:0]
    if (folder / METRICS).is_file():  # runs predict only their own test fold
        metrics = read_metrics(folder / METRICS)
        runs = [Path(run) for run in metrics.get("ensemble", [folder])]
        known = {str(run): _seen_by_run(run) for run in runs}
        teachers = {run: seen for run, seen in known.items() if seen is not None}
        unknown = [run for run in known if run not in teachers]
    elif (folder / ANSWERS).is_file():
        answers = read_json(folder / ANSWERS)
        files = [Path(answers.get("working_folder", ""), f) for f in answers["checkpoints"]]
        teachers = {str(f): seen_by(read_checkpoint(f)) for f in files if f.is_file()}
        unknown = [str(file) for file in files if str(file) not in teachers]
        matched = match_ids(read_ids(soft_targets), table["id"], soft_targets)
        predicted = table[table["id"].isin(matched.values()) & (table["fold"] == "train")]
    else:
        unknown = [str(soft_targets)]
    test = table[table["fold"] == "test"]
    for teacher, seen in teachers.items():
        if repeated := list(chain(*find_seen(predicted, seen))):
            raise UserError(
                f"data.soft_targets={soft_targets}: {teacher} was trained on {len(repeated):,} of "
                f"the radiographs that it predicts: {join_first(repeated)}; soft targets must be "
                "out of fold: pool runs of all folds with boneage ensemble"
            )
        if leaked := list(chain(*find_seen(test, seen))):
            raise UserError(
                f"data.soft_targets={soft_targets}: {teacher} was trained on "
                f"{plural(len(leaked), 'test radiograph')} of this run: {join_first(leaked)}; "
                "train the teachers with data.hold_out= and the test radiographs"
            )
    if unknown:
        log.warning(
            "Soft targets: the training radiographs of %s are unknown. Check that no teacher was "
            "trained on radiographs that it predicts, or on test radiographs",
            join_first(unknown),
        )


def _seen_by_run(run: Path) -> pd.DataFrame | None:
    """Return the training radiographs of the model that made a run's predictions, if known."""
    own = run / BEST
    if own.is_file():
        return seen_by(read_checkpoint(own))
    if not (run / METRICS).is_file():
        return None
    options = read_run(run).metrics["options"]
    if options.get("train", True):
        file = run / SPLIT
        return _trained_on(file) if file.is_file() else None
    tested = options.get("ckpt_path")
    return seen_by(read_checkpoint(tested)) if tested and Path(tested).exists() else None


def _trained_on(split: Path) -> pd.DataFrame:
    table = read_csv(split)
    seen = table[table["fold"].isin(["train", "val"])]
    return seen.assign(age_months=12 * seen["age_years"])
