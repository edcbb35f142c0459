"""Readers with few radiographs in common, and tables of which one alone has readers."""

import numpy as np
import pandas as pd
import pytest

from boneage.data.layouts import read_source
from boneage.data.tables.columns import Columns
from boneage.data.tables.labels import read_labels
from boneage.data.tables.readings import comparable_readers, warn_of_readings
from boneage.errors import UserError

NAN = np.nan


def table(**readings):
    return pd.DataFrame({f"reader_{name}_years": values for name, values in readings.items()})


def test_readers_are_chosen_by_what_they_share():
    ages = np.arange(30.0)
    some = table(ann=ages, ben=ages, cem=np.where(ages < 9, ages, NAN))
    assert comparable_readers(some, ["ann", "ben", "cem"]) == (["ann", "ben"], {"cem": 9})
    enough = some.assign(reader_cem_years=np.where(ages < 10, ages, NAN))
    assert comparable_readers(enough, ["ann", "ben", "cem"]) == (["ann", "ben", "cem"], {})
    assert comparable_readers(some, []) == ([], {})


def test_who_is_left_out_takes_away_what_others_shared():
    ages = np.arange(30.0)
    # dan shares 18 radiographs, but 9 of them with cem, who is left out
    some = table(
        ann=np.where(ages < 12, ages, NAN),
        ben=np.where(ages < 12, ages, NAN),
        cem=np.where(ages >= 21, ages, NAN),
        dan=np.where((ages < 9) | (ages >= 21), ages, NAN),
    )
    chosen, left_out = comparable_readers(some, ["ann", "ben", "cem", "dan"])
    assert (chosen, left_out) == (["ann", "ben"], {"cem": 9, "dan": 9})


def test_few_readings_are_said(caplog):
    ages = np.arange(12.0)
    warn_of_readings(table(ann=ages, ben=ages + 1), ["ann", "ben"])
    assert not caplog.records
    warn_of_readings(
        table(ann=ages, ben=ages + 1, cem=np.where(ages < 1, ages, NAN)), ["ann", "ben", "cem"]
    )
    (record,) = caplog.records
    assert record.getMessage() == (
        "Reader cem shares 1 radiograph of the test fold with the remaining readers, fewer than "
        "10: this reader is left out of the comparison"
    )
    caplog.clear()
    warn_of_readings(table(ann=ages[:5], ben=ages[:5]), ["ann", "ben"])
    assert "No two readers have read 10 test radiographs in common" in caplog.messages[-1]


def test_copies_of_a_reader_are_said(caplog):
    ages = np.arange(12.0)
    some = table(ann=ages, ben=ages + 1, copy=np.where(ages < 11, ages, NAN))
    warn_of_readings(some, ["ann", "ben", "copy"])
    (message,) = caplog.messages
    assert "Readers ann and copy have the same ages for all 11 test radiographs" in message


def test_an_age_column_that_is_a_reader_is_not_the_truth(tmp_path, caplog):
    path = tmp_path / "labels.csv"
    path.write_text("id,boneage,ann,ben\na,100,110,98\nb,60,,\n")
    labels = read_labels(path, Columns(readers=("boneage", "ann")))
    assert labels["age_months"].tolist() == [105, 60]
    assert read_labels(path, Columns(readers=("ann", "ben")))["age_months"].tolist() == [100, 60]


def test_the_unit_of_a_column_is_that_of_the_readers(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,ann,ben,age_unit\na,5,6,years\nb,10,,years\n")
    assert read_labels(path, Columns(readers=("ann", "ben")))["age_months"].tolist() == [66, 120]


def test_one_of_two_readers_is_not_enough_next_to_an_age(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,boneage,ann\na,100,110\n")
    with pytest.raises(UserError, match=r"readers names 'ben', which .* lacks"):
        read_labels(path, Columns(readers=("ann", "ben")))


@pytest.fixture
def two_tables(tmp_path):
    """A training table of single ages, and a test table that two readers have read."""
    (tmp_path / "train.csv").write_text("id,boneage,male\n1,60,1\n2,70,0\n")
    (tmp_path / "test.csv").write_text("id,male,ann,ben\n3,1,80,84\n4,0,90,\n")
    for id_ in (1, 2, 3, 4):
        (tmp_path / f"{id_}.png").write_bytes(b"")
    return tmp_path


def test_readers_of_the_test_set_alone(two_tables):
    rows = read_source(two_tables, columns=Columns(readers=("ann", "ben"))).set_index("id")
    assert rows["age_months"].to_dict() == {"1": 60, "2": 70, "3": 82, "4": 90}
    assert rows["origin"].to_dict() == {"1": "train", "2": "train", "3": "test", "4": "test"}
    assert rows["reader_ann"].dropna().to_dict() == {"3": 80, "4": 90}
    assert rows["reader_ben"].dropna().to_dict() == {"3": 84}


def test_a_reader_that_no_table_has_is_named(two_tables):
    (two_tables / "test.csv").unlink()
    with pytest.raises(UserError, match=r"readers names 'ann', which no label table has: .*train"):
        read_source(two_tables, columns=Columns(readers=("ann", "ben")))


def test_a_label_that_some_tables_lack_is_named(two_tables):
    """The training table has names of its own, and is the only one with the label."""
    (two_tables / "train.csv").write_text("film,boneage,male,height\n1,60,1,100\n2,70,0,110\n")
    (two_tables / "test.csv").write_text("id,boneage,male\n3,80,1\n4,90,0\n")
    with pytest.raises(UserError, match=r"labels names 'height', which not all .*train.*, .*test"):
        read_source(two_tables, columns=Columns(id="film", labels=("height",)))
