"""Radiographs that a model or its teachers have seen: refuse to test or to select on them."""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from boneage.data.folders import ANSWERS
from boneage.data.splits import FOLDS
from boneage.data.tables.ids import core, read_ids
from boneage.data.tables.matching import ids_among, match_ids, radiograph_keys
from boneage.errors import UserError, join_first, plural
from boneage.evaluation.run_folder import read_metrics, read_run, read_split
from boneage.run.checkpoint import fold_of, read_checkpoint
from boneage.run_files import BEST, METRICS, SPLIT, read_json

log = logging.getLogger(__name__)

SAME_MONTHS = 0.01  # tolerance between an age written in years and in months


def check_unseen(
    checkpoint: dict[str, Any], table: pd.DataFrame, fold: Literal["val", "test"] = "test"
) -> None:
    """Raise UserError if a model has seen radiographs of a fold.

    Args:
        checkpoint: of the model.
        table: the radiographs, with `id`, `age_months` and `fold`.
        fold: "test" must not have been used for training or model selection; "val" not for
            training: its errors choose the epoch, the intervals and the limit of novelty.
    """
    rows, seen = table[table["fold"] == fold], seen_by(checkpoint)
    if fold == "val":
        seen = seen[seen["fold"] == "train"]
    certain, same_id = find_seen(rows, seen)
    name = FOLDS[fold]
    if certain:
        raise UserError(
            f"this checkpoint was trained on {plural(len(certain), 'radiograph')} of the {name} "
            f"fold: {join_first(certain)}; use the run's own split (data.split_file=RUN/split.csv) "
            "or, in another data set, remove their rows from the label table"
        )
    if same_id:
        raise UserError(
            f"the ids of {plural(len(same_id), 'radiograph')} of the {name} fold are also those of "
            f"the model's training radiographs: {join_first(same_id)}; choose others "
            "(data.split_file=), or, if only the ids agree, rename yours, for example with a prefix"
        )
    _warn_of_patients(rows, seen, name)


def is_external(checkpoint: dict[str, Any], table: pd.DataFrame) -> bool:
    """Tell whether a data set is another than a checkpoint's.

    It is if the checkpoint knows fewer than half of its radiographs, by id and age. A checkpoint
    knows the radiographs of all folds, and those of the model that it started from. Warns of ids
    that it knows with other ages: they may be the same radiographs, read again.

    Args:
        checkpoint: the checkpoint.
        table: the radiographs, with `id` and `age_months`.
    """
    record = checkpoint["boneage"]
    parts = [pd.DataFrame(record[part]) for part in ("split", "earlier") if record.get(part)]
    known = pd.concat(parts)
    both, named = find_seen(table, known)
    recognised = {*both, *named}
    if 2 * len(recognised) >= len(table):
        log.info(
            "The checkpoint knows %s of these %s: this is its own data set, not an external one",
            f"{len(recognised):,}",
            plural(len(table), "radiograph"),
        )
        return False
    alike = {*ids_among(table["id"], known["id"])} - recognised
    if alike:
        log.warning(
            "The checkpoint knows the ids of %s of %s with other ages: %s. If they are the same "
            "radiographs, it may have been trained on them: leave them out",
            f"{len(alike):,}",
            plural(len(table), "radiograph"),
            join_first(sorted(alike)),
        )
    return True


def find_seen(table: pd.DataFrame, seen: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the ids of radiographs that a model was trained on.

    Args:
        table: the radiographs, with `id` and `age_months`.
        seen: those of the model, as `seen_by` returns them.

    Returns:
        Ids with the same age: the same id in another data set rarely has it. And ids of which one
        side has no age, as an exported file. Ids with equal `radiograph_keys` are the same.
    """
    parts = [part[["id", "age_months"]].drop_duplicates() for part in (table, seen)]
    keys = radiograph_keys(*(part["id"] for part in parts))
    asked, known = (part.assign(key=key) for part, key in zip(parts, keys, strict=True))
    pairs = asked.merge(known, on="key", suffixes=("", "_seen"))
    same_age = (pairs["age_months"] - pairs["age_months_seen"]).abs() < SAME_MONTHS
    no_age = pairs[["age_months", "age_months_seen"]].isna().any(axis=1)
    groups = (pairs["id"][rows] for rows in (same_age, no_age))
    certain, same_id = (list(ids.drop_duplicates()) for ids in groups)
    return certain, same_id


def _warn_of_patients(rows: pd.DataFrame, seen: pd.DataFrame, fold: str) -> None:
    """Warn if the model was trained on other radiographs of patients with the same names."""
    if "patient" not in rows or "patient" not in seen:
        return
    trained = set(seen["patient"].fillna("").map(core)) - {""}
    shared = rows["patient"][rows["patient"].map(core).isin(trained)]
    if len(shared):
        log.warning(
            "The names of %s of the %s fold are also those of training patients of this checkpoint "
            "(%s). If they are the same people, its errors are too small: leave them out",
            plural(shared.nunique(), "patient"),
            fold,
            join_first(list(shared.unique())),
        )


def seen_by(checkpoint: dict[str, Any]) -> pd.DataFrame:
    """Return a model's training and validation radiographs, also those of its starting weights."""
    record = checkpoint["boneage"]
    split = pd.DataFrame(record["split"])
    own = split[split["fold"].isin(["train", "val"])]
    return pd.concat([own, pd.DataFrame(record.get("earlier", {}))], ignore_index=True)


def changed_fold(
    record: dict[str, Any], table: pd.DataFrame, folds: Sequence[str] = ("train", "val")
) -> str | None:
    """Return the first of the folds that differs from that of a model's training.

    Its radiographs, their order or their readings differ.

    Args:
        record: of the model.
        table: the radiographs, with `id`, `age_months`, `sex` and `fold`.
        folds: to compare.
    """
    for fold in folds:
        now, was = table[table["fold"] == fold], fold_of(record, fold)
        if list(now["id"]) != list(was["id"]) or _has_other_readings(now, was):
            return fold
    return None


def _has_other_readings(now: pd.DataFrame, was: pd.DataFrame) -> bool:
    """Tell whether the same rows have other ages or sexes; what either lacks is not compared."""
    months = now["age_months"].to_numpy(float) - was["age_months"].to_numpy(float)
    if (abs(months) >= SAME_MONTHS).any():
        return True
    if "sex" not in now or "sex" not in was:
        return False
    pairs = zip(now["sex"], was["sex"], strict=True)
    return any({*pair} == {"female", "male"} for pair in pairs)


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
    teachers: dict[str, pd.DataFrame | None] = {str(soft_targets): None}  # what each has seen
    predicted = table[:0]
    if (folder / METRICS).is_file():  # runs predict only their own test fold
        metrics = read_metrics(folder / METRICS)
        runs = [Path(run) for run in metrics.get("ensemble", [folder])]
        teachers = {str(run): _seen_by_run(run) for run in runs}
    elif (folder / ANSWERS).is_file():
        answers = read_json(folder / ANSWERS)
        try:
            files = [Path(answers.get("working_folder", ""), f) for f in answers["checkpoints"]]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{folder / ANSWERS} does not list the checkpoints that made {soft_targets}: copy "
                "it again, or repeat boneage predict"
            ) from error
        teachers = {str(f): seen_by(read_checkpoint(f)) if f.is_file() else None for f in files}
        matched = match_ids(read_ids(soft_targets), table["id"], soft_targets)
        predicted = table[table["id"].isin(matched.values()) & (table["fold"] == "train")]
    test = table[table["fold"] == "test"]
    for teacher, seen in teachers.items():
        if seen is None:
            continue
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
    if unknown := [teacher for teacher, seen in teachers.items() if seen is None]:
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
    metrics = read_run(run).metrics
    options = metrics["options"]
    if options.get("train", True):
        if not (run / SPLIT).is_file():
            return None
        split = read_split(run, metrics)
        return in_months(split[split["fold"].isin(["train", "val"])])
    tested = options.get("ckpt_path")
    return seen_by(read_checkpoint(tested)) if tested and Path(tested).exists() else None


def in_months(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of radiographs with `age_months`, for `find_seen`."""
    return table.assign(age_months=12 * table["age_years"])
