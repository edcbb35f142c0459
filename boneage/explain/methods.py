"""Captum's attribution methods with one interface: signed maps of the size of the radiograph."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from captum.attr import GuidedGradCam, IntegratedGradients, LayerGradCam, Occlusion
from torch import Tensor, nn
from torch.nn import functional as F

from boneage.models.inference import batches
from boneage.models.module import BoneAgeModule
from boneage.models.network import Network

Method = Literal["gradcam", "guided_gradcam", "integrated_gradients", "occlusion"]
INTEGRATION_STEPS = 32  # from black to the radiograph (Sundararajan et al. 2017)
PATCH, STRIDE = 8, 16  # occlusion: patches of 1/8 of the side, moved by 1/16


def grad_cam(
    model: BoneAgeModule, image: Tensor, sex: Tensor, task: str, target: Tensor | None = None
) -> Tensor:
    """Return maps of the parts of radiographs that raise or lower the prediction of a task.

    It works in training and under inference mode, autocast and compilation, and changes neither the
    model nor its gradients nor the random state.

    Args:
        model: the model.
        image: (B, 1, H, W) uint8 radiographs.
        sex: (B,) int64, index into `SEXES`.
        task: name of the task.
        target: for stages, the (B,) index of the stage; None is the predicted stage.

    Returns:
        (B, h, w) float32 signed maps at the resolution of the backbone's Grad-CAM layer: positive
        raises the age, or makes the stage more likely. Usual Grad-CAM maps show the positive part.
    """
    with explaining(model):
        x = model.to_input(image.clone()).requires_grad_()
        method = LayerGradCam(Score(model, task), model.backbone.cam_layer)
        given = sex.clone(), None if target is None else target.clone()
        maps = method.attribute(x, additional_forward_args=given)
        assert isinstance(maps, Tensor)
        return maps.detach()[:, 0].float()


def enlarge(maps: Tensor, side: int) -> Tensor:
    """Return (B, side, side) bilinear enlargements of (B, h, w) maps."""
    return F.interpolate(maps[:, None], size=(side, side), mode="bilinear")[:, 0]


@contextmanager
def explaining(model: BoneAgeModule) -> Iterator[None]:
    """Use exact eager gradients and evaluation mode; restore the model afterwards."""
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


class Score(nn.Module):
    """The scalar output of a task to be explained, for images in [0, 1]."""

    def __init__(self, model: BoneAgeModule, task: str) -> None:
        super().__init__()
        self.model = Network(model.backbone, model.sex, {task: model.tasks[task]})
        self.task = task

    def forward(self, x: Tensor, sex: Tensor, target: Tensor | None = None) -> Tensor:
        """Return (B,) scores; the target is as for `grad_cam`."""
        return self.model.tasks[self.task].score(self._output(x, sex), target)

    @torch.no_grad()
    def predicted_stage(self, x: Tensor, sex: Tensor) -> Tensor | None:
        """Return the (B,) index of the largest of several predicted numbers; None if it is one."""
        prediction = self.model.tasks[self.task].decode(self._output(x, sex))
        return prediction.argmax(dim=1) if prediction.ndim > 1 else None

    def _output(self, x: Tensor, sex: Tensor) -> Tensor:
        outputs, _ = self.model.network(x, sex)
        return outputs[self.task]


def attribute(
    model: BoneAgeModule, image: Tensor, sex: Tensor, task: str, method: Method
) -> Tensor:
    """Return (B, H, W) float32 signed maps by a method; otherwise as `grad_cam`.

    For stages, the predicted stage of the radiograph is explained, also where a method changes the
    radiograph so that another one would be predicted. Guided Grad-CAM needs ReLU modules: for other
    activations it is Grad-CAM times the plain gradient.
    """
    side = image.shape[-1]
    if method == "gradcam":
        return enlarge(grad_cam(model, image, sex, task), side)
    with explaining(model):
        score = Score(model, task)
        x = model.to_input(image.clone()).requires_grad_()
        sex = sex.clone()
        given = sex, score.predicted_stage(x, sex)
        if method == "guided_gradcam":
            guided = GuidedGradCam(score, model.backbone.cam_layer)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
                maps = guided.attribute(x, additional_forward_args=given)
        elif method == "integrated_gradients":
            maps = IntegratedGradients(score).attribute(
                x,
                additional_forward_args=given,
                n_steps=INTEGRATION_STEPS,
                internal_batch_size=len(x),
            )
        else:
            patch, stride = max(1, side // PATCH), max(1, side // STRIDE)
            maps = Occlusion(score).attribute(
                x.detach(),
                sliding_window_shapes=(x.shape[1], patch, patch),
                strides=(x.shape[1], stride, stride),
                additional_forward_args=given,
            )
        return torch.as_tensor(maps).detach().sum(dim=1).float()


def maps_of(
    model: BoneAgeModule, images: np.ndarray, sex: Tensor, task: str, method: Method
) -> np.ndarray:
    """Return (n, H, W) signed maps."""
    parts = [
        attribute(model, image, sexes, task, method).cpu().numpy()
        for image, sexes in batches(images, sex, model.device)
    ]
    return np.concatenate(parts)
