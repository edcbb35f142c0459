"""The range of grey levels that a radiograph uses within 8 or 16 bits, and mapping it to 8."""

import cv2
import numpy as np

from boneage.errors import UserError

BIT_DEPTHS = (8, 10, 12, 14, 16)
SATURATED = 0.95  # share of the container's maximum: brighter pixels are burnt-in marks
STRAY = 0.005  # share of all pixels that may lie between a depth and the saturated ones
SMALLEST = 0.02  # share of all pixels that a radiograph has at least, without the commonest value
BINS = 256  # of a range of values
SQUEEZED = 1 / 8  # share of the range: a radiograph below it is squeezed by marks
MIN_GAP = 1 / 16  # share of the range: minimum gap between marks and the radiograph's values
RARE = 2e-4  # share of the pixels: rarer levels are edges of marks
SAMPLE_PIXELS = 512  # pixels of the shorter side: enough for the distribution of values
MIN_VALUES = 16  # different ones, of a radiograph


def check_pixels(image: np.ndarray) -> None:
    """Raise UserError unless pixels are those of one (H, W) uint8 or uint16 radiograph."""
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16) or not image.size:
        raise UserError(
            f"pixels of shape {image.shape} and type {image.dtype}: a radiograph is "
            "(height, width) of uint8 or uint16, with bright bones; several are a list"
        )


def full_scale(image: np.ndarray) -> int:
    """Return the full scale of an (H, W) uint8 or uint16 radiograph.

    Detectors of 10 to 14 bits store their values unscaled in 16 bits: the full scale is that of
    the smallest depth of 8, 10, 12, 14 and 16 bits that contains the maximum. Letters or borders
    that a program has written at the container's maximum are not detector values. They are ignored
    if almost no pixels lie between them and the smaller depth, and enough for a radiograph within
    it. Inverted values of a small depth have none there: the bright pixels are the radiograph.
    """
    limits = [(1 << bits) - 1 for bits in BIT_DEPTHS]
    if image.dtype == np.uint8:
        return limits[0]
    highest = int(image.max())
    container = next(limit for limit in limits if highest <= limit)
    saturated = int(SATURATED * limits[-1])
    if highest <= saturated:
        return container
    counts = cv2.calcHist([image], [0], None, [limits[-1] + 1], [0, limits[-1] + 1]).ravel()
    above = image.size - np.cumsum(counts, dtype=np.float64)  # pixels above each value
    marks = above[saturated]
    return next(
        limit
        for limit in limits
        if limit == container
        or (
            above[limit] - marks <= min(STRAY * image.size, marks)
            and image.size - above[limit] - counts[: limit + 1].max() > SMALLEST * image.size
        )
    )


def to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return grey values as uint8: 0 up to `low`, 255 from `high` on, linear between them."""
    scaled = (values.astype(np.float32) - low) * (255 / max(high - low, 1))
    grey: np.ndarray = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def clip_marks(image: np.ndarray) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph with extreme marks clipped to its own range.

    Values with an offset, such as 30000 to 34095, are far from both 0 and 65535: with a few pixels
    of a mark at an end, they fill a small part of the range. Below `SQUEEZED`, marks get the
    radiograph's own least or greatest value. Any other radiograph is returned unchanged.
    """
    if image.dtype == np.uint8:
        return image
    highest = min(int(image.max()), full_scale(image))
    lowest = min(int(image.min()), highest)
    step = max(1, min(image.shape) // SAMPLE_PIXELS)
    sample = np.minimum(image[::step, ::step], highest)
    values, counts = np.unique(sample, return_counts=True)
    levels = (values.astype(np.int64) - lowest) * BINS // (highest - lowest + 1)
    common = np.bincount(levels, counts)[levels] >= RARE * sample.size
    gaps = np.diff(values[common]) > MIN_GAP * (highest - lowest)
    pieces = np.split(values[common], np.flatnonzero(gaps) + 1)
    own = max(pieces, key=len)  # marks have few different values
    if len(own) < MIN_VALUES or own[-1] - own[0] > SQUEEZED * (highest - lowest):
        return image
    clipped: np.ndarray = np.clip(image, own[0], own[-1])
    return clipped
