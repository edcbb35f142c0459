"""From the pixels of a radiograph to one square of 8-bit grey values."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from boneage.data.crop import Crop
from boneage.data.depth import full_scale, unsqueezed
from boneage.errors import UserError

VERSION = 4  # of the preprocessing: raise it when the same file and options give other pixels
SIDES = (8, 4096)
STRETCH_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Preprocessing:
    """How a radiograph becomes a square.

    Args:
        size: side of the square, pixels.
        fit: "squash" to the square, or "pad": keep the aspect ratio, centred on black.
        contrast: "none", or "stretch" per radiograph: percentiles 1 and 99 become 0 and 255; in a
            hand crop, the upper one is that of the hand, which a bright marker cannot raise.
        crop: "none", or "hand": the part of the radiograph where the hand is found.

    Raises:
        UserError: naming the option that is out of range.
    """

    size: int = 128
    fit: Literal["squash", "pad"] = "squash"
    contrast: Literal["none", "stretch"] = "none"
    crop: Literal["none", "hand"] = "none"

    def __post_init__(self) -> None:
        low, high = SIDES
        if not isinstance(self.size, int) or not low <= self.size <= high:
            raise UserError(f"data.size={self.size}: must be a whole number from {low} to {high}")
        if self.fit not in ("squash", "pad"):
            raise UserError(f"data.fit={self.fit}: must be squash or pad")
        if self.contrast not in ("none", "stretch"):
            raise UserError(f"data.contrast={self.contrast}: must be none or stretch")
        if self.crop not in ("none", "hand"):
            raise UserError(f"data.crop={self.crop}: must be none or hand")

    def is_that_of(self, version: object) -> bool:
        """Tell whether a version of the package, which a model kept, prepares as this one does."""
        return self.crop != "hand" or version == VERSION


def to_square(image: np.ndarray, preprocessing: Preprocessing, crop: Crop) -> np.ndarray:
    """Return the crop of an (H, W) uint8 or uint16 radiograph as a (size, size) uint8 square.

    The radiograph is resized in its own depth, then mapped to 8 bits in one linear step.
    """
    scale = full_scale(image)
    image = unsqueezed(image)
    resized = _resize(image[crop.slices(*image.shape)], preprocessing)
    if preprocessing.contrast == "stretch":
        hand = crop.hand_in(*resized.shape)
        low = np.percentile(resized, STRETCH_PERCENTILES[0])
        high = np.percentile(resized if hand is None else resized[hand], STRETCH_PERCENTILES[1])
    else:
        low, high = 0.0, float(scale)
    scaled = (resized.astype(np.float32) - low) * (255 / max(high - low, 1))
    return _pad(np.clip(np.rint(scaled), 0, 255).astype(np.uint8), preprocessing.size)


def _resize(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Resize by area where a side shrinks, linearly where it grows."""
    height, width = image.shape
    new_height = new_width = preprocessing.size
    if preprocessing.fit == "pad":
        scale = preprocessing.size / max(height, width)
        new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    smaller = (min(width, new_width), min(height, new_height))
    image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)


def _pad(image: np.ndarray, size: int) -> np.ndarray:
    """Centre an image on a black square."""
    height, width = image.shape
    square = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image
    return square
