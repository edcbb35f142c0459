"""The network, from the bytes of a radiograph to the raw output of every task."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from boneage.errors import FailedRun, UserError
from boneage.models.backbones import Backbone
from boneage.models.sex import SexInput
from boneage.tasks.base import Task


class Network(nn.Module):
    """A backbone, the sex input, and a head for each task.

    Args:
        backbone: from images to features.
        sex: joins the sex to the features.
        tasks: the tasks by name, whose heads read the features with the sex.
    """

    def __init__(self, backbone: Backbone, sex: SexInput, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.backbone = backbone
        self.sex = sex
        self.tasks = cast(Mapping[str, Task], nn.ModuleDict(tasks))

    @override
    def forward(self, image: Tensor, sex: Tensor) -> dict[str, Tensor]:
        """Return the raw output of every task.

        Args:
            image: (B, 1, H, W) uint8 radiographs.
            sex: (B,) int64, index into `SEXES`.
        """
        return self.network(self.to_input(image), sex)[0]

    def to_input(self, image: Tensor) -> Tensor:
        """Convert (B, 1, H, W) uint8 images to (B, C, H, W) in [0, 1], channels last.

        Raises:
            UserError: for another type, whose range is not known.
        """
        if image.dtype != torch.uint8:
            raise UserError(f"images of type {image.dtype}: give uint8 pixels, 0 to 255")
        x = image.float().div_(255).expand(-1, self.backbone.channels, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)

    def features(self, image: Tensor) -> Tensor:
        """Return the (B, F) features of (B, 1, H, W) uint8 radiographs from the backbone."""
        features: Tensor = self.backbone(self.to_input(image))
        return features

    def network(self, x: Tensor, sex: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the raw output of every task, and the (B, F) features of the backbone.

        Args:
            x: (B, C, H, W) images from `to_input`.
            sex: (B,) int64, index into `SEXES`.

        Raises:
            FailedRun: when the features have another width than the backbone's `out_features`.
        """
        features: Tensor = self.backbone(x)
        width = self.backbone.out_features
        if features.shape[1:] != (width,):
            raise FailedRun(
                f"backbone: {len(x)} images give features of shape {tuple(features.shape)} instead "
                f"of ({len(x)}, {width}): return one vector of out_features={width} for each image"
            )
        with_sex = self.sex(features, sex)
        return {name: task(with_sex) for name, task in self.tasks.items()}, features
