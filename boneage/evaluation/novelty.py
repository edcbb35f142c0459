"""How far a radiograph is from those a model was trained on."""

from dataclasses import dataclass

import numpy as np

SHRINKAGE = 0.05  # share of a diagonal covariance: few radiographs do not fix all directions
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Novelty:
    """The Mahalanobis distance to the training features (Lee et al., NeurIPS 2018).

    Args:
        mean: (F,) of the features.
        whiten: (F, F), the inverse root of their covariance.
        limit: distance that one in a hundred of the radiographs held out exceeds.
    """

    mean: np.ndarray
    whiten: np.ndarray
    limit: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the (n,) distances of (n, F) features, 1 at the limit."""
        distance: np.ndarray = _distance(features, self.mean, self.whiten) / self.limit
        return distance


def fit_novelty(trained: np.ndarray, held_out: np.ndarray) -> Novelty:
    """Fit to the (n, F) features of training radiographs; the limit to (m, F) others."""
    mean = trained.mean(axis=0)
    covariance = np.cov(trained, rowvar=False)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))
    limit = np.quantile(_distance(held_out, mean, whiten), 1 - FALSE_ALARMS, method="higher")
    return Novelty(mean, whiten, float(limit))


def _distance(features: np.ndarray, mean: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.linalg.norm((features - mean) @ whiten, axis=1)
    return distance
