"""Bootstrap intervals and paired differences on simulated data."""

import numpy as np
import pytest
from scipy import stats

from boneage.evaluation.comparison.paired import exchange_test
from boneage.evaluation.intervals import (
    bounded,
    paired_difference,
    unpaired_difference,
    widening,
    with_interval,
)
from boneage.evaluation.metrics import AGE
from boneage.evaluation.shares import limits_of_difference


def mae(true, predicted):
    return np.abs(predicted - true).mean(axis=-1)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = 0
    values = AGE.number("mae_years").values
    for trial in range(200):
        error = rng.normal(0, 1, 150)
        result = with_interval(values, np.zeros(150), error, draws=400, seed=trial)
        mae = result["mae_years"]
        covered += mae["low"] <= np.sqrt(2 / np.pi) <= mae["high"]
    assert 178 <= covered <= 199


def test_interval_of_a_mean_is_that_of_the_normal_theory():
    error = np.random.default_rng(0).normal(0.5, 2, 1500)
    bias = with_interval(AGE.number("bias_years").values, np.zeros(1500), error)["bias_years"]
    half = 1.96 * error.std(ddof=1) / np.sqrt(1500)
    assert bias["low"] == pytest.approx(error.mean() - half, abs=0.015)
    assert bias["high"] == pytest.approx(error.mean() + half, abs=0.015)


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    columns = rng.normal(0, 1, 40), rng.normal(0, 1, 40)
    whole = with_interval(AGE.values, *columns, draws=500)
    monkeypatch.setattr("boneage.evaluation.intervals.VALUES_IN_MEMORY", 1000)
    in_parts = with_interval(AGE.values, *columns, draws=500)
    assert in_parts == whole


def test_one_radiograph_has_no_interval():
    result = with_interval(AGE.values, np.array([5.0]), np.array([6.0]))
    assert result["mae_years"] == {"value": 1.0, "low": None, "high": None, "n": 1}
    assert result["loa_low_years"]["value"] is None


def test_difference_of_equal_runs_is_none():
    true, predicted = np.arange(50.0), np.arange(50.0) + 1
    same = paired_difference(mae, (true, predicted), (true, predicted))
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 50}
    assert exchange_test(mae, (true, predicted), (true, predicted)) == 1


def test_difference_of_a_better_run():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 19, 400)
    worse = true + rng.normal(0, 1, 400)
    better = true + 0.8 * (worse - true)  # every error is a fifth smaller
    result = paired_difference(mae, (true, worse), (true, better))
    assert result["value"] == pytest.approx(mae(true, better) - mae(true, worse))
    gain = 0.2 * np.abs(worse - true)
    half = 1.96 * gain.std(ddof=1) / np.sqrt(400)
    assert result["low"] == pytest.approx(-gain.mean() - half, abs=0.003)
    assert result["high"] == pytest.approx(-gain.mean() + half, abs=0.003)
    assert exchange_test(mae, (true, worse), (true, better)) == pytest.approx(1 / 2001)


@pytest.mark.parametrize("patients", [None, np.arange(300) // 3])
def test_the_common_truth_of_two_runs_is_not_exchanged(patients):
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 19, 300)
    first, second = true + rng.normal(0, 1, 300), true + rng.normal(0.05, 1, 300)
    read = []

    def metric(true, predicted):
        read.append(true)
        return np.abs(predicted - true).mean(axis=-1)

    p = exchange_test(metric, (true, first), (true, second), patients)
    assert all(np.shares_memory(one, true) for one in read)
    assert p == exchange_test(metric, (true, first), (true.copy(), second), patients)


def test_difference_of_two_shares_is_that_of_newcombe():
    """Statistics in Medicine 1998;17:873-890, table II: 56 of 70 minus 48 of 80, method 10."""
    shares = [
        (k / n, *stats.binomtest(k, n).proportion_ci(method="wilson"))
        for k, n in ((48, 80), (56, 70))
    ]
    assert limits_of_difference(*shares) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_difference_of_two_sets_is_that_of_the_normal_theory():
    """Of patients with one or two radiographs; the values of those with two are larger."""
    rng = np.random.default_rng(4)
    sets, variance, patients = [], 0.0, []
    for n, mean in ((400, 1.0), (900, 3.0)):
        films = rng.integers(1, 3, n)
        own = mean + 2.0 * films + rng.normal(0, 0.5, n)
        patients.append(np.repeat(np.arange(n), films))
        sets.append((np.repeat(own, films),))
        parts = films * (own - sets[-1][0].mean()) / films.mean()  # of a ratio of means
        variance += parts.var() / n
    found = unpaired_difference(lambda v: v.mean(axis=-1), *sets, tuple(patients))
    difference = sets[1][0].mean() - sets[0][0].mean()
    assert found["value"] == pytest.approx(difference)
    half = 1.96 * np.sqrt(variance)
    assert found["low"] == pytest.approx(difference - half, abs=0.1 * half)
    assert found["high"] == pytest.approx(difference + half, abs=0.1 * half)


@pytest.mark.parametrize("n", [8, 100])
def test_p_values_of_equally_good_runs_are_spread_evenly(n):
    """Shares of bootstrap draws on one side of zero were too small: 89 below 0.2 for n = 8."""
    rng = np.random.default_rng(2)
    small = 0
    for _ in range(300):
        runs = [(np.zeros(n), rng.normal(0, 1, n)) for _ in range(2)]
        small += exchange_test(mae, *runs, draws=400) < 0.2
    assert 46 <= small <= 74  # 60 expected, standard deviation 6.9


def test_p_value_of_few_radiographs_and_of_patients():
    rng = np.random.default_rng(0)  # 0.34 of radiographs, 0.59 of patients
    errors = rng.normal(0, (1, 3), (9, 2)).T
    patients = np.array([0, 0, 0, 1, 1, 2, 3, 4, 5])
    for own in (None, patients):
        gain = np.abs(errors[1]) - np.abs(errors[0])
        sums = gain if own is None else np.bincount(patients, gain)
        exact = stats.permutation_test(  # all exchanges
            (sums,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        pair = [(np.zeros(9), error) for error in errors]
        assert exchange_test(mae, *pair, own) == pytest.approx(exact.pvalue, abs=0.03)


@pytest.mark.parametrize("n", [2, 3, 10, 27, 99])
def test_widening_is_that_of_students_t(n):
    factor = stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * np.sqrt(n / (n - 1))
    assert widening(n) == pytest.approx(factor, rel=1e-4)


def test_the_difference_of_many_is_that_of_the_percentiles():
    assert widening(100) == widening(1134) == 1
    gain = np.random.default_rng(0).normal(0, 1, 120)
    found = paired_difference(lambda v: v.mean(axis=-1), (np.zeros(120),), (gain,))
    drawn = np.random.default_rng(0).integers(0, 120, (2000, 120))
    limits = np.percentile(gain[drawn].mean(axis=1), [2.5, 97.5])
    assert (found["low"], found["high"]) == pytest.approx(tuple(limits))


def test_copies_of_the_radiographs_of_few_patients_do_not_narrow_a_difference():
    few = np.random.default_rng(5).normal(0, 1, 8)
    many, patients = np.repeat(few, 20), np.repeat(np.arange(8), 20)

    def mean(values):
        return values.mean(axis=-1)

    def one(values, **options):
        return with_interval(lambda v: {"mean": mean(v)}, values, differences=["mean"], **options)

    for alone, copied in (
        (one(few)["mean"], one(many, patients=patients)["mean"]),
        (
            unpaired_difference(mean, (few,), (few[:6] + 1,)),
            unpaired_difference(
                mean, (many,), (many[:120] + 1,), patients=(patients, patients[:120])
            ),
        ),
    ):
        limits = [[each[end] for end in ("value", "low", "high")] for each in (alone, copied)]
        assert limits[1] == pytest.approx(limits[0])


@pytest.mark.parametrize("clustered", [False, True])
def test_differences_of_few_cover_the_truth_about_95_times_in_100(clustered):
    """The plain percentiles cover it 88 times with 8 radiographs, or patients."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(8), 3) if clustered else None
    covered = 0
    for _ in range(400):
        gain = rng.normal(0, 1, 8)
        gain = gain if patients is None else gain[patients] + rng.normal(0, 0.2, 24)
        pair = (np.zeros(len(gain)),), (gain,)
        found = paired_difference(lambda v: v.mean(axis=-1), *pair, patients, draws=400)
        covered += found["low"] <= 0 <= found["high"]
    assert 366 <= covered <= 394  # 380 expected, standard deviation 4.4


def test_the_difference_of_two_sets_of_few_is_as_wide_as_students():
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(20):
        many, few = rng.normal(0, 1, 400), rng.normal(0, 1, 8)
        found = unpaired_difference(lambda v: v.mean(axis=-1), (many,), (few,))
        welch = stats.ttest_ind(few, many, equal_var=False).confidence_interval()
        ratios.append((found["high"] - found["low"]) / (welch.high - welch.low))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)  # of the plain percentiles 0.78


def test_limits_of_a_difference_of_shares_are_at_most_one_from_zero():
    difference = {"value": -0.6, "low": -1.3, "high": 0.2, "n": 3}
    assert bounded(difference, 1.0) == difference | {"low": -1.0}
    undefined = {"value": 0.0, "low": None, "high": None, "n": 1}
    assert bounded(undefined, 1.0) == undefined


def test_a_metric_that_is_a_difference_has_students_interval():
    """As of the stress test, of maps against controls, and of levels of a column."""
    rng = np.random.default_rng(6)
    ratios = {"gain": [], "mean": []}
    for _ in range(20):
        gain = rng.normal(0, 1, 9)
        found = with_interval(
            lambda v: dict.fromkeys(ratios, v.mean(axis=-1)), gain, differences=("gain",)
        )
        low, high = stats.t.interval(0.95, 8, scale=stats.sem(gain))
        for name, ratio in ratios.items():
            ratio.append((found[name]["high"] - found[name]["low"]) / (high - low))
    assert np.mean(ratios["gain"]) == pytest.approx(1, abs=0.05)
    assert np.mean(ratios["mean"]) < 0.85
