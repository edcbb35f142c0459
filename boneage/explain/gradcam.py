"""Grad-CAM (Selvaraju et al. 2017) of a trained model, by Captum."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import functional as F

from boneage.models.module import BoneAgeModule


def grad_cam(
    model: BoneAgeModule, image: Tensor, sex: Tensor, task: str, target: Tensor | None = None
) -> Tensor:
    """Return which parts of radiographs raise, and which lower, what a task predicts.

    It works in training and under inference mode, autocast and compilation alike, and leaves the
    model, its gradients and the random numbers as they are.

    Args:
        model: the model.
        image: (B, 1, H, W) uint8 radiographs.
        sex: (B,) int64, index into `SEXES`.
        task: name of the task.
        target: for stages, the (B,) index of the stage; None is the predicted one.

    Returns:
        (B, h, w) float32 signed maps at the resolution of the backbone's Grad-CAM layer: positive
        makes the hand look older, or the stage more likely. The part above zero is the usual map.
    """
    head = model.tasks[task]

    def score(x: Tensor, sex: Tensor) -> Tensor:
        return head.score(head(model.sex(model.backbone(x), sex)), target)

    with explaining(model):
        target = None if target is None else target.clone()
        x = model.to_input(image.clone()).requires_grad_()
        method = LayerGradCam(score, model.backbone.cam_layer)
        maps = method.attribute(x, additional_forward_args=(sex.clone(),))
        assert isinstance(maps, Tensor)
        return maps.detach()[:, 0].float()


def enlarge(maps: Tensor, side: int) -> Tensor:
    """Return (B, side, side) bilinear enlargements of (B, h, w) maps."""
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear")[:, 0]


@contextmanager
def explaining(model: BoneAgeModule) -> Iterator[None]:
    """Make gradients exact and eager, and the model one that predicts; then as it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with (
            torch.inference_mode(mode=False),
            torch.enable_grad(),
            torch.autocast(model.device.type, enabled=False),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        for module, was in training.items():
            module.training = was
