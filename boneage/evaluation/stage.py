"""Metrics of predicted stage over the last axis, so that they work on bootstrap draws as well."""

import warnings

import numpy as np

from boneage.evaluation.intervals import Metrics

CALIBRATION_BINS = 15  # as in Guo et al. 2017


def confusion(true: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Return (..., K, K) counts, true class by row, of (..., n) class indices."""
    codes = true * k + predicted
    return _binned(codes, k * k).reshape(*true.shape[:-1], k, k)


def stage_metrics(
    true: np.ndarray,
    predicted: np.ndarray,
    names: tuple[str, ...],
    present: np.ndarray | None = None,
) -> Metrics:
    """Return the metrics of predicted stages.

    Accuracy, balanced accuracy, macro F1, quadratic-weighted kappa (Cohen 1968), and precision,
    recall and F1 of each stage.

    Args:
        true: (..., n) true stage indices.
        predicted: (..., n) predicted stage indices.
        names: the K stage names.
        present: (K,) bool, the stages of all radiographs, where these are draws of them.

    Returns:
        Arrays of shape (...) by name. Precision, recall and F1 are NaN for a stage that is never
        predicted, never true, or neither; the means are over the stages for which they are defined.
        A mean without a stage that is `present` is another number, and NaN.
    """
    k = len(names)
    counts = confusion(true, predicted, k)
    total = counts.sum(axis=(-2, -1))
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    distance = (np.arange(k)[:, None] - np.arange(k)) ** 2
    whole = np.True_ if present is None else ((rows > 0) | ~present).all(axis=-1)
    by_chance = rows[..., :, None] * columns[..., None, :] / total[..., None, None]
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no stage at all
        recall, precision, f1 = hits / rows, hits / columns, 2 * hits / (rows + columns)
        kappa = 1 - (counts * distance).sum((-2, -1)) / (by_chance * distance).sum((-2, -1))
        metrics = {
            "stage/accuracy": hits.sum(axis=-1) / total,
            "stage/balanced_accuracy": np.where(whole, np.nanmean(recall, axis=-1), np.nan),
            "stage/macro_f1": np.where(whole, np.nanmean(f1, axis=-1), np.nan),
            "stage/kappa": kappa,
        }
    for name, values in (("recall", recall), ("precision", precision), ("f1", f1)):
        metrics |= {f"stage/{name}_{stage}": values[..., i] for i, stage in enumerate(names)}
    return metrics


def calibration_metrics(confidence: np.ndarray, hit: np.ndarray) -> Metrics:
    """Return the expected calibration error (Guo et al. 2017, 15 equal bins).

    Args:
        confidence: (..., n) probability of the predicted stage.
        hit: (..., n) whether that stage is the true one.
    """
    bins = _bin(confidence)
    gap = _binned(bins, CALIBRATION_BINS, hit - confidence)
    return {"stage/calibration_error": np.abs(gap).sum(axis=-1) / confidence.shape[-1]}


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
