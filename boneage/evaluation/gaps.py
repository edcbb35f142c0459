"""Differences of the error between the levels of any column: sites, devices, groups of patients."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.subgroups import as_numbers, is_known
from boneage.evaluation.intervals import Result, mean_absolute, unpaired_difference
from boneage.evaluation.numbers import FEW
from boneage.evaluation.predictions import error_months

LEVELS = 8  # a column of numbers with more different values is cut into quartiles
PERMUTATIONS = 2000
UNKNOWN = "unknown"
OVER = "over "
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class LevelErrors:
    """The errors of a run that levels are compared by.

    Attributes:
        name: of their mean absolute value.
        unit: its unit.
        values: (n,) predicted minus true age in months; or 1 for a wrong stage, else 0.
    """

    name: str
    unit: str
    values: np.ndarray


@dataclass(frozen=True)
class Gap:
    """The two levels of a column between which the mean absolute error differs most.

    Attributes:
        low: level of the smaller error.
        high: level of the larger error.
        difference: of their errors, larger minus smaller, with its 95 % interval. It is the largest
            of all pairs, so that it is larger than zero by choice alone.
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

    A number that more than a quarter of the rows have, such as 0, is a level of its own.

    Args:
        column: as a table has it; cells that are empty, or say so (NA), become "unknown".
    """
    text = column.astype("string").str.strip().fillna("").astype(str)
    numbers = as_numbers(text)
    known = is_known(text)
    if numbers is not None and numbers.nunique() > LEVELS:
        counts = numbers.value_counts()
        frequent = numbers.isin(counts.index[counts > numbers.count() / 4])
        quarters, edges = pd.qcut(
            numbers[~frequent], 4, labels=False, retbins=True, duplicates="drop"
        )
        names = [f"{OVER}{low:.8g} to {high:.8g}" for low, high in pairwise(edges)]
        names[0] = names[0].removeprefix(OVER)  # the only one that contains its lower end
        own = numbers.map("{:.8g}".format)
        text = own.where(frequent, quarters.map(dict(enumerate(names))).reindex(text.index))
    elif numbers is not None:  # one spelling for each number: 1, 1.0 and 01
        text = numbers.map(dict(zip(numbers[::-1], text[::-1], strict=True)))
    levels: pd.Series = text.where(known, UNKNOWN)
    return levels


def in_order(levels: pd.Series) -> list[str]:
    """Return the levels that there are: numbers by size, then text, then "unknown"."""

    def place(level: str) -> tuple[bool, float, str]:
        number = NUMBER.match(level.removeprefix(OVER))
        return level == UNKNOWN, float(number[0]) if number else np.inf, level

    return sorted(levels.unique(), key=place)


def errors_of(predictions: pd.DataFrame) -> LevelErrors | None:
    """Return the errors of the predicted ages, else of the predicted stages; None without both."""
    if PREDICTED_AGE in predictions:
        months = error_months(predictions)
        if np.isfinite(months).all():
            return LevelErrors("MAE", "months", months)
    if "stage_predicted" in predictions:
        wrong = predictions["stage_predicted"] != predictions["stage"]
        return LevelErrors("share of wrong stages", "", wrong.to_numpy(float))
    return None


def gaps_of(predictions: pd.DataFrame, columns: Sequence[str]) -> dict[str, Gap | None]:
    """Return the largest gap of each column; none at all where there are no errors to compare.

    Args:
        predictions: `predictions.csv` of a run.
        columns: those to group by; one that is not there is passed over.
    """
    errors = errors_of(predictions)
    if errors is None:
        return {}
    patients = patient_codes(predictions)
    return {
        column: largest_gap(errors.values, levels_of(predictions[column]).to_numpy(), patients)
        for column in columns
        if column in predictions
    }


def largest_gap(
    error: np.ndarray, levels: np.ndarray, patients: np.ndarray | None = None
) -> Gap | None:
    """Return the largest difference of the mean absolute error between two levels.

    None where fewer than two levels are large enough; "unknown" is not compared.

    Args:
        error: (n,) such as predicted minus true age.
        levels: (n,) text.
        patients: (n,) numbers of the patients, if known: the interval resamples patients, and where
            a patient has one level only, the test permutes the levels of patients.
    """
    absolute = np.abs(error)
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
        mean_absolute,
        (error[parts[0]],),
        (error[parts[1]],),
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
    drawn = np.tile(of_second, (1 + PERMUTATIONS, 1))
    drawn[1:] = rng.permuted(drawn[1:], axis=1)
    number = drawn @ n
    means = (drawn @ sums) / number, ((~drawn) @ sums) / (n.sum() - number)
    differences = means[0] - means[1]
    as_large = (np.abs(differences[1:]) >= abs(differences[0]) - 1e-12).sum()
    return float(differences[0]), float((as_large + 1) / (PERMUTATIONS + 1))
