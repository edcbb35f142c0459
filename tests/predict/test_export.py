"""Checkpoints as files for other programs."""

import errno
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import BACKBONES, PROJECT, compose_config
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.data.decode import Preprocessing
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.errors import UserError
from boneage.explain.methods import grad_cam
from boneage.predict import export as module
from boneage.predict import onnx_file
from boneage.predict.ensemble import Ensemble
from boneage.predict.export import export
from boneage.predict.graph import _avg_pool_backward, noise
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.onnx_model import OnnxModel
from boneage.run.calibrate import intervals_by_sex, intervals_of, novelty_of
from boneage.run.checkpoint import build_model, load_model, read_checkpoint, resolved
from boneage.run.record_schema import CONFIG_KEYS
from boneage.tasks.regression import AgeRegression
from boneage.uncertainty.calibration import Intervals, to_plain
from boneage.weights import KEY


@pytest.fixture(scope="module", autouse=True)
def _few_phantoms():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RADIOGRAPHS_CHECKED", 8)
        yield


@pytest.fixture(scope="module")
def run(trained):
    return trained("task=multitask", "sex=embedding", "mirror_test=true")


@pytest.fixture(scope="module")
def file(run, tmp_path_factory):
    """The run as an ONNX file, whose weights of 64 values or more are in half precision."""
    path = tmp_path_factory.mktemp("file") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "LARGE", 64)
        differences = export(run, path, "onnx")
    assert differences.graph < 1e-4
    assert 0 < differences.half < 0.1 / 12
    return path


@pytest.fixture(scope="module")
def program(run, tmp_path_factory):
    """The run as a file of torch.export."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    export(run / "checkpoints/best.ckpt", path, "torch_export")
    return path


@pytest.fixture
def serialised(file, program, monkeypatch):
    """The run is not traced again: an export writes what is in these files, by its format."""

    def read(exported, record, form, rights):
        path = {"onnx": file, "torch_export": program}[form]
        return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())

    monkeypatch.setattr(onnx_file, "LARGE", 64)  # as in the ONNX file
    monkeypatch.setattr(module, "_serialise", read)


@pytest.fixture
def radiographs():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (7, 1, 32, 32), np.uint8), np.arange(7) % 3


@pytest.mark.slow
def test_onnx_predicts_with_numpy_alone(run, file, radiographs):
    import onnxruntime

    image, sex = radiographs
    session = onnxruntime.InferenceSession(file)
    assert [output.name for output in session.get_outputs()] == ["age", "stage", "novelty", "map"]
    age, chances, novelty, maps = session.run(None, {"image": image, "sex": sex})
    checkpoint = read_checkpoint(run / "checkpoints/best.ckpt")
    model = load_model(checkpoint).eval()
    images, sexes = torch.from_numpy(image), torch.from_numpy(sex)
    with torch.inference_mode():
        expected, features = model.predict(images, sexes)
    np.testing.assert_allclose(age, expected["age"].numpy(), atol=0.1 / 12)
    np.testing.assert_allclose(chances, expected["stage"].numpy(), atol=1e-3)
    distance = novelty_of(checkpoint["boneage"]).distance(features.numpy())
    np.testing.assert_allclose(novelty, distance, rtol=5e-3)
    drawn = grad_cam(model, images, sexes, "age").numpy()
    np.testing.assert_allclose(maps, drawn, atol=5e-3 * np.abs(drawn).max())
    one = session.run(["age"], {"image": image[:1], "sex": sex[:1]})[0]
    np.testing.assert_allclose(one, age[:1], atol=1e-4)  # any size of batch


def test_a_file_says_all_that_prediction_needs(run, file):
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    stored = json.loads(session.get_modelmeta().custom_metadata_map["boneage"])
    assert stored == json.loads(file.with_suffix(".json").read_text())
    assert Preprocessing(**stored["preprocessing"]).size == 32
    assert stored["inputs"]["sex"] == "int64, batch: 0 = female, 1 = male, 2 = unknown"
    assert stored["tasks"] == {
        "age": ["age_years_predicted"],
        "stage": [f"stage_probability_{name}" for name in ("child", "adolescent", "adult")],
    }
    record = read_checkpoint(run / "checkpoints/best.ckpt")["boneage"]
    for name, known in (("sex_known", True), ("sex_unknown", False)):
        widths = [
            np.inf if w is None else w for w in stored["calibration"]["half_widths_years"][name]
        ]
        assert widths == list(intervals_of(record, known).widths)
    assert stored["stages"] == ["child", "adolescent", "adult"]
    assert stored["stage_edges_years"] == [10, 18]
    assert stored["mirror_test"] is True
    assert stored["schema"] == 1


def test_a_file_holds_ids_but_no_ages_and_no_sexes_of_radiographs(run, file):
    stored = json.loads(file.with_suffix(".json").read_text())
    split = pd.DataFrame(read_checkpoint(run / "checkpoints/best.ckpt")["boneage"]["split"])
    for fold in ("train", "val"):
        assert stored["radiographs"][fold] == split["id"][split["fold"] == fold].tolist()
    assert [key for key in stored if key in ("split", "options", "record")] == []
    content = file.read_bytes()
    for told in (b"age_months", b"predicted_years", str(PROJECT).encode(), b".py"):
        assert told not in content


def test_weights_are_halves_under_their_own_names(run, file):
    import onnx

    kept = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(file).graph.initializer}
    state = load_model(read_checkpoint(run / "checkpoints/best.ckpt")).state_dict()
    for name in ("backbone.layers.3.body.3.weight", "tasks.age.head.0.weight"):
        assert kept[name].dtype == np.float16
        np.testing.assert_allclose(kept[name], state[name], rtol=1e-3, atol=1e-6)
    assert kept["tasks.age.mean"].dtype == np.float32
    assert kept["tasks.age.mean"] == state["tasks.age.mean"].numpy()


def test_half_precision_that_costs_too_much_is_not_used(run, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGE", 1)
    model = load_model(read_checkpoint(run / "checkpoints/best.ckpt"))
    model.tasks["age"].head[-1].weight.data.mul_(1e6)  # beyond what half precision holds
    exported = module.Exported(model, None, with_map=False)
    exact = model.tasks["age"].head[-1].weight.clone()
    assert module._round(exported, *noise(4, 32)) == 0
    assert torch.equal(model.tasks["age"].head[-1].weight, exact)


@pytest.mark.parametrize("task", ["age", "stage"])
def test_half_precision_that_overflows_in_one_task_is_not_used(run, monkeypatch, task):
    monkeypatch.setattr(onnx_file, "LARGE", 1)
    exported = module.Exported(
        load_model(read_checkpoint(run / "checkpoints/best.ckpt")), None, with_map=False
    )
    predict, calls = exported.model.predict, []

    def overflown(image, sex):
        predictions, features = predict(image, sex)
        calls.append(task)
        if len(calls) > 1:
            predictions[task] = predictions[task] * torch.nan
        return predictions, features

    monkeypatch.setattr(exported.model, "predict", overflown)
    exact = exported.model.tasks["age"].head[-1].weight.clone()
    assert module._round(exported, *noise(4, 32)) == 0
    assert torch.equal(exported.model.tasks["age"].head[-1].weight, exact)


def test_a_map_that_is_not_finite_is_no_agreement(run, monkeypatch):
    model = load_model(read_checkpoint(run / "checkpoints/best.ckpt"))
    exported = module.Exported(model, None, with_map=False)
    right = [values.numpy() for values in exported(*noise(4, 32))]
    for number in range(len(right)):
        wrong = [np.full_like(v, np.nan) if i == number else v for i, v in enumerate(right)]
        session = type("Session", (), {"run": lambda self, *_, wrong=wrong: wrong})
        monkeypatch.setattr(module, "new_session", lambda content, session=session: session())
        assert np.isnan(module._difference(exported, b"", "onnx", *noise(4, 32)))


def test_a_model_is_rebuilt_from_its_file(run, file, radiographs):
    image, sex = (torch.from_numpy(values) for values in radiographs)
    loaded = [read_checkpoint(path) for path in (run / "checkpoints/best.ckpt", file)]
    models = [load_model(checkpoint).eval() for checkpoint in loaded]
    with torch.inference_mode():
        (before, _), (after, features) = (model.predict(image, sex) for model in models)
    for name in ("age", "stage"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-3)
    records = [checkpoint["boneage"] for checkpoint in loaded]
    first, second = (novelty_of(record).distance(features.numpy()) for record in records)
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert intervals_of(records[0]) == intervals_of(records[1])


def test_a_run_and_its_file_are_one_model(run, file, tmp_path, caplog):
    """With intervals, for which the run was validated on too few."""
    calibration = {"half_widths_years": {"sex_known": [1.0] * 6, "sex_unknown": [2.0] * 6}}
    known, exported = tmp_path / "known.ckpt", tmp_path / "known.onnx"
    content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    content["boneage"]["calibration"] = calibration
    torch.save(content, known)
    contract = json.loads(file.with_suffix(".json").read_text()) | {"calibration": calibration}
    exported.write_bytes(with_metadata(file.read_bytes(), KEY, json.dumps(contract)))
    Ensemble([known, exported])
    assert f"{known} and {exported} have the same intervals, so they seem to be one" in caplog.text


def write_checkpoint(path, cfg):
    """Write what training would, with random weights and no calibration."""
    record = {
        "config": resolved(cfg, CONFIG_KEYS),
        "options": {},
        "config_text": "",
        "preprocessing": {"size": cfg.data.size, "fit": "squash", "contrast": "none"},
        "split": {"id": ["a", "b"], "age_months": [30.0, 90.0], "sex": ["male", "female"],
                  "fold": ["train", "val"]},
    }  # fmt: skip
    torch.manual_seed(0)
    model = build_model(cfg, record)
    torch.save({"boneage": record, "state_dict": model.state_dict()}, path)


SLOW = (  # to trace; slim_resnet is of the class of se_resnet
    "slim_resnet", "resnet18", "efficientnet_v2_s", "convnext_tiny", "efficientnet_lite0",
)  # fmt: skip
TASKS = {  # each is exported with one of the networks
    # whose output is not called sex, as the input is
    "se_resnet": ("task=age_sex", "backbone.depths=[1,1,1]"),
    "paper_cnn": (
        "task=classification", "tasks.stage._target_=boneage.tasks.ordinal.OrdinalStages",
    ),
}  # fmt: skip
EXPORTED = [
    pytest.param(
        (f"backbone={name}", *TASKS.get(name, ())),
        id=name,
        marks=[pytest.mark.soak] if name in SLOW else [],
    )
    for name in BACKBONES
]
TIMM = (
    "backbone=timm", "backbone.name=test_efficientnet", "backbone.enlarge=1.5",
    "tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution", "loss=l1",
)  # fmt: skip
EXPORTED.append(pytest.param(TIMM, id="timm"))


@pytest.mark.slow
@pytest.mark.parametrize("options", EXPORTED)
def test_all_networks_and_tasks_are_exported_with_their_map_and_rebuilt(options, tmp_path, capfd):
    import onnxruntime

    cfg = compose_config(*options, "data.size=64", "mirror_test=false")  # mirrored: see `run`
    write_checkpoint(tmp_path / "a.ckpt", cfg)
    export(tmp_path / "a.ckpt", tmp_path / "a.onnx", "onnx")
    assert "onnxruntime" not in capfd.readouterr().err  # its warnings tell a user nothing
    model, rebuilt = (load_model(read_checkpoint(tmp_path / f"a.{s}")) for s in ("ckpt", "onnx"))
    image, sex = noise(3, 64)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    told, *rest = session.run(None, {"image": image.numpy(), "sex": sex.numpy()})
    task = next(iter(model.tasks))
    with torch.inference_mode():
        expected, again = (m.eval().predict(image, sex)[0][task] for m in (model, rebuilt))
    np.testing.assert_allclose(told, expected, atol=0.1 / 12)
    np.testing.assert_allclose(told, again, atol=1e-4)
    columns, _ = OnnxModel(tmp_path / "a.onnx").predict(image[:, 0].numpy(), ["female"] * 3)
    assert len(columns) >= len(model.tasks)
    assert all(np.isfinite(values).all() for values in columns.values())
    if options == ("backbone=convnext_tiny",):  # its gradients are not written yet
        assert not rest
        return
    maps = rest[-1]
    drawn = grad_cam(rebuilt, image, sex, task).numpy()
    np.testing.assert_allclose(maps, drawn, atol=1e-3 * np.abs(drawn).max())


def test_a_contract_has_the_widths_of_each_sex_and_all_ids_of_training():
    split = {"id": [*"abcdef"], "fold": ["train", "val", "test", "train", "val", "test"]}
    record = {"split": split, "earlier": {"id": ["z", "a"]}}
    record["calibration"] = {"half_widths_years": {"sex_known": [1.0], "sex_unknown": [2.0, None]}}
    widths = to_plain(intervals_by_sex(record))
    assert widths == {"sex_known": [1.0], "sex_unknown": [2.0, None]}
    assert onnx_file._radiographs(record) == {"train": ["a", "d", "z"], "val": ["b", "e"]}


def test_what_a_model_reads_in_its_contract():
    contract = {
        "schema": 1, "tasks": {"age": [PREDICTED_AGE]}, "stages": ["young", "old"],
        "stage_edges_years": [9], "preprocessing": {"size": 16}, "preprocessing_version": None,
        "mirror_test": False, "radiographs": {"train": ["a", "b", "c"], "val": ["d"]},
        "calibration": {"half_widths_years": {"sex_known": [1.0], "sex_unknown": [None]}},
    }  # fmt: skip
    model = object.__new__(OnnxModel)
    model.file = Path("model.onnx")
    model._read_metadata({"boneage": json.dumps(contract)}, mirror=False)
    assert (model.seen, model.validated) == ({"a", "b", "c", "d"}, 1)
    assert model.intervals == {True: Intervals((1.0,)), False: Intervals((np.inf,))}
    assert (model.stages.names, model.stages.edges) == (("young", "old"), (9,))
    assert (model.predicts_age, model.mirror, model.site) == (True, False, None)


@pytest.mark.slow
def test_torch_export(run, program, radiographs):
    image, sex = (torch.from_numpy(values) for values in radiographs)
    age, *_ = torch.export.load(program).module()(image, sex)
    model = load_model(read_checkpoint(run / "checkpoints/best.ckpt")).eval()
    np.testing.assert_allclose(
        age.detach().numpy(), model.predict(image, sex)[0]["age"].detach().numpy(), atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.usefixtures("serialised")
def test_a_file_that_predicts_otherwise_is_not_left(run, tmp_path, monkeypatch):
    decode = AgeRegression.decode
    monkeypatch.setattr(AgeRegression, "decode", lambda self, raw: decode(self, raw) + 0.001)
    for form, suffix in module.EXPORT_SUFFIXES.items():
        file = tmp_path / f"model{suffix}"
        with pytest.raises(UserError, match=rf"predictions of {file} .* differ .* 1\.\de-03: "):
            export(run, file, form)
    assert not list(tmp_path.iterdir())


def test_it_takes_a_while_only_if_nothing_is_refused(run, tmp_path, monkeypatch, caplog):
    def stopped(*_):
        raise UserError("stopped")

    monkeypatch.setattr(module, "_phantoms", stopped)
    said = f"Exporting {run}/checkpoints/best.ckpt: this takes a minute or two"
    (tmp_path / "file").touch()
    for name, lines in (("file/model.onnx", []), ("file.txt", []), ("model.onnx", [said])):
        words = ["export", "--checkpoint", str(run), "--out", str(tmp_path / name)]
        assert isinstance(CliRunner().invoke(app, words).exception, UserError)
        assert caplog.messages == lines


def test_an_exported_file_is_copied(exported, tmp_path):
    copy, first = tmp_path / "copy.onnx", exported / "model.onnx"
    done = CliRunner().invoke(app, ["export", "--checkpoint", str(first), "--out", str(copy)])
    assert done.output.startswith(f"{copy} is a copy of {first}"), done.exception
    assert copy.read_bytes() == first.read_bytes()
    contracts = [json.loads(file.with_suffix(".json").read_text()) for file in (copy, first)]
    assert contracts[0] == contracts[1]


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    for name, form, said in (
        ("model.onnx", "onnx", r"model\.json exists already"),
        ("other.txt", "onnx", r"ends in \.onnx"),
        ("other.onnx", "torch_export", r"ends in \.pt2"),
    ):
        with pytest.raises(UserError, match=said):
            export(run, tmp_path / name, form)
    assert (tmp_path / "model.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["model.json"]


def test_the_example_in_the_docs(file, radiographs, tmp_path):
    shutil.copy(file, tmp_path / "model.onnx")
    np.save(tmp_path / "prepared.npy", radiographs[0])
    page = (PROJECT / "docs/export.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (example,) = (text for text in examples if "onnxruntime" in text)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "age (years of bone age): [" in done.stdout
    assert "stage (probabilities of child, adolescent, adult): [[" in done.stdout
    assert "Grad-CAM" not in done.stdout  # hundreds of numbers


@pytest.mark.parametrize("ceil", [True, False])
@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("size", [8, 7])
def test_the_gradient_of_a_mean_pooling(size, kernel, ceil):
    x = torch.randn(2, 3, size, size + 1, requires_grad=True)
    pooled = torch.nn.functional.avg_pool2d(x, kernel, ceil_mode=ceil)
    gradient = torch.randn_like(pooled)
    (expected,) = torch.autograd.grad(pooled, x, gradient)
    sides = [kernel, kernel]
    found = _avg_pool_backward(gradient, x, sides, sides, [0, 0], ceil, True, None)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("form", "suffix"), module.EXPORT_SUFFIXES.items())
@pytest.mark.usefixtures("serialised")
def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch, form, suffix):
    def write(part, content):
        part.touch()
        if part.name.startswith(f"model{suffix}"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.Path, "write_bytes", write)
    named = rf"new/model\{suffix} cannot be written \(No space left"
    with pytest.raises(UserError, match=named):
        export(run, tmp_path / f"new/model{suffix}", form)
    assert not list((tmp_path / "new").iterdir())
