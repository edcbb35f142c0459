"""A prediction on all cores that is stopped, or loses a process, ends in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import PROJECT
from joblib import cpu_count

from boneage.data.phantom import write_phantom
from boneage.errors import UserError
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.predict import _resumable
from boneage.weights import KEY

ADVICE = "inished predictions are in out: continue with --resume"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
CORES = pytest.mark.skipif(cpu_count() < 2, reason="other processes read on two cores or more")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """So many names that the prediction takes some seconds."""
    folder = tmp_path_factory.mktemp("images")
    (film, *_) = write_phantom(folder / "phantom", n=1, size=64, seed=0).rglob("*.png")
    for number in range(3000):
        (folder / f"{number}.png").hardlink_to(film)
    return folder


@pytest.fixture(scope="module")
def model(exported, tmp_path_factory):
    """A network that needs no time, unlike the built-in model, with intervals as that has."""
    contract = json.loads((exported / "model.json").read_text())
    contract["calibration"]["half_widths_years"] = {"sex_known": [1.0] * 6}
    content = (exported / "model.onnx").read_bytes()
    file = tmp_path_factory.mktemp("model") / "model.onnx"
    file.write_bytes(with_metadata(content, KEY, json.dumps(contract)))
    return file


def start(images, model, folder):
    words = [sys.executable, "-m", "boneage", "predict", images, "--out", "out"]
    words += ["--checkpoint", model]
    return subprocess.Popen(
        words, cwd=folder, env={**os.environ, "PYTHONPATH": str(PROJECT)}, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def wait_for_answers(folder):
    deadline = time.monotonic() + 60
    log = folder / "out/predictions.part"
    while not (log.exists() and log.read_bytes().count(b"\n") > 1):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt(running):
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does


def kill_a_reader(running):
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    readers = [int(child) for child in children if b"Loky" in cmdline(child)]
    os.kill(readers[0], signal.SIGKILL)


def cmdline(process):
    return Path(f"/proc/{process}/cmdline").read_bytes()


@LINUX
@CORES
def test_a_process_that_is_interrupted_while_it_starts_prints_nothing(images, model, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "if any('popen_loky' in word for word in sys.orig_argv):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    first = sorted(images.glob("1*.png"))[:20]
    words = [sys.executable, "-m", "boneage", "predict", *first, "--out", tmp_path / "out"]
    words += ["--checkpoint", model]
    ended = subprocess.run(
        words, text=True, capture_output=True, timeout=120,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{PROJECT}", "LOKY_MAX_CPU_COUNT": "2"},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


@LINUX
@CORES
@pytest.mark.parametrize(
    ("stop", "said", "code"),
    [
        (interrupt, f"Stopped. F{ADVICE}.\n", 130),
        (
            kill_a_reader,
            f"error: a process was killed, perhaps because memory ran out; f{ADVICE}\n",
            1,
        ),
    ],
)
def test_one_line(images, model, tmp_path, stop, said, code):
    running = start(images, model, tmp_path)
    wait_for_answers(tmp_path)
    stop(running)
    assert running.communicate(timeout=60)[1] == said
    assert running.returncode == code


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"),
     Exception("onnxruntime::BFCArena: Failed to allocate memory for 1 bytes")],
)  # fmt: skip
def test_too_little_memory(error):
    with pytest.raises(UserError, match=f"^memory ran out; f{ADVICE}"), _resumable(Path("out")):
        raise error
    with pytest.raises(RuntimeError, match=r"^a fault$"), _resumable(Path("out")):
        raise RuntimeError("a fault")


@LINUX
def test_sigterm_removes_the_decoded_radiographs(images, model, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    running = start(images, model, tmp_path)
    wait_for_answers(tmp_path)
    running.terminate()
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    assert list(temporary.glob("boneage-*")) == []
