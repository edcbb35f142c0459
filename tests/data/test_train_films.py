"""Fewer training radiographs: nested, stratified subsets."""

import numpy as np
import pandas as pd
import pytest

from boneage.data.split_choice import Split, order_for_subsets
from boneage.data.splits import BAND_EDGES_YEARS
from boneage.errors import UserError
from boneage.run.experiment import train


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age_months": np.concatenate([rng.uniform(0, 24, 40), rng.normal(130, 35, 1960)]).clip(
                1
            ),
            "sex": rng.choice(["female", "male"], 2000, p=[0.3, 0.7]),
        }
    )


@pytest.mark.parametrize("n", [50, 200, 1000])
def test_every_stratum_has_its_share(table, n):
    chosen = table.iloc[order_for_subsets(table, seed=1)[:n]]

    def counts(rows):
        band = np.searchsorted(BAND_EDGES_YEARS, rows["age_months"] / 12, side="right")
        return rows.groupby([band, "sex"]).size()

    expected = counts(table) * n / len(table)
    found = counts(chosen).reindex(expected.index, fill_value=0)
    assert (found - expected).abs().max() <= 1.5
    assert found.sum() == n


def test_seeds_differ_and_repeat(table):
    first, again, other = (order_for_subsets(table, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert set(first) == set(range(len(table)))
    assert len(set(first[:200]) & set(other[:200])) < 60  # 20 expected by chance


def test_patients_stay_together(table):
    visits = table.assign(patient=[str(i // 4) for i in range(len(table))])
    patients = visits["patient"].to_numpy()[order_for_subsets(visits, seed=1)]
    changes = (patients[1:] != patients[:-1]).sum()
    assert changes == len(set(patients)) - 1


def test_patients_with_many_radiographs_are_not_favoured(table):
    """Half of the radiographs are of patients with six."""
    counts = np.repeat([1, 6], [1000, 167])
    patients = np.repeat(np.arange(len(counts)), counts)[:2000]
    visits = table.assign(patient=patients.astype(str))
    shares = [
        (patients[order_for_subsets(visits, seed)[:200]] >= 1000).mean() for seed in range(20)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.07)


def test_the_split_of_a_smaller_run_can_be_used_again(table, tmp_path):
    visits = table.iloc[:200].assign(id=[str(i) for i in range(200)], origin="train", fold="train")
    visits["patient"] = [str(i // 2) for i in range(200)]
    first = Split(train_films=51).assign(visits, set(), False, None)  # ends within a patient
    path = tmp_path / "split.csv"
    visits.assign(fold=first).to_csv(path, index=False)
    again = Split(file=path).assign(visits, set(), False, None)
    assert list(again) == list(first)
    assert (first == "train").sum() == 51


def split(configure, *options, run):
    return train(configure(*options, run=run))


@pytest.mark.slow
def test_a_smaller_run_trains_on_part_of_a_larger_one(configure, tmp_path):
    small = split(configure, "data.train_films=6", run="small")
    large = split(configure, "data.train_films=12", run="large")
    assert (small["n"]["train"], large["n"]["train"]) == (6, 12)
    assert small["test_set"] == large["test_set"]
    used = [
        set(table["id"][table["fold"] == "train"])
        for table in (pd.read_csv(tmp_path / run / "split.csv") for run in ("small", "large"))
    ]
    assert used[0] < used[1]


def test_more_than_there_are_is_refused(configure):
    with pytest.raises(UserError, match=r"data\.train_films=99.*20 radiographs"):
        split(configure, "data.train_films=99", run="run")
