"""Whole runs on the tiny phantom: what they write, resume, test-only, overfit, debug modes."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, Page, compose_config, trained_weights

from boneage.errors import UserError
from boneage.run import experiment
from boneage.run.calibrate import calibrate
from boneage.run.experiment import train
from boneage.run.results import print_results

STAGES = ("child", "adolescent", "adult")


@pytest.fixture(scope="module")
def finished(phantom_root, tmp_path_factory):
    """One finished run of each task, by name: (metrics, run folder), started from Python."""
    runs = {}
    for task in ("regression", "classification", "multitask"):
        run_dir = tmp_path_factory.mktemp(task) / "new/folder"
        cfg = compose_config(
            *TINY, f"task={task}", "data=rsna", f"data.root={phantom_root}", f"run_dir={run_dir}"
        )
        runs[task] = (train(cfg), run_dir)
    return runs


@pytest.mark.parametrize("task", ["regression", "classification", "multitask"])
def test_run_folder(finished, task):
    metrics, run_dir = finished[task]
    assert (run_dir / "checkpoints/best.ckpt").is_file()
    assert (run_dir / "checkpoints/last.ckpt").is_file()
    assert list(run_dir.glob("tensorboard/events.out.tfevents.*"))
    assert (run_dir / "history.csv").is_file()
    split = pd.read_csv(run_dir / "split.csv")
    assert list(split) == ["id", "fold", "age_years", "sex"]
    assert split["fold"].value_counts().to_dict() == metrics["n"]
    assert json.loads((run_dir / "metrics.json").read_text()) == metrics
    tested = pd.read_csv(run_dir / "predictions.csv")["id"]
    assert set(tested) == set(split["id"][split["fold"] == "test"])


def test_metrics_follow_from_the_predictions(finished):
    for task, (metrics, run_dir) in finished.items():
        table = pd.read_csv(run_dir / "predictions.csv")
        test = metrics["test"]
        if task != "classification":
            error = table["age_years_predicted"] - table["age_years"]
            assert test["age/mae_years"]["value"] == pytest.approx(error.abs().mean(), rel=1e-5)
            assert test["age/mae_months"]["value"] == pytest.approx(12 * error.abs().mean())
        if task != "regression":
            hit = table["stage_predicted"] == table["stage"]
            assert test["stage/accuracy"]["value"] == pytest.approx(hit.mean())
            total = table[[f"stage_probability_{name}" for name in STAGES]].sum(axis=1)
            np.testing.assert_allclose(total, 1, rtol=1e-5)
        assert test["stage/accuracy"]["low"] <= test["stage/accuracy"]["high"]


def test_all_tasks_stand_on_common_ground(finished):
    for metrics, _ in finished.values():
        assert {"stage/accuracy", "stage/balanced_accuracy", "stage/recall_child"} <= set(
            metrics["test"]
        )
        assert set(metrics["baselines"]) == {"constant", "median_by_sex", "majority_class"}
    assert "stage_from_age/accuracy" in finished["multitask"][0]["test"]


def test_the_closing_table_fits_80_columns(finished, capsys):
    """Also for a large test set with three baselines."""
    metrics, run_dir = finished["multitask"]
    large = {name: result | {"n": 99_999} for name, result in metrics["test"].items()}
    print_results(metrics | {"test": large}, run_dir)
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith(" accuracy")).split()
    assert row[-1] == f"{metrics['baselines']['majority_class']['stage/accuracy']['value']:.3f}"
    assert max(map(len, lines[:-1])) <= 80  # the last is a path


def test_logged_metrics_have_the_same_names_in_single_and_joint_runs(finished):
    columns = {task: set(pd.read_csv(run / "history.csv")) for task, (_, run) in finished.items()}
    single = columns["regression"] | columns["classification"]
    assert {"val/age/mae_months", "val/stage/balanced_accuracy", "train/loss"} <= single
    assert columns["multitask"] == single


def test_checkpoint_needs_nothing_beside_it(finished, configure, tmp_path):
    metrics, run_dir = finished["multitask"]
    checkpoint = torch.load(run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["boneage"]["preprocessing"] == {
        "size": 32,
        "fit": "squash",
        "contrast": "none",
        "crop": "none",
    }
    moved = tmp_path / "anywhere.ckpt"
    moved.write_bytes((run_dir / "checkpoints/best.ckpt").read_bytes())
    # neither the size nor the network is repeated here: both come from the checkpoint
    overrides = ["train=false", f"ckpt_path={moved}", "task=multitask", "data.size=64"]
    cfg = configure(*overrides, "backbone.stem=9")
    again = train(cfg)
    assert again["test"] == metrics["test"]
    assert again["images_per_second"] is None
    assert again["options"]["backbone.stem"] == 4  # the checkpoint's, not this command's
    assert again["options"]["train"] is False
    first = (run_dir / "predictions.csv").read_text()
    assert (tmp_path / "run/predictions.csv").read_text() == first


def test_a_test_of_a_checkpoint_has_settings_of_its_own(finished, configure):
    _, run_dir = finished["regression"]
    overrides = ["train=false", f"ckpt_path={run_dir}/checkpoints/best.ckpt", "optimizer.lr=0.5"]
    metrics = train(configure(*overrides, "mirror_test=true", "trainer.limit_test_batches=1"))
    assert metrics["options"]["mirror_test"] is True
    assert metrics["partial"] == ["trainer.limit_test_batches=1"]
    assert metrics["options"]["optimizer.lr"] != 0.5


def test_a_test_shows_how_its_checkpoint_was_trained(finished, configure, tmp_path):
    trained, run_dir = finished["regression"]
    other = {
        "data.sampling": "balanced",
        "data.batch_size": 3,
        "data.train_films": 5,
        "data.soft_targets": "teacher.csv",
        "data.residence": "device",
        "seed": 9,
    }
    overrides = [f"{name}={value}" for name, value in other.items()]
    ckpt = f"ckpt_path={run_dir}/checkpoints/best.ckpt"
    metrics = train(configure("train=false", ckpt, "report=true", *overrides))
    assert {name: metrics["options"][name] for name in other} == {
        name: trained["options"][name] for name in other
    }
    assert metrics["seed"] == trained["seed"] == 1
    text = Page((tmp_path / "run/report.html").read_text()).text
    for said in ("sampling ages", "batch size 8", "training radiographs all", "seed 1"):
        assert said in " ".join(text.split())


@pytest.mark.slow
def test_a_test_without_the_mirror_image_is_obeyed(configure, trained, tmp_path):
    plain = json.loads((trained() / "metrics.json").read_text())
    mirrored = train(configure("mirror_test=true", run="mirrored"))
    assert mirrored["test"] != plain["test"]
    again = train(configure("train=false", f"ckpt_path={tmp_path}/mirrored", run="again"))
    assert again["options"]["mirror_test"] is False
    assert again["test"] == plain["test"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "loading", ["data.num_workers=0", "data.num_workers=2", "data.residence=device"]
)
def test_resume(configure, tmp_path, loading):
    own = ["scheduler=constant", "augment=geometric", "tasks.age.dropout=[0.3]"]
    common = [*own, loading]
    straight = train(configure(*common, "trainer.max_epochs=4", run="straight"))
    train(configure(*common, "trainer.max_epochs=2", run="cut"))
    last = tmp_path / "cut/checkpoints/last.ckpt"
    resumed = train(configure(*common, "trainer.max_epochs=4", f"ckpt_path={last}", run="resumed"))
    assert resumed["test"] == straight["test"]
    for name in ("best", "last"):
        one = torch.load(tmp_path / f"straight/checkpoints/{name}.ckpt", weights_only=True)
        other = torch.load(tmp_path / f"resumed/checkpoints/{name}.ckpt", weights_only=True)
        assert one["epoch"] == other["epoch"]
        for key, value in one["state_dict"].items():
            assert torch.equal(value, other["state_dict"][key]), key


def test_resume_from_a_checkpoint_that_was_moved_alone(configure, tmp_path, caplog):
    train(configure("trainer.max_epochs=2", run="cut"))
    moved = tmp_path / "moved.ckpt"
    (tmp_path / "cut/checkpoints/last.ckpt").rename(moved)
    (tmp_path / "cut/checkpoints/best.ckpt").unlink()
    train(configure("trainer.max_epochs=3", f"ckpt_path={moved}", run="resumed"))
    assert "best.ckpt is missing: best.ckpt considers only the epochs from now on" in caplog.text
    for name in ("best", "last"):
        checkpoint = torch.load(tmp_path / f"resumed/checkpoints/{name}.ckpt", weights_only=True)
        assert checkpoint["epoch"] == 2


def test_a_run_that_was_moved_is_resumed_with_its_own_best_checkpoint(configure, tmp_path, caplog):
    train(configure("trainer.max_epochs=2", run="first"))
    (tmp_path / "first").rename(tmp_path / "moved")
    train(configure("trainer.max_epochs=2", "seed=9", run="first"))  # another run in its place
    ckpt = f"ckpt_path={tmp_path}/moved/checkpoints/last.ckpt"
    train(configure("trainer.max_epochs=2", ckpt, run="resumed"))
    assert "is missing" not in caplog.text
    own, resumed = (trained_weights(tmp_path / run, "best") for run in ("moved", "resumed"))
    assert all(torch.equal(own[name], resumed[name]) for name in own)


@pytest.mark.slow
def test_same_command_same_numbers(configure, trained):
    first = json.loads((trained("sex=embedding") / "metrics.json").read_text())
    again = train(configure("sex=embedding", "data.num_workers=2", run="again"))
    assert again["test"] == first["test"]


@pytest.mark.slow
def test_memorises_sixteen_images(configure, tmp_path):
    cfg = configure(
        "task=multitask", "augment=none", "scheduler=constant", "optimizer=adam",
        "backbone.widths=[16,32]", "tasks.age.hidden=[]", "tasks.age.dropout=[]",
        "tasks.stage.hidden=[]", "tasks.stage.dropout=[]",
        "data.batch_size=16", "trainer.max_epochs=80", "trainer.overfit_batches=1",
        "optimizer.lr=0.01", "~callbacks.early_stopping",
        "trainer.check_val_every_n_epoch=80",
    )  # fmt: skip
    train(cfg)
    log = pd.read_csv(tmp_path / "run/history.csv")
    assert log["train/age/loss"].iloc[0] > 0.5
    assert log["train/age/loss"].iloc[-5:].mean() < 0.02
    assert log["train/stage/loss"].iloc[-5:].mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "limit", "overfit", "profiler"])
def test_debug_modes(configure, mode):
    epochs = ["trainer.max_epochs=2"] if mode in ("overfit", "limit") else []
    metrics = train(configure(f"debug={mode}", *epochs))
    assert metrics["test"]["age/mae_years"]["value"] > 0
    assert bool(metrics["partial"]) == (mode != "profiler")


def test_a_test_fold_of_one_radiograph(configure, phantom_root, tmp_path):
    ids = pd.read_csv(phantom_root / "boneage-training-dataset.csv")["id"]
    folds = ["test", "val", "val"] + ["train"] * (len(ids) - 3)
    pd.DataFrame({"id": ids, "fold": folds}).to_csv(tmp_path / "split.csv", index=False)
    metrics = train(configure("task=multitask", f"data.split_file={tmp_path}/split.csv"))
    assert metrics["test"]["age/r2"]["value"] is None
    assert metrics["test"]["age/mae_years"]["n"] == 1


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_precision(configure, precision):
    assert train(configure(f"precision={precision}"))["test"]["age/mae_years"]["value"] > 0


@pytest.mark.soak
@pytest.mark.slow
def test_compiled_backbone_trains_to_the_same_numbers(configure):
    plain = train(configure(run="plain"))
    compiled = train(configure("compile=true", run="compiled"))
    assert compiled["test"]["age/mae_years"]["value"] == pytest.approx(
        plain["test"]["age/mae_years"]["value"], rel=1e-3
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gpu(configure, precision, monkeypatch):
    devices = []

    def recorded(model, data):
        devices.append(model.device.type)
        return calibrate(model, data)

    monkeypatch.setattr(experiment, "calibrate", recorded)
    metrics = train(configure("trainer.accelerator=gpu", f"precision={precision}"))
    assert metrics["test"]["age/mae_years"]["value"] > 0
    assert devices == ["cuda"]


def test_seen_radiographs_cannot_be_tested(finished, configure):
    _, run_dir = finished["regression"]
    ckpt = f"ckpt_path={run_dir}/checkpoints/best.ckpt"
    with pytest.raises(UserError, match=r"trained on .*data\.split_file="):
        train(configure("train=false", ckpt, "data.split_seed=7", run="other"))
    train(configure("train=false", ckpt, f"data.split_file={run_dir}/split.csv"))


def test_checkpoint_must_match(finished, configure, tmp_path):
    _, run_dir = finished["regression"]
    ckpt = f"ckpt_path={run_dir}/checkpoints/last.ckpt"
    for command in (["train=false"], []):
        with pytest.raises(UserError, match=r"trained with task=regression.*add task=regression"):
            train(configure("task=classification", ckpt, *command))
    with pytest.raises(UserError, match=r"cannot be resumed.*backbone"):
        train(configure("backbone.stem=5", ckpt))
    with pytest.raises(UserError, match=r"cannot be resumed.*data.contrast \(was none\)"):
        train(configure("data.contrast=stretch", ckpt))
    split = pd.read_csv(run_dir / "split.csv", dtype={"id": str})
    split["fold"] = split["fold"].map({"train": "val", "val": "train", "test": "test"})
    split.to_csv(tmp_path / "swapped.csv", index=False)
    with pytest.raises(UserError, match=r"cannot be resumed: its train fold had other radio"):
        train(configure(f"data.split_file={tmp_path}/swapped.csv", ckpt))
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be loaded"),
        (b"", "cannot be loaded"),
        (b"not a checkpoint", "is not a boneage checkpoint: it is a text file"),
        ("weights", "is not a boneage checkpoint"),
        ("cut", "cannot be loaded"),
    ],
)
def test_damaged_checkpoint(finished, configure, tmp_path, content, said):
    path = tmp_path / "some.ckpt"
    if content == "weights":
        torch.save({"state_dict": {}}, path)
    elif content == "cut":
        whole = (finished["regression"][1] / "checkpoints/best.ckpt").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content is not None:
        path.write_bytes(content)
    for command in (["train=false"], []):
        with pytest.raises(UserError, match=said) as caught:
            train(configure(*command, f"ckpt_path={path}"))
        assert "\n" not in str(caught.value)


def test_test_only_needs_a_checkpoint(configure):
    with pytest.raises(UserError, match="ckpt_path="):
        train(configure("train=false"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["trainer.limit_train_batches=0"], "trainer.limit_train_batches=0"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
        (["trainer.max_steps=0"], "trainer.max_steps=0"),
    ],
)
def test_a_run_that_trains_nothing_says_so(configure, caplog, options, why):
    metrics = train(configure(*options))
    assert f"Nothing was trained: {why}; tested: the weights before training" in caplog.text
    assert metrics["best_validation"] is None


def test_a_resumed_run_that_has_nothing_left_to_train_says_so(configure, trained, caplog):
    first = json.loads((trained() / "metrics.json").read_text())
    again = train(configure(f"ckpt_path={trained()}/checkpoints/last.ckpt", run="again"))
    why = "for 1 epoch (3 steps), and the limit is trainer.max_epochs=1; tested: "
    assert f"Nothing was trained: the checkpoint was trained {why}" in caplog.text
    assert again["test"] == first["test"]  # of the same checkpoint


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["trainer.max_steps=1"],
        ["trainer.limit_val_batches=0"],
        ["trainer.check_val_every_n_epoch=5"],
    ],
)
def test_without_any_validation_the_last_weights_are_tested(configure, tmp_path, caplog, options):
    metrics = train(configure("report=true", "callbacks=default", *options))
    last = tmp_path / "run/checkpoints/last.ckpt"
    assert f"the weights after the last step are tested: {last}" in caplog.text
    assert not (tmp_path / "run/checkpoints/best.ckpt").exists()
    assert metrics["best_validation"] is None
    tested = train(configure("train=false", f"ckpt_path={last}", run="tested"))
    assert tested["test"] == metrics["test"]
    assert (tmp_path / "run/report.html").is_file()


def test_validation_every_other_epoch_is_validation(configure, tmp_path, caplog):
    train(configure("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3"))
    assert "No validation" not in caplog.text
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()


def test_predictions_are_of_the_test_fold_alone(configure, monkeypatch):
    with pytest.raises(UserError, match=r"trainer\.limit_test_batches=0 leaves no radiograph to"):
        train(configure("trainer.limit_test_batches=0"))
    monkeypatch.setattr(experiment, "check_config", lambda cfg: None)
    with pytest.raises(UserError, match="no radiograph was tested"):
        train(configure("trainer.limit_test_batches=0"))


def test_a_test_of_less_than_one_batch_is_refused_before_training(configure, tmp_path):
    with pytest.raises(UserError, match=r"^trainer.limit_test_batches=0.01 is less than one batch"):
        train(configure("trainer.limit_test_batches=0.01"))
    assert list((tmp_path / "run").iterdir()) == []
    batches = configure("trainer.limit_test_batches=0.5", "data.batch_size=1", run="half")
    n = train(batches)["n"]["test"]
    split = pd.read_csv(tmp_path / "half/split.csv")
    assert n == int(0.5 * (split["fold"] == "test").sum()) > 0


@pytest.mark.parametrize("option", ["val_check_interval=1000", "limit_train_batches=0.001"])
def test_what_the_trainer_refuses_is_one_line(configure, option):
    with pytest.raises(UserError, match=f"^trainer: .*{option.split('=')[1]}"):
        train(configure(f"trainer.{option}"))


def test_a_metric_that_is_not_there_is_one_line_before_training(configure, tmp_path):
    with pytest.raises(UserError, match=r"^monitor=val/age/mae_weeks: .*mean val/age/mae_years\?"):
        train(configure("monitor=val/age/mae_weeks"))
    assert list((tmp_path / "run").iterdir()) == []
