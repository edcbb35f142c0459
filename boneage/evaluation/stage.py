"""Counts of predicted stages and their metrics, over the last axis, so also of bootstrap draws."""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from boneage.evaluation.shares import exact_share
from boneage.stages import ROUNDING_YEARS

CALIBRATION_BINS = 15  # as in Guo et al. 2017
EDGE_DISTANCES_YEARS = (-np.inf, -4, -2, -1, -0.5, 0, 0.5, 1, 2, 4, np.inf)


class Confusion:
    """Counts of true and predicted stages, and the terms that several metrics share.

    Metrics are arrays of shape (...), those of each stage (..., K). Precision is NaN for a stage
    that is never predicted, recall for one that is never true, F1 for one that is neither. Means
    are over the stages with a value, and NaN if a draw lacks a `present` stage.

    Args:
        true: (..., n) true stage indices.
        predicted: (..., n) predicted stage indices.
        k: number of stages.
        present: (K,) bool, the stages among the radiographs before resampling, for draws.
    """

    def __init__(
        self, true: np.ndarray, predicted: np.ndarray, k: int, present: np.ndarray | None = None
    ) -> None:
        self.true, self.predicted = true, predicted
        self.k, self.present = k, present
        self.counts = confusion(true, predicted, k)

    @cached_property
    def total(self) -> np.ndarray:
        """(...) radiographs."""
        total: np.ndarray = self.counts.sum(axis=(-2, -1))
        return total

    @cached_property
    def of_true(self) -> np.ndarray:
        """(..., K) radiographs of each true stage."""
        of_true: np.ndarray = self.counts.sum(axis=-1)
        return of_true

    @cached_property
    def of_predicted(self) -> np.ndarray:
        """(..., K) radiographs of each predicted stage."""
        of_predicted: np.ndarray = self.counts.sum(axis=-2)
        return of_predicted

    @cached_property
    def hits(self) -> np.ndarray:
        """(..., K) radiographs of each stage that are predicted correctly."""
        return np.diagonal(self.counts, axis1=-2, axis2=-1)

    @cached_property
    def recall(self) -> np.ndarray:
        """(..., K) share of each true stage that is predicted correctly."""
        recall: np.ndarray = self.hits / self.of_true
        return recall

    @cached_property
    def precision(self) -> np.ndarray:
        """(..., K) share of each predicted stage that is correct."""
        precision: np.ndarray = self.hits / self.of_predicted
        return precision

    @cached_property
    def f1(self) -> np.ndarray:
        """(..., K) harmonic mean of precision and recall of each stage."""
        f1: np.ndarray = 2 * self.hits / (self.of_true + self.of_predicted)
        return f1

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(...) share of correct stages."""
        accuracy: np.ndarray = self.hits.sum(axis=-1) / self.total
        return accuracy

    @cached_property
    def kappa(self) -> np.ndarray:
        """(...) quadratic-weighted kappa (Cohen 1968)."""
        distance = (np.arange(self.k)[:, None] - np.arange(self.k)) ** 2
        by_chance = self.of_true[..., :, None] * self.of_predicted[..., None, :]
        by_chance = by_chance / self.total[..., None, None]
        observed = (self.counts * distance).sum((-2, -1))
        kappa: np.ndarray = 1 - observed / (by_chance * distance).sum((-2, -1))
        return kappa

    def mean(self, of_each: np.ndarray) -> np.ndarray:
        """Return the (...) mean over the stages of (..., K) numbers."""
        absent = False if self.present is None else (self.present & (self.of_true == 0)).any(-1)
        return np.where(absent, np.nan, np.nanmean(of_each, axis=-1))


def confusion(true: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Return (..., K, K) counts, true class by row, of (..., n) class indices."""
    codes = true * k + predicted
    return _binned(codes, k * k).reshape(*true.shape[:-1], k, k)


def f1_of_overlap(share: float) -> float:
    """Return the F1 of a stage, given the share that is correct of its true and predicted ones.

    The share is of the radiographs that are, or are predicted as, this stage: the Jaccard index
    (Jaccard, New Phytologist 1912;11:37-50). Each of these is a trial, a hit if it is both. Given
    their number, the hits are binomial, so the limits of Clopper & Pearson (1934) are exact.
    """
    return 2 * share / (1 + share)


def calibration_error(hit: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Return the expected calibration error (Guo et al. 2017, 15 equal bins).

    Args:
        hit: (..., n) whether the predicted stage is the true one.
        confidence: (..., n) probability of the predicted stage.
    """
    gap = _binned(_bin(confidence), CALIBRATION_BINS, hit - confidence)
    error: np.ndarray = np.abs(gap).sum(axis=-1) / confidence.shape[-1]
    return error


def reliability(
    confidence: np.ndarray, hit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean confidence, share of hits and count of each of the 15 bins, for (n,) arrays.

    An empty bin has NaN means.
    """
    bins = _bin(confidence)
    n = _binned(bins, CALIBRATION_BINS)
    with np.errstate(invalid="ignore"):
        means = [_binned(bins, CALIBRATION_BINS, v.astype(float)) / n for v in (confidence, hit)]
    return means[0], means[1], n


def errors_by_edge_distance(
    true_age: np.ndarray, hit: np.ndarray, edge: float, patients: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return the share of wrong stages by distance of the true age from an edge.

    Args:
        true_age: (n,) true ages in years.
        hit: (n,) whether the predicted stage is correct.
        edge: age in years between one stage and the next.
        patients: (n,) patient numbers, if known, for the intervals.

    Returns:
        A row per band of `EDGE_DISTANCES_YEARS`, closed on the left: `from_years`, `to_years`
        (signed, true age minus edge), `n` (and `patients`), `errors`, `rate` with `low` and `high`.
    """
    starts = np.subtract(EDGE_DISTANCES_YEARS, ROUNDING_YEARS)  # as of stages
    band = np.searchsorted(starts, true_age - edge, side="right") - 1
    rows = []
    for i, (start, end) in enumerate(pairwise(EDGE_DISTANCES_YEARS)):
        own = None if patients is None else patients[band == i]
        share = exact_share(~hit[band == i], own)
        named = {"errors": share.pop("count"), "rate": share.pop("value")}
        rows.append({"from_years": start, "to_years": end, **share, **named})
    return rows


def _bin(confidence: np.ndarray) -> np.ndarray:
    """Return the (..., n) bin of each confidence, bins closed on the right."""
    bins: np.ndarray = np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1
    return bins.clip(0, CALIBRATION_BINS - 1)


def _binned(codes: np.ndarray, k: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Return (..., k) counts, or sums of weights, of (..., n) codes below k."""
    flat = codes.reshape(-1, codes.shape[-1])
    flat = flat + k * np.arange(len(flat))[:, None]
    sums = np.bincount(flat.ravel(), None if weight is None else weight.ravel(), len(flat) * k)
    binned: np.ndarray = sums.reshape(*codes.shape[:-1], k)
    return binned
