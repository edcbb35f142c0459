"""A full disk: one line that names the right place, and nothing that was written is lost."""

import errno
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import lightning as L
import pandas as pd
import pytest
from helpers import PROJECT, predictions, write_finished_run
from lightning.pytorch.demos.boring_classes import BoringModel
from typer.testing import CliRunner

from boneage.callbacks.checkpoint import RunCheckpoint
from boneage.cli.main import app
from boneage.data.phantom import write_phantom
from boneage.data.pool import _store
from boneage.errors import UserError
from boneage.evaluation.run_folder import read_run
from boneage.run.changes import STRESSES
from boneage.run.ensemble import ensemble
from boneage.run.explain import Explained, explain
from boneage.run.process import interruptible
from boneage.run.stress import stress

FULL = os.strerror(errno.ENOSPC)


@contextmanager
def limit(largest_file):
    """Fail a write beyond a number of bytes, in this process, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("phantom"), n=6, size=64, seed=0)


@pytest.fixture(scope="module")
def words(images, exported):
    return ["predict", str(images), "--checkpoint", str(exported / "model.onnx"), "--out"]


@pytest.mark.parametrize("stops_log", [True, False])
def test_prediction_resumes(words, tmp_path, monkeypatch, stops_log):
    monkeypatch.chdir(tmp_path)
    expected = CliRunner().invoke(app, [*words, "whole"])
    assert expected.exit_code == 0, expected.exception
    about = json.loads((tmp_path / "whole/predictions.json").read_text())
    answers = about.pop("predictions")
    about.pop("schema")
    states = about.pop("states")
    lines = [answer | {"state": states[answer["file"]]} for answer in answers]
    log = sum(len(json.dumps(line)) + 1 for line in (about, *lines))
    largest_file = log // 2 if stops_log else log  # the document is larger
    with limit(largest_file):
        stopped = CliRunner().invoke(app, [*words, "out"]).exception
    assert isinstance(stopped, UserError)
    assert "\n" not in str(stopped)
    named = "out" if stops_log else "out/predictions.json"
    assert str(stopped).startswith(f"{named} cannot be written (File too large)")
    assert "--resume" in str(stopped)
    logged = (tmp_path / "out/predictions.part").read_bytes()
    assert len(logged) == largest_file
    with limit(100):
        again = CliRunner().invoke(app, [*words, "out", "--resume"]).exception
    assert isinstance(again, UserError)
    assert str(again) == (
        "out/predictions.part cannot be written (File too large): when this is fixed, "
        "repeat the command"
    )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["predictions.part"]
    assert (tmp_path / "out/predictions.part").read_bytes() == logged
    finished = CliRunner().invoke(app, [*words, "out", "--resume"])
    assert finished.exit_code == 0, finished.exception
    for name in ("predictions.csv", "predictions.json"):
        resumed, whole = (tmp_path / folder / name for folder in ("out", "whole"))
        assert resumed.read_text() == whole.read_text()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_standard_output():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "boneage", "--help"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False, env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, f"error: standard output: {FULL}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_log_file():
    code = (
        "import logging; from boneage.terminal import prepare_output; "
        "prepare_output(required=False); logging.basicConfig(filename='/dev/full'); "
        "logging.warning('lost'); print('printed')"
    )
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert (done.stdout, done.stderr) == ("printed\n", "")


def test_an_ensemble_can_be_repeated(tmp_path):
    table = predictions().assign(id=lambda t: t.index.astype(str))
    n = {"train": 1, "val": 0, "test": 80}
    run = write_finished_run(tmp_path / "run", table, n=n)
    tested = table[["id", "sex", "age_years"]].assign(fold="test")
    trained = pd.DataFrame({"id": ["80"], "sex": "male", "age_years": 5.0, "fold": "train"})
    pd.concat([trained, tested]).to_csv(run / "split.csv", index=False)
    ensemble([run], tmp_path / "whole")
    size = (tmp_path / "whole/predictions.csv").stat().st_size  # less than that of metrics.json
    with pytest.raises(UserError, match=r"out/metrics\.json cannot be written"), limit(size):
        ensemble([run], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    ensemble([run], tmp_path / "out")


@pytest.mark.drawn
def test_stress_names_its_file(exported, phantom_root, tmp_path, monkeypatch):
    monkeypatch.setattr("boneage.run.stress.STRESSES", {"mirrored": STRESSES["mirrored"]})
    table = pd.read_csv(phantom_root / "boneage-training-dataset.csv").tail(12)
    table.assign(id=[f"other{id_}" for id_ in table["id"]]).to_csv(tmp_path / "labels.csv")
    for id_ in table["id"]:
        other = tmp_path / f"other{id_}.png"
        other.symlink_to(phantom_root / f"boneage-training-dataset/{id_}.png")
    with pytest.raises(UserError, match=r"out/stress\.png cannot be written .*--out$"), limit(9000):
        stress(exported / "model.onnx", tmp_path / "out", tmp_path)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["stress.csv"]


@pytest.mark.drawn
def test_maps_can_be_repeated(exported, images, tmp_path):
    words = Explained(exported / "model.onnx", [images]), tmp_path, "gradcam"
    array = 64 * 64 * 4 + 128  # bytes
    with pytest.raises(UserError, match=r"/age_000\.png cannot be written"), limit(array):
        explain(*words)
    assert not list(tmp_path.iterdir())
    explain(*words)


def test_results_of_processes_are_temporary_files(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path} cannot be written .*TMPDIR=$"), limit(100):
        _store(bytes, tmp_path / "0", 200)


def test_a_checkpoint_stays_until_the_next_is_complete(tmp_path, monkeypatch):
    trainer = L.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[RunCheckpoint(tmp_path, "last")],
    )  # fmt: skip
    trainer.fit(BoringModel())
    file = tmp_path / "last.ckpt"
    before = file.read_bytes()
    with pytest.raises(OSError, match=r"last\.ckpt"), limit(len(before) // 2):
        trainer.save_checkpoint(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    file.unlink()
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")  # may be on another device
    trainer.save_checkpoint(file)
    assert file.stat().st_size > len(before) // 2


def copying(folder):
    return OSError(errno.ENOSPC, FULL, "/elsewhere/tmp1", None, f"{folder}/best.ckpt")


def writing(folder):
    return OSError(errno.ENOSPC, FULL)


@pytest.mark.parametrize(("error", "named"), [(copying, "run/best.ckpt"), (writing, "run")])
def test_a_run_names_what_cannot_be_written(tmp_path, error, named):
    (tmp_path / "run").mkdir()
    with (
        pytest.raises(UserError, match=f"^{tmp_path / named}: {FULL}; when this is fixed"),
        interruptible(tmp_path / "run"),
    ):
        raise error(tmp_path / "run")


def test_a_run_without_its_reason(tmp_path):
    (tmp_path / "error.txt").touch()
    with pytest.raises(UserError, match=r"failed: error\.txt is empty, since the disk was full$"):
        read_run(tmp_path)
