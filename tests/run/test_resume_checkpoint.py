"""Resuming needs the readings and the options of the run, and writes what it left out."""

import hashlib
import json
import logging

import pandas as pd
import pytest
from helpers import TINY, compose_config
from omegaconf import OmegaConf

from boneage.errors import UserError
from boneage.run.checkpoint import resolved
from boneage.run.experiment import train
from boneage.run.resume import MUST_MATCH, check_resumable, is_within_epoch, resume_record
from boneage.run.seen import changed_fold

SPLIT = {
    "id": ["a", "b", "c"],
    "age_months": [60.0, 72.0, float("nan")],
    "sex": ["female", "male", "unknown"],
    "fold": ["train", "train", "val"],
}


@pytest.mark.parametrize(
    ("column", "values", "fold"),
    [
        ("id", ["b", "a", "c"], "train"),  # the order is part of a training
        ("age_months", [60.0, 73.0, 90.0], "train"),
        ("age_months", [60.001, 72.0, 90.0], None),
        ("age_months", [60.0, None, None], None),
        ("sex", ["female", "female", "unknown"], "train"),
        ("sex", ["unknown", "male", "female"], None),
        ("fold", ["train", "train", "test"], "val"),
    ],
)
def test_a_fold_with_other_readings_has_changed(column, values, fold):
    table = pd.DataFrame(SPLIT).assign(**{column: values})
    assert changed_fold({"split": SPLIT}, table) == fold


def test_a_record_without_sexes_is_compared_by_the_rest():
    older = {name: values for name, values in SPLIT.items() if name != "sex"}
    table = pd.DataFrame(SPLIT)
    assert changed_fold({"split": older}, table) is None
    assert changed_fold({"split": older}, table.assign(age_months=1.0)) == "train"


def test_a_training_is_not_resumed_with_other_readings(tmp_path):
    record = {"split": SPLIT | {"age_months": [61.0, 72.0, 90.0]}}
    with pytest.raises(UserError, match="its train fold had other radiographs or readings"):
        resume_record({"boneage": {"split": SPLIT}}, record, tmp_path / "last.ckpt", tmp_path)


def with_test(*months):
    """Return a split with a test fold of these readings."""
    n = len(months)
    more = {"id": [f"t{i}" for i in range(n)], "age_months": list(months), "sex": ["male"] * n}
    return {k: [*v, *(more | {"fold": ["test"] * n})[k]] for k, v in SPLIT.items()}


@pytest.mark.parametrize("now", [(100.0,), (90.0, 95.0), ()])
def test_a_run_is_not_resumed_with_another_test_but_its_checkpoint_is(tmp_path, caplog, now):
    was, record = {"boneage": {"split": with_test(90.0)}}, {"split": with_test(*now)}
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"its test fold had other radiographs or .* ckpt_path=$"):
        resume_record(was, record, last, tmp_path)
    assert not caplog.text
    resume_record(was, record, last, tmp_path / "another")
    assert "The test fold has other radiographs or readings than the run of" in caplog.text


@pytest.mark.parametrize("was", [(), (90.0,)])
def test_an_equal_or_unknown_test_is_resumed(tmp_path, caplog, was):
    record = {"split": with_test(90.0)}
    resume_record({"boneage": {"split": with_test(*was)}}, record, tmp_path / "a.ckpt", tmp_path)
    assert not caplog.text


@pytest.mark.parametrize("content", [{}, {"loops": None}, {"loops": {"fit_loop": {}}}])
def test_weights_without_a_state_of_training_are_not_resumed(content):
    with pytest.raises(UserError, match=r"site\.ckpt cannot be resumed: it contains weights"):
        is_within_epoch(content, "site.ckpt")


def test_a_training_is_not_resumed_with_other_options(configure, trained):
    """The state of the optimizer comes from the checkpoint, but the record from the command."""
    ckpt = f"ckpt_path={trained()}"
    others = ("optimizer.lr=0.5", "seed=9", "data.batch_size=3", "augment=geometric")
    with pytest.raises(UserError, match="cannot be resumed: this command differs") as said:
        train(configure(ckpt, *others))
    for name in ("augment.", "data.batch_size (was ", "optimizer.lr (was ", "seed (was "):
        assert name in str(said.value)
    assert "max_epochs" not in str(said.value)
    longer = ("trainer.max_epochs=2", "data.num_workers=0", "trainer.log_every_n_steps=3")
    assert train(configure(ckpt, *longer))["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", 7, None),
        ("trainer.max_epochs", 3, None),  # nothing is left to train, but to test
        ("trainer.max_epochs", 2, "it was trained for 3 epochs, and the limit is"),
        ("data.size", 64, r"differs from its run in data\.size \(was 32\); repeat"),
        ("backbone.stem", 5, "differs from its run in backbone; repeat"),
        ("stages.edges", [9, 18], "differs from its run in stages; repeat"),
    ],
)
def test_a_checkpoint_without_options_is_resumed_by_the_same_network_only(name, value, said):
    cfg = compose_config(*TINY, "data=rsna", "data.root=/films", "trainer.max_epochs=4")
    record = {"config": resolved(cfg, MUST_MATCH), "options": {}}
    record["preprocessing"] = {key: cfg.data[key] for key in ("size", "fit", "contrast", "crop")}
    progress = {"epoch_loop.batch_progress": {"is_last_batch": True}}
    checkpoint = {"boneage": record, "epoch": 2, "loops": {"fit_loop": progress}}
    OmegaConf.update(cfg, name, value)
    if said is None:
        check_resumable(checkpoint, cfg, own=False)
        return
    with pytest.raises(UserError, match=said):
        check_resumable(checkpoint, cfg, own=False)


def test_a_limit_below_the_epochs_of_a_checkpoint_leaves_nothing(configure, tmp_path):
    train(configure("trainer.max_epochs=3", run="first"))
    for limit in (1, 2):
        with pytest.raises(UserError, match=rf"for 3 epochs, and the limit is .*={limit}: give"):
            train(configure(f"ckpt_path={tmp_path}/first", f"trainer.max_epochs={limit}"))
    assert not any((tmp_path / "run").iterdir())
    assert train(configure(f"ckpt_path={tmp_path}/first", "trainer.max_epochs=4"))["epochs"] == 4


def test_an_option_that_differs_is_named_once(configure, trained):
    others = ("backbone.widths=[4,4]", "data.size=16", "tasks.age.hidden=[3]")
    with pytest.raises(UserError) as said:
        train(configure(f"ckpt_path={trained()}", *others))
    assert (
        "differs from its run in data.size (was 32), backbone.widths (was [4, 8]), "
        "tasks.age.hidden (was [128]); repeat"
    ) in str(said.value)


def test_a_resumed_training_has_the_patience_of_its_command(configure, tmp_path):
    never = "+callbacks.early_stopping.min_delta=1000"
    long = ("trainer.max_epochs=9", never)
    first = train(configure(*long, "callbacks.early_stopping.patience=2", run="first"))
    assert first["epochs"] == 3
    ckpt = f"ckpt_path={tmp_path}/first/checkpoints/last.ckpt"
    more = train(configure(*long, "callbacks.early_stopping.patience=5", ckpt))
    assert more["epochs"] == 6  # five without improvement, two of them before


def test_a_test_of_weights_that_were_trained_again_is_another(configure, copied, tmp_path):
    copied(run="one")
    copied("seed=2", run="two")
    command = ("train=false", f"ckpt_path={tmp_path}/one", "resume=auto")
    tested = train(configure(*command))
    best = tmp_path / "one/checkpoints/best.ckpt"
    weights = best.read_bytes()
    best.write_bytes((tmp_path / "two/checkpoints/best.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"contains a test of other weights in .*one/checkpoints"):
        train(configure(*command))
    best.write_bytes(weights)
    assert train(configure(*command)) == json.loads((tmp_path / "run/metrics.json").read_text())
    assert tested["checkpoint_sha256"] == hashlib.sha256(weights).hexdigest()
    best.rename(tmp_path / "elsewhere.ckpt")  # the results of a finished test do not need it
    command = (command[0], f"ckpt_path={best}", command[2])
    assert train(configure(*command))["test"] == tested["test"]


def test_a_finished_run_without_predictions_is_tested_again(configure, tmp_path, caplog):
    options = ("trainer.max_epochs=9", "+callbacks.early_stopping.min_delta=1000")
    options += ("callbacks.early_stopping.patience=2", "resume=auto")
    run = tmp_path / "run"
    first = train(configure(*options))
    lost = (run / "predictions.csv").read_text()
    (run / "predictions.csv").unlink()
    again = train(configure(*options))
    assert "run is finished, but lacks predictions.csv: it is tested again" in caplog.text
    assert "3 epochs (9 steps), and val/age/mae_years has not improved for 2 epochs" in caplog.text
    assert (run / "predictions.csv").read_text() == lost
    assert (again["test"], again["epochs"]) == (first["test"], first["epochs"])

    test = ("train=false", f"ckpt_path={run}", "resume=auto")
    train(configure(*test, run="tested"))
    (tmp_path / "tested/predictions.csv").unlink()
    train(configure(*test, run="tested"))
    assert (tmp_path / "tested/predictions.csv").read_text() == lost

    (run / "predictions.csv").unlink()
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(UserError, match=r"but lacks predictions.csv and checkpoints/last.ckpt"):
        train(configure(*options))


@pytest.mark.parametrize(("steps", "epochs"), [(6, 2), (8, 3)])  # three steps are an epoch
def test_a_finished_training_of_steps_that_is_tested_again_had_as_many_epochs(
    configure, tmp_path, caplog, steps, epochs
):
    options = ("trainer.max_epochs=-1", f"trainer.max_steps={steps}", "resume=auto")
    assert train(configure(*options))["epochs"] == epochs
    (tmp_path / "run/predictions.csv").unlink()
    assert train(configure(*options))["epochs"] == epochs
    trained = f"trained for {epochs} epochs ({steps} steps), and the limit is trainer.max_steps="
    assert trained in caplog.text


def test_a_run_that_was_interrupted_while_its_page_was_written_gets_it(
    configure, tmp_path, monkeypatch
):
    def interrupt(_):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("boneage.run.experiment.write_report", interrupt)
        with pytest.raises(SystemExit):
            train(configure("report=true"))
    assert (run / "metrics.json").exists()
    assert (run / "error.txt").exists()
    monkeypatch.setattr("boneage.run.experiment._prepare", None)  # nothing is trained again
    logging.getLogger("fontTools").setLevel(logging.NOTSET)  # as in a new process
    train(configure("report=true", "resume=auto"))
    assert (run / "report.html").exists()
    assert logging.getLogger("fontTools").level == logging.WARNING  # 200 lines on fonts otherwise
    assert not (run / "error.txt").exists()
    (run / "report.html").unlink()
    train(configure("report=false", "resume=auto"))
    assert not (run / "report.html").exists()
