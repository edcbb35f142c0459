"""Checkpoints from strangers: of other programs, damaged, incomplete, or built to run code."""

import argparse
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.errors import UserError
from boneage.run.checkpoint import load_model, read_checkpoint, warn_of_unreadable
from boneage.run.checkpoint_file import checkpoint_file
from boneage.run.experiment import train
from boneage.run.record_schema import check_buildable, checked_record


@pytest.fixture(scope="module")
def run(trained):
    return trained()


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
        "tuple": lambda r: r["config"]["tasks"]["age"].update(hidden=(run,)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", ["config", "stages", "preprocessing", "text", "partial", "tuple"])
def test_nothing_of_a_strangers_checkpoint_is_run(
    checkpoint, phantom_root, configure, tmp_path, way
):
    hit = tmp_path / "hit"
    hostile_ways(str(hit))[way](checkpoint["boneage"])
    path = write(checkpoint, tmp_path)
    with pytest.raises(UserError, match=r"strange\.ckpt|the checkpoint"):
        train(configure("train=false", f"ckpt_path={path}"))
    arguments = ["explain", phantom_root, "--checkpoint", path, "--out", tmp_path / "maps"]
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)
    assert not hit.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "boneage.models.module.torch.load",
        "boneage.tasks.base.Sequence",
        "boneage.models.pretrained.read_wheel",
        "boneage.models.schedules.partial",
        "boneage.models.backbones.nn.Linear",
        "torch.optim.adam.torch.load",
        "torch.optim.lr_scheduler.partial",
        "torch.nn.Linear",
        "torch.nn.modules.loss.F.mse_loss",
        "torch.nn.functional.mse_loss",
        "boneage.models",
        "boneage.run.record_schema.checked_record",
        5,
        None,
    ],
)
def test_only_parts_of_models_are_built(target):
    with pytest.raises(UserError, match="outside this project"):
        check_buildable({"backbone": [{"_target_": target}]})
    with pytest.raises(UserError, match="outside this project"):
        check_buildable({"backbone": ({"_target_": target},)})


@pytest.mark.parametrize("value", [torch.zeros(1), {1}, b"1", torch.float32])
def test_a_config_is_plain(value):
    with pytest.raises(UserError, match="the checkpoint's config contains a "):
        check_buildable({"sex": {"dim": [value]}})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package of a user, with a network, a function, and a trace of its import."""
    (tmp_path / "mine_nets.py").write_text(
        "import pathlib, shutil\n"
        "from boneage.models.backbones import PaperCNN\n"
        f"pathlib.Path({str(tmp_path / 'imported')!r}).touch()\n"
        "class Net(PaperCNN): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_nets", None)


def test_a_package_is_imported_only_if_the_user_names_it(package, monkeypatch):
    net = {"backbone": {"_target_": "mine_nets.Net"}}
    for named in (None, "", "mine", "mine_nets2,numpy"):
        if named is not None:
            monkeypatch.setenv("BONEAGE_TRUST", named)
        with pytest.raises(UserError, match=r"trust it, set BONEAGE_TRUST=mine_nets$"):
            check_buildable(net)
        assert not (package / "imported").exists()
    monkeypatch.setenv("BONEAGE_TRUST", "numpy, mine_nets")
    check_buildable(net)
    assert (package / "imported").exists()


@pytest.mark.parametrize(
    "target",
    ["mine_nets.shutil.rmtree", "mine_nets.pathlib.Path", "mine_nets.Other", "Net", "os.makedirs"],
)
def test_a_named_package_gives_classes_of_model_parts_only(package, monkeypatch, target):
    monkeypatch.setenv("BONEAGE_TRUST", "mine_nets,os,shutil,pathlib")
    with pytest.raises(UserError, match=f"outside this project: {target}"):
        check_buildable({"backbone": {"_target_": target}})


@pytest.mark.parametrize(
    ("returned", "built"),
    [(" -> LambdaLR", True), (" -> 'LambdaLR'", True), ("", False), (" -> int", False),
     (" -> 'Absent'", False), (" -> 'LambdaLR.Absent'", False), (" -> 'a class'", False)],
)  # fmt: skip
def test_a_function_of_a_named_package_must_say_that_it_returns_a_part(
    package, monkeypatch, returned, built
):
    monkeypatch.setenv("BONEAGE_TRUST", "mine_nets")
    with (package / "mine_nets.py").open("a") as file:
        file.write(
            "from torch.optim.lr_scheduler import LambdaLR\n"
            f"def halving(optimizer, total_steps){returned}:\n"
            "    return LambdaLR(optimizer, lambda step: 0.5 ** step)\n"
        )
    config = {"scheduler": {"_target_": "mine_nets.halving", "_partial_": True}}
    if built:
        check_buildable(config)
    else:
        with pytest.raises(UserError, match="a function annotated to return one"):
            check_buildable(config)


@pytest.mark.slow
def test_a_checkpoint_with_a_network_of_a_named_package_predicts(
    checkpoint, package, monkeypatch, phantom_root
):
    checkpoint["boneage"]["config"]["backbone"]["_target_"] = "mine_nets.Slim"
    with (package / "mine_nets.py").open("a") as file:
        file.write(
            "from boneage.models.backbones import SlimResNet\nclass Slim(SlimResNet): pass\n"
        )
    path = write(checkpoint, package)
    image = phantom_root / "boneage-training-dataset/100001.png"
    words = ["predict", str(image), "--checkpoint", str(path)]
    assert "BONEAGE_TRUST=mine_nets" in str(CliRunner().invoke(app, words).exception)
    monkeypatch.setenv("BONEAGE_TRUST", "mine_nets")
    assert CliRunner().invoke(app, words).exit_code == 0


def test_code_elsewhere_is_warned_of_before_training(caplog):
    config = {"loss": {"_target_": "mine.losses.LogCosh"}}
    warn_of_unreadable({"config": config})
    (line,) = caplog.messages
    assert "mine.losses.LogCosh" in line
    assert "boneage/tasks/" in line
    caplog.clear()
    warn_of_unreadable({"config": {"loss": {"_target_": "torch.nn.L1Loss"}}})
    assert not caplog.messages


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
        "torch.nn.SmoothL1Loss",
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


LINE = {"offset": 0.1, "slope": 0.0, "middle": 9.0, "low": 1.0, "high": 18.0}
SITE = {"form": "offset", "lines": {"male": LINE}, "half_widths_years": {}, "ids": ["a"]}


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("config", "backbone", None, "config.backbone has the wrong format"),
        ("config", "sex", {}, "lacks config.sex._target_"),
        ("config", "tasks", {}, "config.tasks has"),
        ("config", "tasks", {"age": {}}, "lacks config.tasks.age._target_"),
        ("config", "stages", {"names": ["a", "b"]}, "lacks config.stages.edges"),
        ("config", "stages", {"names": ["a", "b"], "edges": ["x"]}, "config.stages.edges.0 has"),
        ("config", "mirror_test", 1, "config.mirror_test has"),
        ("options", 1, 2, "options.1"),
        ("preprocessing", "size", "128", "preprocessing.size has"),
        ("split", "id", ["a"], "split has the wrong format .*its columns differ in length"),
        ("split", "age_months", ["9"], "split.age_months.0 has"),
        ("earlier", "id", ["a"], "lacks earlier.age_months"),
        ("calibration", "half_widths_years", "x", "calibration.half_widths_years has"),
        ("calibration", "half_widths_years", {"sex_known": [1.0]}, "half_widths_years.sex_known"),
        ("calibration", "site", {}, "lacks calibration.site.form"),
        ("calibration", "site", SITE | {"lines": {"male": {"offset": "x"}}}, "male.offset has"),
        ("calibration", "site", SITE | {"ids": "a"}, "calibration.site.ids has"),
    ],
)
def test_a_damaged_key_of_a_record_is_named(checkpoint, part, key, value, said):
    record = checkpoint["boneage"]
    record["calibration"]["site"] = SITE
    assert checked_record(record)["calibration"]["site"] == SITE
    record.setdefault(part, {})[key] = value
    with pytest.raises(UserError, match=f"{said}.*; use another checkpoint of the run"):
        checked_record(record)


def test_weights_must_be_whole(checkpoint, tmp_path):
    checkpoint["state_dict"].popitem()
    with pytest.raises(UserError, match="weights do not fit its model"):
        load_model(checkpoint)
    with pytest.raises(UserError, match=r"strange\.ckpt cannot be used: it contains no weights"):
        read_checkpoint(write(checkpoint | {"state_dict": None}, tmp_path))


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


LIGHTNING = {
    "epoch": 3,
    "global_step": 90,
    "pytorch-lightning_version": "2.6.0",
    "state_dict": {"net.weight": torch.zeros(2)},
}
WEIGHTS = nn.Linear(2, 2).state_dict()


def torchscript(path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)


def exported(path):
    program = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, path.with_suffix(".pt2"))
    path.with_suffix(".pt2").rename(path)


def onnx(path):
    helper = pytest.importorskip("onnx.helper", reason="needs the extra export")
    graph = helper.make_graph([], "empty", [], [])
    path.write_bytes(helper.make_model(graph, producer_name="pytorch").SerializeToString())


def safetensors(path):
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "of another kind")


def saved(content, **options):
    return lambda path: torch.save(content, path, **options)


def written(content):
    return lambda path: path.write_bytes(content)


FOREIGN = {
    "lightning": (saved(LIGHTNING), "a Lightning checkpoint of another project"),
    "lightning with objects": (
        saved(LIGHTNING | {"hyper_parameters": {"root": Path("boneage-training-dataset")}}),
        "a Lightning checkpoint of another project",
    ),
    "lightning before its archives": (
        saved(LIGHTNING | {"hparams": argparse.Namespace()}, _use_new_zipfile_serialization=False),
        "a Lightning checkpoint of another project",
    ),
    "weights": (saved(WEIGHTS), "a state_dict: only weights"),
    "weights before archives": (
        saved(WEIGHTS, _use_new_zipfile_serialization=False),
        "a state_dict: only weights",
    ),
    "own loop": (
        saved({"model": WEIGHTS, "epoch": 1}),
        r"a file of another program \(model, epoch\)",
    ),
    "tensor": (saved(torch.zeros(2)), "a PyTorch file that contains a Tensor"),
    "model": (saved(nn.Linear(2, 2)), "a pickled model, which would run its own code"),
    "objects": (saved({"root": Path("x")}), "a pickle of another program, which would run"),
    "own with objects": (saved({"boneage": Path("x")}), "one with foreign objects"),
    "torchscript": (torchscript, "a TorchScript model"),
    "export": (exported, r"a program of torch\.export; give the checkpoint, or export it"),
    "onnx": (onnx, "an ONNX model"),
    "safetensors": (safetensors, "a safetensors file: only weights"),
    "keras": (written(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file"),
    "zip": (zipped, "a zip archive"),
    "git lfs": (written(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "page": (written(b"<!DOCTYPE html><html>Sign in"), "perhaps of a failed download"),
    "text": (written("größe: 3\n".encode()), "a text file"),
    "image": (written(b"\x89PNG\r\n\x1a\n"), "an image"),
    "bytes": (written(bytes(range(200, 256))), "a file of another kind"),
    "zeros": (written(bytes(5000)), "filled with zeros"),
}


@pytest.mark.filterwarnings("ignore")  # TorchScript is deprecated
@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_no_boneage_checkpoint_is_called_by_its_name(kind, tmp_path):
    write_file, said = FOREIGN[kind]
    path = tmp_path / "some.ckpt"
    write_file(path)
    with pytest.raises(
        UserError, match=rf"some\.ckpt is not a boneage checkpoint: it is .*{said}"
    ) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("part", [0.001, 0.3, 0.999])
def test_a_cut_checkpoint_is_called_damaged(run, tmp_path, part):
    whole = (run / "checkpoints/best.ckpt").read_bytes()
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(UserError, match="cannot be loaded: it is incomplete or damaged"):
        read_checkpoint(cut)
    cut.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be loaded: the file is empty"):
        read_checkpoint(cut)
    with pytest.raises(UserError, match="cannot be loaded: No such file"):
        read_checkpoint(tmp_path / "gone.ckpt")
    with pytest.raises(UserError, match="cannot be loaded: File name too long"):
        read_checkpoint(tmp_path / ("a" * 300))


def test_a_newer_checkpoint_asks_for_a_newer_version(checkpoint, tmp_path):
    record = checkpoint["boneage"]
    assert record["schema"] == 2
    for change in ({"schema": 3}, {"preprocessing": record["preprocessing"] | {"finder": "v2"}}):
        newer = write(checkpoint | {"boneage": record | change}, tmp_path)
        with pytest.raises(UserError, match=r"strange\.ckpt cannot be used: .*update boneage"):
            read_checkpoint(newer)
    del record["schema"]  # as before it was written
    assert read_checkpoint(write(checkpoint, tmp_path))
    record["schema"] = "two"
    with pytest.raises(UserError, match="schema is 'two'"):
        read_checkpoint(write(checkpoint, tmp_path))


def test_a_folder_is_searched_for_its_checkpoint(run, tmp_path):
    best = run / "checkpoints/best.ckpt"
    assert checkpoint_file(run) == checkpoint_file(run / "checkpoints") == best
    assert checkpoint_file(best) == best
    assert checkpoint_file(run, "last") == run / "checkpoints/last.ckpt"
    shutil.copytree(run / "checkpoints", tmp_path / "sweep/0/checkpoints")
    with pytest.raises(UserError, match=f"give one of the runs in it: {tmp_path}/sweep/0"):
        checkpoint_file(tmp_path / "sweep")
    shutil.rmtree(tmp_path / "sweep")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="contains no checkpoint: give a checkpoint file, or the"):
        checkpoint_file(tmp_path)
    last = shutil.copy(best, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(UserError, match=rf"it has no best\.ckpt; give one of {last}"):
        checkpoint_file(tmp_path)
    (tmp_path / "mean").mkdir()
    (tmp_path / "mean/metrics.json").touch()
    with pytest.raises(UserError, match="for an ensemble, give its runs"):
        checkpoint_file(tmp_path / "mean")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.json", '{"ensemble": ["one", "two"]}', "is an ensemble: give its runs: one, two"),
        ("metrics.json", '{"options": {"ckpt_path": "one/best.ckpt"}}', "give that: one/best.ckpt"),
        ("error.txt", "the loss is not finite", "its training failed: the loss is not finite"),
        ("metrics.json", "damaged", "give a checkpoint file, or the folder of a run"),
    ],
)
def test_a_folder_without_checkpoints_says_what_to_give(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"contains no checkpoint: .*{said}"):
        checkpoint_file(tmp_path)
