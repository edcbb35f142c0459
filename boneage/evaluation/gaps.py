"""Differences of the error between the levels of any column: sites, devices, groups of patients."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from boneage.data.tables.ages import as_numbers
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.read import is_known
from boneage.evaluation.intervals import (
    DRAWS,
    ROUNDING,
    VALUES_IN_MEMORY,
    Result,
    with_interval,
)
from boneage.evaluation.numbers import FEW
from boneage.evaluation.predictions import error_months, has_scorable_stage

MAX_LEVELS = 8  # a column of numbers with more different values is cut into quartiles
UNKNOWN_LEVEL = "unknown"
OVER = "over "
NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)?|[.,]\d+)(e[-+]?\d+)?")
DIGITS = 8  # of the ends of quartiles, or more where two would be equal


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

    @property
    def label(self) -> str:
        """The name, with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Gap:
    """The two levels of a column between which the mean absolute error differs most clearly.

    Attributes:
        low: level of the smaller error.
        high: level of the larger error.
        difference: of their errors, larger minus smaller, with its 95 % interval. It is the
            clearest of all pairs, so that it is larger than zero by choice alone.
        p: of a permutation test of this pair, corrected for all pairs (Westfall & Young 1993).
        pairs: how many pairs of levels were compared.
    """

    low: str
    high: str
    difference: Result
    p: float
    pairs: int


def levels_of(column: pd.Series) -> pd.Series:
    """Return the level of each row as text: numbers of many values are cut into quartiles.

    A number that more than a quarter of the rows have, such as 0, is a level of its own, and the
    name of a quartile around it says so: "1 to 5 without 3".

    Args:
        column: as a table has it; cells that are empty, or say so (NA), become "unknown".
    """
    text = column.astype("string").str.strip().fillna("").astype(str)
    numbers = as_numbers(text)
    known = is_known(text)
    if numbers is not None and numbers.nunique() > MAX_LEVELS:
        counts = numbers.value_counts()
        often = counts.index[counts > numbers.count() / 4]
        frequent = numbers.isin(often)
        quarters, edges = pd.qcut(
            numbers[~frequent], 4, labels=False, retbins=True, duplicates="drop"
        )
        written = _written({*edges.tolist(), *often})
        names = []
        for low, high in pairwise(edges.tolist()):
            within = [written[number] for number in sorted(often) if low < number <= high]
            without = f" without {' and '.join(within)}" if within else ""
            names.append(f"{OVER}{written[low]} to {written[high]}{without}")
        names[0] = names[0].removeprefix(OVER)  # the only one that contains its lower end
        in_quarters = quarters.map(dict(enumerate(names))).reindex(text.index)
        text = numbers.map(written).where(frequent, in_quarters)
    elif numbers is not None:  # one spelling for each number: 1, 1.0 and 01
        first = dict(zip(numbers[known][::-1], text[known][::-1], strict=True))
        text = numbers.map(first)
    levels: pd.Series = text.where(known, UNKNOWN_LEVEL)
    return levels


def _written(numbers: Collection[float]) -> dict[float, str]:
    """Return the text of different numbers, with as many digits as tell them apart."""
    for digits in range(DIGITS, 18):  # 17 tell all apart
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(numbers):
            break
    return dict(zip(numbers, texts, strict=True))


def in_order(levels: pd.Series) -> list[str]:
    """Return the levels that there are: numbers by size, then text, then "unknown"."""

    def place(level: str) -> tuple[bool, float, str]:
        number = NUMBER.match(level.removeprefix(OVER))
        size = float(number[0].replace(",", ".")) if number else np.inf
        return level == UNKNOWN_LEVEL, size, level

    return sorted(levels.unique(), key=place)


def errors_of(predictions: pd.DataFrame) -> LevelErrors | None:
    """Return the errors of the predicted ages, else of the predicted stages.

    None without both, and if those that there are have a value that is not finite.
    """
    if PREDICTED_AGE in predictions:
        months = error_months(predictions)
        if np.isfinite(months).all():
            return LevelErrors("MAE", "months", months)
    if has_scorable_stage(predictions):
        wrong = predictions["stage_predicted"] != predictions["stage"]
        return LevelErrors("share of wrong stages", "", wrong.to_numpy(float))
    return None


def gaps_of(predictions: pd.DataFrame, columns: Sequence[str]) -> dict[str, Gap | None]:
    """Return the clearest gap of each column; none at all where there are no errors to compare.

    Args:
        predictions: `predictions.csv` of a run.
        columns: those to group by; one that is not there is passed over.
    """
    errors = errors_of(predictions)
    if errors is None:
        return {}
    patients = patient_codes(predictions)
    return {
        column: clearest_gap(errors.values, levels_of(predictions[column]).to_numpy(), patients)
        for column in columns
        if column in predictions
    }


def compared_columns(predictions: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the columns of which `gaps_of` compares levels."""
    patients = patient_codes(predictions)
    return [
        column
        for column in columns
        if column in predictions
        and len(_large_levels(levels_of(predictions[column]).to_numpy(), patients)) > 1
    ]


def _large_levels(levels: np.ndarray, patients: np.ndarray | None) -> list[str]:
    """Return the known levels of enough patients, or radiographs if these are unknown."""
    units = np.arange(len(levels)) if patients is None else patients
    return [
        name
        for name in dict.fromkeys(sorted(levels))
        if name != UNKNOWN_LEVEL and len(np.unique(units[levels == name])) >= FEW
    ]


def clearest_gap(
    error: np.ndarray, levels: np.ndarray, patients: np.ndarray | None = None
) -> Gap | None:
    """Return the clearest difference of the mean absolute error between two levels.

    None where fewer than two levels are large enough; "unknown" is not compared.

    Each difference counts in standard deviations from its mean over the permutations: in months, a
    small level would often be in the largest one by chance, and hide one between large levels. p is
    the share of permutations in which any pair differs by as much as this one (Westfall & Young,
    Resampling-Based Multiple Testing, 1993). The levels of patients who are in one level only are
    permuted among these patients; those of the radiographs of any other patient, within the patient
    (whole-block and within-block permutation; Winkler et al., NeuroImage 2015;123:253-268).

    Args:
        error: (n,) such as predicted minus true age.
        levels: (n,) text.
        patients: (n,) numbers of the patients. None counts each radiograph as one. The interval
            resamples patients with all their radiographs, also if these are in both levels.
    """
    units = np.arange(len(levels)) if patients is None else patients
    names = _large_levels(levels, patients)
    if len(names) < 2:
        return None
    rows = np.flatnonzero(np.isin(levels, names))
    codes = np.unique(units[rows], return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    values, codes = np.abs(error)[rows][order], codes[order]
    level = np.unique(levels[rows], return_inverse=True)[1][order]
    means = _permuted_means(values, level, codes)
    pairs = np.stack(np.triu_indices(len(names), 1))
    n_pairs = pairs.shape[1]
    sizes, largest = np.empty(0), np.zeros(len(means))
    for part in np.array_split(pairs, 1 + n_pairs * len(means) // VALUES_IN_MEMORY, axis=1):
        of_part = _sizes(means[:, part[1]] - means[:, part[0]])
        sizes = np.append(sizes, of_part[0])
        largest = np.maximum(largest, of_part.max(axis=1))
    clearest = int(np.argmax(sizes))
    p = (largest >= sizes[clearest] - ROUNDING).mean()
    low, high = pairs[:, clearest]
    if means[0, high] <= means[0, low]:
        low, high = high, low
    difference = _difference(values, codes, level == low, level == high)
    return Gap(names[low], names[high], difference, float(p), n_pairs)


def _sizes(differences: np.ndarray) -> np.ndarray:
    """Return the distance of (permutations, pairs) differences from their mean, in their SDs."""
    spread = differences.std(axis=0)  # large where a level is small
    distances: np.ndarray = np.abs(differences - differences.mean(axis=0))
    return distances / np.where(spread > ROUNDING, spread, np.inf)


def _permuted_means(values: np.ndarray, level: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the mean of each level: as observed, then for each permutation.

    Args:
        values: (n,) sorted by patient.
        level: (n,) number of the level of each.
        codes: (n,) number of its patient.

    Returns:
        (1 + DRAWS, levels) means.
    """
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    own = level[starts]
    several = np.maximum.reduceat(level, starts) > np.minimum.reduceat(level, starts)
    within = np.flatnonzero(several[codes])
    rng = np.random.default_rng(0)
    drawn, means = level.copy(), []
    for draw in range(1 + DRAWS):
        if draw:
            own[~several] = rng.permutation(own[~several])
            order = np.argsort(codes[within] + rng.random(len(within)), kind="stable")
            drawn = own[codes]
            drawn[within] = level[within[order]]
        means.append(np.bincount(drawn, values) / np.bincount(drawn))
    return np.stack(means)


def _difference(values: np.ndarray, codes: np.ndarray, low: np.ndarray, high: np.ndarray) -> Result:
    """Return the mean of the values in `high` minus that in `low`; the interval draws patients."""
    used = low | high
    patient = np.unique(codes[used], return_inverse=True)[1]
    sums_and_counts = [
        np.bincount(patient, column[used])
        for level in (low, high)
        for column in (values * level, level.astype(float))
    ]

    def metrics(*columns: np.ndarray) -> dict[str, np.ndarray]:
        sum_low, n_low, sum_high, n_high = (column.sum(axis=-1) for column in columns)
        return {"difference": sum_high / n_high - sum_low / n_low}

    name = "difference"
    result = with_interval(metrics, *sums_and_counts, differences=(name,))[name]
    return {part: result[part] for part in ("value", "low", "high")}
