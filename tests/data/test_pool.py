"""Calls in other processes, of several threads, and given up."""

import os
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from helpers import PROJECT
from joblib import delayed

from boneage.data.pool import SAFE_PATH, run_pool


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    return tmp_path


def start():
    return run_pool((delayed(time.sleep)(0.01) for _ in range(50)), n_jobs=2)


def test_another_call_meanwhile_is_not_stopped(folder):
    """joblib would end the processes of both."""
    first = start()
    next(first)
    others = []
    thread = threading.Thread(target=lambda: others.extend(start()))
    thread.start()
    first.close()
    thread.join(60)
    assert len(others) == 50
    assert list(folder.glob("boneage-*")) == []


def test_what_the_caller_does_about_threads_that_fail_is_not_changed(folder, monkeypatch):
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    for _ in range(2):
        assert len(list(start())) == 50
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    assert [args.exc_type for args in failed] == [ZeroDivisionError]


IN_TWO_PROCESSES = """
import operator
from joblib import delayed
from boneage.data.pool import run_pool
print(list(run_pool((delayed(operator.neg)(n) for n in range(4)), n_jobs=2)))
"""


def test_files_of_the_working_directory_are_not_imported(tmp_path):
    """A folder of data may contain any file, and Python looks there first (`-m`, `-c`)."""
    for name in ("pickle", "numpy", "cv2", "joblib", "signal", "typing"):
        (tmp_path / f"{name}.py").write_text(f"open('{name}.ran', 'w')\n")
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "LOKY_MAX_CPU_COUNT": "2"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", IN_TWO_PROCESSES],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.stdout == "[0, -1, -2, -3]\n", done.stderr
    assert list(tmp_path.glob("*.ran")) == []


@pytest.mark.parametrize("before", [None, "", "x"])
def test_the_environment_of_the_caller_is_unchanged(folder, monkeypatch, before):
    monkeypatch.delenv(SAFE_PATH, raising=False)
    if before is not None:
        monkeypatch.setenv(SAFE_PATH, before)
    assert len(list(start())) == 50
    assert os.environ.get(SAFE_PATH) == before
