"""Which radiographs a model has seen: none of them may be tested."""

import logging
from typing import Any

import pandas as pd

from boneage.data.ids import core
from boneage.errors import UserError, first_five, plural

log = logging.getLogger(__name__)

SAME_MONTHS = 0.01  # between two ages that were written in years or in months


def check_unseen(checkpoint: dict[str, Any], table: pd.DataFrame) -> None:
    """Raise UserError when a test radiograph was used in training or in model choice."""
    test, seen = table[table["fold"] == "test"], seen_by(checkpoint)
    both, named = find_seen(test, seen)
    if both:
        raise UserError(
            f"{len(both)} radiographs of the test fold were used to train this checkpoint: "
            f"{first_five(both)}; use the run's own split (data.split_file=RUN/split.csv), or, in "
            "another data set, remove their rows from the label table"
        )
    if named:
        raise UserError(
            f"{len(named)} radiographs of the test fold are named as ones this model was trained "
            f"on: {first_five(named)}; test on others (data.split_file=), or give others "
            "that are only named alike names of their own, such as a prefix"
        )
    _warn_of_patients(test, seen)


def is_external(checkpoint: dict[str, Any], table: pd.DataFrame) -> bool:
    """Tell whether a data set is another than a checkpoint's: it knows fewer than half of the rows.

    It knows the radiographs of all folds, and those of the model that it started from. Ids that
    it has with other ages are said: they may be the same radiographs, read again.

    Args:
        checkpoint: the checkpoint.
        table: the radiographs, with `id` and `age_months`.
    """
    record = checkpoint["boneage"]
    known = [pd.DataFrame(record[part]) for part in ("split", "earlier") if record.get(part)]
    both, named = find_seen(table, pd.concat(known))
    recognised = {*both, *named}
    if 2 * len(recognised) >= len(table):
        return False
    alike = set(table["id"]) & {id_ for part in known for id_ in part["id"]} - recognised
    if alike:
        log.warning(
            "The checkpoint knows %s of %d by name, with other ages: %s. If they are the same "
            "radiographs, it may have been trained on them: leave them out",
            plural(len(alike), "radiograph"),
            len(table),
            first_five(sorted(alike)),
        )
    return True


def find_seen(table: pd.DataFrame, seen: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return which radiographs a model was trained on.

    Args:
        table: the radiographs, with `id` and `age_months`.
        seen: those of the model, as `seen_by` returns them.

    Returns:
        The ids that are the same together with the age, so that another data set with ids of its
        own is not mistaken for the one trained on; and those that are the same where the model
        knows no ages, as an exported file.
    """
    known = ["id", "age_months"]
    pairs = table[known].merge(seen[known].drop_duplicates(), on="id", suffixes=("", "_seen"))
    same = (pairs["age_months"] - pairs["age_months_seen"]).abs() < SAME_MONTHS
    found = (pairs["id"][which] for which in (same, pairs["age_months_seen"].isna()))
    both, named = (list(ids.drop_duplicates()) for ids in found)
    return both, named


def _warn_of_patients(test: pd.DataFrame, seen: pd.DataFrame) -> None:
    """Say that other radiographs of test patients were trained on, if the names mean the same."""
    if "patient" not in test or "patient" not in seen:
        return
    trained = set(seen["patient"].fillna("").map(core)) - {""}
    shared = test["patient"][test["patient"].map(core).isin(trained)]
    if len(shared):
        log.warning(
            "This checkpoint was trained on patients called as %d patients of the test fold: %s. "
            "If they are the same, its errors are too small: leave them out",
            shared.nunique(),
            first_five(list(shared.unique())),
        )


def seen_by(checkpoint: dict[str, Any]) -> pd.DataFrame:
    """Return the radiographs a model was trained and chosen on, also before it was trained on."""
    record = checkpoint["boneage"]
    split = pd.DataFrame(record["split"])
    own = split[split["fold"].isin(["train", "val"])]
    return pd.concat([own, pd.DataFrame(record.get("earlier", {}))])
