"""Error over the number of training radiographs: planted power laws, and data that cannot say."""

import numpy as np
import pytest

from boneage.errors import UserError
from boneage.evaluation.learning_curve import fit_learning_curve

SIZES = [250, 500, 1000, 2000, 4000, 9000]


def planted(floor=5.0, scale=200.0, exponent=0.6):
    return [floor + scale * n**-exponent for n in SIZES]


def test_a_planted_law_is_found():
    curve = fit_learning_curve(SIZES, planted(), [0.01] * 6)
    assert curve.floor == pytest.approx(5.0, abs=0.05)
    assert curve.exponent == pytest.approx(0.6, abs=0.01)
    by_hand = 200 * (9000**-0.6 - 18000**-0.6)
    assert curve.doubling == pytest.approx(by_hand, abs=0.01)
    low, high = curve.doubling_limits
    assert low < by_hand < high
    assert curve.telling


def test_intervals_cover_the_planted_gain():
    rng = np.random.default_rng(0)
    truth = 200 * (9000**-0.6 - 18000**-0.6)
    hits = 0
    for _ in range(20):
        curve = fit_learning_curve(SIZES, rng.normal(planted(), 0.2), [0.2] * 6)
        hits += curve.doubling_limits[0] <= truth <= curve.doubling_limits[1]
    assert hits >= 16  # of 20 at 95 %: 16 or fewer have a chance of 0.3 %


@pytest.mark.parametrize("scatter", [0.2, 0.6])
def test_intervals_cover_the_planted_gain_of_runs_that_scatter(scatter):
    rng = np.random.default_rng(0)
    truth = 200 * (9000**-0.6 - 18000**-0.6)
    sizes = SIZES * 3  # seeds
    hits = 0
    for _ in range(20):
        curve = fit_learning_curve(sizes, rng.normal(planted() * 3, scatter), [0.2] * len(sizes))
        hits += curve.doubling_limits[0] <= truth <= curve.doubling_limits[1]
    assert hits >= 16


def test_noise_without_a_trend_says_nothing():
    mae = [9.0, 13.0, 8.0, 12.0, 9.0, 12.0]
    curve = fit_learning_curve(SIZES, mae, [2.0] * 6)
    assert not curve.telling or curve.doubling_limits[0] <= 0.01


def test_an_error_that_rises_has_no_curve():
    with pytest.raises(UserError, match="rises with the size of the training fold"):
        fit_learning_curve(SIZES, planted()[::-1], [0.2] * 6)
    level = [8.0, 7.9, 8.1, 8.0, 8.1, 8.1]  # which rises by no more than chance
    assert fit_learning_curve(SIZES, level, [0.2] * 6).doubling < 0.1


def test_too_few_sizes_are_refused():
    with pytest.raises(UserError, match="needs 4 sizes"):
        fit_learning_curve([250, 500, 500, 1000], [3, 2, 2, 1], [0.1] * 4)
