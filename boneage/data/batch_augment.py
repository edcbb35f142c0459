"""Augmentation of whole batches on the device, with the distributions of albumentations.

Parameters of all radiographs of an epoch are drawn at once on the CPU, so they are the same for any
device and batch size; pixels are changed on the device of the batch.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import albumentations as A
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from boneage.data.batch_changes import (
    Affine,
    BrightnessContrast,
    Change,
    Flip,
    Gamma,
    to_uint8,
    uniform,
)
from boneage.errors import UserError

LUMINANCE = (  # quantisation at quality 50: ITU-T T.81, table K.1
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


class Noise(Change):
    """`GaussNoise`: mean and standard deviation (grey values), and a seed of the noise.

    The noise is a function of the seed and the position of the pixel, so a radiograph gets the
    same noise on any device and in any batch.
    """

    options: ClassVar = {"noise_scale_factor": 1}

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        mean = 255 * uniform(self.transform.mean_range, n, rng)
        std = 255 * uniform(self.transform.std_range, n, rng)
        return np.stack([mean, std, rng.integers(2**24, size=n)], 1)  # exact in float32

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        mean, std, seed = values[:, :, None].unbind(1)
        pixel = torch.arange(image[0].numel(), device=image.device)
        share = ((_hash(_hash(seed.long()) + pixel) >> 9) + 0.5) / 2**23  # between 0 and 1
        noise = mean + std * 2**0.5 * torch.erfinv(2 * share - 1)
        return to_uint8(image + noise.view(image.shape))


class Jpeg(Change):
    """`ImageCompression` by JPEG: the quality of each radiograph.

    JPEG loses information only by rounding the cosine coefficients of each 8 x 8 block, so only
    this is done, as in libjpeg; no file is encoded.
    """

    options: ClassVar = {"compression_type": "jpeg"}

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        low, high = self.transform.quality_range  # both ends inclusive
        return rng.integers(low, high + 1, (n, 1))

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        edge = (0, -width % 8, 0, -height % 8)
        grey = F.pad(image.float(), edge, mode="replicate") - 128
        rows, columns = (side // 8 for side in grey.shape[-2:])
        blocks = grey.view(-1, rows, 8, columns, 8).transpose(2, 3)
        cosines = _cosines().to(image.device)
        steps = 8 * _quantisation(values)[:, None, None]  # libjpeg's coefficients are in eighths
        coefficients = (8 * (cosines @ blocks @ cosines.T)).round()
        levels = ((coefficients.abs() + steps / 2) / steps).floor()  # halves round away from zero
        blocks = cosines.T @ (coefficients.sign() * levels * steps / 8) @ cosines
        grey = blocks.transpose(2, 3).reshape(grey.shape) + 128
        return to_uint8(grey[..., :height, :width].round())


class Downscale(Change):
    """`Downscale`, by the mean of each area and linearly back: the scale of each radiograph."""

    options: ClassVar = {
        "interpolation_pair": {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}
    }

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        return uniform(self.transform.scale_range, n, rng)[:, None]

    def apply(self, image: Tensor, values: Tensor) -> Tensor:
        down, up = _resampling(values, image.shape[-1])
        reduced = (down @ image[:, 0].float() @ down.mT).round()
        return to_uint8((up @ reduced @ up.mT).round())[:, None]


def _hash(number: Tensor) -> Tensor:
    """Mix the lower 32 bits of integers (the end of MurmurHash3)."""
    number = number & 0xFFFFFFFF
    number = ((number ^ (number >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    number = ((number ^ (number >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return number ^ (number >> 16)


def _cosines() -> Tensor:
    """Return the (8, 8) orthonormal cosine transform (DCT-II), one frequency per row."""
    frequency, position = torch.arange(8.0)[:, None], torch.arange(8.0)
    cosines = torch.cos((2 * position + 1) * frequency * torch.pi / 16) / 2
    cosines[0] /= 2**0.5
    return cosines


def _quantisation(quality: Tensor) -> Tensor:
    """Return (B, 8, 8) steps of the coefficients at (B, 1) qualities from 1 to 100."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    steps = torch.tensor(LUMINANCE, device=quality.device) * percent[:, :, None]
    return ((steps + 50) / 100).floor().clamp(1, 255)


def _resampling(scale: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return (B, m, size) means of areas and (B, size, m) linear interpolation back.

    The reduced radiographs differ in size: rows and columns beyond their sides are 0.
    """
    side = (size * scale).round()
    pixel = torch.arange(size, device=scale.device)
    reduced = torch.arange(size, device=scale.device)[:, None]
    step = 1 / scale[:, :, None]
    start, end = reduced * step, ((reduced + 1) * step).clamp(max=size)
    shared = (torch.minimum(pixel + 1, end) - torch.maximum(pixel, start)).clamp(min=0)
    down = shared / (end - start).clamp(min=1e-6) * (reduced < side[:, :, None])
    position = torch.minimum(((pixel + 0.5) * side / size - 0.5).clamp(min=0), side - 1)
    up = (1 - (position[:, :, None] - reduced.T).abs()).clamp(min=0)
    return down, up


CHANGES: dict[type, type[Change]] = {
    A.HorizontalFlip: Flip,
    A.Affine: Affine,
    A.RandomBrightnessContrast: BrightnessContrast,
    A.RandomGamma: Gamma,
    A.GaussNoise: Noise,
    A.ImageCompression: Jpeg,
    A.Downscale: Downscale,
}


class BatchAugment:
    """Apply an albumentations pipeline to whole batches.

    Args:
        augment: the pipeline, always applied (p = 1), of transforms in `CHANGES` and of `OneOf`
            such transforms.

    Raises:
        UserError: for a transform or an option that has no counterpart here.
    """

    def __init__(self, augment: A.Compose) -> None:
        if augment.p != 1:
            raise UserError(f"augment.p={augment.p}: must be 1 with data.residence=device")
        self.steps = [_Step(transform) for transform in augment.transforms]

    def draw(self, n: int, size: int, rng: np.random.Generator) -> list[Tensor]:
        """Draw the changes of n radiographs of `size` pixels a side.

        Returns:
            Per change (n, 1 + k) float32 on the CPU: 1 for a radiograph that is changed, else 0;
            and the parameters of its change.
        """
        return [values for step in self.steps for values in step.draw(n, size, rng)]

    def __call__(self, image: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """Return (B, 1, H, W) uint8 radiographs changed by the values drawn for each."""
        changes = [change for step in self.steps for change in step.changes]
        for change, values in zip(changes, drawn, strict=True):
            rows = values[:, 0].nonzero()[:, 0]  # on the CPU: no wait for the device
            if len(rows):
                positions = rows.to(image.device, non_blocking=True)
                parameters = values[rows, 1:].to(image.device, non_blocking=True)
                changed = change.apply(image[positions], parameters)
                image = image.index_copy(0, positions, changed)
        return image


class _Step:
    """A transform, or a choice of several, applied to a share of the radiographs."""

    def __init__(self, transform: Any) -> None:  # noqa: ANN401 - albumentations is untyped
        one_of = isinstance(transform, A.OneOf)
        self.p = transform.p
        self.changes = [_change(one) for one in (transform.transforms if one_of else [transform])]
        self.shares = transform.transforms_ps if one_of else [1.0]

    def draw(self, n: int, size: int, rng: np.random.Generator) -> list[Tensor]:
        chosen = rng.choice(len(self.changes), n, p=self.shares)
        applied = rng.random(n) < self.p
        drawn = []
        for number, change in enumerate(self.changes):
            rows = np.flatnonzero(applied & (chosen == number))
            parameters = change.draw(len(rows), size, rng)
            values = np.zeros((n, 1 + parameters.shape[1]), np.float32)
            values[rows, 0] = 1
            values[rows, 1:] = parameters
            drawn.append(torch.from_numpy(values))
        return drawn


def _change(transform: Any) -> Change:  # noqa: ANN401
    if type(transform) not in CHANGES:
        available = ", ".join(known.__name__ for known in CHANGES)
        raise UserError(
            f"augment: {type(transform).__name__} is not available on the device (available: "
            f"{available}, and OneOf them): leave it out, or use data.residence=host"
        )
    return CHANGES[type(transform)](transform)
