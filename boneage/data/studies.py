"""Folds that studies ask for: fewer training radiographs, one site, or an external data set."""

import logging
from typing import Literal

import numpy as np
import pandas as pd

from boneage.data.ids import patient_codes
from boneage.data.splits import BAND_EDGES_YEARS, UNUSED, VAL_SHARE, stratified_parts
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)
FEW = 20  # radiographs of a site


def fewer_training_radiographs(table: pd.DataFrame, n: int, seed: int) -> pd.Series:
    """Return the folds with n training radiographs; the others are "unused".

    They are stratified by age and sex, and those of a smaller n lie within those of a larger one.

    Args:
        table: columns `age_months`, `sex` and `fold`, and `patient` where it is known.
        n: training radiographs to keep.
        seed: of the split.

    Raises:
        UserError: when there are not so many.
    """
    training = table[table["fold"] == "train"]
    if n > len(training):
        raise UserError(
            f"data.train_films={n}, but the training fold has {plural(len(training), 'radiograph')}"
        )
    folds = table["fold"].copy()
    folds[training.index[order_for_subsets(training, seed)[n:]]] = UNUSED
    return folds


def site_folds(table: pd.DataFrame, fold: int, seed: int) -> pd.Series:
    """Return the folds that test on one site and train on the others.

    Sites are in the order of their names. 10 % of the others are the validation fold.

    Args:
        table: columns `age_months`, `sex` and `site`, and `patient` where it is known.
        fold: number of the site that is tested, from 0.
        seed: of the split of the others.

    Raises:
        UserError: when no column names sites, there are fewer than two, or not so many.
    """
    if "site" not in table:
        raise UserError("data.folds=site needs the column of sites: name it by data.columns.site=")
    if unnamed := int((table["site"] == "").sum()):
        raise UserError(
            f"data.folds=site, but {plural(unnamed, 'radiograph')} without a site: fill the column"
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
    if tested.sum() < FEW:
        log.warning("Site %s has fewer than %d radiographs: its test says little", sites[fold], FEW)
    assigned = pd.Series("train", index=table.index)
    assigned[tested] = "test"
    others = table[~tested]
    if shared := _patients_of_both(table, tested):
        raise UserError(
            f"{plural(len(shared), 'patient')} with radiographs at {sites[fold]} and at another "
            f"site: {join_first(shared)}; give each patient one site, or leave out the column "
            "of patients"
        )
    assigned[others.index[stratified_parts(others, max(2, round(1 / VAL_SHARE)), seed) == 0]] = (
        "val"
    )
    return assigned


def tests_all(
    choice: Literal["auto", "fold", "all"],
    external: bool,
    folds: int | Literal["site"],
    table: pd.DataFrame,
) -> bool:
    """Tell whether every radiograph of a data set is tested, and log it for an external one.

    Args:
        choice: `data.test`.
        external: whether the checkpoint that is tested does not know the data set.
        folds: `data.folds`: one site is tested where it asks for sites.
        table: the radiographs, with `origin`: an official test table is a test fold.
    """
    official = bool((table["origin"] == "test").any())
    every = choice == "all" or (choice == "auto" and external and not official and folds != "site")
    if external:
        tested = f"all {len(table):,} are tested" if every else "its test fold is tested"
        log.info("External test: the checkpoint does not know these radiographs; %s", tested)
    return every


def _patients_of_both(table: pd.DataFrame, chosen: pd.Series) -> list[str]:
    if "patient" not in table:
        return []
    patients = table["patient"].fillna("")
    return sorted({*patients[chosen]} & {*patients[~chosen]} - {""})


def order_for_subsets(table: pd.DataFrame, seed: int) -> np.ndarray:
    """Return positions of rows in an order of which every beginning agrees in age and sex with all.

    The first n are a stratified sample, and each smaller one lies within each larger one. Where
    patients have several radiographs, those of one patient follow each other.

    Args:
        table: columns `age_months` and `sex`, and `patient` where it is known.
        seed: seed of the draw.
    """
    rng = np.random.default_rng(seed)
    band = np.searchsorted(BAND_EDGES_YEARS, table["age_months"] / 12, side="right")
    stratum = table.groupby([band, "sex"]).ngroup().to_numpy(int)
    place = np.empty(len(table))
    for number in np.unique(stratum):
        rows = rng.permutation(np.flatnonzero(stratum == number))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    patients = patient_codes(table)
    if patients is not None:
        first = np.full(patients.max() + 1, np.inf)
        np.minimum.at(first, patients, place)
        place = first[patients]
    order: np.ndarray = np.argsort(place, kind="stable")
    return order
