"""Speed and duration of a run, also of one that was interrupted."""

import time

import pytest

from boneage.callbacks.throughput import Throughput


def test_a_resumed_run_tells_the_whole():
    resumed = Throughput()
    resumed.load_state_dict({"images": 1000, "seconds": 20.0, "elapsed": 300.0})
    assert resumed.images_per_second == 50
    time.sleep(0.01)
    assert 300.01 <= resumed.elapsed < 310
    saved = resumed.state_dict()
    assert (saved["images"], saved["seconds"]) == (1000, 20.0)
    assert saved["elapsed"] == pytest.approx(resumed.elapsed, abs=5)


def test_the_best_checkpoint_takes_nothing_back():
    done = Throughput()
    done.images, done.seconds = 2000, 50.0
    done.load_state_dict({"images": 1000, "seconds": 20.0, "elapsed": 300.0})
    assert done.images_per_second == 40
    assert done.elapsed < 300
