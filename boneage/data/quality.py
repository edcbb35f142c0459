"""Noise and blocks of compression in a radiograph, as strong as a network sees them."""

import cv2
import numpy as np

from boneage.data.decode import Square

NOISY, COMPRESSED = "noisy", "strongly compressed"
MAX_NOISE = 5.0  # grey levels of the square, standard deviation
MAX_BLOCKS = 0.75  # excess of the steps at the borders of blocks, times the scale
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # their difference
PER_SD = 6 * 0.6745  # median of the absolute filtered values, for noise of SD 1
WINDOW = 256  # pixels of a side that are measured: enough
BLOCK = 8  # pixels of a side
REACH = 3  # steps on both sides of a border that it is compared with
LEVEL = 0.1  # grey levels of the square: smaller steps are none


def quality_flags(image: np.ndarray, square: Square) -> list[str]:
    """Return which flaws of an (H, W) uint8 or uint16 radiograph its square shows.

    The limits were chosen on validation radiographs of 256 pixels (`studies/rsna/quality.py`).
    """
    flags = {
        NOISY: noise(image, square) > MAX_NOISE,
        COMPRESSED: blocks(image, square) > MAX_BLOCKS,
    }
    return [flag for flag, raised in flags.items() if raised]


def noise(image: np.ndarray, square: Square) -> float:
    """Return the standard deviation of a radiograph's noise, in grey levels of its square.

    Measured in the file by the filter of Immerkaer (Computer Vision and Image Understanding
    1996;64:300-302), with the median instead of the mean, which edges raise. Noise is multiplied
    with the contrast, and averaged where the file is reduced.

    Args:
        image: (H, W) uint8 or uint16.
        square: made from it.
    """
    part = image[square.geometry.seen]
    rows, columns = (_middle(side) for side in part.shape)
    filtered = np.abs(cv2.filter2D(part[rows, columns], cv2.CV_32F, LAPLACIANS))
    averaged = np.minimum(square.geometry.scales, 1).prod() ** 0.5
    return float(np.median(filtered) / PER_SD * square.gain * averaged)


def blocks(image: np.ndarray, square: Square) -> float:
    """Return how visible the blocks of JPEG compression are in the square of a radiograph.

    It is the relative excess of the steps between the rows and columns at the borders of blocks
    over those beside them: the median over the borders, of the most likely grid. It is about 0
    without blocks. A reduced file has smaller blocks, so it is multiplied with the scale.

    Args:
        image: (H, W) uint8 or uint16.
        square: made from it.
    """
    level = LEVEL / square.gain
    part = image[square.geometry.seen]
    if min(part.shape) < 2 * BLOCK:  # which has no grid
        return 0.0
    rows, columns = (_middle(side) for side in part.shape)
    wide, high = part[rows], part[:, columns]
    across = cv2.absdiff(wide[:, 1:], wide[:, :-1])
    down = cv2.absdiff(high[1:], high[:-1])
    excess = [
        _excess(cv2.reduce(steps, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() + level)
        for axis, steps in enumerate((across, down))
    ]
    return float(np.mean(excess) * square.geometry.scales.mean())


def _middle(side: int) -> slice:
    """Return the middle of a side, at most `WINDOW` pixels."""
    start = max(0, side - WINDOW) // 2
    return slice(start, start + WINDOW)


def _excess(steps: np.ndarray) -> float:
    """Return the excess of every eighth of (n,) steps over those beside it, at the best offset."""
    middle = steps[REACH:-REACH]
    around = np.lib.stride_tricks.sliding_window_view(steps, 2 * REACH + 1).sum(axis=1)
    excess = middle / ((around - middle) / (2 * REACH)) - 1
    whole = excess[: len(excess) // BLOCK * BLOCK].reshape(-1, BLOCK)
    medians = np.median(whole, axis=0).clip(0)
    best = int(medians.argmax())
    half = 1 + medians[best - BLOCK // 2]  # where enlarged pixels have borders, but blocks do not
    return float((1 + medians[best]) / half - 1)
