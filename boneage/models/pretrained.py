"""torchvision's classification networks as backbones, with or without ImageNet weights."""

import copy
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from typing_extensions import override

from boneage.errors import UserError
from boneage.models.backbones import Backbone

# ImageNet's channel statistics, averaged over the colours: radiographs are grey
IMAGENET_MEAN = (0.485 + 0.456 + 0.406) / 3
CAM_LAYERS = {  # the last at a sixteenth of the side
    "resnet18": "layer3",
    "efficientnet_v2_s": "features.5",
    "convnext_tiny": "features.5",
}
IMAGENET_STD = (0.229 + 0.224 + 0.225) / 3


class TorchvisionBackbone(Backbone):
    """A torchvision network without its classifier.

    Args:
        name: torchvision's name of the network.
        channels: 3, or 1 for a first convolution over grey; its weights are then the sum over the
            colours, which gives a grey image the same features.
        pretrained: start from ImageNet weights, which torchvision downloads once.

    Raises:
        UserError: when the weights cannot be had.
    """

    def __init__(
        self,
        name: Literal["resnet18", "efficientnet_v2_s", "convnext_tiny"],
        channels: Literal[1, 3] = 3,
        pretrained: bool = False,
    ) -> None:
        network = _load_pretrained(name) if pretrained else get_model(name, weights=None)
        modules = list(network.named_modules())
        classifier, linear = [(n, m) for n, m in modules if isinstance(m, nn.Linear)][-1]
        network.set_submodule(classifier, nn.Identity())
        if channels == 1:
            stem, conv = next((n, m) for n, m in modules if isinstance(m, nn.Conv2d))
            network.set_submodule(stem, _over_grey(conv))
        super().__init__(network, channels, linear.in_features, CAM_LAYERS[name])

    @override
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - IMAGENET_MEAN) / IMAGENET_STD)


def _over_grey(conv: nn.Conv2d) -> nn.Conv2d:
    grey = copy.copy(conv)
    grey.in_channels = 1
    grey.weight = nn.Parameter(conv.weight.detach().sum(dim=1, keepdim=True))
    return grey


def _load_pretrained(name: str) -> nn.Module:
    weights = get_model_weights(name).DEFAULT
    try:
        network: nn.Module = get_model(name, weights=weights)
    except OSError as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded ({error}): "
            f"put them at {file}, or set backbone.pretrained=false"
        ) from error
    return network
