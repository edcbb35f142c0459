"""The cosine between the gradients of tasks, on networks whose gradients are known."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from boneage.callbacks.gradient_conflict import GradientConflict


@pytest.mark.parametrize(
    ("second", "cosine"), [((1.0, 0.0), 1.0), ((0.0, 2.0), 0.0), ((-3.0, 0.0), -1.0)]
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
        log=lambda name, value, **_: logged.update({name: value.item()}),
    )  # fmt: skip
    GradientConflict(1).on_before_backward(SimpleNamespace(global_step=0), model, None)
    assert logged == {"gradients/cosine_age_stage": pytest.approx(cosine)}
    sum(losses.values()).backward()  # the graph is still there


def test_it_is_measured_every_few_steps_only():
    model = SimpleNamespace(tasks={"age": None, "stage": None})  # anything more would fail
    GradientConflict(10).on_before_backward(SimpleNamespace(global_step=7), model, None)
