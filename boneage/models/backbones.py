"""The backbones of this project: from images to one feature vector each."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from boneage.errors import UserError, join_first

OnePerStage = Annotated[Sequence[PositiveInt], Field(min_length=1)]


class Backbone(nn.Module):
    """From (B, channels, H, W) images in [0, 1] to (B, out_features) features.

    Args:
        layers: the network.
        channels: input channels.
        out_features: width of the features.
        cam_layer: name of the layer for Grad-CAM, within `layers`: the deepest with an output fine
            enough to separate carpals and fingers, 8 x 8 or more at 128 pixels.

    Raises:
        UserError: when the network has no such layer.
    """

    def __init__(self, layers: nn.Module, channels: int, out_features: int, cam_layer: str) -> None:
        super().__init__()
        self.layers = layers
        self.channels = channels
        self.out_features = out_features
        self.cam_layer_name = cam_layer
        layer_names = [name for name, _ in layers.named_modules()]
        if cam_layer not in layer_names:
            raise UserError(
                f"backbone: cam_layer={cam_layer} is no layer of the network: choose one of "
                f"{join_first(layer_names[1:])}"
            )

    @property
    def cam_layer(self) -> nn.Module:
        """The layer for Grad-CAM."""
        return self.layers.get_submodule(self.cam_layer_name)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class PaperCNN(Backbone):
    """The reference study's network.

    Blocks of conv 3x3, ReLU, batch norm and max pool 2; then the global average. With three
    input channels and the default widths it has 389,376 trainable parameters.

    Args:
        channels: input channels, 1 or 3.
        widths: output channels of each block; each halves the resolution.
    """

    def __init__(
        self, channels: Literal[1, 3] = 3, widths: OnePerStage = (32, 64, 128, 256)
    ) -> None:
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, width, 3, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(width),
                nn.MaxPool2d(2),
            )
            for before, width in zip([channels, *widths], widths, strict=False)
        ]
        layers = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        before_last_pool = f"{len(blocks) - 1}.2"
        super().__init__(layers, channels, widths[-1], before_last_pool)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016, basic block).

    A shortcut that changes the size averages before it projects (He et al. 2019, ResNet-D). It uses
    all pixels, and avoids strided 1x1 convolutions, which in torch 2.15 corrupt memory on a CPU
    with channels last, fewer than 16 channels and an odd batch.

    Args:
        before: input channels.
        width: output channels.
        stride: stride of the first convolution.
        excitation: weight the channels by their global averages (squeeze and excitation, Hu et al.
            2018, reduced by 8, to 1 at least) before the shortcut is added.
    """

    def __init__(self, before: int, width: int, stride: int, excitation: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            *([SqueezeExcitation(width, max(1, width // 8))] if excitation else []),
        )
        self.shortcut = (
            nn.Identity()
            if before == width and stride == 1
            else nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),
                nn.Conv2d(before, width, 1, bias=False),
                nn.BatchNorm2d(width),
            )
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return out


class SlimResNet(Backbone):
    """A small residual network for CPUs: a stem, then stages of residual blocks.

    Args:
        channels: input channels, 1 or 3.
        stem: output channels of the stem.
        stem_stride: 2 halves the resolution in the stem; with 1, all later maps are twice as fine.
        widths: output channels of the stages; each halves the resolution.
        depths: residual blocks of the stages.
        excitation: squeeze and excitation in every block.

    Raises:
        UserError: when the numbers of widths and depths differ.
    """

    def __init__(
        self,
        channels: Literal[1, 3] = 1,
        stem: PositiveInt = 24,
        stem_stride: Literal[1, 2] = 2,
        widths: OnePerStage = (32, 64, 128, 256),
        depths: OnePerStage = (1, 2, 2, 1),
        excitation: bool = False,
    ) -> None:
        if len(widths) != len(depths):
            raise UserError(
                f"backbone.widths has {len(widths)} values and backbone.depths {len(depths)}: "
                "give one of each per stage"
            )
        layers: list[nn.Module] = [
            nn.Conv2d(channels, stem, 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
        ]
        before, ends = stem, []
        for width, depth in zip(widths, depths, strict=True):
            for block in range(depth):
                stride = 2 if block == 0 else 1
                layers.append(ResidualBlock(before, width, stride, excitation))
                before = width
            ends.append(str(len(layers) - 1))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        deepest = ends[: 4 if stem_stride == 1 else 3][-1]  # 8 x 8 for 128 pixels
        super().__init__(nn.Sequential(*layers), channels, before, deepest)
