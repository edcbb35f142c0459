"""Planted failures are found: a gap in the youngest, a ceiling, a tail, errors at an edge."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import levene

from boneage.evaluation.evaluate import score, subgroups
from boneage.evaluation.metrics import AGE
from boneage.evaluation.predictions import pick_cases
from boneage.evaluation.report.statements import extremes
from boneage.evaluation.stage import errors_by_edge_distance
from boneage.stages import BANDS, Stages


@pytest.fixture(scope="module")
def ages():
    return np.random.default_rng(0).uniform(0, 19, 2000)


def test_planted_spread_of_the_youngest(ages):
    rng = np.random.default_rng(1)
    spread = np.where(ages < 2, 2.0, 0.5)
    bias = np.where(ages < 2, 1.5, 0)
    result = score("age", AGE, ages, ages + bias + rng.normal(0, 1, 2000) * spread)
    infant, older = result["age/infant_sd_years"], result["age/older_sd_years"]
    assert infant["low"] < 2.0 < infant["high"]
    assert older["low"] < 0.5 < older["high"]
    assert infant["low"] > older["high"]
    assert result["age/infant_bias_years"]["low"] < 1.5 < result["age/infant_bias_years"]["high"]
    assert infant["n"] == (ages < 2).sum()
    assert older["n"] == (ages >= 2).sum()


def test_planted_ceiling(ages):
    noise = np.random.default_rng(1).normal(0, 0.2, 2000)
    flat = score("age", AGE, ages, np.minimum(ages, 17) + noise)
    follows = score("age", AGE, ages, ages + noise)
    assert flat["age/ceiling_slope"]["high"] < 0.2
    assert flat["age/ceiling_bias_years"]["value"] == pytest.approx(-1, abs=0.1)
    assert follows["age/ceiling_slope"]["low"] > 0.9
    old = ages >= 17
    slope = np.polyfit(ages[old], (np.minimum(ages, 17) + noise)[old], 1)[0]
    assert flat["age/ceiling_slope"]["value"] == pytest.approx(slope)


def sentences(true, predicted):
    predictions = pd.DataFrame({"age_years": true, "age_years_predicted": predicted})
    return " ".join(extremes(score("age", AGE, true, predicted), predictions))


def test_sentences_follow_the_numbers(ages):
    noise = np.random.default_rng(1).normal(0, 0.3, 2000)
    gap = np.where(ages < 2, 8, 1) * noise
    planted = sentences(ages, np.minimum(ages, 17) + gap)
    assert f"Under 2 years (n = {(ages < 2).sum()})," in planted
    assert f"From 17 years on (n = {(ages >= 17).sum()})," in planted
    assert "is larger than that at other ages" in planted
    assert "there is a ceiling" in planted
    honest = sentences(ages, ages + noise)
    assert "cannot be distinguished from" in honest
    assert "there is no ceiling" in honest
    few = np.append(ages[(ages > 2) & (ages < 16)][:50], np.repeat([17.0, 18.0, 19.0], 8))
    error = np.array([*noise[:50], *np.tile([2.5, -1, 0.5], 8)])
    error[50:] += np.repeat([0, 1, -2], 8)
    open_ = sentences(few, few + error)
    assert "may or may not follow the true age: the slope's interval contains 0.5" in open_
    assert "Under 2 years" not in open_


def test_the_spread_of_the_youngest_is_that_of_a_test_of_the_difference():
    """It is significant although the intervals of the two spreads overlap."""
    rng = np.random.default_rng(4)
    true = np.append(rng.uniform(0.1, 1.9, 40), rng.uniform(2, 18, 300))
    error = rng.normal(0, np.where(true < 2, 1.4, 1.0))
    young = true < 2
    assert 0.001 < levene(error[young], error[~young], center="median").pvalue < 0.02
    result = score("age", AGE, true, true + error)
    assert result["age/infant_sd_years"]["low"] < result["age/older_sd_years"]["high"]
    assert "the spread of the error is larger than" in sentences(true, true + error)
    shifted = rng.normal(np.where(young, 3.0, 0.0), 1.0)  # an offset is no spread
    assert levene(shifted[young], shifted[~young], center="median").pvalue > 0.1
    assert "cannot be distinguished from that at other ages" in sentences(true, true + shifted)


def test_a_ceiling_of_few_is_not_claimed():
    """The bootstrap interval of 3 that follow their age was below 0.5 in 13 of 80 samples."""
    rng = np.random.default_rng(0)
    younger = rng.uniform(2, 16, 30)
    for _ in range(40):
        old = rng.uniform(17, 19, 3)
        true = np.append(younger, old)
        said = sentences(true, np.append(younger, old + rng.normal(0, 1.2, 3)))
        assert "(n = 3), the predicted age may or may not follow the true age: they" in said


def test_the_spread_of_few_is_not_judged():
    """The bootstrap interval of 8 was below that of all others in 29 of 100 equal samples."""
    rng = np.random.default_rng(0)
    true = np.append(np.full(8, 1.0), rng.uniform(2, 18, 300))
    for _ in range(8):
        assert "is from too few to compare it" in sentences(true, true + rng.normal(0, 1, 308))


def test_tail_by_hand():
    true = np.full(39, 8.0)
    error = np.array([3.0, -2.0] + [1.0] * 37)  # the worst 5 % are two
    result = score("age", AGE, true, true + error)
    assert result["age/worst_5_percent_share"]["value"] == pytest.approx(13 / 50)
    assert "worst 5 % of the radiographs (2 of 39) account for 26 %" in sentences(
        true, true + error
    )
    expected = np.sqrt(50 / 39) - 42 / 39
    assert result["age/rmse_minus_mae_years"]["value"] == pytest.approx(expected)


def test_normal_errors_have_the_tail_that_its_meaning_says(ages):
    normal = score("age", AGE, ages, ages + np.random.default_rng(3).normal(0, 1, 2000))
    assert normal["age/worst_5_percent_share"]["value"] == pytest.approx(0.28, abs=0.03)


def test_nobody_young_or_old():
    result = score("age", AGE, np.array([8.0, 9.0]), np.array([8.5, 9.0]))
    assert result["age/infant_sd_years"] == {"value": None, "low": None, "high": None, "n": 0}
    assert result["age/ceiling_slope"]["value"] is None


def test_errors_by_distance_from_the_edge():
    true = np.array([9.0, 9.5, 9.99, 10.0, 10.49, 10.5, 14.0])
    hit = np.array([True, False, False, False, True, True, True])
    rows = errors_by_edge_distance(true, hit, 10)
    found = {(row["from_years"], row["to_years"]): (row["errors"], row["n"]) for row in rows}
    assert found[-1, -0.5] == (0, 1)
    assert found[-0.5, 0] == (2, 2)
    assert found[0, 0.5] == (1, 2)  # 10.0 is on the right of its edge
    assert found[0.5, 1] == (0, 1)
    assert found[4, np.inf] == (0, 1)
    assert sum(n for _, n in found.values()) == len(true)


@pytest.mark.parametrize("edge", [0.7, 8.3, 10.7])
@pytest.mark.parametrize("distance", [-1, 0, 2])
def test_an_age_at_the_start_of_a_band_is_in_it_whatever_its_rounding(edge, distance):
    """Such as 10.7 years, which is a little more after a conversion to months and back."""
    age = edge + distance
    written = np.array([age, 12 * age / 12, round(12 * age, 4) / 12, round(age, 4)])
    if distance == 0:  # as the stages have it
        assert (Stages(["younger", "older"], [edge]).index_of(written) == 1).all()
    rows = errors_by_edge_distance(written, np.full(4, True), edge)
    assert [row["from_years"] for row in rows if row["n"]] == [distance]


def test_bands_are_closed_on_the_left():
    months = np.array([0, 23, 24, 59, 60, 119, 120, 167, 168, 203, 204, 228])
    names = [BANDS.names[k] for k in BANDS.index_of(months / 12)]
    assert names == [
        "0-2", "0-2", "2-5", "2-5", "5-10", "5-10",
        "10-14", "10-14", "14-17", "14-17", "17+", "17+",
    ]  # fmt: skip


def test_subgroups_by_hand():
    table = pd.DataFrame(
        {
            "sex": ["female", "male", "male", "female"],
            "age_years": [2.0, 3.0, 4.0, 12.0],
            "age_years_predicted": [3.0, 3.0, 2.0, 12.5],
        }
    )
    found = subgroups(table, Stages()).set_index(["band", "sex", "metric"])
    mae, bias = "age/mae_years", "age/bias_years"
    assert found.loc[("2-5", "all", mae), "value"] == pytest.approx(1)
    assert found.loc[("2-5", "all", bias), "value"] == pytest.approx(-1 / 3)
    assert found.loc[("2-5", "male", mae), "value"] == pytest.approx(1)
    assert found.loc[("all", "female", bias), "value"] == pytest.approx(0.75)
    assert found.loc[("2-5", "all", mae), "n"] == 3
    empty = found.loc[("0-2", "all", mae)]
    assert empty["n"] == 0
    assert pd.isna(empty["value"])
    assert ("2-5", "unknown", mae) not in found.index


def test_worst_and_median_cases():
    error = np.arange(101.0) / 10
    table = pd.DataFrame({"id": range(101), "age_years": 5.0, "age_years_predicted": 5 - error})
    cases = pick_cases(table, Stages(), k=3)
    assert cases["id"].tolist() == [100, 99, 98, 51, 50, 49]
    assert cases["kind"].tolist() == ["worst"] * 3 + ["median"] * 3


def test_worst_cases_of_a_classification_are_the_surest_mistakes():
    table = pd.DataFrame(
        {
            "age_years": [5.0, 12.0, 19.0],
            "stage_predicted": ["child", "child", "adult"],
            "stage_probability_child": [0.9, 0.95, 0.1],
            "stage_probability_adolescent": [0.1, 0.05, 0.3],
            "stage_probability_adult": [0.0, 0.0, 0.6],
        }
    )
    assert pick_cases(table, Stages(), k=1)["age_years"].tolist() == [12.0, 19.0]


def test_few_radiographs_are_not_shown_twice():
    table = pd.DataFrame({"age_years": [1.0, 2.0, 3.0], "age_years_predicted": [np.nan, 2.0, 9.0]})
    cases = pick_cases(table, Stages(), k=2)
    assert cases.index.tolist() == [0, 2]  # no number at all is the worst
    assert cases["kind"].tolist() == ["worst", "median"]
