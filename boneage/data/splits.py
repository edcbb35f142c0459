"""Training, validation and test folds, stratified by bone age and sex."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.folders import walk
from boneage.data.formats import is_radiograph
from boneage.data.radiographs import MASKS, by_id
from boneage.data.tables.columns import DEFAULT_COLUMNS, Columns, require_single
from boneage.data.tables.ids import (
    count_patients,
    patient_codes,
    patients_with_several,
    read_ids,
    read_unique_ids,
)
from boneage.data.tables.matching import clause, match_ids
from boneage.data.tables.read import read_table, refuse
from boneage.errors import UserError, join_first, plural

log = logging.getLogger(__name__)

FOLDS = {"train": "training", "val": "validation", "test": "test"}  # in tables: in texts
UNUSED = "unused"  # a radiograph of no fold, where a study asks for fewer
BAND_EDGES_YEARS = (2.0, 5.0, 10.0, 14.0, 17.0, 18.0)
VAL_SHARE = 0.1
DEFAULT_FOLDS = 10  # 80/10/10
UNKNOWN_IDS = ("id", "not among the radiographs")


def strata(table: pd.DataFrame) -> np.ndarray:
    """Return (n,) numbers from 0 of the strata of age band, then sex, of the rows of a table."""
    band = np.searchsorted(BAND_EDGES_YEARS, table["age_months"] / 12, side="right")
    return table.groupby([band, "sex"]).ngroup().to_numpy(int)


def stratified_parts(table: pd.DataFrame, n_parts: int, seed: int) -> np.ndarray:
    """Split the rows of a table into equal parts, stratified by age and sex.

    Rows are ordered by sex and age band, shuffled within, and assigned to the parts in turn, so
    every stratum is spread over the parts as evenly as its size allows, however rare it is.
    If patients have several radiographs, patients are assigned instead of rows.

    Args:
        table: columns `age_months` and `sex`, and optionally `patient`.
        n_parts: number of parts.
        seed: seed of the shuffle.

    Returns:
        The part (0 to n_parts - 1) of every row.

    Raises:
        UserError: when some patients have several radiographs, and there are fewer patients than
            parts.
    """
    rng = np.random.default_rng(seed)
    patients, stratum = patient_codes(table), strata(table)
    if patients is not None and len(np.unique(patients)) < len(table):
        return _parts_of_patients(patients, stratum, n_parts, rng)
    order = np.lexsort((rng.random(len(table)), stratum))
    part = np.empty(len(table), dtype=np.int64)
    part[order] = rng.permutation(n_parts)[np.arange(len(table)) % n_parts]
    return part


def _parts_of_patients(
    patients: np.ndarray, stratum: np.ndarray, n_parts: int, rng: np.random.Generator
) -> np.ndarray:
    """Assign patients to parts that agree in size and in every stratum.

    Patients with most of a stratum come first, and each goes to the part that lacks its radiographs
    most: the sum over parts of squared shares of all radiographs and of each stratum stays least.

    Args:
        patients: (n,) numbers of the patients, from 0.
        stratum: (n,) numbers of the strata, from 0.
        n_parts: number of parts.
        rng: breaks ties.

    Returns:
        The part of each of the n radiographs.
    """
    n_patients = int(patients.max()) + 1
    if n_patients < n_parts:
        raise UserError(
            f"{plural(len(patients), 'radiograph')} of {plural(n_patients, 'patient')} cannot be "
            f"split into {n_parts} parts: add radiographs of other patients, lower data.folds, or "
            "name the right column with data.columns.patient="
        )
    films = np.zeros((n_patients, stratum.max() + 2))
    np.add.at(films, (patients, stratum), 1)
    films[:, -1] = films.sum(axis=1)
    shares = films / np.maximum(films.sum(axis=0), 1)
    order = np.lexsort((rng.random(n_patients), -shares.sum(axis=1)))
    ties = rng.permutation(n_parts)
    sums = np.zeros((n_parts, shares.shape[1]))
    part = np.empty(n_patients, dtype=np.int64)
    for patient in order:
        more = (2 * sums + shares[patient]) @ shares[patient]  # of the sum of squares
        part[patient] = ties[np.argmin(more[ties])]
        sums[part[patient]] += shares[patient]
    part_of_row: np.ndarray = part[patients]
    return part_of_row


def assign_folds(
    table: pd.DataFrame, seed: int, folds: int = DEFAULT_FOLDS, fold: int = 0
) -> pd.Series:
    """Return the fold of every row: "train", "val" or "test".

    The test fold is part `fold` of `folds`; the validation fold is 10 % of all, drawn from the
    rest: 80/10/10 by default. Separate validation or test tables (`origin`) are used unchanged.

    Args:
        table: columns `age_months`, `sex` and `origin`.
        seed: split seed, separate from the training seed.
        folds: number of parts for cross-validation, at least 2.
        fold: which of them is the test fold, from 0.

    Raises:
        UserError: when `fold` or `folds` is out of range, or one of them is not the default and the
            table has a test fold of its own.
    """
    if folds < 2 or not 0 <= fold < folds:
        raise UserError(
            f"data.folds={folds} data.fold={fold}: need folds >= 2 and 0 <= fold < folds"
        )
    assigned = table["origin"].astype(str).copy()
    free = table[assigned == "train"]
    if not (assigned == "test").any():
        assigned[free.index[stratified_parts(free, folds, seed) == fold]] = "test"
        free = table[assigned == "train"]
    elif (folds, fold) != (DEFAULT_FOLDS, 0):
        raise UserError(
            f"data.folds={folds} data.fold={fold}: the radiographs have a test table, which every "
            "fold would be tested on; for cross-validation move it out of data.root, otherwise "
            "leave data.folds and data.fold out"
        )
    if len(free) and not (assigned == "val").any():
        n_parts = max(2, round(len(free) / (VAL_SHARE * len(table))))
        assigned[free.index[validation_rows(free, n_parts, seed + 1)]] = "val"
    return assigned


def validation_rows(table: pd.DataFrame, n_parts: int, seed: int) -> np.ndarray:
    """Return (n,) bool, true for a stratified one of n parts, of fewer if patients are fewer.

    Raises:
        UserError: when all radiographs are of one patient.
    """
    patients = count_patients(table) or n_parts
    rows: np.ndarray = stratified_parts(table, max(2, min(n_parts, patients)), seed) == 0
    return rows


def read_folds(path: Path, table: pd.DataFrame, separator: str | None = None) -> pd.Series:
    """Return the fold of every row as a split file (`id,fold`) says.

    Raises:
        UserError: when the file is missing, malformed, or does not cover the table.
    """
    split = read_table(path, separator)
    if not {"id", "fold"} <= set(split.columns):
        raise UserError(f"{path}: needs the columns id,fold but has {','.join(split.columns)}")
    require_single(path, split, ("id", "fold"))
    strange = ~split["fold"].isin([*FOLDS, UNUSED])
    refuse(path, split["fold"], strange, "is no fold: write train, val, test or unused")
    fold_of = dict(zip(read_unique_ids(path, split["id"]), split["fold"], strict=True))
    matched = match_ids(table["id"], fold_of, path)
    if absent := [id_ for id_ in table["id"] if id_ not in matched]:
        raise UserError(
            f"{path}: no fold for {plural(len(absent), 'radiograph')} of the label table: "
            f"{join_first(absent)}; add them, or remove their rows from the label table"
        )
    used = set(matched.values())
    if unused := [id_ for id_ in fold_of if id_ not in used]:
        log.warning("%s: %s", path, clause(unused, *UNKNOWN_IDS))
    return table["id"].map(matched).map(fold_of)


def require_folds(
    table: pd.DataFrame, folds: Iterable[str], root: Path, hold_out: Path | None
) -> None:
    """Check that none of the folds is empty.

    Args:
        table: all radiographs, with their `fold`.
        folds: the folds that are needed.
        root: folder of the radiographs, for the message.
        hold_out: what was held out for testing, for the message.

    Raises:
        UserError: naming the first empty one.
    """
    for fold in folds:
        if not (table["fold"] == fold).any():
            n = plural(len(table), "radiograph")
            held = f"; data.hold_out={hold_out} takes too many" if hold_out else ""
            raise UserError(
                f"the {fold} fold is empty ({n} in {root}{held}): add radiographs, give a "
                "table for it (data.table, val_table or test_table), or change data.folds, "
                "data.split_file or data.hold_out"
            )


def fold_sizes(table: pd.DataFrame) -> str:
    """Return how many radiographs, and patients if known, each fold has."""
    sizes = []
    for fold in FOLDS:
        rows = table[table["fold"] == fold]
        patients = count_patients(rows)
        of = "" if patients is None else f" (of {plural(patients, 'patient')})"
        sizes.append(f"{len(rows):,}{of} {fold}")
    return ", ".join(sizes)


def require_patients_apart(table: pd.DataFrame, where: str) -> None:
    """Raise UserError when a split puts the radiographs of a patient into two folds."""
    if shared := patients_with_several(table[table["fold"] != UNUSED], "fold"):
        raise UserError(
            f"{where} puts the radiographs of {plural(len(shared), 'patient')} into more than one "
            f"fold: {join_first(shared)}; give each patient one fold, or set data.columns.patient "
            "to the id column to count each radiograph as a separate patient"
        )


def same_patients(table: pd.DataFrame, held: pd.Series) -> pd.Series:
    """Return which rows are of the patients of held rows, these included."""
    codes = patient_codes(table)
    return held if codes is None else pd.Series(np.isin(codes, codes[held]), index=table.index)


def find_held_out(path: Path, ids: Sequence[str], columns: Columns = DEFAULT_COLUMNS) -> set[str]:
    """Return the radiographs to hold out for testing, and log how many of the requested ones.

    Args:
        path: a table with a column of ids, or a folder of radiographs or masks named by ids, also
            with the folders that these name.
        ids: of all radiographs.
        columns: of a custom table, which this one may have as well.

    Raises:
        UserError: when it is missing, malformed or empty, or none of its ids is among the
            radiographs.
    """
    if not path.exists():
        raise UserError(f"data.hold_out={path}: no such table or folder")
    if path.is_dir():
        files = list(map(Path, walk(path.absolute())))
        masks = [file.with_suffix("") for file in files if file.suffix.lower() == MASKS]
        wanted = list(by_id([*masks, *filter(is_radiograph, files)], ids))
    else:
        wanted = [id_ for id_ in dict.fromkeys(read_ids(path, columns)) if id_]
    if not wanted:
        what = "contains no radiographs" if path.is_dir() else "has a header but no ids"
        raise UserError(f"data.hold_out={path} {what}: name the radiographs to hold out")
    matched = match_ids(wanted, ids, path)
    if not matched:
        raise UserError(
            f"data.hold_out={path}: {plural(len(wanted), 'id')}, none of them among the "
            f"radiographs: {join_first(wanted)}; the radiographs are {join_first(list(ids))}"
        )
    count = f"{len(matched):,} of the {len(wanted):,}"
    log.info("Held out as test radiographs: %s in %s", count, path)
    if unknown := [id_ for id_ in wanted if id_ not in matched]:
        log.warning("%s: %s", path, clause(unknown, *UNKNOWN_IDS))
    return set(matched.values())
