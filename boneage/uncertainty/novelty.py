"""Distance of a radiograph from a model's training radiographs."""

from dataclasses import dataclass, replace

import numpy as np

UNUSUAL = 1.0  # distance above which a radiograph is flagged
FALSE_ALARMS = 0.01  # share of held-out radiographs beyond the limit
DIRECTIONS = 64  # at most
RADIOGRAPHS = 10  # per direction, at least
MIN_VARIANCE = 1e-4  # smallest variance, as a share of the greatest


@dataclass(frozen=True)
class Novelty:
    """The distance to the training features under probabilistic PCA (Tipping and Bishop 1999).

    It is the Mahalanobis distance (Lee et al., NeurIPS 2018) for a covariance with a few
    directions, each with its variance, and one variance for all others: small to store.

    Args:
        mean: (F,) of the features.
        directions: (F, K) orthonormal columns.
        variances: (K,) along the directions.
        rest: variance along any other direction; infinite if there is none.
        limit: distance that 1 % of the held-out radiographs exceed.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    limit: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the (n,) distances of (n, F) features, 1 at the limit."""
        centred = features - self.mean
        along = centred @ self.directions
        residual = centred - along @ self.directions.T
        squares = (along**2 / self.variances).sum(axis=1) + (residual**2).sum(axis=1) / self.rest
        distance: np.ndarray = np.sqrt(squares) / self.limit
        return distance


def fit_novelty(trained: np.ndarray, held_out: np.ndarray) -> Novelty:
    """Fit to (n, F) features of training radiographs, and the limit to (m, F) held-out ones."""
    n, width = trained.shape
    values, vectors = np.linalg.eigh(np.cov(trained, rowvar=False))
    values, vectors = values[::-1], vectors[:, ::-1]
    least = max(MIN_VARIANCE * values[0], np.finfo(np.float32).tiny)
    k = min(DIRECTIONS, n // RADIOGRAPHS, width - 1)
    novelty = Novelty(
        mean=trained.mean(axis=0).astype(np.float32),
        directions=vectors[:, :k].astype(np.float16).astype(np.float32),  # precision in files
        variances=np.maximum(values[:k], least).astype(np.float32),
        rest=float(np.maximum(values[k:].mean(), least)),
        limit=1.0,
    )
    distance = novelty.distance(held_out)
    limit = np.quantile(distance, 1 - FALSE_ALARMS, method="higher")
    return replace(novelty, limit=float(limit))


def from_whitening(mean: np.ndarray, whiten: np.ndarray, limit: float) -> Novelty:
    """Return the novelty of an older checkpoint, which stores all directions as a whitening matrix.

    Args:
        mean: (F,) of the features.
        whiten: (F, F), its columns the directions divided by the roots of the variances.
        limit: as of `Novelty`.
    """
    length = np.linalg.norm(whiten, axis=0)
    return Novelty(mean, whiten / length, length**-2, float("inf"), limit)
