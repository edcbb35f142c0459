"""One site at a time for testing."""

import numpy as np
import pandas as pd
import pytest

from boneage.data.split_choice import Split, site_folds
from boneage.errors import UserError


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age_months": rng.uniform(10, 220, 300),
            "sex": rng.choice(["female", "male"], 300),
            "site": np.repeat(["Bern", "Aarhus", "Cali"], [150, 100, 50]),
        }
    )


@pytest.mark.parametrize(("fold", "site"), [(0, "Aarhus"), (1, "Bern"), (2, "Cali")])
def test_each_site_is_tested_whole_and_alone(table, fold, site):
    folds = site_folds(table, fold, seed=0)
    assert set(table["site"][folds == "test"]) == {site}
    assert (folds[table["site"] == site] == "test").all()
    others = (table["site"] != site).sum()
    assert (folds == "val").sum() == pytest.approx(others / 10, abs=1)
    assert folds.equals(site_folds(table, fold, seed=0))
    assert not folds.equals(site_folds(table, fold, seed=1))  # another validation fold


def test_wrong_sites_are_named(table):
    with pytest.raises(UserError, match=r"data\.columns\.site="):
        site_folds(table.drop(columns="site"), 0, 0)
    with pytest.raises(UserError, match="there is only 'Bern'"):
        site_folds(table[table["site"] == "Bern"], 0, 0)
    with pytest.raises(UserError, match=r"data\.fold=3.*Aarhus, Bern, Cali"):
        site_folds(table, 3, 0)
    visits = table.assign(patient="p1")
    with pytest.raises(UserError, match=r"1 patient with radiographs at Aarhus and at another"):
        site_folds(visits, 0, 0)


def test_sites_that_leave_nothing_to_train_on_are_refused(table):
    lone = table.assign(site=np.where(np.arange(300) == 7, "Lone", "Bern"))
    with pytest.raises(UserError, match="all other sites together have 1 radiograph: too few"):
        site_folds(lone, 0, 0)


def test_a_site_of_one_radiograph_is_tested_and_said_to_say_little(table, caplog):
    table.loc[0, "site"] = "Lone"
    folds = site_folds(table, 3, seed=0)
    assert (folds == "test").sum() == 1
    assert "Site Lone has fewer than 20 radiographs" in caplog.text


def test_a_separate_test_table_is_not_trained_on_without_a_word(table, caplog):
    table = table.assign(id=[f"f{i}" for i in range(300)], origin="train")
    split = Split(folds="site", fold=0)
    split.assign(table, set(), False, None)
    assert "validation or test table" not in caplog.text
    table.loc[290:, "origin"] = "test"
    assert (split.assign(table, set(), False, None)[290:] != "test").all()  # of Cali
    assert "10 radiographs of the validation or test table are treated like the oth" in caplog.text


@pytest.mark.parametrize(("folds", "tested"), [(10, 300), ("site", 100)])
def test_of_an_external_set_all_are_tested_unless_a_site_is_asked_for(table, folds, tested):
    table = table.assign(id=[f"f{i}" for i in range(300)], origin="train")
    assert (Split(folds=folds).assign(table, set(), True, None) == "test").sum() == tested


@pytest.mark.parametrize("folds", [10, "site"])
def test_what_is_held_out_is_tested_with_its_patients(table, folds, caplog):
    table = table.assign(
        id=[f"f{i}" for i in range(300)],
        patient=[f"p{i // 2}" for i in range(300)],
        origin="train",
    )
    split = Split(folds=folds)
    before = split.assign(table, set(), False, None)
    first = before.index[before == "train"][0]
    pair = table["patient"] == table["patient"][first]
    caplog.set_level("INFO")
    after = split.assign(table, {table["id"][first]}, False, None)
    assert (after[pair] == "test").all()
    assert (after[~pair] == before[~pair]).all()
    assert "Also held out: 1 other radiograph of the same patients" in caplog.text
