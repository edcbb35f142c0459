"""The part of a radiograph that the network sees: all of it, or the hand."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from boneage.data.hand import Hand, find_hand

MARGIN = 0.03  # of the hand's box, on each side


@dataclass(frozen=True)
class Crop:
    """A part of a radiograph.

    Args:
        box: left, top, right and bottom as shares of width and height.
        mask: (h, w) bool, the hand in the whole radiograph at any resolution; None where there is
            none.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mask: np.ndarray | None = None

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of a radiograph of this many pixels."""
        left, top, right, bottom = self.box
        rows = slice(int(top * height), max(int(np.ceil(bottom * height)), int(top * height) + 1))
        columns = slice(int(left * width), max(int(np.ceil(right * width)), int(left * width) + 1))
        return rows, columns

    def hand_in(self, height: int, width: int) -> np.ndarray | None:
        """Return the (height, width) bool mask of the hand, the crop being resized to that."""
        if self.mask is None:
            return None
        part = self.mask[self.slices(*self.mask.shape)].astype(np.uint8)
        resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return resized if resized.any() else None


def find_crop(image: np.ndarray, crop: Literal["none", "hand"]) -> Crop:
    """Return what is to be seen of an (H, W) uint8 or uint16 radiograph.

    Where no hand is found, that is the whole, with no mask.
    """
    return crop_around(find_hand(image)) if crop == "hand" else Crop()


def crop_around(hand: Hand | None) -> Crop:
    """Return the crop to a hand and a margin; the whole radiograph where there is none."""
    if hand is None:
        return Crop()
    left, top, right, bottom = hand.box
    x, y = MARGIN * (right - left), MARGIN * (bottom - top)
    box = (max(left - x, 0.0), max(top - y, 0.0), min(right + x, 1.0), min(bottom + y, 1.0))
    return Crop(box, hand.mask)
