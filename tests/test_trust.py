"""Checkpoints from strangers: damaged, incomplete, or built to run code."""

import copy

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.errors import UserError
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train
from boneage.run.trust import check_buildable


@pytest.fixture(scope="module")
def run(phantom_root, tmp_path_factory):
    from conftest import TINY, compose_config

    folder = tmp_path_factory.mktemp("run")
    train(compose_config(*TINY, "data=rsna", f"data.root={phantom_root}", f"run_dir={folder}"))
    return folder


@pytest.fixture
def checkpoint(run):
    return torch.load(run / "checkpoints/best.ckpt", weights_only=True)


def write(checkpoint, folder):
    path = folder / "strange.ckpt"
    torch.save(checkpoint, path)
    return path


def hostile_ways(hit):
    run = {"_target_": "pathlib.Path.mkdir", "self": {"_target_": "pathlib.Path", "_args_": [hit]}}
    created = "${oc.create:{_target_: pathlib.Path.mkdir, _args_: ['" + hit + "']}}"
    return {
        "config": lambda r: r["config"].update(sex=run),
        "stages": lambda r: r["config"].update(stages=run),
        "preprocessing": lambda r: r["preprocessing"].update(augment=run),
        "text": lambda r: r["config"].update(sex=created),
        "partial": lambda r: r["config"]["tasks"]["age"].update(head=run),
    }


@pytest.mark.parametrize("way", ["config", "stages", "preprocessing", "text", "partial"])
def test_nothing_of_a_strangers_checkpoint_is_run(
    checkpoint, phantom_root, configure, tmp_path, way
):
    hit = tmp_path / "hit"
    hostile_ways(str(hit))[way](checkpoint["boneage"])
    path = write(checkpoint, tmp_path)
    with pytest.raises(UserError, match=r"strange\.ckpt|the checkpoint"):
        train(configure("train=false", f"ckpt_path={path}"))
    arguments = ["explain", path, phantom_root, "--out", tmp_path / "maps"]
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)
    assert not hit.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "boneage.models.module.torch.load",
        "boneage.models.heads.Sequence",
        "boneage.models.backbones.nn.Linear",
        "torch.optim.adam.torch.load",
        "torch.optim.lr_scheduler.partial",
        "boneage.models",
        "boneage.run.trust.check_record",
        5,
        None,
    ],
)
def test_only_parts_of_models_are_built(target):
    with pytest.raises(UserError, match="outside this project"):
        check_buildable({"backbone": [{"_target_": target}]})


def test_a_network_of_an_older_version_is_named():
    old = {"_target_": "boneage.models.pretrained.TorchvisionBackbone", "name": "resnet18"}
    with pytest.raises(UserError, match=r"older version.*TorchvisionBackbone.*train it again"):
        check_buildable({"backbone": old})


def test_parts_of_models_are_built():
    for target in (
        "boneage.models.backbones.SlimResNet",
        "boneage.models.pretrained.TimmBackbone",
        "boneage.models.schedules.warmup_cosine",
        "boneage.tasks.regression.AgeRegression",
        "boneage.stages.Stages",
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.StepLR",
    ):
        check_buildable({"_target_": target})


@pytest.mark.parametrize("missing", ["config", "split", "preprocessing", "options"])
def test_a_record_must_be_whole(checkpoint, tmp_path, missing):
    del checkpoint["boneage"][missing]
    with pytest.raises(UserError, match=f"lacks {missing}"):
        read_checkpoint(write(checkpoint, tmp_path))
    for record in ({}, 1, None):
        with pytest.raises(UserError, match="cannot be used"):
            read_checkpoint(write(checkpoint | {"boneage": record}, tmp_path))


def test_weights_must_be_whole(checkpoint):
    for change in (lambda c: c.pop("state_dict"), lambda c: c["state_dict"].popitem()):
        damaged = copy.deepcopy(checkpoint)
        change(damaged)
        with pytest.raises(UserError, match="weights are not those of its model"):
            load_model(damaged)


def test_any_damage_is_one_line(run, tmp_path):
    whole = (run / "checkpoints/best.ckpt").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.ckpt"
    said = []
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 30):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except UserError as error:
            said.append(str(error))
    assert len(said) > 20
    assert not any("\n" in line for line in said)
