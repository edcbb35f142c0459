"""The order of the training radiographs, a function of seed and epoch alone."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import numpy as np
import pandas as pd
from torch.utils.data import Sampler

from boneage.errors import UserError, plural, require_choice
from boneage.stages import Stages

Sampling = Literal["shuffle", "balanced", "ages"]


def evenly(n: int, at_most: int) -> np.ndarray:
    """Return evenly spaced positions in a sequence of n, from the first to the last.

    Returns:
        (min(n, at_most),) int64, ascending.
    """
    return np.linspace(0, n - 1, min(n, at_most)).round().astype(np.int64)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (draw, position) pairs; draws are counted over all epochs: epoch * n + place.

    Workers receive the draw with the position, so a batch's augmentation depends only on the seed
    and its first draw, not on the number of workers or how far they have prefetched. A radiograph
    that is drawn again in an epoch is augmented differently.

    Args:
        n: number of training radiographs.
        seed: training seed.
        epoch: returns the epoch when an iteration starts; a number set beforehand would be too late
            for workers that prefetch, and too early for a resumed run.
        shares: (n,) relative frequency of each radiograph; an epoch has n draws, and each
            radiograph gets its share of them, rounded up or down. None draws each once.
    """

    def __init__(
        self, n: int, seed: int, epoch: Callable[[], int], shares: np.ndarray | None = None
    ) -> None:
        self.n = n
        self.seed = seed
        self.epoch = epoch
        self.shares = shares

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch()
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.n)
        if self.shares is not None:
            order = order[np.argsort(self.shares[order], kind="stable")]  # equal shares adjacent
            order = rng.permutation(_drawn(order, self.shares[order], rng))
        return ((epoch * self.n + place, int(position)) for place, position in enumerate(order))


def _drawn(order: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return as many draws as shares, at even steps (systematic sampling)."""
    ends = np.cumsum(shares / shares.sum())
    steps = (np.arange(len(order)) + rng.random()) / len(order)
    return order[np.searchsorted(ends[:-1], steps, side="right")]


def sampling_shares(table: pd.DataFrame, sampling: Sampling, stages: Stages) -> np.ndarray | None:
    """Return the (n,) relative frequency of each radiograph; None draws each once.

    Args:
        table: the n training radiographs, with `age_years` and `sex`.
        sampling: as for `BoneAgeDataModule`.
        stages: the maturity stages.

    Raises:
        UserError: if there is no such sampling.
    """
    require_choice("data.sampling", sampling, *get_args(Sampling))
    years = table["age_years"].to_numpy()
    if sampling == "balanced":
        return inverse_frequency(stages.index_of(years), 1.0)
    if sampling == "ages":
        groups = table["sex"].astype(str) + np.floor(years).astype(int).astype(str)
        return inverse_frequency(groups.to_numpy(str), 0.5)
    return None


def inverse_frequency(groups: np.ndarray, exponent: float) -> np.ndarray:
    """Return (n,) shares of radiographs in (n,) groups; with exponent 1 all groups are equal."""
    _, group, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return counts[group] ** -exponent


class RankBatches(Sampler[list[tuple[int, int]]]):
    """The batches of one of several processes that train together.

    Together they see what one process would: no radiograph twice, none left out. All have the same
    number of batches, with sizes that differ by at most one, since each step waits for all.

    Args:
        sampler: the order of the whole training fold, the same in all processes.
        batch_size: maximum number of radiographs per step and process.
        rank: number of this process, from 0.
        processes: number of processes.

    Raises:
        UserError: if a process would have no radiograph in a step.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, rank: int, processes: int) -> None:
        steps = -(-len(sampler) // (batch_size * processes))
        if len(sampler) < steps * processes:
            raise UserError(
                f"the training fold has {plural(len(sampler), 'radiograph')}, too few for "
                f"{processes} processes and data.batch_size={batch_size}: use fewer devices or "
                "larger batches"
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        pairs = list(self.sampler)
        bounds = np.linspace(0, len(pairs), self.steps * self.processes + 1).round().astype(int)
        for step in range(self.steps):
            part = step * self.processes + self.rank
            yield pairs[bounds[part] : bounds[part + 1]]
