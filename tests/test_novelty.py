"""Distance to the training features."""

import numpy as np
import pytest

from boneage.evaluation.novelty import FALSE_ALARMS, fit_novelty


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
