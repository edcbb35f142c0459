"""Agreement of readers, and a model against them, on simulated readers and published examples."""

import numpy as np
import pytest
from scipy import stats

from boneage.evaluation.readers import (
    agreement,
    compare,
    icc,
    mean_of_others,
    reading_sd,
    single_reading_mae,
)

SHROUT_FLEISS = np.array(  # 6 targets and 4 judges: Shrout & Fleiss 1979, table 2
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
NAMES = ["ann", "ben", "cem"]


def simulated(n=2000, sds=(6.0, 6.0, 6.0), biases=(0.0, 0.0, 0.0), seed=0):
    """True ages and readings with normal errors of given spread and bias in months; years."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(2, 18, n)
    errors = rng.normal(biases, sds, (n, len(sds))) / 12
    return age, age[:, None] + errors


def test_icc_is_that_of_the_published_example():
    result = icc(SHROUT_FLEISS)
    assert result["value"] == pytest.approx(0.2898, abs=5e-5)
    assert (result["low"], result["high"]) == pytest.approx((0.0188, 0.7611), abs=5e-4)
    assert result["n"] == 6


def test_icc_leaves_out_what_not_all_have_read():
    gap = np.vstack([SHROUT_FLEISS, [1, np.nan, 9, 9]])
    assert icc(gap) == icc(SHROUT_FLEISS)


def test_icc_of_several_radiographs_of_a_patient_has_no_interval():
    assert icc(SHROUT_FLEISS, np.arange(6)) == icc(SHROUT_FLEISS) | {"patients": 6}
    result = icc(SHROUT_FLEISS, np.array([0, 0, 1, 2, 3, 4]))
    assert (result["low"], result["high"], result["patients"]) == (None, None, 5)
    assert result["value"] == icc(SHROUT_FLEISS)["value"]


@pytest.mark.parametrize("readings", [np.ones((5, 3)), np.ones((1, 3)), np.ones((5, 1))])
def test_icc_is_undefined_where_nothing_varies(readings):
    assert icc(readings)["value"] is None


@pytest.mark.parametrize("readers", [2, 3])
def test_icc_of_readers_who_differ_by_nothing_but_rounding_has_no_interval(readers):
    ages = np.array([3.1, 7.7, 11.4, 15.9, 4.3, 9.2, 12.8])
    result = icc(ages[:, None] * np.ones(readers))
    assert result["value"] == pytest.approx(1)
    assert (result["low"], result["high"]) == (None, None)


def test_mean_of_others_with_gaps_by_hand():
    readings = np.array([[10, 12, 14], [10, np.nan, 12], [8, np.nan, np.nan]], float)
    np.testing.assert_allclose(mean_of_others(readings, 0), [13, 12, np.nan])
    np.testing.assert_allclose(mean_of_others(readings, 1), [12, 11, 8])


def test_planted_spread_is_found_whatever_the_gaps():
    _, readings = simulated(sds=(6.0, 6.0, 6.0))
    readings[::3, 1] = np.nan
    result = reading_sd(readings)
    assert result["low"] < 6.0 < result["high"]
    assert result["value"] == pytest.approx(6.0, abs=0.2)


def test_planted_bias_of_one_reader_is_found():
    _, readings = simulated(biases=(4.0, 0.0, 0.0))
    results = agreement(readings, NAMES)
    assert results["readers/bias_months_ann"]["value"] == pytest.approx(4.0, abs=0.4)
    assert results["readers/bias_months_ben"]["value"] == pytest.approx(-2.0, abs=0.4)
    # error of one reading against the mean of two: variance 36 + 36 / 2
    expected = single_reading_mae(np.sqrt(54))
    _, fair = simulated()
    mae = agreement(fair, NAMES)["readers/mae_months_ben"]
    assert mae["low"] < expected < mae["high"]


def test_a_perfect_model_has_the_mae_of_one_reading():
    age, readings = simulated(n=20000)
    seen = 12 * np.abs(age - readings[:, 0]).mean()
    assert single_reading_mae(6.0) == pytest.approx(seen, rel=0.02)


@pytest.mark.parametrize(("error", "inferior"), [(3.0, False), (20.0, True)])
def test_a_better_model_is_not_inferior_and_a_worse_one_is(error, inferior):
    age, readings = simulated(n=300)
    predicted = age + np.random.default_rng(1).normal(0, error / 12, len(age))
    for found in compare(predicted, readings, NAMES, margin_months=1.0):
        assert found["inferior"] is inferior
        paired = found["model_mae"]["value"] - found["reader_mae"]["value"]
        assert found["difference"]["value"] == pytest.approx(paired)


def test_the_margin_is_compared_with_both_limits_of_the_difference():
    age, readings = simulated(n=100)
    predicted = age + np.random.default_rng(1).normal(0, 1, len(age))
    limits = compare(predicted, readings, NAMES, margin_months=0.0)[0]["difference"]
    low, high = limits["low"], limits["high"]
    assert low > 0.1
    verdicts = {low - 0.1: True, low + 0.1: None, high - 0.1: None, high + 0.1: False}
    for margin, inferior in verdicts.items():
        assert compare(predicted, readings, NAMES, margin)[0]["inferior"] is inferior


def test_the_interval_of_few_is_as_wide_as_students():
    ratios = []
    for seed in range(10):
        age, readings = simulated(n=12, sds=(6.0, 6.0), biases=(0.0, 0.0), seed=seed)
        predicted = age + np.random.default_rng(100 + seed).normal(0, 0.5, 12)
        (found, _) = compare(predicted, readings, NAMES[:2], margin_months=1.0)
        sizes = 12 * np.abs(np.stack([predicted, readings[:, 0]]) - readings[:, 1])
        low, high = stats.t.interval(0.95, 11, scale=stats.sem(sizes[0] - sizes[1]))
        ratios.append((found["difference"]["high"] - found["difference"]["low"]) / (high - low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)  # of the plain bootstrap 0.85


def test_published_errors_of_the_official_test_set_agree_with_each_other():
    """The winning model of 2017 has an MAE of 4.27 months against the mean of six readings, and of
    6.8 against one (Beheshtian et al., Radiology 2023;306:e220505). Readers of the official test
    set have 5 to 7 against the consensus. The spread of a reading follows from the first two.
    """
    six, one = 4.27, 6.8
    sd = np.sqrt((one**2 - six**2) * np.pi / 2 / (1 - 1 / 6))  # errors add in squares
    age, readings = simulated(n=4000, sds=(sd,) * 6, biases=(0.0,) * 6)
    shared = np.sqrt(six**2 * np.pi / 2 - sd**2 / 6)  # the error of the model itself
    predicted = age + np.random.default_rng(1).normal(0, shared / 12, len(age))

    assert 12 * np.abs(predicted - readings.mean(1)).mean() == pytest.approx(six, rel=0.04)
    assert 12 * np.abs(predicted - readings[:, 0]).mean() == pytest.approx(one, rel=0.04)
    assert reading_sd(readings)["value"] == pytest.approx(sd, rel=0.02)
    assert single_reading_mae(sd) < one  # a limit that no model can pass
    names = [f"r{k}" for k in range(6)]
    for compared in compare(predicted, readings, names, margin_months=0.0):
        assert 5 < compared["reader_mae"]["value"] < 7
        assert compared["inferior"] is False


def test_few_radiographs_cannot_tell():
    age, readings = simulated(n=12)
    predicted = age + np.random.default_rng(1).normal(0, 0.5, len(age))
    found = compare(predicted, readings, NAMES, margin_months=0.1)
    open_questions = [c for c in found if c["difference"]["low"] < 0.1 < c["difference"]["high"]]
    assert open_questions
    assert all(c["inferior"] is None for c in open_questions)


def test_radiographs_of_a_single_patient_cannot_tell():
    age, readings = simulated(n=12)
    for found in compare(age, readings, NAMES, margin_months=24, patients=np.zeros(12, int)):
        assert (found["difference"]["low"], found["difference"]["high"]) == (None, None)
        assert found["inferior"] is None


def test_the_n_of_a_reader_is_what_is_shared():
    _, readings = simulated(n=100)
    readings[10:, 2] = np.nan
    assert agreement(readings, NAMES)["readers/mae_months_cem"]["n"] == 10


def test_radiographs_of_one_patient_count_once():
    _, readings = simulated(n=50)
    twice = np.repeat(readings, 2, axis=0)
    patients = np.repeat(np.arange(50), 2)
    single = agreement(readings, NAMES)["readers/mae_months_ann"]
    clustered = agreement(twice, NAMES, patients)["readers/mae_months_ann"]
    assert clustered["patients"] == 50
    width, other = (r["high"] - r["low"] for r in (single, clustered))
    assert other == pytest.approx(width, rel=0.15)
