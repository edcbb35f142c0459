"""Augmentation of whole batches on the device, with the distributions of albumentations.

Parameters of all radiographs of an epoch are drawn at once on the CPU, so they are the same for any
device and batch size; pixels are changed where the batch lies.
"""

from collections.abc import Callable
from typing import Any, Protocol

import albumentations as A
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boneage.errors import UserError


class Change(Protocol):
    """One transform of a batch."""

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return (n, k) parameters of n radiographs of `size` pixels a side."""

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        """Return (B, 1, H, W) uint8 radiographs changed by (B, k) float32 parameters."""


class Flip:
    """`HorizontalFlip`: parameter 1 for a flipped radiograph, else 0."""

    def __init__(self, transform: A.HorizontalFlip) -> None:
        self.p = transform.p

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(rng.random((n, 1)) < self.p, np.float32)

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        return torch.where(values[:, :, None, None] > 0, image.flip(-1), image)


class BrightnessContrast:
    """`RandomBrightnessContrast`: factor and summand (grey values) of each radiograph."""

    def __init__(self, transform: A.RandomBrightnessContrast) -> None:
        _require(transform, brightness_by_max=True, ensure_safe_range=False)
        self.transform = transform

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        factor = 1 + _uniform(self.transform.contrast_limit, n, rng)
        summand = 255 * _uniform(self.transform.brightness_limit, n, rng)
        applied = (rng.random(n) < self.transform.p)[:, None]
        return np.where(applied, np.stack([factor, summand], 1), [1, 0]).astype(np.float32)

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        factor, summand = values[:, :, None, None, None].unbind(1)
        changed = image * factor + summand
        return changed.clamp_(0, 255).to(torch.uint8)  # cuts decimals off, as albumentations does


class Affine:
    """`Affine`: the 2 x 3 matrix from places in the result to places in the radiograph.

    Both in `affine_grid`'s coordinates, -1 to 1 between the outer edges of the picture.
    """

    def __init__(self, transform: A.Affine) -> None:
        _require(
            transform,
            interpolation=cv2.INTER_LINEAR,
            border_mode=cv2.BORDER_CONSTANT,
            fill=0,
            fit_output=False,
            balanced_scale=False,
        )
        self.transform = transform

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        t = self.transform
        scale = np.stack([_uniform(limit, n, rng) for limit in _axes(t.scale)], 1)
        if t.keep_ratio:
            scale[:, 1] = scale[:, 0]
        tan_x, tan_y = (np.tan(np.deg2rad(-_uniform(limit, n, rng))) for limit in _axes(t.shear))
        angle = np.deg2rad(_uniform(t.rotate, n, rng))
        cos, sin, one = np.cos(angle), np.sin(angle), np.ones(n)
        rotation = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)
        shear = np.array([[one, tan_x], [tan_y, one]]).transpose(2, 0, 1)
        inverse = np.linalg.inv(shear @ rotation * scale[:, None])
        shift = self._shift(n, size, rng) * 2 / size
        matrix = np.concatenate([inverse, -inverse @ shift[..., None]], 2).reshape(n, 6)
        applied = (rng.random(n) < t.p)[:, None]
        return np.where(applied, matrix, [1, 0, 0, 0, 1, 0]).astype(np.float32)

    def _shift(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return (n, 2) whole pixels to the right and down."""
        if self.transform.translate_px is not None:
            limits = self.transform.translate_px  # both ends can be drawn
            drawn = [rng.integers(int(low), int(high) + 1, n) for low, high in _axes(limits)]
        else:
            limits = self.transform.translate_percent
            drawn = [np.trunc(size * _uniform(limit, n, rng)) for limit in _axes(limits)]
        return np.stack(drawn, 1)

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        grid = F.affine_grid(values.view(-1, 2, 3), list(image.shape), align_corners=False)
        return F.grid_sample(image.float(), grid, align_corners=False).round_().to(torch.uint8)


CHANGES: dict[type, Callable[[Any], Change]] = {
    A.HorizontalFlip: Flip,
    A.RandomBrightnessContrast: BrightnessContrast,
    A.Affine: Affine,
}


class BatchAugment:
    """Do to whole batches what an albumentations pipeline does to single radiographs.

    Args:
        augment: the pipeline, always applied (p = 1), of transforms in `CHANGES`.

    Raises:
        UserError: for a transform or an option that has no counterpart here.
    """

    def __init__(self, augment: A.Compose) -> None:
        if augment.p != 1:
            raise UserError(f"augment.p={augment.p}: must be 1 with data.residence=device")
        self.changes: list[Change] = [_change(transform) for transform in augment.transforms]

    def draw(self, n: int, size: int, rng: np.random.Generator) -> list[Tensor]:
        """Return per transform (n, k) float32 parameters of n radiographs of `size` pixels."""
        return [torch.from_numpy(change.draw(n, size, rng)) for change in self.changes]

    def __call__(self, image: Tensor, drawn: list[Tensor]) -> Tensor:
        """Return (B, 1, H, W) uint8 radiographs changed by what was drawn for each."""
        for change, values in zip(self.changes, drawn, strict=True):
            image = change.apply(image, values)
        return image


def _uniform(limits: tuple[float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(limits[0], limits[1], n)


def _axes(limits: dict[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the limits to the right and down."""
    return [limits["x"], limits["y"]]


def _change(transform: Any) -> Change:  # noqa: ANN401 - albumentations is untyped
    if type(transform) not in CHANGES:
        known = ", ".join(known.__name__ for known in CHANGES)
        raise UserError(
            f"augment: {type(transform).__name__} is not available on the device ({known} are): "
            "leave it out, or use data.residence=host"
        )
    return CHANGES[type(transform)](transform)


def _require(transform: Any, **options: object) -> None:  # noqa: ANN401
    """Raise UserError when an option of a transform is not the one that is implemented."""
    for name, value in options.items():
        given = getattr(transform, name)
        if given != value:
            raise UserError(
                f"augment: {type(transform).__name__} with {name}={given} is not available on the "
                f"device (only {value}): use data.residence=host"
            )
