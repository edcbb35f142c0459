"""Nothing stays on the CPU when a model is elsewhere.

PyTorch's meta device refuses tensors of other devices in most operations, and needs no GPU.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from helpers import compose_config
from hydra.utils import instantiate
from torch.fx.experimental import _config

from boneage.data.batch_augment import BatchAugment
from boneage.explain.methods import grad_cam
from boneage.run.checkpoint import build_model

N, SIZE = 4, 64


@pytest.fixture
def batch():
    integers, floats = ({"dtype": dtype, "device": "meta"} for dtype in (torch.int64, torch.float))
    return {
        "image": torch.zeros(N, 1, SIZE, SIZE, dtype=torch.uint8, device="meta"),
        "age_months": torch.zeros(N, **floats),
        "soft_age_months": torch.zeros(N, **floats),
        "sex": torch.zeros(N, **integers),
        "index": torch.zeros(N, **integers),
    }


def make(monkeypatch, *options):
    """Return a model on the meta device, which logs nothing."""
    model = build_model(compose_config(*options), {})
    for name in ("log", "log_dict"):
        monkeypatch.setattr(model, name, lambda *_, **__: None)
    return model.to("meta")


@pytest.mark.parametrize(
    "options",
    [
        ["task=regression", "backbone=slim_resnet"],
        ["task=age_stage_sex", "sex=none", "weighting=uncertainty", "backbone=se_resnet"],
        ["task=multitask", "sex=embedding", "weighting=loss_scale", "backbone=paper_cnn"],
        ["experiment=ladder/age/12_distribution"],
        ["experiment=ladder/stage/07_ordinal"],
    ],
)
def test_steps_and_maps(options, batch, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # unknown to meta
    model = make(monkeypatch, *options)
    for tensor in (*model.parameters(), *model.buffers()):
        assert tensor.device.type == "meta"
    with _config.patch(meta_nonzero_assume_all_nonzero=True):  # no sex is unknown
        model.training_step(batch, 0).backward()
        model.validation_step(batch, 0)
        model.test_step(batch, 0)
    for task in model.tasks:
        assert grad_cam(model, batch["image"], batch["sex"], task).device.type == "meta"


@pytest.mark.parametrize("augment", ["geometric", "robust", "degraded"])
def test_augmentation_on_the_device(augment, batch):
    changes = BatchAugment(instantiate(compose_config(f"augment={augment}").augment))
    drawn = changes.draw(N, SIZE, np.random.default_rng(0))
    for change, values in zip((c for s in changes.steps for c in s.changes), drawn, strict=True):
        assert change.apply(batch["image"], values[:, 1:].to("meta")).device.type == "meta"


def test_a_tensor_left_on_the_cpu_fails(batch, monkeypatch):
    model = make(monkeypatch, "task=regression", "backbone=paper_cnn")
    model.tasks["age"].mean = torch.tensor([1.0])
    with pytest.raises(RuntimeError, match="device"):
        model.training_step(batch, 0)
