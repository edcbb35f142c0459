"""A sample of training radiographs as the network sees them."""

import numpy as np

from boneage.data.dataset import Radiographs


def augmented_sheet(train: Radiographs, columns: int = 8, draws: int = 3) -> np.ndarray:
    """Return radiographs from the youngest to the oldest, plain and augmented.

    Args:
        train: the training fold.
        columns: at most how many radiographs.
        draws: augmentations of each.

    Returns:
        (1 + draws, columns, H, W) uint8; the first row is not augmented.
    """
    by_age = np.argsort(train.age_months.numpy(), kind="stable")
    chosen = by_age[np.linspace(0, len(by_age) - 1, min(columns, len(by_age))).round().astype(int)]
    plain = train.images[train.cache_row[chosen]]
    rows = [train.__getitems__([(draw, int(i)) for i in chosen]) for draw in range(draws)]
    return np.stack([plain, *(row["image"][:, 0].numpy() for row in rows)])
