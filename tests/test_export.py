"""Checkpoints as files for other programs."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import PROJECT

from boneage.data.decode import Preprocessing
from boneage.errors import UserError
from boneage.predict import export as module
from boneage.predict.export import export
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.experiment import train
from boneage.tasks.regression import AgeRegression


@pytest.fixture(scope="module")
def run(phantom_root, tmp_path_factory):
    from conftest import TINY, compose_config

    folder = tmp_path_factory.mktemp("run")
    options = ("task=multitask", "sex=embedding", "mirror_test=true", "data=rsna")
    train(compose_config(*TINY, *options, f"data.root={phantom_root}", f"run_dir={folder}"))
    return folder


@pytest.fixture
def radiographs():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (7, 1, 32, 32), np.uint8), np.arange(7) % 3


def test_onnx_predicts_with_numpy_alone(run, radiographs, tmp_path):
    import onnxruntime

    image, sex = radiographs
    assert export(run, tmp_path / "model.onnx", "onnx").graph < 1e-4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    age, chances = session.run(["age", "stage"], {"image": image, "sex": sex})
    model = load_model(read_checkpoint(run / "checkpoints/best.ckpt")).eval()
    with torch.inference_mode():
        expected = model.predict(torch.from_numpy(image), torch.from_numpy(sex))[0]
    np.testing.assert_allclose(age, expected["age"].numpy(), atol=1e-4)
    np.testing.assert_allclose(chances, expected["stage"].numpy(), atol=1e-4)
    one = session.run(["age"], {"image": image[:1], "sex": sex[:1]})[0]
    np.testing.assert_allclose(one, age[:1], atol=1e-4)  # any size of batch
    stored = json.loads(session.get_modelmeta().custom_metadata_map["boneage"])
    assert stored == json.loads((tmp_path / "model.json").read_text())
    assert Preprocessing(**stored["preprocessing"]).size == 32
    assert stored["inputs"]["sex"] == "int64, batch: 0 = female, 1 = male, 2 = unknown"


def test_torch_export(run, radiographs, tmp_path):
    image, sex = (torch.from_numpy(values) for values in radiographs)
    export(run / "checkpoints/best.ckpt", tmp_path / "model.pt2", "torch_export")
    age, *_ = torch.export.load(tmp_path / "model.pt2").module()(image, sex)
    model = load_model(read_checkpoint(run / "checkpoints/best.ckpt")).eval()
    np.testing.assert_allclose(
        age.detach().numpy(), model.predict(image, sex)[0]["age"].detach().numpy(), atol=1e-4
    )


def test_a_file_that_predicts_otherwise_is_not_left(run, tmp_path, monkeypatch):
    trace = module.trace

    def wrong(exported, side):
        with monkeypatch.context() as patch:
            decode = AgeRegression.decode
            patch.setattr(AgeRegression, "decode", lambda self, raw: decode(self, raw) + 0.001)
            return trace(exported, side)

    monkeypatch.setattr(module, "trace", wrong)
    with pytest.raises(UserError, match="would differ"):
        export(run, tmp_path / "model.pt2", "torch_export")
    assert not (tmp_path / "model.pt2").exists()


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


def test_the_example_in_the_readme(run, radiographs, tmp_path):
    export(run, tmp_path / "model.onnx", "onnx")
    np.save(tmp_path / "prepared.npy", radiographs[0])
    (example,) = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "age (years of bone age): [" in done.stdout
    assert "stage (probabilities of child, adolescent, adult): [[" in done.stdout
