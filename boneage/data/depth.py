"""How many grey levels a radiograph really uses, whatever the container of its values holds."""

import cv2
import numpy as np

BIT_DEPTHS = (8, 10, 12, 14, 16)
SATURATED = 0.95  # of the container's greatest value: a mark burnt into the pixels
STRAY = 0.005  # share of all pixels that may lie between a depth and the saturated ones


def full_scale(image: np.ndarray) -> int:
    """Return the full scale of an (H, W) uint8 or uint16 radiograph.

    Detectors of 10 to 14 bits store their values unscaled in 16: the full scale is that of the
    smallest depth of 8, 10, 12, 14 and 16 bits that holds the maximum. Letters or borders
    that a program has written at the container's maximum are no values of the detector: they are
    left aside where nearly nothing lies between them and the smaller depth.
    """
    highest = int(image.max())
    limits = [(1 << bits) - 1 for bits in BIT_DEPTHS]
    whole = next(limit for limit in limits if highest <= limit)
    saturated = int(SATURATED * limits[-1])
    if image.dtype == np.uint8 or highest <= saturated:
        return whole
    counts = cv2.calcHist([image], [0], None, [limits[-1] + 1], [0, limits[-1] + 1]).ravel()
    above = image.size - np.cumsum(counts, dtype=np.float64)  # pixels above each value
    marks = above[saturated]
    return next(
        limit
        for limit in limits
        if above[limit] - marks <= min(STRAY * image.size, marks) or limit == whole
    )
