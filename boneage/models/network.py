"""The network, from the bytes of a radiograph to the raw output of every task, and its blocks."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from boneage.errors import FailedRun, UserError, require_part
from boneage.models.backbones import Backbone
from boneage.models.sex import SexInput
from boneage.tasks.base import Task

LAYER_NAMES = {  # common names by class; others have that of their class
    "BatchNorm2d": "batch norm",
    "LayerNorm2d": "layer norm",
    "MaxPool2d": "max pool",
    "AvgPool2d": "average pool",
    "AdaptiveAvgPool2d": "global average pool",
    "ResidualBlock": "residual block",
    "BasicBlock": "residual block",
    "Embedding": "embedding",
    "BatchNormAct2d": "batch norm, activation",  # this and the following: timm
    "SelectAdaptivePool2d": "global average pool",
    "NormMlpClassifierHead": "global average pool, layer norm",
    "ConvBnAct": "conv block",
    "DepthwiseSeparableConv": "depthwise separable conv",
    "InvertedResidual": "inverted residual block",
    "EdgeResidual": "fused inverted residual block",
    "ConvNeXtStage": "ConvNeXt stage",
}
WITHOUT_NAME = ("Flatten", "Identity")
CONTAINERS = ("Sequential",)  # named by their parts
CONTAINER_SHARE = 0.85  # share of the parameters: a container with more is described by its parts


class Network(nn.Module):
    """A backbone, the sex input, and a head for each task.

    Args:
        backbone: from images to features.
        sex: joins the sex to the features.
        tasks: the tasks by name, whose heads read the features with the sex.
    """

    def __init__(self, backbone: Backbone, sex: SexInput, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        for name, task in tasks.items():
            require_part(f"tasks.{name}", task, "boneage.tasks.base.Task")
        self.backbone = backbone
        self.sex = sex
        self.tasks = cast(Mapping[str, Task], nn.ModuleDict(tasks))

    @override
    def forward(self, image: Tensor, sex: Tensor) -> dict[str, Tensor]:
        """Return the raw output of every task for (B, 1, H, W) uint8 radiographs and (B,) sexes."""
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

        It takes images from `to_input`, and (B,) int64 sexes, indices into `SEXES`.

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


def describe_architecture(model: Network, size: int) -> dict[str, Any]:
    """Return the blocks of a model for images of a size, as plain containers.

    Returns:
        `input`: shape; `backbone`: blocks; `sex`: blocks, empty without the sex input; `heads`:
        blocks of each task. A block is `label`, `shape` of the output for one image, `parameters`.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, model.backbone.channels, size, size, device=device)
    training = model.training
    model.eval()
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        backbone, features = _blocks(_steps(model.backbone), model.backbone, image)
        features = model.sex(features, torch.zeros(1, dtype=torch.int64, device=device))
        heads = {
            name: _blocks(list(task.head.children()) or [task.head], task.head, features)[0]
            for name, task in model.tasks.items()
        }
    model.train(training)
    shape = [model.sex.out_features]
    sex = [
        {"label": _label(part), "shape": shape, "parameters": count_parameters(part)}
        for part in model.sex.children()
    ]
    return {"input": list(image.shape[1:]), "backbone": backbone, "sex": sex, "heads": heads}


def _steps(module: nn.Module) -> list[nn.Module]:
    """Return the parts that an image passes in sequence, at the level of blocks."""
    parts = list(module.children())
    most = CONTAINER_SHARE * count_parameters(module)
    for i, part in enumerate(parts):
        if list(part.children()) and count_parameters(part) > most:
            return parts[:i] + _steps(part) + parts[i + 1 :]
    return parts


def _blocks(
    steps: list[nn.Module], module: nn.Module, x: Tensor
) -> tuple[list[dict[str, Any]], Tensor]:
    """Run a module and describe its steps; norms and steps without parameters join the last."""
    shapes: dict[nn.Module, list[int]] = {}

    def record_shape(step: nn.Module, args: object, output: Tensor) -> None:
        shapes[step] = list(output.shape[1:])

    hooks = [step.register_forward_hook(record_shape) for step in steps]
    out: Tensor = module(x)
    for hook in hooks:
        hook.remove()
    blocks: list[dict[str, Any]] = []
    for step in steps:
        label, parameters = _label(step), count_parameters(step)
        if step not in shapes or (not label and not parameters):
            continue
        is_norm = isinstance(step, nn.BatchNorm2d)
        joins = is_norm or not (list(step.children()) or isinstance(step, nn.Conv2d | nn.Linear))
        if blocks and joins and "pool" not in label:
            blocks[-1]["label"] += f", {label}"
            blocks[-1]["shape"] = shapes[step]
            blocks[-1]["parameters"] += parameters
        else:
            blocks.append({"label": label, "shape": shapes[step], "parameters": parameters})
    return blocks, out


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters, also of those that a callback freezes in training."""
    return sum(p.numel() for p in module.parameters())


def _label(module: nn.Module) -> str:
    """Return a short, common name of a layer."""
    kind = type(module).__name__
    if isinstance(module, nn.Conv2d):
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"conv {module.kernel_size[0]}x{module.kernel_size[1]}{stride}"
    if isinstance(module, nn.Linear):
        return f"fully connected {module.out_features}"
    if isinstance(module, nn.Dropout):
        return f"dropout {module.p:g}"
    if kind in WITHOUT_NAME:
        return ""
    parts = [_label(part) for part in module.children()] if kind in CONTAINERS else []
    if parts and len(set(parts)) == 1 and len(parts) > 1:
        return f"{len(parts)} x {parts[0]}"
    return ", ".join(filter(None, parts)) or LAYER_NAMES.get(kind, kind)
