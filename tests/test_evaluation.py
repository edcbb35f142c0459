"""Metrics against hand computations and scikit-independent truths."""

import numpy as np
import pandas as pd
import pytest

from boneage.evaluation.age import age_metrics
from boneage.evaluation.bootstrap import with_interval
from boneage.evaluation.evaluate import baselines, evaluate
from boneage.evaluation.stage import confusion, stage_metrics
from boneage.stages import Stages


def test_age_metrics_by_hand():
    result = age_metrics(np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 2.0, 1.0, 6.0]))
    assert result["age/mae_years"] == pytest.approx(3 / 4)
    assert result["age/mae_months"] == pytest.approx(9)
    assert result["age/rmse_years"] == pytest.approx(np.sqrt(5 / 4))
    # mean 3, squared deviations 4 + 1 + 0 + 9 = 14
    assert result["age/r2"] == pytest.approx(1 - 5 / 14)


def test_r2_of_equal_ages_is_undefined():
    assert np.isnan(age_metrics(np.ones(3), np.arange(3.0))["age/r2"])


def test_confusion_by_hand():
    true, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    assert confusion(true, predicted, 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]


def test_stage_metrics_by_hand():
    true, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    result = stage_metrics(true, predicted, ("child", "adolescent", "adult"))
    assert result["stage/accuracy"] == pytest.approx(3 / 6)
    assert result["stage/recall_child"] == pytest.approx(1 / 2)
    assert result["stage/recall_adolescent"] == pytest.approx(2 / 3)
    assert result["stage/recall_adult"] == 0
    assert result["stage/balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    # observed disagreement 3; by chance: rows (2, 3, 1), columns (2, 4, 0), distances squared:
    # (2*4*1 + 2*0*4 + 3*2*1 + 3*0*1 + 1*2*4 + 1*4*1) / 6 = 26 / 6
    assert result["stage/kappa"] == pytest.approx(1 - 3 / (26 / 6))


def test_stage_without_example_has_no_recall():
    result = stage_metrics(np.array([0, 1]), np.array([0, 2]), ("a", "b", "c"))
    assert np.isnan(result["stage/recall_c"])
    assert result["stage/balanced_accuracy"] == pytest.approx(0.5)


def test_draws_are_scored_one_by_one():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (5, 40)), rng.integers(0, 3, (5, 40))
    together = stage_metrics(true, predicted, ("a", "b", "c"))
    for k in range(5):
        alone = stage_metrics(true[k], predicted[k], ("a", "b", "c"))
        alone = {name: float(value) for name, value in alone.items()}
        assert {n: v[k] for n, v in together.items()} == pytest.approx(alone)


def test_a_share_of_nought_or_all_still_has_an_interval():
    table = pd.DataFrame({"age_years": [19.0] * 9 + [12.0], "age_years_predicted": [12.0] * 10})
    result = evaluate(table, Stages())
    adult, adolescent = result["stage/recall_adult"], result["stage/recall_adolescent"]
    # Clopper & Pearson 1934: (1 - p)^9 = 0.025 at p = 0.3363; p^1 = 0.025
    assert (adult["value"], adult["low"]) == (0, 0)
    assert adult["high"] == pytest.approx(0.3363, abs=1e-4)
    assert (adolescent["value"], adolescent["high"]) == (1, 1)
    assert adolescent["low"] == pytest.approx(0.025)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        error = rng.normal(0, 1, 150)
        mae = with_interval(age_metrics, np.zeros(150), error, draws=400, seed=trial)[
            "age/mae_years"
        ]
        covered += mae["low"] <= np.sqrt(2 / np.pi) <= mae["high"]
    assert 178 <= covered <= 199


def test_columns_decide_what_is_scored():
    table = pd.DataFrame(
        {
            "age_years": [5.0, 12.0, 19.0],
            "age_years_predicted": [5.5, 9.0, 18.5],
            "stage_predicted": ["child", "adolescent", "adolescent"],
        }
    )
    both = evaluate(table, Stages())
    assert both["stage/accuracy"]["value"] == pytest.approx(2 / 3)
    assert both["stage_from_age/recall_adolescent"] == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.975,
        "n": 1,
    }
    assert both["age/mae_months"]["value"] == pytest.approx(12 * (0.5 + 3 + 0.5) / 3)
    age_only = evaluate(table.drop(columns="stage_predicted"), Stages())
    assert age_only["stage/accuracy"]["value"] == pytest.approx(2 / 3)
    assert age_only["stage/recall_adult"]["value"] == 1
    assert not any(name.startswith("stage_from_age") for name in age_only)
    stage_only = evaluate(table.drop(columns="age_years_predicted"), Stages())
    assert not any(name.startswith("age/") for name in stage_only)


def test_baselines_by_hand():
    train = pd.DataFrame(
        {"age_years": [2.0, 4.0, 9.0, 12.0, 13.0], "sex": ["female"] * 3 + ["male"] * 2}
    )
    test = pd.DataFrame({"age_years": [5.0, 11.0, 19.0], "sex": ["female", "male", "unknown"]})
    result = baselines(train, test, Stages())
    assert result["constant"]["age/mae_years"]["value"] == pytest.approx((3 + 3 + 11) / 3)
    # medians: female 4, male 12.5, all 9
    assert result["median_by_sex"]["age/mae_years"]["value"] == pytest.approx((1 + 1.5 + 10) / 3)
    assert result["majority_class"]["stage/accuracy"]["value"] == pytest.approx(1 / 3)
