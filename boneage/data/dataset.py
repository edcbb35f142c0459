"""Batches of uint8 radiographs, from the cache or from the memory of the device."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, get_worker_info

from boneage.data.batch_augment import BatchAugment
from boneage.data.sampler import RankBatches, evenly
from boneage.data.storage import amount
from boneage.data.tables.columns import LABEL
from boneage.data.tables.sexes import sex_codes
from boneage.errors import FailedRun, UserError

SHEET_COLUMNS, SHEET_DRAWS = 8, 3  # radiographs on a sheet, and augmentations of each


def sex_indices(sexes: Iterable[str]) -> Tensor:
    """Return (n,) int64 indices into `SEXES`."""
    return torch.from_numpy(sex_codes(sexes))


class Batch(TypedDict):
    """What the loaders yield, with B radiographs of H x W pixels."""

    image: Tensor  # (B, 1, H, W) uint8
    age_months: Tensor  # (B,) float32
    soft_age_months: Tensor  # (B,) float32, a teacher's, else equal to age_months
    sex: Tensor  # (B,) int64, index into SEXES
    labels: dict[str, Tensor]  # (B,) float32 by column, of data.columns.labels; NaN if unknown
    index: Tensor  # (B,) int64, row of the data module's table


def batch_rows(batch: Batch, rows: Tensor) -> Batch:
    """Return the radiographs of a batch at (n,) positions."""
    parts = {
        name: {label: values[rows] for label, values in entry.items()}
        if isinstance(entry, dict)
        else entry[rows]
        for name, entry in cast(dict[str, Any], batch).items()
    }
    return cast(Batch, parts)


@dataclass(frozen=True)
class _Labels:
    """What batches contain besides images, of all radiographs of a fold."""

    age_months: Tensor
    soft_age_months: Tensor
    sex: Tensor
    index: Tensor
    others: dict[str, Tensor]

    @classmethod
    def of(cls, table: pd.DataFrame, device: torch.device | str = "cpu") -> "_Labels":
        """Return the labels of a fold's rows on a device."""

        def numbers(column: pd.Series) -> Tensor:
            return torch.from_numpy(column.to_numpy(np.float32, copy=True)).to(device)

        ages = table["age_months"]
        index = torch.from_numpy(table.index.to_numpy(copy=True)).to(device)
        sex = sex_indices(table["sex"]).to(device)
        names = [name for name in map(str, table) if name.startswith(LABEL)]
        others = {name.removeprefix(LABEL): numbers(table[name]) for name in names}
        soft = numbers(table.get("soft_age_months", ages))
        return cls(numbers(ages), soft, sex, index, others)

    def batch(self, image: Tensor, positions: Tensor | list[int]) -> Batch:
        """Return (B, 1, H, W) images as a batch, with the labels at their positions."""
        return Batch(
            image=image,
            age_months=self.age_months[positions],
            soft_age_months=self.soft_age_months[positions],
            sex=self.sex[positions],
            labels={name: values[positions] for name, values in self.others.items()},
            index=self.index[positions],
        )


class CachedImages:
    """Radiographs of the cache, read by the slice: those of a fold may not fit into memory.

    Args:
        cache: path of the (n, H, W) uint8 array.
        rows: (m,) positions in it.
    """

    def __init__(self, cache: Path, rows: np.ndarray) -> None:
        self.images: np.ndarray = np.load(cache, mmap_mode="r")
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return (k, H, W) uint8 radiographs."""
        images: np.ndarray = self.images[self.rows[part]]
        return images


class Radiographs(Dataset[Batch]):
    """The radiographs of one fold, fetched by the batch: `DataLoader(..., collate_fn=collate)`.

    Args:
        table: the fold's rows: `age_months`, `sex`, `cache_row`, the position in the cache, and
            optionally `soft_age_months` and other labels; its index is what batches carry as
            `index`.
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
        self.labels = _Labels.of(table)

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
            # once per batch: seeding takes longer than many transforms of one radiograph
            seed = np.random.SeedSequence([self.seed, pairs[0][0]])
            self.augment.set_random_seed(int(seed.generate_state(1)[0]))
            for image in images:
                changed = np.asarray(self.augment(image=image)["image"])
                if changed.dtype != image.dtype or changed.size != image.size:
                    raise FailedRun(
                        f"augment: an image becomes {changed.dtype} of shape {changed.shape}, but "
                        f"must remain {image.dtype} of shape {image.shape}: leave out transforms "
                        "such as Normalize and Resize, which the framework does itself"
                    )
                image[:] = changed
        return self.labels.batch(torch.from_numpy(images)[:, None], positions)


def collate(batch: Any) -> Any:  # noqa: ANN401 - DataLoader expects a list
    """Return a batch as `Radiographs` fetched it, in place of collation.

    A loader process moves its batch to shared memory here, where an error reaches the training
    process. In the queue, a batch that does not fit would be lost, and training would hang.
    """
    if get_worker_info() is not None:
        tensors = [values for name, values in batch.items() if name != "labels"]
        for values in (*tensors, *batch["labels"].values()):
            values.share_memory_()
    return batch


def augmented_sheet(train: Radiographs) -> np.ndarray:
    """Return radiographs from the youngest to the oldest, plain and augmented.

    Args:
        train: the training fold.

    Returns:
        (1 + `SHEET_DRAWS`, at most `SHEET_COLUMNS`, H, W) uint8; the first row is not augmented.
    """
    by_age = np.argsort(train.labels.age_months.numpy(), kind="stable")
    chosen = by_age[evenly(len(by_age), SHEET_COLUMNS)]
    plain = train.images[train.cache_row[chosen]]
    rows = [train.__getitems__([(draw, int(i)) for i in chosen]) for draw in range(SHEET_DRAWS)]
    return np.stack([plain, *(row["image"][:, 0].numpy() for row in rows)])


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
    """A loader without work on the host: selects, augments and yields batches on the device.

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
        rows = torch.from_numpy(table["cache_row"].to_numpy(copy=True))
        self.cache_row = rows.to(images.device)
        self.labels = _Labels.of(table, images.device)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        batches: list[list[Any]] = list(self.order)
        if not batches:  # of an empty fold
            return
        sizes = [len(batch) for batch in batches]
        pairs = np.array([pair for batch in batches for pair in batch]).reshape(sum(sizes), -1)
        positions = torch.from_numpy(pairs[:, -1]).to(self.images.device)
        drawn = self._draw(pairs[:, 0])
        start = 0
        for size in sizes:
            rows = slice(start, start := start + size)
            yield self._batch(positions[rows], [values[rows] for values in drawn])

    def _draw(self, draws: np.ndarray) -> list[Tensor]:
        """Return the augmentation parameters, which do not depend on the number of processes."""
        if self.augment is None:
            return []
        n, size = len(self.cache_row), self.images.shape[-1]
        epoch = int(draws[0]) // n
        drawn = self.augment.draw(n, size, np.random.default_rng([self.seed, epoch]))
        return [values[draws - epoch * n] for values in drawn]

    def _batch(self, positions: Tensor, drawn: Sequence[Tensor]) -> Batch:
        image = self.images[self.cache_row[positions]]
        if self.augment is not None:
            image = self.augment(image, drawn)
        return self.labels.batch(image, positions)
