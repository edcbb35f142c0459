"""The cosine between the gradients of tasks, on networks whose gradients are known."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from boneage.callbacks.gradient_conflict import GradientConflict
from boneage.run.experiment import train


@pytest.mark.parametrize(
    ("second", "cosine"),
    [((1.0, 0.0), 1.0), ((0.0, 2.0), 0.0), ((-3.0, 0.0), -1.0), ((0.0, 0.0), None)],  # no label
)
def test_cosines_by_hand(second, cosine):
    backbone = nn.Linear(2, 1, bias=False)
    logged = {}
    losses = {
        "age": backbone(torch.tensor([[1.0, 0.0]])).sum(),
        "stage": backbone(torch.tensor([second])).sum(),
    }
    model = SimpleNamespace(
        tasks={"age": None, "stage": None}, backbone=backbone, losses=losses,
        log=lambda name, value, batch_size, **_: logged.update({name: value} if batch_size else {}),
    )  # fmt: skip
    shown = {}
    logger = SimpleNamespace(log_metrics=lambda values, step: shown.update(values))
    trainer = SimpleNamespace(global_step=0, loggers=[logger])
    GradientConflict(1).on_before_backward(trainer, model, None)
    expected = {} if cosine is None else {"gradients/cosine_age_stage": pytest.approx(cosine)}
    assert logged == shown == expected
    sum(losses.values()).backward()  # the graph is still there


def test_it_is_measured_every_few_steps_only():
    model = SimpleNamespace(tasks={"age": None, "stage": None})  # anything more would fail
    GradientConflict(10).on_before_backward(SimpleNamespace(global_step=7), model, None)


def test_every_measurement_is_on_the_dashboard_at_its_step(configure, tmp_path):
    target = "boneage.callbacks.gradient_conflict.GradientConflict"
    conflict = f"+callbacks.conflict={{_target_: {target}, every_n_steps: 2}}"
    train(configure("task=multitask", "trainer.max_epochs=2", conflict))  # of three steps
    name = "gradients/cosine_age_stage"
    written = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload().Scalars(name)
    assert [scalar.step for scalar in written] == [0, 2, 4]
    first, third, fifth = (scalar.value for scalar in written)
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert history[name].tolist() == pytest.approx([(first + third) / 2, fifth])
    assert [column for column in history if "cosine" in column] == [name]  # not by step as well


def test_an_epoch_without_a_measurement_has_none_in_the_history(configure, tmp_path):
    target = "boneage.callbacks.gradient_conflict.GradientConflict"
    conflict = f"+callbacks.conflict={{_target_: {target}, every_n_steps: 6}}"
    train(configure("task=multitask", "trainer.max_steps=8", "trainer.max_epochs=3", conflict))
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert history["gradients/cosine_age_stage"].isna().tolist() == [False, True, False]
    assert history["images_per_second"].isna().tolist() == [False, False, True]  # not a whole one
    assert history["train/loss"].notna().all()
