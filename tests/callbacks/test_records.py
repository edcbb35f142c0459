"""Records of a run: predictions of several processes, and the speed of an interrupted training."""

import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, compose_config

from boneage.callbacks import records
from boneage.callbacks.records import Predictions, Throughput
from boneage.errors import UserError
from boneage.evaluation.metrics import AGE
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import build_model
from boneage.run.experiment import train
from boneage.stages import Stages


def test_predictions_of_several_processes_are_in_the_order_of_the_table(monkeypatch):
    table = pd.DataFrame({"id": list("abcde"), "age_years": [2.0, 4.0, 11.0, 13.0, 19.0]})
    task = SimpleNamespace(metrics=lambda: AGE, constant=lambda train: None)
    data = SimpleNamespace(table=table, described=[], stages=Stages())
    model = SimpleNamespace(tasks={"age": task})
    monkeypatch.setattr(records, "model_and_data", lambda *_: (model, data))
    gathered = Predictions()
    for rows in ([0, 2], [4], [1, 3]):  # of the first process, then of the second
        true = table["age_years"].to_numpy()[rows]
        own = pd.DataFrame({"age_years_predicted": true + 1}, index=rows)
        gathered._batches.append((own, {"age": (np.array(rows), true, true + 1)}))
    gathered.on_validation_epoch_end(None, None)
    assert gathered.table["id"].tolist() == list("abcde")
    assert gathered.table["age_years_predicted"].tolist() == [3, 5, 12, 14, 20]
    assert gathered.table["stage"].tolist() == ["child"] * 2 + ["adolescent"] * 2 + ["adult"]
    (scored,) = gathered.tasks
    np.testing.assert_array_equal(scored.true, table["age_years"])
    np.testing.assert_array_equal(scored.predicted, table["age_years"] + 1)


@pytest.mark.parametrize("shape", [(3, 1), (1,)])  # pandas would write one number for all
def test_a_column_without_one_value_per_radiograph_is_refused(shape):
    model = build_model(compose_config(*TINY), {})
    model.tasks["age"].columns = lambda prediction: {"mine": torch.ones(shape)}
    batch = {"age_months": torch.ones(3), "index": torch.arange(3)}
    with pytest.raises(UserError, match=r"^tasks.age: mine has shape \(.*\) for 3 radiographs"):
        Predictions().on_validation_batch_end(None, model, {"age": torch.ones(3)}, batch, 0)


def test_columns_that_are_no_dict_are_refused():
    model = build_model(compose_config(*TINY), {})
    model.tasks["age"].columns = lambda prediction: prediction
    batch = {"age_months": torch.ones(3), "index": torch.arange(3)}
    with pytest.raises(UserError, match=r"^tasks.age: columns\(\) must return a dict .* Tensor$"):
        Predictions().on_validation_batch_end(None, model, {"age": torch.ones(3)}, batch, 0)


@pytest.mark.parametrize("column", ["sex", "stage", "hospital", "stage_predicted"])
def test_a_column_that_the_file_has_already_is_refused(column, monkeypatch):
    model = build_model(compose_config(*TINY, "task=multitask"), {})
    model.tasks["age"].columns = lambda prediction: {"stage_predicted": prediction}
    model.tasks["stage"].columns = lambda prediction: {column: prediction}
    data = SimpleNamespace(described=["hospital"])
    monkeypatch.setattr(records, "model_and_data", lambda *_: (model, data))
    callback = Predictions()
    callback.setup(None, model, "fit")
    batch = {"age_months": torch.ones(3), "index": torch.arange(3)}
    with pytest.raises(UserError, match=f"^tasks.stage: .* already has the column {column}: "):
        callback.on_validation_batch_end(
            None, model, dict.fromkeys(("age", "stage"), torch.ones(3)), batch, 0
        )


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
    monkeypatch.setattr(records, "time", SimpleNamespace(perf_counter=lambda: now))
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

    monkeypatch.setattr(records, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(BoneAgeModule, "training_step", train_for_seconds)
    monkeypatch.setattr(BoneAgeModule, "validation_step", validate_for_seconds)
    options = (f"trainer.val_check_interval={interval}", "trainer.num_sanity_val_steps=1")
    assert train(configure(*options))["images_per_second"] == 1
