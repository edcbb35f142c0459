"""Batches of uint8 radiographs from the memory-mapped cache."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from boneage.data.sexes import sex_codes


def sex_indices(sexes: Iterable[str]) -> Tensor:
    """Return (n,) int64 indices into `SEXES`."""
    return torch.from_numpy(sex_codes(sexes))


class Batch(TypedDict):
    """What the loaders yield, with B radiographs of H x W pixels."""

    image: Tensor  # (B, 1, H, W) uint8
    age_months: Tensor  # (B,) float32
    soft_age_months: Tensor  # (B,) float32, a teacher's; the same where there is none
    sex: Tensor  # (B,) int64, index into SEXES
    index: Tensor  # (B,) int64, row of the data module's table


class Radiographs(Dataset[Batch]):
    """The radiographs of one fold.

    Args:
        table: the fold's rows: `age_months`, `sex`, `cache_row`, the position in the cache, and
            `soft_age_months` where there are some; its index is what batches carry as `index`.
        cache: path of the (n, H, W) uint8 array.
        augment: transform of the training fold, None elsewhere.
        seed: training seed.
    """

    def __init__(
        self, table: pd.DataFrame, cache: Path, augment: A.Compose | None = None, seed: int = 0
    ) -> None:
        self.cache = cache
        self.augment = augment
        self.seed = seed
        self.cache_row = table["cache_row"].to_numpy()
        self.index = torch.from_numpy(table.index.to_numpy(copy=True))
        self.age_months = torch.from_numpy(table["age_months"].to_numpy(np.float32, copy=True))
        soft = table.get("soft_age_months", table["age_months"])
        self.soft_age_months = torch.from_numpy(soft.to_numpy(np.float32, copy=True))
        self.sex = sex_indices(table["sex"])

    def __len__(self) -> int:
        return len(self.cache_row)

    @cached_property
    def images(self) -> np.ndarray:
        """The whole cache, opened on first use: every worker maps the file itself."""
        images: np.ndarray = np.load(self.cache, mmap_mode="r")
        return images

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "images"}

    def __getitems__(self, keys: Sequence[int] | Sequence[tuple[int, int]]) -> Batch:
        """Fetch a batch by positions, or by the (draw, position) pairs of `EpochSampler`."""
        pairs = [key if isinstance(key, tuple) else (0, key) for key in keys]
        positions = [position for _, position in pairs]
        images = self.images[self.cache_row[positions]]
        if self.augment is not None:
            # once a batch: seeding takes longer than many a transform of one radiograph
            seed = np.random.SeedSequence([self.seed, pairs[0][0]])
            self.augment.set_random_seed(int(seed.generate_state(1)[0]))
            for image in images:
                image[:] = self.augment(image=image)["image"]
        return Batch(
            image=torch.from_numpy(images)[:, None],
            age_months=self.age_months[positions],
            soft_age_months=self.soft_age_months[positions],
            sex=self.sex[positions],
            index=self.index[positions],
        )
