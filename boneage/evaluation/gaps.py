"""Differences of the error between the levels of any column: sites, devices, groups of patients."""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from boneage.evaluation.intervals import Result, unpaired_difference

FEW = 20  # patients, or radiographs if unknown: a smaller level has no part in gaps
LEVELS = 8  # a column of numbers with more different values is cut into quartiles
PERMUTATIONS = 2000
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Gap:
    """The two levels of a column between which the MAE differs most.

    Attributes:
        low: level of the smaller MAE.
        high: level of the larger MAE.
        difference: of their MAE, months, larger minus smaller, with its 95 % interval. It is the
            largest of all pairs, so that it is larger than zero by choice alone.
        p: of a permutation test of this pair, corrected for the number of pairs (Holm 1979).
        pairs: how many pairs of levels were compared.
    """

    low: str
    high: str
    difference: Result
    p: float
    pairs: int


def levels_of(column: pd.Series) -> pd.Series:
    """Return the level of each row as text: numbers of many values are cut into quartiles.

    Args:
        column: as a table has it; empty cells become "unknown".
    """
    text = column.astype("string").str.strip().fillna("").astype(str)
    known = text != ""
    numbers = pd.to_numeric(text.where(known), errors="coerce")
    if known.any() and numbers[known].notna().all() and numbers.nunique() > LEVELS:
        quarters, edges = pd.qcut(numbers, 4, labels=False, retbins=True, duplicates="drop")
        names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
        text = quarters.map(dict(enumerate(names)))
    levels: pd.Series = text.where(known, UNKNOWN)
    return levels


def largest_gap(
    error_months: np.ndarray, levels: np.ndarray, patients: np.ndarray | None = None
) -> Gap | None:
    """Return the largest difference of the MAE between two levels; None with fewer than two.

    Args:
        error_months: (n,) predicted minus true age.
        levels: (n,) text.
        patients: (n,) numbers of the patients, if known: the interval resamples patients, and where
            a patient has one level only, the test permutes the levels of patients.
    """
    absolute = np.abs(error_months)
    units = np.arange(len(levels)) if patients is None else patients
    names = [
        name
        for name in dict.fromkeys(sorted(levels))
        if name != UNKNOWN and len(np.unique(units[levels == name])) >= FEW
    ]
    pairs = list(combinations(names, 2))
    if not pairs:
        return None
    tests = [_permute(absolute, levels, units, pair) for pair in pairs]
    differences = [difference for difference, _ in tests]
    adjusted = holm(np.array([p for _, p in tests]))
    largest = int(np.argmax(np.abs(differences)))
    low, high = pairs[largest] if differences[largest] > 0 else pairs[largest][::-1]
    parts = [levels == name for name in (low, high)]
    own = [None if patients is None else patients[part] for part in parts]
    difference = unpaired_difference(
        lambda values: np.abs(values).mean(axis=-1),
        (error_months[parts[0]],),
        (error_months[parts[1]],),
        (own[0], own[1]),
    )
    return Gap(low, high, difference, float(adjusted[largest]), len(pairs))


def holm(p: np.ndarray) -> np.ndarray:
    """Return (m,) p-values corrected for their number (Holm, Scand J Stat 1979;6:65-70)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(stepped)
    adjusted[order] = stepped
    return adjusted


def _permute(
    absolute: np.ndarray, levels: np.ndarray, units: np.ndarray, pair: tuple[str, str]
) -> tuple[float, float]:
    """Return the difference of the mean between two levels, second minus first, and its p-value."""
    chosen = np.isin(levels, pair)
    values, second = absolute[chosen], levels[chosen] == pair[1]
    codes = np.unique(units[chosen], return_inverse=True)[1]
    in_second = np.bincount(codes, second)
    if ((in_second > 0) & (in_second < np.bincount(codes))).any():  # a patient is in both levels
        codes, in_second = np.arange(len(values)), second.astype(float)
    n, sums, of_second = np.bincount(codes), np.bincount(codes, values), in_second > 0
    rng = np.random.default_rng(0)
    drawn = np.stack([of_second, *(rng.permutation(of_second) for _ in range(PERMUTATIONS))])
    number = drawn @ n
    means = (drawn @ sums) / number, ((~drawn) @ sums) / (n.sum() - number)
    differences = means[0] - means[1]
    as_large = (np.abs(differences[1:]) >= abs(differences[0]) - 1e-12).sum()
    return float(differences[0]), float((as_large + 1) / (PERMUTATIONS + 1))
