"""Intervals on simulated errors, whose coverage is known."""

import numpy as np
import pytest

from boneage.stages import BANDS
from boneage.uncertainty.conformal import coverage, fit_intervals


def simulate(rng, n, spread):
    predicted = rng.uniform(0, 19, n)
    return predicted + rng.normal(0, 1, n) * spread(predicted), predicted


def test_width_by_hand():
    # of 9 errors 1 to 9 the ceil(0.9 * 10) = 9th is the width; of 8 there is none
    predicted = np.full(9, 12.0)
    assert fit_intervals(predicted + np.arange(1, 10), predicted).widths == (9.0,) * 6
    assert fit_intervals(predicted[1:] + np.arange(1, 9), predicted[1:]).widths == (np.inf,) * 6


def test_coverage_is_what_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        intervals = fit_intervals(*simulate(rng, 200, lambda age: 1 + 0 * age))
        true, predicted = simulate(rng, 200, lambda age: 1 + 0 * age)
        covered.append(coverage(true, predicted, intervals)["all"]["covered"]["value"])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_bands_have_widths_of_their_own():
    rng = np.random.default_rng(1)
    intervals = fit_intervals(*simulate(rng, 20_000, lambda age: 0.2 + (age > 10)))
    by_band = dict(zip(BANDS.names, intervals.widths, strict=True))
    assert by_band["2-5"] == pytest.approx(0.2 * 1.645, rel=0.1)
    assert by_band["10-14"] == pytest.approx(1.2 * 1.645, rel=0.1)
    true, predicted = simulate(rng, 20_000, lambda age: 0.2 + (age > 10))
    found = coverage(true, predicted, intervals)
    assert all(abs(found[band]["covered"]["value"] - 0.9) < 0.03 for band in BANDS.names)
    assert found["2-5"]["width_months"]["value"] == pytest.approx(12 * by_band["2-5"])


def test_a_band_with_few_takes_the_width_of_all():
    rng = np.random.default_rng(2)
    predicted = np.concatenate([rng.uniform(10, 14, 500), rng.uniform(0, 2, 20)])
    error = np.concatenate([rng.normal(0, 1, 500), np.full(20, 9.0)])
    intervals = fit_intervals(predicted + error, predicted)
    of_all, own = np.sort(np.abs(error))[468], np.sort(np.abs(error[:500]))[450]  # 0.9 (n + 1)
    assert intervals.widths == pytest.approx((of_all, of_all, of_all, own, of_all, of_all))
