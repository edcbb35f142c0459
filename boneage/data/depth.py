"""How many grey levels a radiograph really uses, whatever the container of its values holds."""

import cv2
import numpy as np

BIT_DEPTHS = (8, 10, 12, 14, 16)
SATURATED = 0.95  # of the container's greatest value: a mark burnt into the pixels
STRAY = 0.005  # share of all pixels that may lie between a depth and the saturated ones
LEVELS = 256  # into which a range of values is divided
SQUEEZED = 1 / 8  # of the range: what marks at its ends leave to a squeezed radiograph
APART = 1 / 16  # of the range: from the marks to the values of the radiograph, at least
RARE = 2e-4  # share of the pixels: levels of fewer are edges of marks
SAMPLE = 512  # pixels of the shorter side: enough to see how values are distributed
FEWEST = 16  # different values of a radiograph


def full_scale(image: np.ndarray) -> int:
    """Return the full scale of an (H, W) uint8 or uint16 radiograph.

    Detectors of 10 to 14 bits store their values unscaled in 16: the full scale is that of the
    smallest depth of 8, 10, 12, 14 and 16 bits that holds the maximum. Letters or borders
    that a program has written at the container's maximum are no values of the detector: they are
    left aside where nearly nothing lies between them and the smaller depth.
    """
    limits = [(1 << bits) - 1 for bits in BIT_DEPTHS]
    if image.dtype == np.uint8:
        return limits[0]
    highest = int(image.max())
    whole = next(limit for limit in limits if highest <= limit)
    saturated = int(SATURATED * limits[-1])
    if highest <= saturated:
        return whole
    counts = cv2.calcHist([image], [0], None, [limits[-1] + 1], [0, limits[-1] + 1]).ravel()
    above = image.size - np.cumsum(counts, dtype=np.float64)  # pixels above each value
    marks = above[saturated]
    return next(
        limit
        for limit in limits
        if above[limit] - marks <= min(STRAY * image.size, marks) or limit == whole
    )


def unsqueezed(image: np.ndarray) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph whose marks leave its values some range.

    Values with an offset, 30000 to 34095, say, are far from both 0 and 65535: a few pixels of a
    mark at an end leave them a small part of the range. Where that is below `SQUEEZED`, marks get
    the radiograph's own least and greatest value. Any other radiograph is returned as it is.
    """
    if image.dtype == np.uint8:
        return image
    highest = min(int(image.max()), full_scale(image))
    lowest = min(int(image.min()), highest)
    step = max(1, min(image.shape) // SAMPLE)
    sample = np.minimum(image[::step, ::step], highest)
    values, counts = np.unique(sample, return_counts=True)
    levels = (values.astype(np.int64) - lowest) * LEVELS // (highest - lowest + 1)
    common = np.bincount(levels, counts)[levels] >= RARE * sample.size
    gaps = np.diff(values[common]) > APART * (highest - lowest)
    pieces = np.split(values[common], np.flatnonzero(gaps) + 1)
    own = max(pieces, key=len)  # marks have few different values
    if len(own) < FEWEST or own[-1] - own[0] > SQUEEZED * (highest - lowest):
        return image
    clipped: np.ndarray = np.clip(image, own[0], own[-1])
    return clipped
