"""Calls in other processes, of several threads, and given up."""

import tempfile
import threading
import time

import pytest
from joblib import delayed

from boneage.data.pool import run_pool


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
