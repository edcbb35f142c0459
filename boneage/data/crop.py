"""The crop of a radiograph for the network, and the image for a reader."""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.data.depth import full_scale, to_8_bits
from boneage.data.hand import Hand, resized_mask, sides_at

HAND_MARGIN = 0.03  # of the hand's box, on each side
LONGER_SIDE = 480  # pixels
QUALITY = 80  # of JPEG
CONTRAST_PERCENTILES = (1.0, 99.7)  # of the grey values that become black and white


@dataclass(frozen=True)
class Crop:
    """A part of a radiograph.

    Args:
        box: left, top, right and bottom as shares of width and height.
        mask: (h, w) bool, the hand in the whole radiograph at any resolution; None without
            one.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mask: np.ndarray | None = None

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the crop in a radiograph of this size."""
        left, top, right, bottom = self.box
        rows = slice(int(top * height), max(int(np.ceil(bottom * height)), int(top * height) + 1))
        columns = slice(int(left * width), max(int(np.ceil(right * width)), int(left * width) + 1))
        return rows, columns

    def hand_in(self, height: int, width: int) -> np.ndarray | None:
        """Return the bool mask of the hand in the crop, resized to (height, width)."""
        if self.mask is None:
            return None
        resized = resized_mask(self.mask[self.slices(*self.mask.shape)], height, width)
        return resized if resized.any() else None


def crop_around(hand: Hand | None) -> Crop:
    """Return the crop to a hand and a margin; the whole radiograph without one."""
    if hand is None:
        return Crop()
    left, top, right, bottom = hand.box
    x, y = HAND_MARGIN * (right - left), HAND_MARGIN * (bottom - top)
    box = (max(left - x, 0.0), max(top - y, 0.0), min(right + x, 1.0), min(bottom + y, 1.0))
    return Crop(box, hand.mask)


def to_film(image: np.ndarray, hand: Hand | None = None) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph as an (h, w) uint8 image for a reader.

    Its longer side has `LONGER_SIDE` pixels. Black and white are `CONTRAST_PERCENTILES` of the
    hand, so that markers and borders do not change the contrast; without a hand, of all pixels.
    """
    height, width = sides_at(LONGER_SIDE, *image.shape)
    interpolation = cv2.INTER_AREA if max(image.shape) > LONGER_SIDE else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    mask = None if hand is None else Crop(mask=hand.mask).hand_in(height, width)
    low, high = np.percentile(resized if mask is None else resized[mask], CONTRAST_PERCENTILES)
    return to_8_bits(resized, low, min(high, full_scale(image)))


def to_jpeg(image: np.ndarray) -> bytes:
    """Return an (h, w) grey or (h, w, 3) RGB uint8 image as the content of a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    as_opencv = image if image.ndim == 2 else image[..., ::-1]
    return cv2.imencode(".jpg", as_opencv, options)[1].tobytes()
