"""Captum's attribution methods on one footing: signed maps of the size of the radiograph."""

import warnings
from typing import Literal, get_args

import torch
from captum.attr import GuidedGradCam, IntegratedGradients, Occlusion
from torch import Tensor, nn

from boneage.explain.gradcam import enlarge, explaining, grad_cam
from boneage.models.module import BoneAgeModule

Method = Literal["gradcam", "guided_gradcam", "integrated_gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)
STEPS = 32  # of integrated gradients (Sundararajan et al. 2017), from black to the radiograph
PATCH, STRIDE = 8, 16  # occlusion: an eighth of the side is hidden, moved by a sixteenth


class Score(nn.Module):
    """The number that a task's prediction is explained by, from images in [0, 1]."""

    def __init__(self, model: BoneAgeModule, task: str) -> None:
        super().__init__()
        self.backbone, self.sex, self.task = model.backbone, model.sex, model.tasks[task]

    def forward(self, x: Tensor, sex: Tensor) -> Tensor:
        return self.task.score(self.task(self.sex(self.backbone(x), sex)))


def attribute(
    model: BoneAgeModule, image: Tensor, sex: Tensor, task: str, method: Method
) -> Tensor:
    """Return (B, H, W) float32 signed maps of what raises and lowers a task's prediction.

    Args:
        model: the model.
        image: (B, 1, H, W) uint8 radiographs.
        sex: (B,) int64, index into `SEXES`.
        task: name of the task; a stage is explained by the predicted one.
        method: one of `METHODS`. Guided Grad-CAM needs ReLU modules: on networks with another
            activation it is Grad-CAM times the plain gradient.
    """
    side = image.shape[-1]
    if method == "gradcam":
        return enlarge(grad_cam(model, image, sex, task), side)
    with explaining(model):
        score = Score(model, task)
        x = model.to_input(image.clone()).requires_grad_()
        sex = sex.clone()
        if method == "guided_gradcam":
            guided = GuidedGradCam(score, model.backbone.cam_layer)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
                maps = guided.attribute(x, additional_forward_args=(sex,))
        elif method == "integrated_gradients":
            maps = IntegratedGradients(score).attribute(
                x, additional_forward_args=(sex,), n_steps=STEPS, internal_batch_size=len(x)
            )
        else:
            patch, stride = max(1, side // PATCH), max(1, side // STRIDE)
            maps = Occlusion(score).attribute(
                x.detach(),
                sliding_window_shapes=(x.shape[1], patch, patch),
                strides=(x.shape[1], stride, stride),
                additional_forward_args=(sex,),
            )
        return torch.as_tensor(maps).detach().sum(dim=1).float()
