"""Distance to the training features."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from boneage.uncertainty.novelty import FALSE_ALARMS, fit_novelty, from_whitening


@pytest.fixture
def novelty():
    rng = np.random.default_rng(0)
    return fit_novelty(*(rng.normal(3, [1.0, 5.0], (2000, 2)) for _ in range(2)))


def test_distance_is_mahalanobis(novelty):
    from scipy.spatial.distance import mahalanobis

    points = np.array([[3.0, 3.0], [5.0, 3.0], [3.0, 13.0], [4.0, -2.0]])
    inverse = np.diag([1.0, 1 / 25])
    expected = [mahalanobis(point, [3, 3], inverse) for point in points]
    assert novelty.distance(points) * novelty.limit == pytest.approx(expected, abs=0.15)


def test_few_of_the_known_and_all_of_the_strange_are_far(novelty):
    rng = np.random.default_rng(1)
    known = rng.normal(3, [1.0, 5.0], (20_000, 2))
    assert (novelty.distance(known) > 1).mean() == pytest.approx(FALSE_ALARMS, abs=0.006)
    assert (novelty.distance(np.array([[9.0, 3.0], [3.0, 40.0]])) > 1).all()


def test_a_feature_that_never_varies_is_no_division_by_zero():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(size=50), np.zeros(50)])
    assert np.isfinite(fit_novelty(features, features).distance(features)).all()


def test_few_directions_and_one_variance_for_the_rest():
    rng = np.random.default_rng(2)
    spread = np.array([8.0] * 5 + [0.5] * 95)
    turn = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    trained, others = (rng.normal(size=(4000, 100)) * spread @ turn for _ in range(2))
    novelty = fit_novelty(trained, others)
    assert novelty.directions.shape == (100, 64)
    exact = np.linalg.norm(others @ turn.T / spread, axis=1)
    assert np.corrcoef(exact, novelty.distance(others))[0, 1] > 0.98
    beside = (np.eye(100)[-1] * 8) @ turn  # small among all features, sixteen times its usual size
    assert novelty.distance(beside[None])[0] > 1


def test_distances_and_limit_against_scikit_learn():
    """Its probabilistic PCA; of 50 held-out radiographs, the farthest one is the limit."""
    rng = np.random.default_rng(3)
    trained, held_out = (rng.normal(2, [9, 5, 4, 3, 2, 1], (n, 6)) for n in (30, 50))
    precision = PCA(n_components=3).fit(trained).get_precision()
    centred = held_out - trained.mean(axis=0)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", centred, precision, centred))
    found = fit_novelty(trained, held_out).distance(held_out)
    np.testing.assert_allclose(found, exact / exact.max(), rtol=2e-3)  # half precision


def test_directions_are_exact_in_half_precision(novelty):
    kept = novelty.directions.astype(np.float16)
    assert (kept.astype(np.float32) == novelty.directions).all()


def test_fewer_radiographs_than_features():
    rng = np.random.default_rng(0)
    novelty = fit_novelty(rng.normal(size=(14, 40)), rng.normal(size=(8, 40)))
    assert novelty.directions.shape == (40, 1)
    assert novelty.distance(np.full((1, 40), 50.0))[0] > 1


def test_an_older_checkpoint_answers_as_before():
    rng = np.random.default_rng(1)
    mean, limit = rng.normal(size=6), 2.5
    vectors = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    whiten = vectors / np.sqrt(np.array([9.0, 4.0, 1.0, 0.5, 0.01, 1e-5]))
    features = rng.normal(size=(30, 6))
    expected = np.linalg.norm((features - mean) @ whiten, axis=1) / limit
    found = from_whitening(mean, whiten, limit).distance(features)
    assert found == pytest.approx(expected, rel=1e-6)
