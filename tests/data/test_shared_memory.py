"""Loader processes: too little shared memory for them, and their death."""

import multiprocessing
import os
from types import SimpleNamespace

import pytest
import torch

from boneage.data import dataset
from boneage.data.dataset import Radiographs, check_shared_memory, free_shared_memory
from boneage.data.decode import Preprocessing
from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError
from boneage.run.experiment import train


@pytest.mark.parametrize(
    ("size", "batch", "workers", "fits"),
    [
        (128, 32, 4, True),
        (256, 64, 4, True),  # 10 batches of 4.2 MB
        (256, 64, 7, False),  # 16: the trainer uses two
        (256, 64, 8, False),  # 18
        (512, 32, 4, False),
        (512, 256, 0, True),
    ],
)
def test_what_fits_the_64_mb_of_a_container(monkeypatch, size, batch, workers, fits):
    monkeypatch.setattr(dataset, "free_shared_memory", lambda: 64 * 2**20)
    if fits:
        check_shared_memory(size**2, batch, workers)
        return
    with pytest.raises(UserError, match=r"data\.num_workers=\d: .* MB free: .*num_workers=0.*shm"):
        check_shared_memory(size**2, batch, workers)


def test_the_loaders_of_all_processes_count(monkeypatch):
    asked = []
    monkeypatch.setattr("boneage.data.module.check_shared_memory", lambda *all_: asked.append(all_))
    data = SimpleNamespace(
        residence="host", preprocessing=Preprocessing(64), batch_size=5, num_workers=3,
        trainer=SimpleNamespace(num_devices=2),
    )  # fmt: skip
    BoneAgeDataModule._check_shared_memory(data)
    assert asked == [(64 * 64, 5, 6)]


def test_systems_without_such_a_folder_are_not_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset, "SHARED_MEMORY", tmp_path / "nowhere")
    assert free_shared_memory() is None
    check_shared_memory(10**9, 1000, 8)


def test_a_run_is_told_before_it_decodes(configure, monkeypatch, tmp_path):
    monkeypatch.setattr(dataset, "free_shared_memory", lambda: 1000)
    cfg = configure("data.num_workers=2", f"data.cache_dir={tmp_path}/cache")
    with pytest.raises(UserError, match=r"--shm-size"):
        train(cfg)
    assert not (tmp_path / "cache").exists()
    train(configure("data.num_workers=2", "data.residence=device", run="device"))  # no loaders


@pytest.fixture
def forked():
    """Let loader processes inherit what a test replaces; from Python 3.14 on they would not."""
    usual = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("fork", force=True)
    yield
    multiprocessing.set_start_method(usual, force=True)


@pytest.mark.usefixtures("forked")
def test_a_loader_process_that_dies_ends_the_run(configure, monkeypatch, tmp_path):
    monkeypatch.setattr(Radiographs, "__getitems__", lambda self, keys: os.kill(os.getpid(), 9))
    with pytest.raises(UserError, match=r"a loader process died.*num_workers=0") as caught:
        train(configure("data.num_workers=1"))
    assert "\n" not in str(caught.value)
    assert "a loader process died" in (tmp_path / "run/error.txt").read_text()


@pytest.mark.usefixtures("forked")
def test_a_batch_that_finds_no_memory_ends_the_run(configure, monkeypatch, tmp_path):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(UserError, match=r"had too little shared memory: .*--shm-size"):
        train(configure("data.num_workers=1"))
    assert (tmp_path / "run/error.txt").is_file()
