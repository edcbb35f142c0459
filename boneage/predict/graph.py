"""A model as one graph with predictions, novelty and Grad-CAM map as outputs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from boneage.data.tables.sexes import SEXES
from boneage.models.module import BoneAgeModule
from boneage.predict.onnx_model import MAP, NOVELTY, output_of
from boneage.uncertainty.novelty import Novelty

aten = torch.ops.aten


class Exported(nn.Module):
    """A model that maps radiographs and sexes to `outputs`.

    Args:
        model: the model; its weights are frozen.
        novelty: of its features; None omits that output.
        with_map: also return the map of the first task, as in `boneage.explain`: without the mirror
            image, at the resolution of the backbone's Grad-CAM layer.
    """

    def __init__(self, model: BoneAgeModule, novelty: Novelty | None, with_map: bool) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
        self.novelty = None if novelty is None else _Distance(novelty)
        self.with_map = with_map

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        optional = [NOVELTY] * (self.novelty is not None) + [MAP] * self.with_map
        return [*map(output_of, self.model.tasks), *optional]

    def forward(self, image: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        """Return predictions in natural units, (B,) novelties and (B, h, w) maps.

        Args:
            image: (B, 1, H, W) uint8 radiographs.
            sex: (B,) int64, index into `SEXES`.
        """
        model, maps = self.model, []

        def look(layer: nn.Module, args: object, output: Tensor) -> Tensor:
            maps.append(output.detach().requires_grad_())
            return maps[0]

        with torch.enable_grad():
            hook = model.backbone.cam_layer.register_forward_hook(look)
            raw, features = model.network(model.to_input(image).contiguous(), sex)
            hook.remove()
            outputs = list(model.with_mirror(model.decode(raw), image, sex).values())
            if self.novelty is not None:
                outputs.append(self.novelty(features))
            if self.with_map:
                name, task = next(iter(model.tasks.items()))
                (gradient,) = torch.autograd.grad(task.score(raw[name]).sum(), maps)
                outputs.append((gradient.mean((2, 3), keepdim=True) * maps[0]).sum(dim=1))
        return tuple(output.detach() for output in outputs)


class _Distance(nn.Module):
    """`Novelty.distance` as a layer."""

    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor
    limit: Tensor

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        for name, values in asdict(novelty).items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        centred = features - self.mean
        along = centred @ self.directions
        residual = centred - along @ self.directions.T
        squares = (along**2 / self.variances).sum(dim=1) + (residual**2).sum(dim=1) / self.rest
        distance: Tensor = squares.sqrt() / self.limit
        return distance


def trace(exported: Exported, side: int) -> torch.export.ExportedProgram:
    """Return the program of a model for any batch size.

    Its weights have the names of the model's state dict. Gradients are expressed as forward
    operations.

    Raises:
        RuntimeError: if an operation of the network cannot be traced.
    """
    example = noise(3, side)
    traced = make_fx(
        exported,
        decomposition_table=_decompositions(),
        tracing_mode="symbolic",
        _allow_non_fake_inputs=True,
    )(*example)
    traced.graph.eliminate_dead_code()
    named = [*exported.named_parameters(), *exported.named_buffers()]
    names = {id(values): name.removeprefix("model.") for name, values in named}
    weights: dict[str, Any] = {}
    for node in traced.graph.nodes:
        if node.op == "get_attr":
            values = getattr(traced, node.target)
            node.target = names.get(id(values), node.target)
            weights[node.target] = values
    module = torch.fx.GraphModule(weights, traced.graph)
    batch = torch.export.Dim("batch")
    return torch.export.export(module, example, dynamic_shapes=({0: batch}, {0: batch}))


def noise(n: int, side: int) -> tuple[Tensor, Tensor]:
    """Return n radiographs of noise and their sexes, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    image = nn.functional.interpolate(coarse.float(), size=(side, side), mode="bilinear")
    return image.to(torch.uint8), torch.arange(n) % len(SEXES)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return decompositions of gradients into operations of ONNX."""
    decomposed = [
        aten.native_batch_norm_backward,
        aten.native_layer_norm_backward,
        aten.threshold_backward,
        aten.hardtanh_backward,
        aten.silu_backward,
        aten.gelu_backward,
        aten.sigmoid_backward,
        aten.hardswish_backward,
        aten.hardsigmoid_backward,
        aten._softmax_backward_data,
    ]
    return {
        **get_decompositions(decomposed),
        aten.convolution_backward.default: _convolution_backward,
        aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
        aten.avg_pool2d_backward.default: _avg_pool_backward,
    }


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: object,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: object,
    groups: int,
    mask: object,
) -> tuple[Tensor, None, None]:
    """Return the gradient of a convolution for its input; weights are frozen."""
    if transposed:
        raise NotImplementedError("the gradient of a transposed convolution")
    sides = zip(
        x.shape[2:], gradient.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
    )
    added = [into - ((out - 1) * s - 2 * p + d * (k - 1) + 1) for into, out, s, p, d, k in sides]
    result = aten.convolution(
        gradient, weight, None, stride, padding, dilation, True, [int(n) for n in added], groups
    )
    return result, None, None


def _max_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: object,
    indices: Tensor,
) -> Tensor:
    """Return the gradient of a max pooling for its input: it goes to the maxima."""
    flat = torch.zeros_like(x).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), gradient.flatten(2)).view_as(x)


def _avg_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: object,
    count_padding: object,
    divisor: int | None,
) -> Tensor:
    """Return the gradient of a mean pooling without overlap for its input: each mean's, in parts.

    The mean of a window that crosses the edge is over the pixels inside the image. Without
    `ceil_mode` there are none of these, and the pixels after the last window have no gradient.
    """
    if list(kernel) != list(stride or kernel) or any(padding) or divisor is not None:
        raise NotImplementedError("the gradient of this mean pooling")
    (height, width), (rows, columns) = x.shape[2:], kernel
    spread = gradient[:, :, :, None, :, None].expand(-1, -1, -1, rows, -1, columns)
    spread = spread.reshape(*x.shape[:2], gradient.shape[2] * rows, gradient.shape[3] * columns)
    within = [
        torch.clamp(n - torch.arange(n) // k * k, max=k).to(x.dtype)
        for n, k in ((height, rows), (width, columns))
    ]
    right, below = width - spread.shape[3], height - spread.shape[2]  # less than 0: cropped
    spread = nn.functional.pad(spread, (0, right, 0, below))
    return spread / (within[0][:, None] * within[1])
