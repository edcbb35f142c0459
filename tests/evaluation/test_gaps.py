"""Differences of the error between levels of a column, on planted gaps."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from boneage.evaluation import gaps
from boneage.evaluation.gaps import UNKNOWN_LEVEL, clearest_gap, levels_of


def simulated(n=300, factors=(1.0, 1.0, 2.0), seed=0):
    """Errors in months whose spread differs by level."""
    rng = np.random.default_rng(seed)
    levels = np.repeat([f"site {i}" for i in range(len(factors))], n)
    return rng.normal(0, 8, len(levels)) * np.repeat(factors, n), levels


def test_a_planted_gap_is_found_with_its_levels():
    error, levels = simulated()
    gap = clearest_gap(error, levels)
    assert gap.high == "site 2"
    assert gap.pairs == 3
    expected = 8 * np.sqrt(2 / np.pi)  # of mean absolute normal errors: 16 against 8
    assert gap.difference["low"] < expected < gap.difference["high"]
    assert gap.p < 0.01


@pytest.fixture
def few_permutations(monkeypatch):
    """Of many tables: p is valid with any number of permutations, and only coarser with few."""
    monkeypatch.setattr(gaps, "DRAWS", 199)


@pytest.mark.slow
@pytest.mark.usefixtures("few_permutations")
def test_equal_levels_have_no_small_p():
    ps = [clearest_gap(*simulated(60, (1.0, 1.0, 1.0, 1.0), seed)).p for seed in range(40)]
    assert np.mean(np.array(ps) < 0.05) <= 0.15  # 2 of 40 expected at most


def test_p_is_that_of_scipys_permutation_test():
    error, levels = simulated(40, (1.0, 1.25))
    a, b = (np.abs(error[levels == name]) for name in ("site 0", "site 1"))
    result = stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=20000, vectorized=True
    )
    assert clearest_gap(error, levels).p == pytest.approx(result.pvalue, abs=0.03)


def test_p_is_of_the_clearest_of_all_pairs():
    """Levels of equal size, so that every pair has one spread: by their means in a shuffle."""
    error, levels = simulated(40, (1.0,) * 4, seed=1)
    values, rng = np.abs(error), np.random.default_rng(5)
    means = np.stack([values, *rng.permuted(np.tile(values, (4000, 1)), axis=1)])
    means = means.reshape(-1, 4, 40).mean(axis=2)
    ranges = np.ptp(means, axis=1)  # the largest difference of any two
    expected = (ranges >= ranges[0] - 1e-9).mean()
    assert clearest_gap(error, levels).p == pytest.approx(expected, abs=0.04)


def test_many_pairs_are_compared_in_parts_of_the_memory(monkeypatch):
    """Of 200 sites there are 20,000 pairs, whose permutations at once would take gigabytes."""
    error, levels = simulated(100, (1.0,) * 11 + (2.0,))
    patients = np.arange(len(error)) // 2
    at_once = [clearest_gap(error, levels, codes) for codes in (None, patients)]
    sizes = []

    def counted(differences, own=gaps._sizes):
        sizes.append(differences.size)
        return own(differences)

    monkeypatch.setattr(gaps, "_sizes", counted)
    monkeypatch.setattr(gaps, "VALUES_IN_MEMORY", 30_000)
    assert [clearest_gap(error, levels, codes) for codes in (None, patients)] == at_once
    assert max(sizes) <= 30_000
    assert sum(sizes) == 2 * 66 * (1 + gaps.DRAWS)


def test_one_bad_level_of_twenty_has_a_small_p():
    assert clearest_gap(*simulated(20, (*[1.0] * 19, 20.0))).p < 0.001  # 190 pairs


def test_small_levels_do_not_hide_a_gap_of_large_ones():
    error, sites = simulated(2000, (1.0, 1.15))
    small, names = simulated(20, (1.0,) * 10, seed=1)
    means = np.abs(small).reshape(10, 20).mean(axis=1)
    small *= np.repeat(np.abs(error).mean() / means, 20)  # no differences among these
    gap = clearest_gap(np.append(error, small), np.append(sites, np.char.add("small ", names)))
    assert (gap.low, gap.high, gap.pairs) == ("site 0", "site 1", 66)
    assert gap.p < 0.01


def test_a_small_level_does_not_hide_the_clearest_pair():
    rng = np.random.default_rng(3)
    sizes, spreads = {"a": 600, "b": 600, "small": 22}, {"a": 8.0, "b": 9.7, "small": 7.0}
    levels = np.repeat(list(sizes), list(sizes.values()))
    error = rng.normal(0, [spreads[level] for level in levels])
    pairs = {}
    for one, other in combinations(sizes, 2):
        parts = [np.abs(error[levels == level]) for level in (one, other)]
        test = stats.permutation_test(
            parts, lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=5000, vectorized=True
        )
        pairs[one, other] = abs(test.statistic), test.pvalue
    assert max(pairs, key=lambda pair: pairs[pair][0]) == ("b", "small")  # in months
    assert min(pairs, key=lambda pair: pairs[pair][1]) == ("a", "b")
    gap = clearest_gap(error, levels)
    assert (gap.low, gap.high) == ("a", "b")
    assert gap.p <= 3 * pairs["a", "b"][1] + 0.002  # Bonferroni's, which is larger


def clustered(patients, films, rng):
    """Errors in months whose mean differs by patient, and the patient of each."""
    codes = np.repeat(np.arange(patients), films)
    return rng.normal(0, 8, patients)[codes] + rng.normal(0, 4, len(codes)), codes


@pytest.mark.slow
@pytest.mark.usefixtures("few_permutations")
@pytest.mark.parametrize("shared", [0, 1, 30])
def test_films_at_another_level_do_not_make_p_small(shared):
    ps = []
    for seed in range(100):
        error, patients = clustered(60, 5, np.random.default_rng(seed))
        odd = patients % 2 == 1
        odd[: 5 * shared : 5] ^= True  # one film of each of the first patients
        levels = np.where(odd, "odd", "even")
        ps.append(clearest_gap(error, levels, patients).p)
    assert stats.binom.sf((np.array(ps) < 0.05).sum() - 1, 100, 0.05) > 0.01


def test_patients_who_are_in_both_levels_are_compared_with_themselves():
    rng = np.random.default_rng(0)
    size, patients = np.abs(clustered(60, 2, rng)[0]) + 20, np.repeat(np.arange(60), 2)
    devices = np.tile(["a", "b"], 60)
    gap = clearest_gap(size + 2.5 * (devices == "b"), devices, patients)
    own = np.diff((size + 2.5 * (devices == "b")).reshape(60, 2))[:, 0]
    expected = stats.t.interval(0.95, 59, own.mean(), stats.sem(own))
    assert gap.high == "b"
    assert gap.p == pytest.approx(stats.wilcoxon(own).pvalue, abs=0.01)
    assert gap.p < 0.05
    assert gap.difference["low"] < 2.5 < gap.difference["high"]
    interval = [gap.difference["low"], gap.difference["high"]]
    np.testing.assert_allclose(interval, expected, atol=0.3)


def test_small_and_unknown_levels_have_no_part():
    error, levels = simulated(30, (1.0, 1.0))
    levels = np.concatenate([levels, ["tiny"] * 19, [UNKNOWN_LEVEL] * 50])
    error = np.concatenate([error, np.full(19, 90.0), np.full(50, 90.0)])
    assert clearest_gap(error, levels).pairs == 1
    assert clearest_gap(error[levels == "site 0"], levels[levels == "site 0"]) is None


def test_patients_are_the_units():
    error, levels = simulated(15, (1.0, 3.0))
    copies = np.repeat(np.arange(30), 10)
    assert clearest_gap(np.repeat(error, 10), np.repeat(levels, 10), copies) is None  # 15 patients
    error, levels = simulated(40, (1.0, 1.15))
    copies = np.repeat(np.arange(80), 10)
    one = clearest_gap(error, levels)
    ten = clearest_gap(np.repeat(error, 10), np.repeat(levels, 10), copies)
    assert ten.p == pytest.approx(one.p, abs=0.03)
    as_films = clearest_gap(np.repeat(error, 10), np.repeat(levels, 10))
    assert as_films.p < ten.p


def test_a_frequent_number_is_a_level_of_its_own():
    numbers = pd.Series([0] * 60 + list(range(1, 41)))
    counts = levels_of(numbers).value_counts()
    assert counts["0"] == 60
    assert sorted(counts.drop("0")) == [10, 10, 10, 10]
    years = pd.Series([2015] * 40 + [2021] * 40 + [*range(2001, 2041)])
    assert sorted(set(levels_of(years)) - {"2015", "2021"}) == [  # each says what it contains
        "2001 to 2010.25",
        "over 2010.25 to 2021 without 2015 and 2021",
        "over 2021 to 2030.75",
        "over 2030.75 to 2040",
    ]


def test_levels_of_text_and_numbers():
    assert list(levels_of(pd.Series(["a", None, " b ", ""]))) == [
        "a",
        UNKNOWN_LEVEL,
        "b",
        UNKNOWN_LEVEL,
    ]
    assert list(levels_of(pd.Series([1, 2, 1]))) == ["1", "2", "1"]
    codes = pd.Series(["01", "1", "2,0", "NA", "1.0", "2"])  # joined from several tables
    assert list(levels_of(codes)) == ["01", "01", "2,0", UNKNOWN_LEVEL, "01", "2,0"]
    several = pd.Series(["0", "", "1", "NA", " ", "unknown"])
    assert list(levels_of(several)) == ["0", UNKNOWN_LEVEL, "1", *[UNKNOWN_LEVEL] * 3]
    assert list(levels_of(pd.Series([0.0, np.nan, np.nan]))) == ["0.0", *[UNKNOWN_LEVEL] * 2]
    numbers = pd.Series([*np.arange(100.0), np.nan, np.nan])
    found = levels_of(numbers)
    assert found.nunique() == 5
    assert (found.value_counts().drop(UNKNOWN_LEVEL) == 25).all()
    assert found.iloc[-1] == UNKNOWN_LEVEL
    assert len(set(found[:25])) == 1  # the lowest quarter is one level
