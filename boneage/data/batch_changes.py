"""Changes of geometry and exposure of whole batches, as albumentations defines them."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boneage.errors import UserError


class Change(ABC):
    """One transform of a batch.

    Args:
        transform: that of albumentations.

    Raises:
        UserError: when it has another value of one of the `options`: no other is implemented.
    """

    options: ClassVar[dict[str, object]] = {}

    def __init__(self, transform: Any) -> None:  # noqa: ANN401 - albumentations is untyped
        for name, value in self.options.items():
            given = getattr(transform, name)
            if given != value:
                raise UserError(
                    f"augment: {type(transform).__name__} with {name}={given} is not available on "
                    f"the device (only {value}): use data.residence=host"
                )
        self.transform = transform

    @abstractmethod
    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return (n, k) parameters of n radiographs of `size` pixels a side, all to be changed."""

    @abstractmethod
    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        """Return (B, 1, H, W) uint8 radiographs changed by (B, k) float32 parameters."""


class Flip(Change):
    """`HorizontalFlip`: no parameters."""

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        return np.zeros((n, 0))

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        return image.flip(-1)


class BrightnessContrast(Change):
    """`RandomBrightnessContrast`: factor and summand (grey values) of each radiograph."""

    options: ClassVar = {"brightness_by_max": True, "ensure_safe_range": False}

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        factor = 1 + uniform(self.transform.contrast_limit, n, rng)
        summand = 255 * uniform(self.transform.brightness_limit, n, rng)
        return np.stack([factor, summand], 1)

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        factor, summand = values[:, :, None, None, None].unbind(1)
        return to_uint8(image * factor + summand)


class Gamma(Change):
    """`RandomGamma`: the exponent of each radiograph."""

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        return uniform(self.transform.gamma_limit, n, rng)[:, None] / 100

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        grey = torch.arange(256, device=image.device) / 255
        table = to_uint8(255 * grey**values + 1e-3)  # so that rounding keeps white white
        return table.gather(1, image.flatten(1).long()).view_as(image)


class Affine(Change):
    """`Affine`: the 2 x 3 matrix from positions in the result to positions in the radiograph.

    Both in `affine_grid`'s coordinates, -1 to 1 between the outer edges of the image.
    """

    options: ClassVar = {
        "interpolation": cv2.INTER_LINEAR,
        "border_mode": cv2.BORDER_CONSTANT,
        "fill": 0,
        "fit_output": False,
        "balanced_scale": False,
    }

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        t = self.transform
        scale = np.stack([uniform(limit, n, rng) for limit in _axes(t.scale)], 1)
        if t.keep_ratio:
            scale[:, 1] = scale[:, 0]
        tan_x, tan_y = (np.tan(np.deg2rad(-uniform(limit, n, rng))) for limit in _axes(t.shear))
        angle = np.deg2rad(uniform(t.rotate, n, rng))
        cos, sin, one = np.cos(angle), np.sin(angle), np.ones(n)
        rotation = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)
        shear = np.array([[one, tan_x], [tan_y, one]]).transpose(2, 0, 1)
        inverse = np.linalg.inv(shear @ rotation * scale[:, None])
        shift = self._shift(n, size, rng) * 2 / size
        return np.concatenate([inverse, -inverse @ shift[..., None]], 2).reshape(n, 6)

    def _shift(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return (n, 2) whole pixels to the right and down."""
        if self.transform.translate_px is not None:
            limits = self.transform.translate_px  # both ends inclusive
            drawn = [rng.integers(int(low), int(high) + 1, n) for low, high in _axes(limits)]
        else:
            limits = self.transform.translate_percent
            drawn = [np.trunc(size * uniform(limit, n, rng)) for limit in _axes(limits)]
        return np.stack(drawn, 1)

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        grid = F.affine_grid(values.view(-1, 2, 3), list(image.shape), align_corners=False)
        return F.grid_sample(image.float(), grid, align_corners=False).round_().to(torch.uint8)


def uniform(limits: tuple[float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n float64 between two limits."""
    return rng.uniform(limits[0], limits[1], n)


def to_uint8(grey: Tensor) -> Tensor:
    """Return grey values as uint8, truncated as in albumentations."""
    return grey.clamp(0, 255).to(torch.uint8)


def _axes(limits: dict[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the limits to the right and down."""
    return [limits["x"], limits["y"]]
