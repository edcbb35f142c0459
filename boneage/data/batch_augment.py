"""Augmentation of whole batches on the device, with the distributions of albumentations.

Parameters of all radiographs of an epoch are drawn at once on the CPU, so they are the same for any
device and batch size; pixels are changed where the batch lies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import albumentations as A
import numpy as np
import torch
from torch import Tensor

from boneage.data.batch_changes import Affine, BrightnessContrast, Change, Flip, Gamma
from boneage.data.batch_degradation import Downscale, Jpeg, Noise
from boneage.errors import UserError

CHANGES: dict[type, Callable[[Any], Change]] = {
    A.HorizontalFlip: Flip,
    A.Affine: Affine,
    A.RandomBrightnessContrast: BrightnessContrast,
    A.RandomGamma: Gamma,
    A.GaussNoise: Noise,
    A.ImageCompression: Jpeg,
    A.Downscale: Downscale,
}


class BatchAugment:
    """Do to whole batches what an albumentations pipeline does to single radiographs.

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
        """Return what happens to n radiographs of `size` pixels a side.

        Returns:
            Per change (n, 1 + k) float32 on the CPU: 1 for a radiograph that is changed, else 0;
            and the parameters of its change.
        """
        return [values for step in self.steps for values in step.draw(n, size, rng)]

    def __call__(self, image: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """Return (B, 1, H, W) uint8 radiographs changed by what was drawn for each."""
        changes = [change for step in self.steps for change in step.changes]
        for change, values in zip(changes, drawn, strict=True):
            rows = values[:, 0].nonzero()[:, 0]  # on the CPU: the device need not be waited for
            if len(rows):
                there = rows.to(image.device, non_blocking=True)
                parameters = values[rows, 1:].to(image.device, non_blocking=True)
                image = image.index_copy(0, there, change.apply(image[there], parameters))
        return image


class _Step:
    """A transform, or one of several, that a share of the radiographs undergoes."""

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
        known = ", ".join(known.__name__ for known in CHANGES)
        raise UserError(
            f"augment: {type(transform).__name__} is not available on the device (available: "
            f"{known}, and OneOf them): leave it out, or use data.residence=host"
        )
    return CHANGES[type(transform)](transform)
