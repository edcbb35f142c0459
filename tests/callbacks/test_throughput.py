"""Speed and duration of a run, also of one that was interrupted."""

import time
from types import SimpleNamespace

import pytest

from boneage.callbacks import throughput
from boneage.callbacks.throughput import Throughput
from boneage.models.module import BoneAgeModule
from boneage.run.experiment import train


def test_a_resumed_run_tells_the_whole():
    resumed = Throughput()
    resumed.load_state_dict({"images": 1000, "seconds": 20.0, "elapsed": 300.0})
    assert resumed.images_per_second == 50
    time.sleep(0.01)
    assert 300.01 <= resumed.elapsed < 310
    saved = resumed.state_dict()
    assert (saved["images"], saved["seconds"]) == (1000, 20.0)
    assert saved["elapsed"] == pytest.approx(resumed.elapsed, abs=5)


def test_images_of_all_processes_count_in_each_epoch(monkeypatch):
    """Two epochs of 2 batches of 8 in 3 processes, at 1 s and then 4 s a batch."""
    now, logged = 0.0, []
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: now))
    model = SimpleNamespace(log=lambda name, value, **_: logged.append(value))
    speed, batch = Throughput(), {"image": range(8)}
    for seconds in (1.0, 4.0):
        speed.on_train_epoch_start(None, None)
        for last in (False, True):
            now += seconds
            trainer = SimpleNamespace(world_size=3, is_last_batch=last)
            speed.on_train_batch_end(trainer, model, None, batch, 0)
    assert logged == [24, 6]
    assert (speed.images, speed.seconds, speed.images_per_second) == (96, 10, 9.6)


def test_the_best_checkpoint_takes_nothing_back():
    done = Throughput()
    done.images, done.seconds = 2000, 50.0
    done.load_state_dict({"images": 1000, "seconds": 20.0, "elapsed": 300.0})
    assert done.images_per_second == 40
    assert done.elapsed < 300


@pytest.mark.parametrize("interval", ["null", "1"])  # after the epoch, or after every batch
def test_validation_is_left_out(configure, monkeypatch, interval):
    """On a clock that only training (1 s per radiograph) and validation (100 s) advance."""
    now = 0.0
    training, validation = BoneAgeModule.training_step, BoneAgeModule.validation_step

    def train_for_seconds(self, batch, batch_idx):
        nonlocal now
        now += len(batch["image"])
        return training(self, batch, batch_idx)

    def validate_for_seconds(self, batch, batch_idx):
        nonlocal now
        now += 100
        return validation(self, batch, batch_idx)

    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(BoneAgeModule, "training_step", train_for_seconds)
    monkeypatch.setattr(BoneAgeModule, "validation_step", validate_for_seconds)
    options = (f"trainer.val_check_interval={interval}", "trainer.num_sanity_val_steps=1")
    assert train(configure(*options))["images_per_second"] == 1
