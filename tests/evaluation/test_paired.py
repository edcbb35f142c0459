"""The difference of two models in rare stages, which both find always or never."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from boneage.evaluation.comparison.paired import difference_of
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import Stages


def found_of(hits, seed=0):
    """Predicted stages of 40 children, 60 adolescents and 8 adults, of which so many are found."""
    rng = np.random.default_rng(seed)
    right = np.concatenate([rng.permutation(n) < k for n, k in zip((40, 60, 8), hits, strict=True)])
    true = np.repeat(["child", "adolescent", "adult"], (40, 60, 8))
    wrong = np.where(true == "adolescent", "child", "adolescent")
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(108)],
            "sex": "female",
            "age_years": np.repeat([5.0, 14.0, 19.0], (40, 60, 8)),
            "stage_predicted": np.where(right, true, wrong),
        }
    )


def staged_run(*hits, seed=0):
    return FinishedRun(Path(), {}, found_of(hits, seed), Stages())


def test_a_stage_that_neither_run_finds_is_uncertain_in_their_difference():
    first, second = staged_run(32, 54, 0), staged_run(36, 57, 0, seed=1)
    found = difference_of([first], [second], "stage/balanced_accuracy")
    assert found["value"] == pytest.approx((0.1 + 0.05) / 3)
    of_adults = binomtest(0, 8).proportion_ci(method="exact").high / 3  # for either run
    assert found["p"] is None
    assert found["low"] < found["value"] - of_adults
    assert found["high"] > found["value"] + of_adults
    recall = difference_of([first], [second], "stage/recall_adult")
    assert (recall["low"], recall["high"]) == pytest.approx((-3 * of_adults, 3 * of_adults))
    seeds = [staged_run(36, 57, 0, seed=s) for s in (1, 2)]
    of_seeds = difference_of([first], seeds, "stage/balanced_accuracy")
    assert of_seeds["p"] is None
    assert of_seeds["low"] < found["value"] - of_adults


def test_a_run_that_finds_adults_is_compared_with_one_that_finds_none():
    first, second = staged_run(32, 54, 0), staged_run(32, 54, 4)
    found = difference_of([first], [second], "stage/balanced_accuracy")
    of_adults = binomtest(0, 8).proportion_ci(method="exact").high / 3
    draws = np.random.default_rng(1).binomial(8, 0.5, 100_000) / 8 / 3  # of the other adults
    low = 1 / 6 - np.hypot(1 / 6 - np.percentile(draws, 2.5), of_adults)
    assert found["low"] == pytest.approx(low, abs=0.01)
    assert found["high"] == pytest.approx(np.percentile(draws, 97.5), abs=0.01)


def test_the_difference_of_balanced_accuracy_covers_the_truth_with_few_adults():
    """Adults found by 5 % and by 20 %; where no draw finds any, their difference had no width."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(40):
        hits = [rng.binomial((40, 60, 8), (0.9, 0.9, found)) for found in (0.05, 0.2)]
        runs = ([staged_run(*of_run, seed=trial + i)] for i, of_run in enumerate(hits))
        found = difference_of(*runs, "stage/balanced_accuracy")
        covered += found["low"] <= 0.05 <= found["high"]
    assert covered >= 36
