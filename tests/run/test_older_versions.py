"""What older versions wrote still loads: checkpoints, and options of runs."""

import json

import pytest
import torch
from helpers import TINY, compose_config

from boneage.errors import UserError
from boneage.evaluation.metrics_schema import current_options
from boneage.evaluation.run_folder import read_run
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train
from boneage.run.options import options

HEAD = {
    "_target_": "boneage.models.heads.MLPHead",
    "_partial_": True,
    "hidden": [16, 8],
    "dropout": [0.4, 0.0],
}
TASK = {  # as versions wrote it whose records have schema 1
    "head": HEAD,
    "_target_": "boneage.tasks.regression.AgeRegression",
    "_partial_": True,
    "loss": "smooth_l1",
    "weight": 1.0,
    "soft_weight": 0.5,
}
OPTIONS = {
    "head@tasks.age.head": "hidden",
    "tasks.age._target_": TASK["_target_"],
    "tasks.age._partial_": True,
    "tasks.age.head._target_": HEAD["_target_"],
    "tasks.age.head._partial_": True,
    "tasks.age.head.hidden": [16, 8],
    "tasks.age.head.dropout": [0.4, 0.0],
    "tasks.age.loss": "smooth_l1",
    "tasks.age.weight": 1.0,
    "tasks.age.soft_weight": 0.5,
}
NOW = ("tasks.age.hidden=[16,8]", "tasks.age.dropout=[0.4,0.0]")


def of_tasks(name):
    return name.startswith(("tasks.", "head@", "loss"))


@pytest.fixture(scope="module")
def run(phantom_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    options = [*TINY, *NOW, "data=rsna", f"data.root={phantom_root}", f"run_dir={folder}"]
    train(compose_config(*options))
    return folder


@pytest.fixture
def old(run, tmp_path):
    """The run's checkpoint with a record as older versions wrote it."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    record = checkpoint["boneage"]
    del record["schema"]
    record["config"]["tasks"] = {"age": TASK}
    others = {name: value for name, value in record["options"].items() if not of_tasks(name)}
    record["options"] = others | OPTIONS
    torch.save(checkpoint, tmp_path / "old.ckpt")
    return tmp_path / "old.ckpt"


def test_an_old_checkpoint_is_the_same_model(run, old):
    before, now = (
        load_model(read_checkpoint(path)) for path in (old, run / "checkpoints/last.ckpt")
    )
    assert before.tasks["age"].criterion.beta == now.tasks["age"].criterion.beta == 0.1
    assert str(before.tasks["age"].head) == str(now.tasks["age"].head)
    assert before.state_dict().keys() == now.state_dict().keys()
    assert all(torch.equal(v, now.state_dict()[k]) for k, v in before.state_dict().items())


@pytest.mark.slow
def test_an_old_checkpoint_is_tested_resumed_and_started_from(run, old, configure):
    tested = json.loads((run / "metrics.json").read_text())["test"]
    other = configure("train=false", f"ckpt_path={old}", "data.size=64", run="tested")
    again = train(other)
    assert again["test"].keys() == tested.keys()
    assert again["options"]["data.size"] == 32  # the checkpoint's
    assert other.data.size == 64  # the config that was given is not changed
    more = train(configure(*NOW, f"ckpt_path={old}", "trainer.max_epochs=2", run="resumed"))
    assert more["epochs"] == 2
    assert train(configure(*NOW, f"start_from={old}", run="started"))["epochs"] == 1
    with pytest.raises(UserError, match=r"cannot be resumed.*tasks"):
        train(configure(*NOW, "loss=l1", f"ckpt_path={old}", run="other"))


def test_options_of_an_old_run_are_those_of_the_same_run_today(configure, run, tmp_path):
    flat = options(configure(*NOW))
    others = {name: value for name, value in flat.items() if not of_tasks(name)}
    current = current_options(others | OPTIONS)
    assert current.pop("loss") == "smooth_l1"  # a choice of the command line
    assert current == flat
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("metrics.json", "predictions.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"options": others | OPTIONS}))
    assert read_run(tmp_path).metrics["options"]["loss.beta"] == 0.1


def test_a_strangers_head_or_loss_is_left_for_the_check(old):
    for name in ("head", "loss"):
        checkpoint = torch.load(old, weights_only=True)
        checkpoint["boneage"]["config"]["tasks"]["age"][name] = {"_target_": "os.system"}
        torch.save(checkpoint, old)
        with pytest.raises(UserError, match=r"names code outside this project: os\.system"):
            load_model(read_checkpoint(old))
