"""The order of the training radiographs, a function of seed and epoch alone."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, position) pairs: the epoch travels with the position to the workers.

    So the augmentation of a radiograph depends on seed, epoch and radiograph only, whatever the
    number of workers and however far they have prefetched.

    Args:
        n: number of training radiographs.
        seed: training seed.
        epoch: tells the epoch at the moment an iteration starts; a number set beforehand would be
            too late for workers that prefetch, and too early for a run that is resumed.
        classes: (n,) stage of each radiograph to draw all stages equally often, with replacement;
            None visits every radiograph once.
    """

    def __init__(
        self, n: int, seed: int, epoch: Callable[[], int], classes: np.ndarray | None = None
    ) -> None:
        self.n = n
        self.seed = seed
        self.epoch = epoch
        self.probability = None
        if classes is not None:
            present, counts = np.unique(classes, return_counts=True)
            weight = 1 / counts[np.searchsorted(present, classes)]
            self.probability = weight / weight.sum()

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch()
        rng = np.random.default_rng([self.seed, epoch])
        if self.probability is None:
            order = rng.permutation(self.n)
        else:
            order = rng.choice(self.n, self.n, p=self.probability)
        return ((epoch, int(position)) for position in order)
