"""Grad-CAM against a derivation by hand, and that it changes nothing."""

import pytest
import torch
from helpers import BACKBONES, compose_config

from boneage.explain.methods import enlarge, grad_cam
from boneage.run.checkpoint import build_model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 1, 64, 64), generator=generator, dtype=torch.uint8)
    return image, torch.tensor([0, 1, 2])


def make(*overrides):
    torch.manual_seed(0)
    return build_model(compose_config("task=multitask", *overrides), record={})


def by_hand(model, image, sex, task, target):
    """Weight every channel of the layer by the mean of its gradient, and sum."""
    kept = {}

    def keep(module, inputs, output):
        output.retain_grad()
        kept["layer"] = output

    model.eval()
    hook = model.backbone.cam_layer.register_forward_hook(keep)
    output = model(image, sex)[task]
    hook.remove()
    if task == "age":
        score = output[:, 0] * model.tasks["age"].std + model.tasks["age"].mean
    else:
        score = output.gather(1, output.argmax(1, keepdim=True) if target is None else target)
    score.sum().backward()
    layer = kept["layer"]
    return (layer.grad.mean(dim=(2, 3), keepdim=True) * layer).sum(dim=1).detach()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "sex_input"),
    [("paper_cnn", "none"), ("slim_resnet", "none"), *((name, "embedding") for name in BACKBONES)],
)
def test_maps_are_those_derived_by_hand(backbone, sex_input, batch):
    model = make(f"backbone={backbone}", f"sex={sex_input}")
    model.tasks["age"].std.fill_(3.4)
    chosen = torch.full((3, 1), 2)
    for task, target in (("age", None), ("stage", None), ("stage", 2)):
        expected = by_hand(model, *batch, task, None if target is None else chosen)
        found = grad_cam(model, *batch, task, None if target is None else chosen[:, 0])
        assert found.shape == expected.shape
        scale = expected.abs().max()
        torch.testing.assert_close(found / scale, expected / scale, atol=2e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_layer_is_fine_enough(backbone):
    image = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
    maps = grad_cam(make(f"backbone={backbone}"), image, torch.tensor([0]), "age")
    assert maps.shape[1] >= 8
    assert enlarge(maps, 128).shape == (1, 128, 128)


def test_in_every_context_the_same_map(batch):
    model = make("backbone=paper_cnn", "sex=embedding")
    plain = grad_cam(model, *batch, "age")
    with torch.inference_mode():
        image, sex = (tensor.clone() for tensor in batch)
        torch.testing.assert_close(grad_cam(model, image, sex, "age"), plain)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(model, *batch, "age"), plain)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(grad_cam(model, *batch, "age"), plain)
    model.backbone.compile()
    torch.testing.assert_close(grad_cam(model, *batch, "age"), plain)


def test_nothing_is_changed(batch):
    model = make("backbone=slim_resnet", "sex=embedding")
    model.train()
    model.backbone.layers[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    grad_cam(model, *batch, "age")
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gpu_maps_agree_with_the_cpus(batch, dtype):
    model = make("backbone=paper_cnn", "sex=embedding")
    expected = grad_cam(model, *batch, "age").flatten()
    model.to("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        found = grad_cam(model, *(tensor.cuda() for tensor in batch), "age").cpu().flatten()
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99
