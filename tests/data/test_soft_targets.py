"""Learning from a teacher's ages beside the readings."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import write_finished_run
from torch import nn

from boneage.data.phantom import write_phantom
from boneage.data.tables.readings import read_soft_targets
from boneage.errors import UserError
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.run.seen import check_teachers
from boneage.tasks.regression import AgeRegression

TABLE = pd.DataFrame(
    {
        "id": ["1", "2", "3", "4", "5"],
        "age_months": [60.0, 120.0, 90.0, 30.0, 48.0],
        "fold": ["train", "train", "train", "test", "val"],
    }
)


def written(tmp_path, text):
    (tmp_path / "teacher.csv").write_text(text)
    return tmp_path / "teacher.csv"


def test_ages_of_the_teacher_are_in_months_and_readings_fill_the_gaps(tmp_path, caplog):
    path = written(tmp_path, "id,age_years_predicted\n2,9.5\n1,5.25\n3,-0.02\n99,3\n")
    with caplog.at_level("INFO"):
        soft = read_soft_targets(path, TABLE)
    assert f"{path}: 1 age below 0 learned as 0" in caplog.text
    assert soft.tolist() == [63.0, 114.0, 0.0, 30.0, 48.0]  # a teacher may predict a little below 0


def test_a_table_of_predict_is_read_without_what_it_withheld(tmp_path):
    path = written(tmp_path, "id,age_years,novelty\n2,9.5,0.3\n1,,1.4\n")
    assert read_soft_targets(path, TABLE).tolist() == [60.0, 114.0, 90.0, 30.0, 48.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,age_years\n1,5\n", r"needs the columns id and age_years_predicted"),  # may be truth
        ("id,age_years_predicted\n1,five\n", r"row 2.*'five' is not a bone age"),
        ("id,age_years_predicted\n1,60\n", r"'60' is not a bone age in years"),
        ("id,age_years_predicted\n1,-5\n", r"'-5' is not a bone age in years"),
        ("id,age_years_predicted\n1,6\n2,-1\n", r"row 3, column 'age_years_predicted': '-1' is n"),
        ("id,age_years_predicted\n1,nan\n", r"'nan' is not a bone age .* leave the cell empty"),
        ("id,age_years_predicted\n77,6\n", r"no age of any training radiograph"),
        ("id,age_years_predicted\n4,6\n5,4\n", r"no age of any training radiograph"),  # other folds
        ("id,age_years_predicted\n1,6\n1,7\n", r"more than once"),
        (
            "id,age_years_predicted,age_years_predicted\n1,6,7\n",
            r"several columns called 'age_years_predicted'",
        ),
        ("id,id,age_years_predicted\n1,2,6\n", r"several columns called 'id'"),
        ("id,age_years_predicted\n", r"has a header but no rows"),
        ("id,age_years_predicted\n1,\n", r"column 'age_years_predicted' is empty in every row"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_soft_targets(written(tmp_path, text), TABLE)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 5.0), (1.0, 6.0), (0.25, 5.25)])
def test_the_task_learns_a_mix_and_is_scored_by_the_reading(share, expected):
    task = AgeRegression(4, nn.L1Loss(), soft_weight=share)
    batch = {"age_months": torch.tensor([60.0]), "soft_age_months": torch.tensor([72.0])}
    assert task.training_target(batch).item() == pytest.approx(expected)
    assert task.encode(batch).item() == 5.0


def losses(run):
    return pd.read_csv(run / "history.csv")["train/age/loss"].to_numpy()


@pytest.mark.slow
def test_training_learns_from_them_wherever_the_radiographs_lie(configure, tmp_path):
    """A teacher that repeats the readings changes nothing; another one does, on host and device."""
    plain = configure("augment=none", "data.residence=host", run="plain")
    train(plain)
    split = pd.read_csv(tmp_path / "plain/split.csv", dtype={"id": str})
    for name, shift in (("same", 0.0), ("other", 2.0)):
        ages = (split["age_years"] + shift).clip(0, 19)
        split.assign(age_years_predicted=ages)[["id", "age_years_predicted"]].to_csv(
            tmp_path / f"{name}.csv", index=False
        )
        for residence in ("host", "device"):
            options = (f"data.soft_targets={tmp_path}/{name}.csv", f"data.residence={residence}")
            train(configure("augment=none", *options, run=f"{name}_{residence}"))
    before = losses(tmp_path / "plain")
    assert np.allclose(losses(tmp_path / "same_host"), before, rtol=1e-4)
    assert np.allclose(losses(tmp_path / "same_device"), before, rtol=1e-3)
    changed = losses(tmp_path / "other_host")
    assert abs(changed[0] - before[0]) > 0.01
    assert np.allclose(losses(tmp_path / "other_device"), changed, rtol=1e-3)


@pytest.mark.slow
def test_pooled_folds_are_accepted_only_without_this_runs_test_radiographs(configure, tmp_path):
    for fold in (0, 1):
        train(configure("data.folds=4", f"data.fold={fold}", run=f"fold{fold}"))
    ensemble([tmp_path / "fold0", tmp_path / "fold1"], tmp_path / "pooled")
    soft = f"data.soft_targets={tmp_path}/pooled/predictions.csv"
    with pytest.raises(UserError, match=r"fold1 was trained on \d+ test radiographs of this run"):
        train(configure("data.folds=4", "data.fold=0", soft, run="leaky"))
    ids = pd.read_csv(tmp_path / "fold0/predictions.csv", dtype={"id": str})["id"]
    ids.to_frame().to_csv(tmp_path / "test.csv", index=False)
    for fold in (1, 2):
        options = ("data.folds=4", f"data.fold={fold}", f"data.hold_out={tmp_path}/test.csv")
        train(configure(*options, run=f"held{fold}"))
    ensemble([tmp_path / "held1", tmp_path / "held2"], tmp_path / "clean")
    soft = f"data.soft_targets={tmp_path}/clean/predictions.csv"
    train(configure("data.folds=4", "data.fold=0", soft, run="student"))


def test_predictions_of_a_model_that_saw_the_radiographs_are_refused(configure, copied, tmp_path):
    copied(run="teacher")
    split = pd.read_csv(tmp_path / "teacher/split.csv", dtype={"id": str})
    (tmp_path / "answers").mkdir()
    path = written(tmp_path / "answers", "id,age_years,novelty\n")
    split.assign(novelty=0.1)[["id", "age_years", "novelty"]].to_csv(path, index=False)
    (path.parent / "predictions.json").write_text(
        '{"checkpoints": ["%s"]}' % (tmp_path / "teacher/checkpoints/best.ckpt")
    )
    with pytest.raises(UserError, match=r"trained on \d+ of the radiographs that it predicts"):
        train(configure(f"data.soft_targets={path}", run="student"))
    (path.parent / "predictions.json").write_text(  # of a call in that folder
        json.dumps(
            {"checkpoints": ["best.ckpt"], "working_folder": f"{tmp_path}/teacher/checkpoints"}
        )
    )
    with pytest.raises(UserError, match=r"trained on \d+ of the radiographs that it predicts"):
        train(configure(f"data.soft_targets={path}", run="student"))


def test_a_teacher_without_its_checkpoint_is_known_by_its_split(tmp_path, caplog):
    """Not if the run only tested another model: its split is not that model's."""
    split = pd.DataFrame(
        {"id": ["a", "b", "c"], "fold": ["train", "val", "test"], "age_years": [5.0, 6.0, 7.0]}
    )
    tested = pd.DataFrame({"id": ["c"], "sex": ["male"], "age_years": [7.0]})
    n = dict.fromkeys(("train", "val", "test"), 1)
    run = write_finished_run(tmp_path / "run", tested.assign(age_years_predicted=7.5), n=n)
    split.assign(sex="male").to_csv(run / "split.csv", index=False)
    own = split.assign(age_months=12 * split["age_years"], fold="test")
    for id_ in "ab":
        with pytest.raises(
            UserError, match=f"was trained on 1 test radiograph of this run: {id_};"
        ):
            check_teachers(run / "predictions.csv", own[own["id"] == id_])
    check_teachers(run / "predictions.csv", own[own["id"] == "c"])
    assert not caplog.records
    write_finished_run(
        run, tested.assign(age_years_predicted=7.5), options={"train": False, "ckpt_path": None}
    )
    check_teachers(run / "predictions.csv", own)
    assert "the training radiographs of" in caplog.text
    caplog.clear()
    lost = write_finished_run(tmp_path / "lost", tested.assign(age_years_predicted=7.5))
    check_teachers(lost / "predictions.csv", own)
    assert f"the training radiographs of {lost} are unknown" in caplog.text


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"1": 60.0}, "1 of the radiographs that it predicts: 1;"),
        ({"1": np.nan}, "1 of the radiographs that it predicts: 1;"),  # as of an exported model
        ({"1": 61.0}, None),  # another radiograph with its id
        ({"2": 120.0}, None),  # which it does not predict
        ({"5": 48.0}, None),  # a validation radiograph is not learned from
        ({"4": 30.0}, "1 test radiograph of this run: 4;"),
        ({"4": np.nan}, "1 test radiograph of this run: 4;"),
    ],
)
@pytest.mark.parametrize("fold", ["train", "val", "test"])
def test_a_teacher_may_not_have_seen_what_is_learned_or_tested(
    tmp_path, monkeypatch, seen, said, fold
):
    split = {"id": [*seen], "age_months": [*seen.values()], "fold": [fold]}
    monkeypatch.setattr("boneage.run.seen.read_checkpoint", lambda _: {"boneage": {"split": split}})
    path = written(tmp_path, "id,age_years_predicted\n1,5\n3,8\n4,3\n5,4\n")
    (tmp_path / "predictions.json").write_text(json.dumps({"checkpoints": [str(path)]}))
    if said is None or fold == "test":
        check_teachers(path, TABLE)
    else:
        with pytest.raises(UserError, match=f"was trained on {said}"):
            check_teachers(path, TABLE)


def test_a_teacher_whose_checkpoint_is_gone_is_said(tmp_path, caplog):
    path = written(tmp_path, "id,age_years_predicted\n1,5\n")
    gone = str(tmp_path / "gone.ckpt")
    (tmp_path / "predictions.json").write_text(json.dumps({"checkpoints": [gone]}))
    check_teachers(path, TABLE)
    assert f"the training radiographs of {gone} are unknown" in caplog.text


def test_each_member_of_an_ensemble_is_a_teacher(tmp_path):
    """The table of an ensemble is not of the folder's own model."""
    tested = pd.DataFrame({"id": ["1"], "sex": ["male"], "age_years": [5.0]})
    predictions = tested.assign(age_years_predicted=5.5)
    runs = []
    for name, id_, months in (("one", "9", 90.0), ("two", "4", 30.0)):
        n = {"train": 1, "val": 0, "test": 1}
        runs.append(str(write_finished_run(tmp_path / name, predictions, n=n)))
        split = pd.DataFrame(
            {"id": [id_, "1"], "fold": ["train", "test"], "age_years": [months / 12, 5.0]}
        )
        split.assign(sex="male").to_csv(tmp_path / name / "split.csv", index=False)
    pooled = write_finished_run(tmp_path / "pooled", predictions, ensemble=runs)
    with pytest.raises(UserError, match="two was trained on 1 test radiograph of this run: 4;"):
        check_teachers(pooled / "predictions.csv", TABLE)


@pytest.mark.slow
def test_what_a_teacher_saw_is_read_from_its_checkpoint(configure, copied, tmp_path):
    copied(run="first")
    root = write_phantom(tmp_path / "other", n=24, size=64, seed=5)
    first = f"{tmp_path}/first/checkpoints/best.ckpt"
    train(configure(f"start_from={first}", f"data.root={root}", run="tuned"))
    train(configure("train=false", f"ckpt_path={first}", f"data.root={root}", run="external"))
    split = pd.read_csv(tmp_path / "first/split.csv", dtype={"id": str})
    table = split[split["fold"] == "train"].assign(fold="test")
    table["age_months"] = 12 * table["age_years"]
    for teacher in ("first", "tuned", "external"):
        with pytest.raises(UserError, match=rf"{teacher} was trained on {len(table)} test radio"):
            check_teachers(tmp_path / teacher / "predictions.csv", table)


def test_a_table_of_unknown_origin_is_said(configure, trained, tmp_path, caplog):
    split = pd.read_csv(trained() / "split.csv", dtype={"id": str})
    path = written(tmp_path, "")
    split.assign(age_years_predicted=split["age_years"]).to_csv(path, index=False)
    train(configure(f"data.soft_targets={path}", run="second"))
    assert "are unknown. Check that no teacher" in caplog.text


@pytest.mark.slow
def test_an_exported_teacher_knows_no_ages_but_is_recognised_by_its_ids(exported, tmp_path):
    split = pd.read_csv(exported / "run/split.csv", dtype={"id": str})
    table = split.assign(age_months=12 * split["age_years"])
    path = written(tmp_path, "id,age_years,novelty\n")
    split.assign(novelty=0.1)[["id", "age_years", "novelty"]].to_csv(path, index=False)
    about = {"checkpoints": [str(exported / "model.onnx")]}
    (tmp_path / "predictions.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"trained on \d+ of the radiographs that it predicts"):
        check_teachers(path, table)
    renamed = table.assign(id="other-" + table["id"])
    check_teachers(path, renamed)


@pytest.mark.parametrize("record", ["metrics.json", "predictions.json"])
def test_a_damaged_record_of_a_teacher_is_one_line(tmp_path, record):
    (tmp_path / record).write_text('{"checkpoints": ')
    with pytest.raises(UserError, match=rf"{record} is damaged"):
        check_teachers(tmp_path / "predictions.csv", pd.DataFrame())


@pytest.mark.parametrize("document", ["{}", '{"checkpoints": 5}'])
def test_answers_that_do_not_name_their_models_are_refused(tmp_path, document):
    (tmp_path / "predictions.csv").write_text("id,age_years,novelty\na,5,0\n")
    (tmp_path / "predictions.json").write_text(document)
    with pytest.raises(UserError, match=r"predictions\.json does not list the checkpoints"):
        check_teachers(tmp_path / "predictions.csv", pd.DataFrame())
