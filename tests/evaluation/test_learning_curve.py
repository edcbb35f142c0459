"""Error over the number of training radiographs: planted power laws, and data that cannot say."""

import numpy as np
import pytest
from scipy import stats

from boneage.errors import UserError
from boneage.evaluation.comparison.sizes import _slopes, fit_learning_curve

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
    assert curve.is_conclusive


def test_an_uncertain_run_hardly_counts():
    n = np.array([100, 200, 400, 800, 1600])
    mae = 5 + 40 * n**-0.5 + np.array([0, 0, 0, 3, 0])
    found = fit_learning_curve(n.tolist(), mae.tolist(), [0.1, 0.1, 0.1, 50.0, 0.1])
    assert found.doubling == pytest.approx(1 - 0.5**0.5, abs=0.02)


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


def covered(law, sizes, seed_sd, share, repeats=80):
    """Return how often intervals contain the true gain: runs share much of the test error."""
    rng = np.random.default_rng(0)
    n = np.array(sizes, float)
    errors = law(n)
    truth = law(n.max()) - law(2 * n.max())
    hits = 0
    for _ in range(repeats):
        common = share * errors * (0.9 * rng.normal() + 0.44 * rng.normal(size=len(n)))
        measured = errors + common + rng.normal(0, seed_sd, len(n))
        low, high = fit_learning_curve(n, measured, share * errors).doubling_limits
        hits += low <= truth <= high
    return hits / repeats


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "sizes", "seed_sd", "share"),
    [
        (lambda n: 5 + 120 * n**-0.45, [250, 500, 1000, 2000, 4000], 0.3, 0.022),
        (lambda n: 5 + 120 * n**-0.45, [250, 500, 1000, 2000], 1.0, 0.022),
        (lambda n: 60 * n**-0.25, [250, 500, 1000, 2000], 0.8, 0.005),  # no floor
        (lambda n: 60 * n**-0.25, [250, 500, 1000, 2000, 4000] * 2, 0.5, 0.01),
    ],
)
def test_intervals_cover_with_few_runs_that_scatter(law, sizes, seed_sd, share):
    assert covered(law, sizes, seed_sd, share) >= 0.91  # 0.75 to 0.90 of a bootstrap


def test_the_interval_is_that_of_a_grid_search():
    errors = np.random.default_rng(0).normal(planted() * 2, 0.25)
    n, se = np.array(SIZES * 2, float), 0.2
    gains = np.linspace(0, 0.6, 601)
    squares = np.full(len(gains), np.inf)
    for exponent in np.geomspace(0.05, 2, 300):
        scales = gains / (9000**-exponent - 18000**-exponent)
        rest = errors - scales[:, None] * n**-exponent
        floor = rest.mean(axis=1, keepdims=True).clip(0)
        squares = np.minimum(squares, (((rest - floor) / se) ** 2).sum(axis=1))
    scatter = squares.min() / (len(n) - 3)
    allowed = squares <= squares.min() + max(3.841, stats.t.ppf(0.975, len(n) - 3) ** 2 * scatter)
    expected = gains[allowed][[0, -1]]
    curve = fit_learning_curve(n, errors, [se] * len(n))
    assert curve.doubling_limits == pytest.approx(expected, abs=0.004)


def test_noise_without_a_trend_says_nothing():
    mae = [9.0, 13.0, 8.0, 12.0, 9.0, 12.0]
    curve = fit_learning_curve(SIZES, mae, [2.0] * 6)
    assert not curve.is_conclusive or curve.doubling_limits[0] <= 0.01


def test_an_error_that_rises_has_no_curve():
    with pytest.raises(UserError, match="rises with the size of the training fold"):
        fit_learning_curve(SIZES, planted()[::-1], [0.2] * 6)
    level = [8.0, 7.9, 8.1, 8.0, 8.1, 8.1]  # which rises by no more than chance
    assert fit_learning_curve(SIZES, level, [0.2] * 6).doubling < 0.1


def test_too_few_sizes_are_refused():
    with pytest.raises(UserError, match="needs 4 sizes"):
        fit_learning_curve([250, 500, 500, 1000], [3, 2, 2, 1], [0.1] * 4)


def test_the_slope_over_the_size_weights_each_run_by_its_variance():
    n, se = np.array([100, 200, 400, 1000]), np.array([1.0, 0.2, 0.5, 3.0])
    mae = np.array([9.0, 8.5, 7.0, 8.8])
    weight, x = se**-2, np.log(n)
    centred = x - np.average(x, weights=weight)
    slope = (weight * centred * mae).sum() / (weight * centred**2).sum()
    assert _slopes(n, mae[None], se) == pytest.approx(slope)
