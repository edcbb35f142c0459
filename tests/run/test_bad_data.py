"""Bad data end a run before anything is written, in one clear line."""

import pandas as pd
import pytest

from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError
from boneage.run.experiment import train
from boneage.stages import Stages

TABLE = "boneage-training-dataset.csv"


def edit(root, change):
    table = pd.read_csv(root / TABLE, dtype=object)
    change(table).to_csv(root / TABLE, index=False)


def set_age(value):
    def change(table):
        table.loc[3, "boneage"] = value
        return table

    return change


def truncate(root):
    path = next(root.glob("boneage-training-dataset/*.png"))
    path.write_bytes(path.read_bytes()[:200])


def garble(root):
    next(root.glob("boneage-training-dataset/*.png")).write_text("not an image")


MISTAKES = {
    "missing root": (lambda r: r.rename(r.with_name("elsewhere")), "radiographs"),
    "no id column": (lambda r: edit(r, lambda t: t.drop(columns="id")), "boneage, ?male"),
    "age empty": (lambda r: edit(r, set_age(None)), "row 5"),
    "age negative": (lambda r: edit(r, set_age("-4")), "row 5.*-4"),
    "age no number": (lambda r: edit(r, set_age("ten")), "row 5.*ten"),
    "age above 25 years": (lambda r: edit(r, set_age("301")), "row 5.*301"),
    "duplicate id": (lambda r: edit(r, lambda t: pd.concat([t, t.iloc[[2]]])), "1"),
    "id without image": (
        lambda r: next(r.glob("boneage-training-dataset/*.png")).unlink(),
        r"1 .*data\.missing=drop",
    ),
    "image without row": (lambda r: edit(r, lambda t: t.iloc[1:]), r"1 .*data\.missing=drop"),
    "truncated file": (truncate, r"\.png.*data\.unreadable=drop"),
    "not an image": (garble, r"\.png.*data\.unreadable=drop"),
    "empty fold": (
        lambda r: (
            edit(r, lambda t: t.iloc[:2]),
            [p.unlink() for p in sorted(r.glob("boneage-training-dataset/*.png"))[2:]],
        ),
        "fold is empty",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_clear_line(own_root, configure, tmp_path, mistake):
    spoil, said = MISTAKES[mistake]
    spoil(own_root)
    with pytest.raises(UserError, match=said) as caught:
        train(configure(f"data.root={own_root}"))
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "option"),
    [
        ("truncated file", "data.unreadable=drop"),
        ("not an image", "data.unreadable=drop"),
        ("id without image", "data.missing=drop"),
        ("image without row", "data.missing=drop"),
    ],
)
def test_dropped_only_if_asked(own_root, configure, mistake, option):
    MISTAKES[mistake][0](own_root)
    metrics = train(configure(f"data.root={own_root}", option))
    assert sum(metrics["n"].values()) == 23


@pytest.mark.parametrize("option", ["data.split_file", "data.soft_targets"])
def test_a_missing_table_is_told_before_decoding(configure, monkeypatch, option):
    monkeypatch.setattr("boneage.data.module.open_cache", None)
    with pytest.raises(UserError, match=rf"^{option}=absent\.csv: no such table$"):
        train(configure(f"{option}=absent.csv"))


def test_stage_without_training_example(own_root, configure, tmp_path):
    edit(own_root, lambda t: t.assign(boneage=t["boneage"].astype(int).clip(upper=200)))
    with pytest.raises(UserError, match="no example of adult"):
        train(configure("task=classification", "tasks.stage.balance=1", f"data.root={own_root}"))
    assert list((tmp_path / "run").iterdir()) == []


def test_own_table_with_its_own_names(own_root, configure):
    table = pd.read_csv(own_root / TABLE)
    table = pd.DataFrame(
        {
            "patient": table["id"],
            "age": (table["boneage"] / 12).round(4),
            "gender": table["male"].map({True: "M", False: "F"}),
        }
    )
    table.to_csv(own_root / "mine.csv", index=False)
    (own_root / TABLE).unlink()
    columns = ["data.columns.id=patient", "data.columns.age=age", "data.columns.sex=gender"]
    metrics = train(
        configure(f"data.root={own_root}", "data.table=mine.csv", "data.age_unit=years", *columns)
    )
    assert sum(metrics["n"].values()) == 24
    assert metrics["baselines"]["constant"]["age/mae_years"]["value"] < 10


def test_split_file_is_used_again(finished_split, configure, tmp_path):
    other = pd.read_csv(finished_split)
    other["fold"] = other["fold"].map({"train": "train", "val": "test", "test": "val"})
    other.to_csv(tmp_path / "other.csv", index=False)
    train(configure(f"data.split_file={tmp_path}/other.csv"))
    assert pd.read_csv(tmp_path / "run/split.csv").equals(other)


@pytest.fixture
def finished_split(trained):
    return trained() / "split.csv"


def test_a_hold_out_of_everything_is_named(own_root, configure, tmp_path):
    with pytest.raises(UserError, match=r"train fold is empty .*data\.hold_out=.*takes too many"):
        train(configure(f"data.root={own_root}", f"data.hold_out={own_root}/{TABLE}"))


def test_a_separator_that_is_none_is_one_line(configure):
    with pytest.raises(UserError, match=r"^data\.separator=foo: must be one of semicolon, tab, "):
        train(configure("data.separator=foo"))


@pytest.mark.parametrize(("folds", "few"), [(3, False), (12, True)])
def test_a_small_test_fold_is_said(phantom_root, caplog, folds, few):
    data = BoneAgeDataModule(phantom_root, Stages(), size=32, folds=folds)
    data.setup("fit")
    assert (f"Only 2 radiographs in the test fold: metrics are unreliable; lower data.folds (it is "
            f"{folds})" in caplog.text) == few  # fmt: skip


def test_a_test_fold_of_one_stage_is_said(phantom_root, caplog):
    data = BoneAgeDataModule(phantom_root, Stages(["younger", "older"], [25]), size=32, folds=3)
    data.setup("fit")
    assert "All 8 test radiographs are of the stage younger" in caplog.text
