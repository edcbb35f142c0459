"""Metrics against hand computations, scikit-learn and torchmetrics."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.classification import MulticlassCalibrationError

from boneage.errors import UserError
from boneage.evaluation.evaluate import baselines, evaluate, score, subgroups
from boneage.evaluation.metric_set import Metric, MetricSet
from boneage.evaluation.metrics import AGE, stage_metrics
from boneage.evaluation.predictions import count_not_finite
from boneage.evaluation.shares import exact_interval
from boneage.evaluation.stage import calibration_error, confusion, reliability
from boneage.models.module import Scores
from boneage.stages import Stages

NAMES = ("child", "adolescent", "adult")


@pytest.fixture(scope="module")
def planted():
    """300 radiographs with both kinds of prediction; truth and guess share every stage."""
    rng = np.random.default_rng(5)
    age = rng.uniform(0.5, 19.5, 300)
    probability = rng.dirichlet((2, 2, 2), 300)
    table = pd.DataFrame({"id": [str(i) for i in range(300)], "age_years": age})
    table["sex"] = rng.choice(["female", "male"], 300)
    table["age_years_predicted"] = age + rng.normal(0.3, 1.2, 300)
    table["stage_predicted"] = [NAMES[k] for k in probability.argmax(axis=1)]
    for k, name in enumerate(NAMES):
        table[f"stage_probability_{name}"] = probability[:, k]
    return table


def test_age_metrics_by_hand():
    result = AGE.values(np.array([1.0, 2.0, 3.0, 6.0]), np.array([2.0, 2.0, 1.0, 6.0]))
    assert result["mae_years"] == pytest.approx(3 / 4)
    assert result["mae_months"] == pytest.approx(9)
    assert result["rmse_years"] == pytest.approx(np.sqrt(5 / 4))
    # mean 3, squared deviations 4 + 1 + 0 + 9 = 14
    assert result["r2"] == pytest.approx(1 - 5 / 14)


def test_error_distribution_by_hand():
    true = np.zeros(10)
    predicted = np.array([-2.0, -1, -0.5, 0, 0, 0.5, 0.5, 1, 1, 2.5])
    result = AGE.values(true, predicted)
    assert result["bias_years"] == pytest.approx(0.2)
    assert result["median_ae_years"] == pytest.approx((0.5 + 1) / 2)
    # absolute errors in order: 0 0 .5 .5 .5 1 1 1 2 2.5; nine tenths of the way: 2 + 0.1 * 0.5
    assert result["p90_ae_months"] == pytest.approx(12 * 2.05)
    assert result["within_6_months"] == pytest.approx(0.5)  # half a year is within
    assert result["within_12_months"] == pytest.approx(0.8)
    assert result["within_24_months"] == pytest.approx(0.9)
    spread = 1.96 * np.sqrt(((predicted - 0.2) ** 2).sum() / 9)
    assert result["loa_low_years"] == pytest.approx(0.2 - spread)
    assert result["loa_high_months"] == pytest.approx(12 * (0.2 + spread))


def test_two_years_are_not_below_two_and_seventeen_are_near_maturity():
    ages = np.array([1.99, 2.0, 16.99, 17.0])
    among = {m.name: m.among(ages).tolist() for m in AGE.metrics if m.among is not None}
    assert among["infant_sd_years"] == among["infant_bias_years"] == [True, False, False, False]
    assert among["older_sd_years"] == [False, True, True, True]
    assert among["ceiling_slope"] == among["ceiling_bias_years"] == [False, False, False, True]


def test_an_age_that_rounds_to_an_edge_is_on_the_same_side_in_bands_and_metrics():
    """24 months and 17 years, as a table of years with seven digits may have them."""
    ages = np.array([1.5, 1.9999999, 2.0, 16.9999999, 17.0])
    table = pd.DataFrame({"age_years": ages, "age_years_predicted": ages, "sex": "female"})
    groups = subgroups(table, Stages())
    n = groups[(groups["metric"] == "age/mae_months") & (groups["sex"] == "all")]
    n = n.set_index("band")["n"]
    test = evaluate(table, Stages())
    assert test["age/infant_bias_years"]["n"] == n["0-2"] == 1
    assert test["age/ceiling_bias_years"]["n"] == n["17+"] == 2


def test_ages_against_scikit_learn(planted):
    true, predicted = planted["age_years"].to_numpy(), planted["age_years_predicted"].to_numpy()
    result = AGE.values(true, predicted)
    assert result["mae_years"] == pytest.approx(sk.mean_absolute_error(true, predicted))
    assert result["rmse_years"] == pytest.approx(sk.root_mean_squared_error(true, predicted))
    assert result["median_ae_years"] == pytest.approx(sk.median_absolute_error(true, predicted))
    assert result["r2"] == pytest.approx(sk.r2_score(true, predicted))
    (var_true, covariance), (_, var_predicted) = np.cov(true, predicted, ddof=0)
    apart = (true.mean() - predicted.mean()) ** 2
    assert result["ccc"] == pytest.approx(2 * covariance / (var_true + var_predicted + apart))


def test_r2_of_equal_ages_is_undefined():
    assert np.isnan(AGE.values(np.ones(3), np.arange(3.0))["r2"])


def test_confusion_by_hand():
    true, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    assert confusion(true, predicted, 3).tolist() == [[1, 1, 0], [1, 2, 0], [0, 1, 0]]


def test_stage_metrics_by_hand():
    true, predicted = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 1])
    result = stage_metrics(("child", "adolescent", "adult")).values(true, predicted)
    assert result["accuracy"] == pytest.approx(3 / 6)
    assert result["recall_child"] == pytest.approx(1 / 2)
    assert result["recall_adolescent"] == pytest.approx(2 / 3)
    assert result["recall_adult"] == 0
    assert result["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    # observed disagreement 3; by chance: rows (2, 3, 1), columns (2, 4, 0), distances squared:
    # (2*4*1 + 2*0*4 + 3*2*1 + 3*0*1 + 1*2*4 + 1*4*1) / 6 = 26 / 6
    assert result["kappa"] == pytest.approx(1 - 3 / (26 / 6))


def test_stages_against_scikit_learn(planted):
    true = Stages().index_of(planted["age_years"].to_numpy())
    predicted = planted["stage_predicted"].map(NAMES.index).to_numpy()
    result = stage_metrics(NAMES).values(true, predicted)
    assert result["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert result["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(true, predicted))
    assert result["macro_f1"] == pytest.approx(sk.f1_score(true, predicted, average="macro"))
    assert result["kappa"] == pytest.approx(
        sk.cohen_kappa_score(true, predicted, weights="quadratic")
    )
    precision, recall, f1, _ = sk.precision_recall_fscore_support(true, predicted)
    for k, name in enumerate(NAMES):
        assert result[f"precision_{name}"] == pytest.approx(precision[k])
        assert result[f"recall_{name}"] == pytest.approx(recall[k])
        assert result[f"f1_{name}"] == pytest.approx(f1[k])


def test_each_number_has_its_n(planted):
    result = evaluate(planted, Stages())
    stage = planted["age_years"].map(lambda age: NAMES[(age >= 10) + (age >= 18)])
    for name in NAMES:
        assert result[f"stage/recall_{name}"]["n"] == (stage == name).sum()
        assert result[f"stage/f1_{name}"]["n"] == (stage == name).sum()
        assert result[f"stage/precision_{name}"]["n"] == (planted["stage_predicted"] == name).sum()


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.99, 0.55, 0.55])
    hit = np.array([True, False, True, True])
    # bins (14/15, 1]: mean 0.97, half right; (8/15, 9/15]: mean 0.55, all right
    expected = (2 * abs(0.97 - 0.5) + 2 * abs(0.55 - 1)) / 4
    assert calibration_error(hit, confidence) == pytest.approx(expected)
    mean, share, n = reliability(confidence, hit)
    assert n.tolist() == [0] * 8 + [2] + [0] * 5 + [2]
    assert mean[[8, 14]] == pytest.approx([0.55, 0.97])
    assert share[[8, 14]] == pytest.approx([1, 0.5])
    assert np.isnan(mean[0])


def test_calibration_error_against_torchmetrics(planted):
    probability = planted[[f"stage_probability_{name}" for name in NAMES]].to_numpy()
    true = Stages().index_of(planted["age_years"].to_numpy())
    second = MulticlassCalibrationError(3, n_bins=15, norm="l1")
    expected = float(second(torch.from_numpy(probability), torch.from_numpy(true)))
    result = evaluate(planted, Stages())["stage/calibration_error"]
    assert result["value"] == pytest.approx(expected, abs=1e-6)
    assert result["low"] < result["high"]


def test_heads_that_disagree(planted):
    of_age = planted["age_years_predicted"].map(lambda age: NAMES[(age >= 10) + (age >= 18)])
    result = evaluate(planted, Stages())["heads/disagreement"]
    assert result["value"] == pytest.approx((of_age != planted["stage_predicted"]).mean())
    assert result["n"] == 300
    assert "heads/disagreement" not in evaluate(
        planted.drop(columns="age_years_predicted"), Stages()
    )


@pytest.mark.parametrize(("count", "n"), [(0, 9), (9, 9), (3, 9), (1, 1134)])
def test_exact_interval(count, n):
    expected = stats.binomtest(count, n).proportion_ci(method="exact")
    assert exact_interval(count, n) == pytest.approx((expected.low, expected.high))


def test_exact_interval_of_nothing():
    assert exact_interval(0, 0) == (0, 1)


def staged(found):
    """Radiographs of the three stages, of which so many are found and so many are not."""
    rows = [
        (age, name if hit else other)
        for (name, age, other), (hits, misses) in zip(
            (("child", 5, "adolescent"), ("adolescent", 14, "child"), ("adult", 19, "adolescent")),
            found,
            strict=True,
        )
        for hit, n in ((True, hits), (False, misses))
        for _ in range(n)
    ]
    return pd.DataFrame(rows, columns=["age_years", "stage_predicted"])


def test_a_recall_of_0_or_1_is_not_certain_in_their_mean():
    result = evaluate(staged([(80, 20), (100, 0), (0, 9)]), Stages())
    child, mean = result["stage/recall_child"], result["stage/balanced_accuracy"]
    assert mean["value"] == pytest.approx((0.8 + 1 + 0) / 3)
    all_of_100 = stats.binomtest(100, 100).proportion_ci(method="exact").low
    none_of_9 = stats.binomtest(0, 9).proportion_ci(method="exact").high
    low = mean["value"] - np.hypot(0.8 - child["low"], 1 - all_of_100) / 3
    high = mean["value"] + np.hypot(child["high"] - 0.8, none_of_9) / 3
    assert (mean["low"], mean["high"]) == pytest.approx((low, high), abs=1e-3)


def test_an_f1_of_0_or_1_is_not_certain_nor_is_their_mean():
    """F1 is 2 J / (1 + J), J the share of hits among the radiographs of either stage."""
    result = evaluate(staged([(80, 20), (100, 0), (0, 9)]), Stages())
    adult, mean = result["stage/f1_adult"], result["stage/macro_f1"]
    none_of_9 = stats.binomtest(0, 9).proportion_ci(method="exact").high
    assert adult["high"] == pytest.approx(2 * none_of_9 / (1 + none_of_9))
    assert mean["high"] > mean["value"] + adult["high"] / 3
    perfect = evaluate(staged([(20, 0), (20, 0), (5, 0)]), Stages())["stage/f1_adult"]
    all_of_5 = stats.binomtest(5, 5).proportion_ci(method="exact").low
    assert (perfect["low"], perfect["high"]) == pytest.approx((2 * all_of_5 / (1 + all_of_5), 1))


def test_the_trials_of_an_f1_of_0_are_all_true_and_predicted_radiographs():
    """Of a stage that is never true, too: 3 false alarms are 3 trials, not none."""
    missed = staged([(20, 0), (15, 5), (0, 4)])
    missed.loc[:5, "stage_predicted"] = "adult"  # of children
    high = {n: stats.binomtest(0, n).proportion_ci(method="exact").high for n in (3, 10)}
    for table, n in ((missed, 4 + 6), (missed[missed.age_years < 10][:3], 3)):
        adult = evaluate(table, Stages())["stage/f1_adult"]
        assert (adult["value"], adult["low"]) == (0, 0)
        assert adult["high"] == pytest.approx(2 * high[n] / (1 + high[n]))


def test_macro_f1_covers_the_truth_if_a_rare_stage_is_seldom_found():
    """A tenth of the adults is found: of 8 none, four times in ten, and all draws have none."""
    n, found = np.array([40, 60, 8]), np.array([[0.9, 0.1, 0], [0.05, 0.95, 0], [0, 0.9, 0.1]])
    counts = found * n[:, None]
    truth = (2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))).mean()
    rng = np.random.default_rng(0)
    metrics = stage_metrics(NAMES).only(lambda metric: metric.name in ("macro_f1", "f1"))
    covered = 0
    for _ in range(40):
        predicted = np.concatenate([rng.choice(3, k, p=p) for k, p in zip(n, found, strict=True)])
        result = score("stage", metrics, np.repeat(np.arange(3), n), predicted)["stage/macro_f1"]
        covered += result["low"] <= truth <= result["high"]
    assert covered >= 36


def test_a_mean_of_recalls_that_all_are_0_or_1():
    result = evaluate(staged([(20, 0), (30, 0), (0, 0)]), Stages())  # no adult: a mean of two
    mean = result["stage/balanced_accuracy"]
    of_20, of_30 = (stats.binomtest(n, n).proportion_ci(method="exact").low for n in (20, 30))
    assert mean["low"] == pytest.approx(1 - np.hypot(1 - of_20, 1 - of_30) / 2)
    assert (mean["value"], mean["high"]) == (1, 1)


def test_predictions_of_a_diverged_model_have_no_metrics(planted):
    ages = planted.assign(age_years_predicted=planted["age_years_predicted"].where(lambda a: a > 3))
    n = int(ages["age_years_predicted"].isna().sum())
    assert count_not_finite(ages) == {"age_years_predicted": n}
    result = evaluate(ages, Stages())
    assert not [name for name in result if name.startswith(("age/", "stage_from_age/", "heads/"))]
    assert result["stage/accuracy"] == evaluate(planted, Stages())["stage/accuracy"]
    probability = planted.assign(stage_probability_adult=np.inf)
    result = evaluate(probability, Stages())
    assert count_not_finite(probability) == {"stage_probability_adult": 300}
    assert not [name for name in result if name.startswith(("stage/", "heads/"))]
    assert "stage_from_age/accuracy" in result


def test_a_fold_of_one_stage():
    table = pd.DataFrame(
        {"age_years": [11.0, 12.0, 13.0], "stage_predicted": ["adolescent", "adolescent", "child"]}
    )
    result = evaluate(table, Stages())
    assert result["stage/accuracy"]["value"] == pytest.approx(2 / 3)
    assert result["stage/balanced_accuracy"]["value"] == pytest.approx(2 / 3)
    assert result["stage/recall_child"] == {"value": None, "low": None, "high": None, "n": 0}
    assert result["stage/kappa"]["value"] == pytest.approx(0)


def test_stage_without_example_has_no_recall():
    result = stage_metrics(("a", "b", "c")).values(np.array([0, 1]), np.array([0, 2]))
    assert np.isnan(result["recall_c"])
    assert result["balanced_accuracy"] == pytest.approx(0.5)


def test_draws_are_scored_one_by_one():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 3, (5, 40)), rng.integers(0, 3, (5, 40))
    together = stage_metrics(("a", "b", "c")).values(true, predicted)
    for k in range(5):
        alone = stage_metrics(("a", "b", "c")).values(true[k], predicted[k])
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
    other = pd.DataFrame({"age_years": [18.0, 20.0], "sex": ["male", "female"]})  # of the last one
    pooled = baselines(train, test, Stages(), others=[(other, np.array([False, False, True]))])
    assert pooled["constant"]["age/mae_years"]["value"] == pytest.approx((3 + 3 + 0) / 3)
    assert pooled["median_by_sex"]["age/mae_years"]["value"] == pytest.approx((1 + 1.5 + 0) / 3)
    assert pooled["majority_class"]["stage/accuracy"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("axis", [None, 0])
def test_a_metric_over_another_axis_is_refused_in_the_first_validation(axis):
    def error(pairs):
        return np.abs(pairs.predicted - pairs.true).mean(axis)

    scores = Scores(lambda: MetricSet((Metric("mine", "Mine", "", error, logged=True),)))
    scores.update(torch.ones(4), torch.zeros(4))
    with pytest.raises(UserError, match=r"^metric mine: .* instead of \(1,\) .*mean\(axis=-1\)"):
        scores.compute()
