"""What holds for the interval of every metric, whatever the fold."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluation.comparison.paired import difference_of
from boneage.evaluation.evaluate import baselines, evaluate, subgroups
from boneage.evaluation.metric_set import SHARE
from boneage.evaluation.metrics import describe
from boneage.evaluation.run_folder import FinishedRun
from boneage.evaluation.stage import errors_by_edge_distance
from boneage.run.stress import stress_metrics
from boneage.stages import Stages
from boneage.uncertainty.calibration import coverage

STAGES = Stages()
AGES = st.one_of(st.floats(0, 20), st.sampled_from([0.1, 9.99, 10.0, 17.0, 17.1, 18.0, 19.0]))
FOLDS = st.integers(1, 7)


def lists_of(values, n):
    """Lists of n values, all equal in one case of three."""
    different = st.lists(values, min_size=n, max_size=n)
    return st.one_of(different, different, values.map(lambda value: [value] * n))


@st.composite
def folds(draw, predictors=1):
    """Small test folds: one film, one stage, constant truths, constant and perfect predictions."""
    n = draw(FOLDS)
    true = draw(lists_of(AGES, n))
    sex = draw(lists_of(st.sampled_from(["female", "male", "unknown"]), n))
    truth = pd.DataFrame({"id": [str(i) for i in range(n)], "age_years": true, "sex": sex})
    if draw(st.booleans()):
        truth["patient"] = draw(lists_of(st.sampled_from(["a", "b", "c", ""]), n))
    tables = []
    for _ in range(predictors):
        offset = draw(st.sampled_from([0.0, 0.1, -3.0]))
        follows = st.just([age + offset for age in true])
        table = truth.assign(age_years_predicted=draw(st.one_of(lists_of(AGES, n), follows)))
        chance = st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=3, max_size=3)
        chances = np.array(draw(lists_of(chance, n))) + 1e-3
        chances /= chances.sum(axis=1, keepdims=True)
        table["stage_predicted"] = [STAGES.names[k] for k in chances.argmax(axis=1)]
        for k, name in enumerate(STAGES.names):
            table[f"stage_probability_{name}"] = chances[:, k]
        tables.append(table)
    return tables


def check(name, result, bounds):
    """Assert that a result lies in its bounds, and its interval around it in them as well."""
    value, low, high = (result[key] for key in ("value", "low", "high"))
    assert (low is None) == (high is None), name
    if value is None:
        assert low is None, name
        return
    assert bounds[0] <= value <= bounds[1], (name, result)
    assert all(math.isfinite(number) for number in (value, low or 0, high or 0)), (name, result)
    if low is not None:
        assert bounds[0] <= low <= value <= high <= bounds[1], (name, result)


@pytest.mark.slow
@settings(max_examples=60)
@given(folds())
def test_no_interval_leaves_the_bounds_of_its_metric_or_its_value(tables):
    (table,) = tables
    scored = evaluate(table, STAGES)
    for results in (scored, *baselines(table, table, STAGES).values()):
        for name, result in results.items():
            check(name, result, describe(name).bounds)
    true, predicted = (table[c].to_numpy() for c in ("age_years", "age_years_predicted"))
    for name, result in coverage(true, predicted, np.ones(len(table)))["all"].items():
        check(name, result, SHARE if name == "covered" else (0, math.inf))
    hit = (table["age_years"] < 10).to_numpy()
    for row in errors_by_edge_distance(table["age_years"].to_numpy(), hit, 10.0):
        if row["n"]:
            assert 0 <= row["low"] <= row["rate"] <= row["high"] <= 1


@pytest.mark.slow
@settings(max_examples=10)
@given(folds())
def test_nor_does_that_of_a_subgroup(tables):
    groups = subgroups(tables[0], STAGES)
    for row in groups.astype(object).where(groups.notna(), None).to_dict("records"):
        check(row["metric"], row, describe(row["metric"]).bounds)


@pytest.mark.slow
@settings(max_examples=10)
@given(folds(predictors=2))
def test_the_difference_of_two_models_has_the_bounds_of_a_difference(tables):
    first, second = (FinishedRun("", {}, table, STAGES) for table in tables)
    for name in evaluate(tables[0], STAGES):
        difference = difference_of([first], [second], name)
        if difference is not None:
            least, greatest = describe(name).bounds
            check(name, difference, (least - greatest, greatest - least))
            assert difference["p"] is None or 0 < difference["p"] <= 1
    truth = tables[0].assign(
        stage=[STAGES.names[k] for k in STAGES.index_of(tables[0]["age_years"])]
    )
    changed = tables[1].assign(novelty=np.linspace(0, 2, len(truth)))
    for row in stress_metrics(truth, tables[0], changed).to_dict("records"):
        row |= {key: None for key in ("low", "high") if row[key] is None or math.isnan(row[key])}
        name = row["metric"]
        shares = ("accuracy", "stage_changed", "flagged")
        months = ("mae_months", "change_months", "mae_months_not_flagged")
        least = dict.fromkeys((*shares, *months), 0)
        greatest = dict.fromkeys((*shares, "accuracy_difference"), 1)
        low = -1 if name == "accuracy_difference" else least.get(name, -math.inf)
        check(name, row, (low, greatest.get(name, math.inf)))


def test_balanced_accuracy_of_a_stage_with_one_film():
    rng = np.random.default_rng(0)
    true = np.append(rng.uniform(1, 18, 119), 19)
    predicted = np.clip(true + rng.normal(0, 0.5, 120), 0, 17.5)
    table = pd.DataFrame({"age_years": true, "age_years_predicted": predicted})
    result = evaluate(table, STAGES)["stage/balanced_accuracy"]
    assert result["value"] == 0.6389204545454545
    # 0 of 1 adult is compatible with 97.5 %, a third of which is 0.325
    assert 0.964 < result["high"] < 0.966
    assert 0.60 < result["low"] < 0.639


def test_balanced_accuracy_of_four_films():
    table = pd.DataFrame({"age_years": [5, 12, 13, 14], "stage_predicted": ["child"] * 4})
    result = evaluate(table, STAGES)["stage/balanced_accuracy"]
    # 1 of 1 is compatible with 2.5 %, 0 of 3 with 70.8 % (Clopper & Pearson 1934)
    assert result["value"] == 0.5
    assert abs(result["low"] - (0.5 - 0.975 / 2)) < 1e-9
    assert abs(result["high"] - (0.5 + (1 - 0.025 ** (1 / 3)) / 2)) < 1e-9
