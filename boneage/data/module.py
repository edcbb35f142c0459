"""The LightningDataModule: from a folder of radiographs to three loaders."""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, cast

import albumentations as A
import lightning as L
import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler
from typing_extensions import override

from boneage.data.atomic import default_cache_dir
from boneage.data.batch_augment import BatchAugment
from boneage.data.cache import check_readable, open_cache
from boneage.data.dataset import (
    PREFETCH,
    CachedImages,
    Loader,
    Radiographs,
    ResidentBatches,
    check_shared_memory,
    collate,
    upload,
)
from boneage.data.decode import Preprocessing
from boneage.data.file_facts import fill_from_headers, warn_of_leaks
from boneage.data.layouts import read_source
from boneage.data.phantom.write import PHANTOM_FILE
from boneage.data.sampler import EpochSampler, RankBatches, Sampling, sampling_shares
from boneage.data.split_choice import Split, require_shares, rows_of
from boneage.data.splits import DEFAULT_FOLDS, FOLDS, find_held_out, require_folds
from boneage.data.tables.columns import READER, AgeUnit, Columns, label_column
from boneage.data.tables.readings import read_soft_targets, reading_column, warn_of_readings
from boneage.errors import UserError, require_choice
from boneage.stages import Stages

log = logging.getLogger(__name__)


class BoneAgeDataModule(L.LightningDataModule):
    """Radiographs with bone age and sex, decoded once and split into three folds.

    Args:
        root: folder with label table(s) and images, in any of the known layouts.
        stages: maturity stages, for balanced sampling.
        table: label table to train on, relative to `root`; None finds it.
        val_table: separate validation table; None finds the official one or splits one off.
        test_table: separate test table; None finds the official one or splits one off.
        columns: column names of a custom table; None per name recognises the known ones.
        age_unit, separator: see `Columns`.
        missing: what to do with ids without image and images without row.
        unreadable: what to do with damaged image files.
        size: side of the square the network sees, pixels.
        fit: "squash" to the square, or "pad" and keep the aspect ratio.
        contrast: "none", or "stretch" per radiograph between percentiles.
        crop: "none", or "hand": only the part with the detected hand.
        cache_dir: folder of decoded radiographs; None is the user's cache directory.
        split_seed, folds, fold, split_file, test, train_films: see `Split`.
        hold_out: table with a column `id`, or folder of images named by ids. These radiographs,
            and all others of their patients, are test radiographs whatever the split says.
        soft_targets: table of ages that a teacher predicted without having seen the radiograph
            (`read_soft_targets`), for tasks that learn from them and the reading.
        subgroups: columns of the table to group results by.
        augment: albumentations transform of (H, W) uint8 training radiographs.
        sampling: "shuffle"; "balanced", all stages equally often; or "ages", each whole year of
            each sex by the root of its inverse frequency.
        batch_size: radiographs per step.
        num_workers: loader processes; the pixels do not depend on it.
        residence: "host" loads each batch from the cache; "device" keeps all radiographs in the
            memory of the device and augments whole batches there, without loader processes.
        seed: training seed of order and augmentation.

    Attributes:
        is_external: tells if a table is new to a checkpoint; its test sets this before `setup`.
        external: its result for the data set; False without it.
    """

    def __init__(
        self,
        root: str | Path,
        stages: Stages,
        table: str | None = None,
        val_table: str | None = None,
        test_table: str | None = None,
        columns: dict[str, str | list[str] | None] | None = None,
        age_unit: AgeUnit | None = None,
        separator: str | None = None,
        missing: Literal["error", "drop"] = "error",
        unreadable: Literal["error", "drop"] = "error",
        size: int = 128,
        fit: Literal["squash", "pad"] = "squash",
        contrast: Literal["none", "stretch"] = "none",
        crop: Literal["none", "hand"] = "none",
        cache_dir: str | Path | None = None,
        split_seed: NonNegativeInt = 0,
        folds: int | Literal["site"] = DEFAULT_FOLDS,
        fold: int = 0,
        split_file: str | Path | None = None,
        hold_out: str | Path | None = None,
        soft_targets: str | Path | None = None,
        test: Literal["auto", "fold", "all"] = "auto",
        train_films: PositiveInt | Literal["all"] = "all",
        subgroups: Sequence[str] = (),
        augment: A.Compose | None = None,
        sampling: Sampling = "shuffle",
        batch_size: PositiveInt = 64,
        num_workers: NonNegativeInt = 0,
        residence: Literal["host", "device"] = "host",
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        require_choice("data.residence", residence, "host", "device")
        self.root = Path(root)
        self.stages = stages
        self.columns = Columns.of(columns or {}, subgroups, age_unit, separator)
        self.read_source = partial(
            read_source, self.root, table, val_table, test_table, self.columns, missing
        )
        self.unreadable = unreadable
        self.preprocessing = Preprocessing(size=size, fit=fit, contrast=contrast, crop=crop)
        self.cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
        file = Path(split_file) if split_file else None
        self.split = Split(split_seed, folds, fold, file, test, train_films)
        self.hold_out = Path(hold_out) if hold_out else None
        self.soft_targets = Path(soft_targets) if soft_targets else None
        self.augment = augment
        self.sampling = sampling
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.residence = residence
        self.batch_augment = BatchAugment(augment) if augment and residence == "device" else None
        self.seed = seed
        self.table = pd.DataFrame()
        self.is_external: Callable[[pd.DataFrame], bool] | None = None
        self.external = False
        self.next_epoch = 0

    @override
    def setup(self, stage: str) -> None:
        """Read labels, find images, build or open the cache, and split; once.

        Afterwards `table` has one row per radiograph: `id`, `age_months`, `age_years`, `sex`,
        `path`, `cache_row`, `fold`, `patient` where it is known, `soft_age_months` with soft
        targets, and `described`: what results are grouped by or compared with, and labels.
        """
        self._check_shared_memory()
        if len(self.table):
            return
        if self.split.test == "all" and (stage == "fit" or self.split.file):
            raise UserError(
                "data.test=all tests every radiograph: it needs train=false, and no data.split_file"
            )
        targets = self.soft_targets if stage == "fit" else None
        for name, path in (("split_file", self.split.file), ("soft_targets", targets)):
            if path and not path.is_file():  # before decoding, which may take long
                raise UserError(f"data.{name}={path}: no such table")
        table = self.read_source()
        ids, held = list(table["id"]), self.hold_out
        held_out = find_held_out(held, ids, self.columns) if held else set()
        cache = open_cache(table, self.preprocessing, self.cache_dir)
        table = fill_from_headers(table, cache)
        readable = check_readable(table, cache, self.unreadable)
        table = table.assign(cache_row=range(len(table))).iloc[readable].reset_index(drop=True)
        self.external = self.is_external is not None and self.is_external(table)
        table["fold"] = self.split.assign(table, held_out, self.external, self.columns.separator)
        warn_of_leaks(table, cache)
        table["age_years"] = table["age_months"] / 12
        for reader in self.columns.readers:
            table[reading_column(reader)] = table.pop(f"{READER}{reader}") / 12
        if targets:
            table["soft_age_months"] = read_soft_targets(targets, table, self.columns)
        self.cache, self.table = cache, table
        require_folds(table, FOLDS if stage == "fit" else ("test",), self.root, self.hold_out)
        self.split.report(table, self.stages, self.external)
        warn_of_readings(self.fold_table("test"), self.columns.readers)

    @property
    def subgroups(self) -> list[str]:
        """The columns of `table` that results are grouped by."""
        return [name for name in ("site", *self.columns.others) if name in self.table]

    @property
    def described(self) -> list[str]:
        """The columns of `table` that go with predictions: subgroups, readings and labels."""
        labels = map(label_column, self.columns.labels)
        return [*self.subgroups, *map(reading_column, self.columns.readers), *labels]

    def fold_table(self, fold: str) -> pd.DataFrame:
        """Return the rows of "train", "val" or "test"."""
        return rows_of(self.table, fold)

    def train_radiographs(self) -> Radiographs:
        """Return the training fold with its augmentation."""
        return Radiographs(self.fold_table("train"), self.cache.path, self.augment, self.seed)

    def cached(self, rows: pd.Index) -> CachedImages:
        """Return the radiographs of n rows of `table`, as the network sees them, still unread."""
        return CachedImages(self.cache.path, self.table.loc[rows, "cache_row"].to_numpy())

    def images_of(self, rows: pd.Index) -> np.ndarray:
        """Return (n, H, W) uint8 radiographs of a few rows of `table`, read into memory."""
        return self.cached(rows)[:]

    @property
    def synthetic(self) -> bool:
        """Whether the radiographs are the phantom's."""
        return (self.root / PHANTOM_FILE).is_file()

    @override
    def train_dataloader(self) -> Loader:
        table = self.fold_table("train")
        shares = sampling_shares(table, self.sampling, self.stages)
        sampler = EpochSampler(len(table), self.seed, self._epoch, shares)
        rank, processes = self._process()
        pairs = cast(Sampler[int], sampler)  # BatchSampler groups whatever it is given
        order: BatchSampler | RankBatches = BatchSampler(pairs, self.batch_size, False)
        if processes > 1:
            order = RankBatches(sampler, self.batch_size, rank, processes)
        return self._loader("train", table, order)

    @override
    def val_dataloader(self) -> Loader:
        return self._in_order("val")

    @override
    def test_dataloader(self) -> Loader:
        return self._in_order("test")

    def _in_order(self, fold: str) -> Loader:
        """Return this process's share of a fold: no radiograph is repeated to make shares even."""
        rank, processes = self._process()
        require_shares(self.table, (fold, "test"), processes)  # of the test before training
        table = self.fold_table(fold)[rank::processes]
        return self._loader(fold, table, BatchSampler(range(len(table)), self.batch_size, False))

    def _loader(self, fold: str, table: pd.DataFrame, order: BatchSampler | RankBatches) -> Loader:
        """Return batches of a fold in the given order, from the host or the device."""
        training = fold == "train"
        if self.residence == "device":
            augment = self.batch_augment if training else None
            return ResidentBatches(table, self.resident_images, order, augment, self.seed)
        return DataLoader(
            self.train_radiographs() if training else Radiographs(table, self.cache.path),
            batch_sampler=order,
            num_workers=self.num_workers,
            prefetch_factor=PREFETCH if self.num_workers else None,
            collate_fn=collate,
            generator=torch.Generator(),  # starting workers must not change the model's dropout
            persistent_workers=self.num_workers > 0,
            pin_memory=self._device.type == "cuda",
        )

    @cached_property
    def resident_images(self) -> Tensor:
        """All radiographs, (n, 1, H, W) uint8, in the memory of the device."""
        return upload(self.cache.path, self._device)

    def _check_shared_memory(self) -> None:
        """Raise UserError when batches of this machine's loader processes do not fit into it."""
        if self.residence == "host":
            processes = 1 if self.trainer is None else self.trainer.num_devices
            size, workers = self.preprocessing.size, self.num_workers * processes
            check_shared_memory(size**2, self.batch_size, workers)

    @property
    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def _process(self) -> tuple[int, int]:
        """Return the rank of this process, and the number of processes."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    @override
    def state_dict(self) -> dict[str, int]:
        """Store the next epoch: a resumed run's workers start before the trainer knows it."""
        assert self.trainer is not None
        return {"next_epoch": self.trainer.fit_loop.epoch_progress.current.ready}

    @override
    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.next_epoch = state_dict["next_epoch"]

    def _epoch(self) -> int:
        """Return the epoch that a loader starts; always the first to overfit the same batches."""
        if self.trainer is None:
            return self.next_epoch
        if self.trainer.overfit_batches:  # type: ignore[attr-defined]
            return 0
        return max(self.next_epoch, self.trainer.current_epoch)
