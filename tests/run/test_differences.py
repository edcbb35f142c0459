"""An external test compared with a run's own test fold, against second methods."""

import numpy as np
import pandas as pd
import pytest
from helpers import predictions
from scipy.stats import binomtest

from boneage.evaluation.evaluate import evaluate
from boneage.evaluation.shares import exact_share
from boneage.run.external import differences
from boneage.stages import Stages


def compare(own, external):
    stages = Stages()
    return differences(own, evaluate(own, stages), external, evaluate(external, stages), stages)


def test_a_planted_shift_is_the_difference_of_the_bias():
    own, external = predictions(400, seed=1), predictions(300, seed=2)
    external["age_years_predicted"] += 0.5
    errors = [12 * (t["age_years_predicted"] - t["age_years"]) for t in (own, external)]
    bias = compare(own, external)["age/bias_months"]
    assert bias["value"] == pytest.approx(errors[1].mean() - errors[0].mean())
    error = np.sqrt(sum(e.var(ddof=1) / len(e) for e in errors))  # of a z interval
    assert bias["low"] == pytest.approx(bias["value"] - 1.96 * error, abs=0.1)
    assert bias["high"] == pytest.approx(bias["value"] + 1.96 * error, abs=0.1)


def test_stages_of_the_age_are_compared_where_there_is_no_stage_head():
    own, external = (
        predictions(n, seed)[["sex", "age_years", "age_years_predicted"]]
        for n, seed in ((90, 1), (50, 2))
    )
    hits = [
        pd.cut(t["age_years_predicted"], [-99, 10, 18, 99], right=False)
        == pd.cut(t["age_years"], [-99, 10, 18, 99], right=False)
        for t in (own, external)
    ]
    found = compare(own, external)["stage/accuracy"]["value"]
    assert found == pytest.approx(hits[1].mean() - hits[0].mean())


def test_shares_of_one_have_no_interval_of_zero_width():
    own, external = predictions(200, seed=1), predictions(12, seed=2)
    external["stage_predicted"] = [
        Stages().names[k] for k in Stages().index_of(external["age_years"].to_numpy())
    ]
    found = compare(own, external)["stage/accuracy"]
    own_accuracy = evaluate(own, Stages())["stage/accuracy"]
    exact = binomtest(12, 12).proportion_ci(method="exact")
    below = np.hypot(1 - exact.low, own_accuracy["high"] - own_accuracy["value"])
    above = own_accuracy["value"] - own_accuracy["low"]
    assert found["low"] == pytest.approx(found["value"] - below)
    assert found["high"] == pytest.approx(found["value"] + above)


def test_one_radiograph_has_a_difference_without_interval_and_no_number_has_none():
    own, one = predictions(60, seed=1), predictions(1, seed=2)
    found = compare(own, one)
    assert found["age/mae_months"]["low"] is None
    assert found["age/mae_months"]["value"] is not None
    broken = predictions(60, seed=2)
    broken.loc[3, "age_years_predicted"] = np.nan
    assert "age/mae_months" not in compare(own, broken)


def test_shares_count_patients_where_they_are_known():
    hits = np.array([True, True, False, False, False, False, False, False])
    assert exact_share(hits)["low"] == pytest.approx(
        binomtest(2, 8).proportion_ci(method="exact").low
    )
    patients = np.repeat([0, 1, 2, 3], 2)
    share = exact_share(hits, patients)  # 2 of 8 radiographs are 1 of 4 patients
    assert (share["count"], share["n"], share["patients"]) == (2, 8, 4)
    assert share["high"] == pytest.approx(binomtest(1, 4).proportion_ci(method="exact").high)
