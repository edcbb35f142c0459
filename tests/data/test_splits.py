"""Splits: shares, strata, separate tables, cross-validation, split files."""

import logging

import numpy as np
import pandas as pd
import pytest

from boneage.data.splits import assign_folds, find_held_out, read_folds, stratified_parts
from boneage.data.tables.columns import Columns
from boneage.errors import UserError


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(1000)],
            "age_months": rng.integers(1, 229, 1000).astype(float),
            "sex": rng.choice(["female", "male"], 1000),
            "origin": "train",
        }
    )


def test_default_shares(table):
    counts = assign_folds(table, seed=0).value_counts()
    assert counts.to_dict() == {"train": 800, "val": 100, "test": 100}


def test_every_stratum_is_spread_evenly(table):
    part = stratified_parts(table, 10, seed=3)
    adults = table["age_months"] >= 216
    for sex in ("female", "male"):
        counts = np.bincount(part[adults & (table["sex"] == sex)], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_seed_decides(table):
    first, again = assign_folds(table, seed=1), assign_folds(table, seed=1)
    assert first.equals(again)
    assert not first.equals(assign_folds(table, seed=2))


def test_cross_validation_tests_everyone_once(table):
    tested = pd.concat(
        [(assign_folds(table, seed=0, folds=5, fold=k) == "test") for k in range(5)], axis=1
    )
    assert (tested.sum(axis=1) == 1).all()
    shares = assign_folds(table, seed=0, folds=5, fold=2).value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.1, abs=0.005)
    assert shares["test"] == pytest.approx(0.2, abs=0.005)


def test_separate_tables_are_taken_as_they_are(table, caplog):
    table.loc[:99, "origin"] = "test"
    folds = assign_folds(table, seed=0)
    assert not caplog.text
    assert (folds[:100] == "test").all()
    assert (folds == "test").sum() == 100
    assert (folds == "val").sum() == pytest.approx(100, abs=1)
    assert not folds.equals(assign_folds(table, seed=1))  # another validation fold
    table.loc[100:299, "origin"] = "val"
    folds = assign_folds(table, seed=0)
    assert folds.equals(table["origin"])


@pytest.mark.parametrize(("folds", "fold"), [(5, 2), (10, 2), (5, 0)])
def test_a_test_table_leaves_nothing_to_cross_validate(table, folds, fold):
    table.loc[:99, "origin"] = "test"
    said = rf"^data\.folds={folds} data\.fold={fold}: the radiographs have a test table, .* move it"
    with pytest.raises(UserError, match=said):
        assign_folds(table, seed=0, folds=folds, fold=fold)


def test_only_a_test_table(table):
    assert (assign_folds(table.assign(origin="test"), seed=0) == "test").all()


@pytest.mark.parametrize(("folds", "fold"), [(1, 0), (5, 5), (5, -1)])
def test_fold_out_of_range(table, folds, fold):
    with pytest.raises(UserError, match=r"data\.fold="):
        assign_folds(table, 0, folds, fold)


def test_split_file_round_trip(table, tmp_path):
    folds = assign_folds(table, seed=5)
    table.assign(fold=folds)[["id", "fold"]].sample(frac=1).to_csv(tmp_path / "s.csv", index=False)
    assert read_folds(tmp_path / "s.csv", table).tolist() == folds.tolist()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"s\.csv: no such table"),
        ("", "is empty"),
        ("id,part\n1,train\n", "needs the columns id,fold"),
        (
            "id,fold\n1,train\n2,\n3,training\n",
            r"s\.csv, row 3, column 'fold': '' is no fold: write train, .* \(2 such rows\)$",
        ),
        ("id,fold\n", "has a header but no rows"),
        ("id,fold\n1,train\n1,test\n", "1 id more than once in column 'id': 1"),
        ("id,fold\n1,train\n", "no fold for 999 radiographs of the label table: 0, 2"),
    ],
)
def test_bad_split_file(table, tmp_path, text, said):
    if text is not None:
        (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_folds(tmp_path / "s.csv", table)


@pytest.fixture
def said(caplog):
    """What was logged."""
    caplog.set_level(logging.INFO)
    return lambda: caplog.text


def test_ids_to_hold_out(tmp_path, said):
    ids = ["007", "8", "9", "12"]
    (tmp_path / "boxes.csv").write_text("id,region\n007,MCP\n007,PIP\n9,MCP\n77,MCP\n")
    assert find_held_out(tmp_path / "boxes.csv", ids) == {"007", "9"}
    assert "2 of the 3 in" in said()
    assert "1 id not among the radiographs: 77" in said()
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/12.npz").write_bytes(b"")
    assert find_held_out(tmp_path / "masks", ids) == {"12"}
    (tmp_path / "other.csv").write_text("patient\n8\n")
    with pytest.raises(UserError, match=r"no id column \(it has patient\)"):
        find_held_out(tmp_path / "other.csv", ids)
    assert find_held_out(tmp_path / "other.csv", ids, Columns(id="patient")) == {"8"}
    with pytest.raises(UserError, match=r"data\.hold_out=.*nowhere\.csv: no such"):
        find_held_out(tmp_path / "nowhere.csv", ids)


@pytest.mark.parametrize(
    "cells", [("1378.png", "1379.PNG"), ("1378.0", "1379.0"), ("01378", "films/1379.dcm")]
)
def test_ids_to_hold_out_as_other_tables_write_them(tmp_path, cells, said):
    (tmp_path / "held.csv").write_text("Image_ID;note\n" + "".join(f"{c};x\n" for c in cells))
    ids = ["1378", "1379", "1380"]
    assert find_held_out(tmp_path / "held.csv", ids) == {"1378", "1379"}
    assert "2 of the 2" in said()


def test_ids_to_hold_out_of_another_data_set_are_refused(tmp_path):
    (tmp_path / "held.csv").write_text("id\nla_dha_1\nla_dha_2\n")
    with pytest.raises(
        UserError, match=r"2 ids, none of them among .*la_dha_1, la_dha_2; the radiographs.*1378"
    ):
        find_held_out(tmp_path / "held.csv", ["1378", "1379"])
    (tmp_path / "held.csv").write_text("id\n")
    with pytest.raises(UserError, match=r"held\.csv has a header but no ids: name the radiographs"):
        find_held_out(tmp_path / "held.csv", ["1378", "1379"])


def test_a_folder_of_radiographs_to_hold_out(tmp_path, said):
    with pytest.raises(UserError, match="contains no radiographs: name the radiographs"):
        find_held_out(tmp_path, ["1378", "1379"])
    for name in ("1378.png", "notes.json", "labels.csv", "1379.DCM"):
        (tmp_path / name).touch()
    assert find_held_out(tmp_path, ["1378", "1379", "notes"]) == {"1378", "1379"}
    assert "2 of the 2" in said()


def test_a_folder_to_hold_out_has_the_folders_that_ids_name(tmp_path, caplog):
    ids = ["P001/film", "P002/film", "P003/film", "P004/other"]
    for name in ("P001/film.png", "P003/film.npz", "P004/other.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert find_held_out(tmp_path, ids) == {"P001/film", "P003/film", "P004/other"}
    assert find_held_out(tmp_path / "P001", ids) == {"P001/film"}
    assert not caplog.messages


def test_a_split_file_may_write_ids_otherwise(tmp_path, said):
    (tmp_path / "s.csv").write_text("id;fold\n1.png;train\n2.png;val\n03.png;test\n4;test\n")
    table = pd.DataFrame({"id": ["3", "1", "2"]})
    assert read_folds(tmp_path / "s.csv", table).tolist() == ["test", "train", "val"]
    assert "3 ids matched ignoring folder" in said()
    assert "1 id not among the radiographs: 4" in said()
