"""Batches of uint8 radiographs, from the cache or from the memory of the device."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

import albumentations as A
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, get_worker_info

from boneage.data.batch_augment import BatchAugment
from boneage.data.sampler import RankBatches, evenly
from boneage.data.tables.columns import LABEL
from boneage.data.tables.sexes import sex_codes
from boneage.errors import FailedRun, UserError, amount

SHEET_COLUMNS, SHEET_DRAWS = 8, 3  # radiographs on a sheet, and augmentations of each
PREFETCH = 2  # batches that each loader process prepares ahead
SHARED_MEMORY = Path("/dev/shm")  # of Linux; Docker gives a container 64 MB
OVERHEAD = 3 * 4096  # bytes of a batch besides its images: a page each for ages, sexes, rows
REMEDY = (
    "use fewer workers or data.num_workers=0, or give a container more: docker run --shm-size=2g"
)


def sex_indices(sexes: Iterable[str]) -> Tensor:
    """Return (n,) int64 indices into `SEXES`."""
    return torch.from_numpy(sex_codes(sexes))


class Labels(TypedDict):
    """What is known of B radiographs besides their pixels."""

    age_months: Tensor  # (B,) float32
    soft_age_months: Tensor  # (B,) float32, a teacher's, else equal to age_months
    sex: Tensor  # (B,) int64, index into SEXES
    labels: dict[str, Tensor]  # (B,) float32 by column, of data.columns.labels; NaN if unknown
    index: Tensor  # (B,) int64, row of the data module's table


class Batch(Labels):
    """What the loaders yield, with B radiographs of H x W pixels."""

    image: Tensor  # (B, 1, H, W) uint8


Rows = TypeVar("Rows", Labels, Batch)


def batch_rows(batch: Rows, rows: Tensor | list[int]) -> Rows:
    """Return the radiographs of a batch at (n,) positions."""
    parts = {
        name: {label: values[rows] for label, values in entry.items()}
        if isinstance(entry, dict)
        else entry[rows]
        for name, entry in cast(dict[str, Any], batch).items()
    }
    return cast(Rows, parts)


def _labels_of(table: pd.DataFrame, device: torch.device | str = "cpu") -> Labels:
    """Return the labels of a fold's rows on a device."""

    def numbers(column: pd.Series) -> Tensor:
        return torch.from_numpy(column.to_numpy(np.float32, copy=True)).to(device)

    ages = table["age_months"]
    names = [name for name in map(str, table) if name.startswith(LABEL)]
    return Labels(
        age_months=numbers(ages),
        soft_age_months=numbers(table.get("soft_age_months", ages)),
        sex=sex_indices(table["sex"]).to(device),
        labels={name.removeprefix(LABEL): numbers(table[name]) for name in names},
        index=torch.from_numpy(table.index.to_numpy(copy=True)).to(device),
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
        self.labels = _labels_of(table)

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
        image = torch.from_numpy(images)[:, None]
        return Batch(image=image, **batch_rows(self.labels, positions))


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
    by_age = np.argsort(train.labels["age_months"].numpy(), kind="stable")
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
        self.labels = _labels_of(table, images.device)

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
            image = self.images[self.cache_row[positions[rows]]]
            if self.augment is not None:
                image = self.augment(image, [values[rows] for values in drawn])
            yield Batch(image=image, **batch_rows(self.labels, positions[rows]))

    def _draw(self, draws: np.ndarray) -> list[Tensor]:
        """Return the augmentation parameters, which do not depend on the number of processes."""
        if self.augment is None:
            return []
        n, size = len(self.cache_row), self.images.shape[-1]
        epoch = int(draws[0]) // n
        drawn = self.augment.draw(n, size, np.random.default_rng([self.seed, epoch]))
        return [values[draws - epoch * n] for values in drawn]


Loader = DataLoader[Batch] | ResidentBatches


def check_shared_memory(image_bytes: int, batch_size: int, workers: int) -> None:
    """Check that the batches that loader processes prepare ahead fit into shared memory.

    Each process prepares `PREFETCH` batches ahead, and the trainer uses two more.

    Args:
        image_bytes: bytes of one radiograph.
        batch_size: radiographs in a batch.
        workers: loader processes of all training processes of this machine.

    Raises:
        UserError: when too little is free; a loader would hang silently, or be killed.
    """
    free = free_shared_memory()
    needed = (batch_size * image_bytes + OVERHEAD) * (workers * PREFETCH + 2) if workers else 0
    if free is not None and needed > free:
        raise UserError(
            f"data.num_workers={workers}: batches loaded ahead need {amount(needed)} of "
            f"shared memory, but {SHARED_MEMORY} has {amount(free)} free: {REMEDY}"
        )


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None if the system has no such folder."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None
