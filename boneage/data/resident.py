"""Batches from radiographs that all lie in the memory of the device."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import BatchSampler

from boneage.data.batch_augment import BatchAugment
from boneage.data.dataset import Batch, sex_indices
from boneage.data.sampler import RankBatches
from boneage.data.storage import amount
from boneage.errors import UserError


def upload(cache: Path, device: torch.device) -> Tensor:
    """Return the (n, 1, H, W) uint8 radiographs of a cache on a device.

    Raises:
        UserError: when the device has too little memory.
    """
    images = torch.from_numpy(np.load(cache, mmap_mode="c"))[:, None]
    try:
        return images.to(device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"data.residence=device: {amount(images.nbytes)} of radiographs do not fit the "
            f"memory of {device}: use data.residence=host, or a smaller data.size"
        ) from error


class ResidentBatches:
    """A loader without work on the host: picks, augments and yields batches on the device.

    Args:
        table: the fold's rows, as for `Radiographs`.
        images: (n, 1, H, W) uint8, the whole cache, on the device.
        order: batches of positions in `table`, or of the (draw, position) pairs of `EpochSampler`.
        augment: of the training fold, None elsewhere.
        seed: training seed.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        images: Tensor,
        order: BatchSampler | RankBatches,
        augment: BatchAugment | None = None,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.order = order
        self.augment = augment
        self.seed = seed
        device = images.device
        self.cache_row = torch.from_numpy(table["cache_row"].to_numpy(copy=True)).to(device)
        self.index = torch.from_numpy(table.index.to_numpy(copy=True)).to(device)
        self.age_months = torch.from_numpy(table["age_months"].to_numpy(np.float32)).to(device)
        soft = table.get("soft_age_months", table["age_months"])
        self.soft_age_months = torch.from_numpy(soft.to_numpy(np.float32)).to(device)
        self.sex = sex_indices(table["sex"]).to(device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        batches: list[list[Any]] = list(self.order)
        sizes = [len(batch) for batch in batches]
        pairs = np.array([pair for batch in batches for pair in batch]).reshape(sum(sizes), -1)
        positions = torch.from_numpy(pairs[:, -1]).to(self.images.device)
        drawn = self._draw(pairs[:, 0])
        start = 0
        for size in sizes:
            these = slice(start, start := start + size)
            yield self._batch(positions[these], [values[these] for values in drawn])

    def _draw(self, draws: np.ndarray) -> list[Tensor]:
        """Return the parameters of the augmentation, the same however processes share the draws."""
        if self.augment is None:
            return []
        n, size = len(self.index), self.images.shape[-1]
        epoch = int(draws[0]) // n
        drawn = self.augment.draw(n, size, np.random.default_rng([self.seed, epoch]))
        return [values[draws - epoch * n] for values in drawn]

    def _batch(self, positions: Tensor, drawn: Sequence[Tensor]) -> Batch:
        image = self.images[self.cache_row[positions]]
        if self.augment is not None:
            image = self.augment(image, drawn)
        return Batch(
            image=image,
            age_months=self.age_months[positions],
            soft_age_months=self.soft_age_months[positions],
            sex=self.sex[positions],
            index=self.index[positions],
        )
