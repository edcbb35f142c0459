"""Which radiographs are trained, validated and tested on: the choices of a config."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from boneage.data.splits import (
    DEFAULT_FOLDS,
    FOLDS,
    UNUSED,
    VAL_SHARE,
    assign_folds,
    fold_sizes,
    read_folds,
    require_patients_apart,
    same_patients,
    strata,
    validation_rows,
)
from boneage.data.tables.ids import patient_codes, patients_with_several
from boneage.errors import UserError, join_first, plural, require_choice
from boneage.stages import Stages

log = logging.getLogger(__name__)
MIN_TEST, MIN_SITE = 5, 20  # radiographs
LEAST_TRAINED = 10  # radiographs, of which one is for validation


def not_drawn(train_films: object) -> set[str]:
    """Return the options without effect where no split is drawn, as with a split file.

    Args:
        train_films: "all", or a number of training radiographs, which the seed of the split draws.
    """
    options = {"data.split_seed", "data.folds", "data.fold"}
    return options if train_films == "all" else options - {"data.split_seed"}


@dataclass(frozen=True)
class Split:
    """How radiographs are divided into folds.

    Args:
        seed: seed of the split, separate from the training seed.
        folds: parts for cross-validation; 10 gives 80/10/10. "site" tests on one site
            (`columns`), and trains on the others.
        fold: which part is the test fold, or which site in the order of their names.
        file: a run's `split.csv` (`id,fold`) to use again.
        test: which radiographs `train=false` tests: the test "fold"; "all"; or "auto", all if the
            checkpoint does not know the data set.
        train_films: how many training radiographs are used, a stratified and nested sample.

    Raises:
        UserError: if `test` is none of these.
    """

    seed: int = 0
    folds: int | Literal["site"] = DEFAULT_FOLDS
    fold: int = 0
    file: Path | None = None
    test: Literal["auto", "fold", "all"] = "auto"
    train_films: int | Literal["all"] = "all"

    def __post_init__(self) -> None:
        require_choice("data.test", self.test, "auto", "fold", "all")

    def tests_all(self, table: pd.DataFrame, external: bool) -> bool:
        """Tell whether every radiograph is tested.

        Args:
            table: the radiographs, with `origin`: an official test table is a test fold.
            external: whether the checkpoint that is tested does not know them.
        """
        if self.file or self.test != "auto":
            return self.test == "all" and self.file is None
        return external and self.folds != "site" and not (table["origin"] == "test").any()

    def assign(
        self, table: pd.DataFrame, held_out: set[str], external: bool, separator: str | None
    ) -> pd.Series:
        """Return the fold of every radiograph: "train", "val", "test" or "unused".

        Args:
            table: as `read_source` returns it.
            held_out: ids that are tested whatever the split says, with their patients.
            external: whether this only tests a data set that the checkpoint does not know.
            separator: of the split file; None finds it.

        Raises:
            UserError: when the table does not allow it.
        """
        every = self.tests_all(table, external)
        if external:
            tested = "all are tested" if every else "its test fold is tested"
            log.info("External test, on a data set other than the checkpoint's: %s", tested)
        if self.file:
            folds = read_folds(self.file, table, separator)
            require_patients_apart(table.assign(fold=folds), f"data.split_file={self.file}")
        elif every:
            if self.fold != Split.fold:
                log.warning(
                    "data.fold=%d has no effect: all radiographs are tested; add data.test=fold",
                    self.fold,
                )
            return pd.Series("test", index=table.index)
        elif self.folds == "site":
            _warn_of_separate_tables(table)
            folds = site_folds(table, self.fold, self.seed)
        else:
            folds = assign_folds(table, self.seed, self.folds, self.fold)
        named = table["id"].isin(held_out)
        held = same_patients(table, named)
        if more := int(held.sum() - named.sum()):
            log.info("Also held out: %s of the same patients", plural(more, "other radiograph"))
        folds = folds.mask(held, "test")
        if self.train_films == "all":
            return folds
        training = table[folds == "train"]
        if self.train_films > len(training):
            raise UserError(
                f"data.train_films={self.train_films}, but the training fold has "
                f"{plural(len(training), 'radiograph')}"
            )
        left_out = training.index[order_for_subsets(training, self.seed)[self.train_films :]]
        return folds.mask(folds.index.isin(left_out), UNUSED)

    def report(self, table: pd.DataFrame, stages: Stages, external: bool) -> None:
        """Log the sizes of the folds; warn if metrics of the test fold are unreliable."""
        log.info("Folds: %s", fold_sizes(table))
        test = table[table["fold"] == "test"]
        more = "add radiographs"
        if self.folds == "site":
            more = "test another site (data.fold), or add radiographs"
        elif not self.file and not self.tests_all(table, external):
            more = f"lower data.folds (it is {self.folds}), or add radiographs"
        if len(test) < MIN_TEST:
            few = "Only %s in the test fold: metrics are unreliable; %s"
            log.warning(few, plural(len(test), "radiograph"), more)
        present = np.unique(stages.index_of(test["age_years"].to_numpy()))
        if len(test) > 1 and len(present) == 1:
            log.warning(
                "All %s test radiographs are of the stage %s: metrics of stages are unreliable",
                f"{len(test):,}", stages.names[present[0]],
            )  # fmt: skip


def _warn_of_separate_tables(table: pd.DataFrame) -> None:
    """Warn that a split by site does not keep the radiographs of other tables out of training."""
    if n := int((table["origin"] != "train").sum()):
        log.warning(
            "data.folds=site splits all radiographs by their site: %s of the validation or test "
            "table %s treated like the others, and may be trained on",
            plural(n, "radiograph"), "is" if n == 1 else "are",
        )  # fmt: skip


def site_folds(table: pd.DataFrame, fold: int, seed: int) -> pd.Series:
    """Return the folds that test on one site and train on the others.

    Sites are in the order of their names. 10 % of the others are the validation fold.

    Args:
        table: columns `age_months`, `sex` and `site`, and `patient` where it is known.
        fold: number of the site that is tested, from 0.
        seed: of the split of the others.

    Raises:
        UserError: when no column names sites, there are fewer than two, or `fold` is none of them.
    """
    if "site" not in table:
        raise UserError("data.folds=site needs a site column: name it with data.columns.site=")
    if unnamed := int((table["site"] == "").sum()):
        raise UserError(
            f"data.folds=site, but no site is given for {plural(unnamed, 'radiograph')}: fill the "
            "column"
        )
    sites = sorted(table["site"].unique())
    if len(sites) < 2:
        raise UserError(f"data.folds=site needs two sites or more; there is only {sites[0]!r}")
    if not 0 <= fold < len(sites):
        raise UserError(
            f"data.fold={fold}: there are {len(sites)} sites, 0 to {len(sites) - 1}: "
            f"{join_first(sites)}"
        )
    tested = table["site"] == sites[fold]
    log.info("Tested on site %s (%s)", sites[fold], plural(int(tested.sum()), "radiograph"))
    if tested.sum() < MIN_SITE:
        few = "Site %s has fewer than %d radiographs: its results are uncertain"
        log.warning(few, sites[fold], MIN_SITE)
    assigned = pd.Series("train", index=table.index)
    assigned[tested] = "test"
    others = table[~tested]
    if len(others) < LEAST_TRAINED:
        raise UserError(
            f"data.fold={fold} tests on site {sites[fold]}, and all other sites together have "
            f"{plural(len(others), 'radiograph')}: too few to train on (at least {LEAST_TRAINED})"
        )
    if shared := sorted(patients_with_several(table.assign(tested=tested), "tested")):
        raise UserError(
            f"{plural(len(shared), 'patient')} with radiographs at {sites[fold]} and at another "
            f"site: {join_first(shared)}; give each patient one site, or leave out the column "
            "of patients"
        )
    assigned[others.index[validation_rows(others, round(1 / VAL_SHARE), seed)]] = "val"
    return assigned


def order_for_subsets(table: pd.DataFrame, seed: int) -> np.ndarray:
    """Order rows so that every prefix is stratified by age and sex; return their positions.

    The first n are a stratified sample, and each smaller one lies within each larger one. Where
    patients have several radiographs, those of one patient follow each other, at the place of one
    of them.

    Args:
        table: columns `age_months` and `sex`, and `patient` where it is known.
        seed: seed of the draw.
    """
    rng = np.random.default_rng(seed)
    stratum = strata(table)
    place = np.empty(len(table))
    for number in np.unique(stratum):
        rows = rng.permutation(np.flatnonzero(stratum == number))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    patients = patient_codes(table)
    if patients is not None:
        drawn = np.empty(patients.max() + 1)  # their earliest place would favour many radiographs
        rows = rng.permutation(len(table))
        drawn[patients[rows]] = place[rows]
        place = drawn[patients]
    return np.argsort(place, kind="stable")


def rows_of(table: pd.DataFrame, fold: str) -> pd.DataFrame:
    """Return the rows of a fold.

    Raises:
        UserError: for another name, and if the table is not read and split yet.
    """
    require_choice("fold", fold, *FOLDS)
    if "fold" not in table:
        raise UserError("the radiographs are not read yet: call data.setup('fit') first")
    return table[table["fold"] == fold]


def require_shares(table: pd.DataFrame, folds: Iterable[str], processes: int) -> None:
    """Raise UserError unless each process has a radiograph of each of the folds to predict.

    Args:
        table: the radiographs, with their `fold`.
        folds: names of the folds.
        processes: number of processes that train together.
    """
    for fold in folds:
        n = len(rows_of(table, fold))
        if n < processes > 1:
            raise UserError(
                f"the {FOLDS[fold]} fold has {plural(n, 'radiograph')}, too few for {processes} "
                "processes: use fewer devices"
            )
