"""Resuming needs the readings and the options of the run, and writes what it left out."""

import pandas as pd
import pytest

from boneage.errors import UserError
from boneage.run.checkpoint import changed_fold, resume_record
from boneage.run.experiment import train

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
        resume_record({"boneage": {"split": SPLIT}}, record, tmp_path)


def test_a_training_is_not_resumed_with_other_options(configure, tmp_path):
    """The state of the optimizer comes from the checkpoint, but the record from the command."""
    train(configure(run="first"))
    ckpt = f"ckpt_path={tmp_path}/first"
    others = ("optimizer.lr=0.5", "seed=9", "data.batch_size=3", "augment=geometric")
    with pytest.raises(UserError, match="cannot be resumed: this command differs") as said:
        train(configure(ckpt, *others))
    for name in ("augment.", "data.batch_size (was ", "optimizer.lr (was ", "seed (was "):
        assert name in str(said.value)
    assert "max_epochs" not in str(said.value)
    longer = ("trainer.max_epochs=2", "data.num_workers=0", "trainer.log_every_n_steps=3")
    assert train(configure(ckpt, *longer))["epochs"] == 2


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
    train(configure("report=true", "resume=auto"))
    assert (run / "report.html").exists()
    assert not (run / "error.txt").exists()
    (run / "report.html").unlink()
    train(configure("report=false", "resume=auto"))
    assert not (run / "report.html").exists()
