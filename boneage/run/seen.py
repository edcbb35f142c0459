"""Refuse to test or to select a model on radiographs of its training."""

import logging
from typing import Any, Literal

import pandas as pd

from boneage.data.splits import FOLDS
from boneage.data.tables.ids import core
from boneage.data.tables.matching import ids_among, radiograph_keys
from boneage.errors import UserError, join_first, plural

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
            "The checkpoint knows %d of these %s: this is its own data set, not an external one",
            len(recognised),
            plural(len(table), "radiograph"),
        )
        return False
    alike = {*ids_among(table["id"], known["id"])} - recognised
    if alike:
        log.warning(
            "The checkpoint knows the ids of %d of %s with other ages: %s. If they are the same "
            "radiographs, it may have been trained on them: leave them out",
            len(alike),
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
