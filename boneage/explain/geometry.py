"""Between the pixels of a radiograph file and the square that the network sees."""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.data.decode import Preprocessing


@dataclass(frozen=True)
class Geometry:
    """How a file of some size lies in the square.

    Args:
        height: of the file, pixels.
        width: of the file, pixels.
        preprocessing: side and fit of the square.
    """

    height: int
    width: int
    preprocessing: Preprocessing

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Top, left, height and width, in pixels of the square, of what the file fills."""
        size = self.preprocessing.size
        if self.preprocessing.fit == "squash":
            return 0, 0, size, size
        scale = size / max(self.height, self.width)
        height, width = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        return (size - height) // 2, (size - width) // 2, height, width

    def to_square(self, boxes: np.ndarray) -> np.ndarray:
        """Return (n, 4) boxes `xmin, ymin, xmax, ymax` of the file in pixels of the square."""
        top, left, height, width = self.inner
        scale = np.array([width / self.width, height / self.height] * 2)
        square: np.ndarray = boxes * scale + np.array([left, top] * 2)
        return square

    def mask_to_square(self, mask: np.ndarray) -> np.ndarray:
        """Return a (height, width) bool mask of the file as (size, size) of the square."""
        top, left, height, width = self.inner
        size = self.preprocessing.size
        square = np.zeros((size, size), bool)
        shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        square[top : top + height, left : left + width] = shares > 0.5
        return square

    def to_file(self, square: np.ndarray) -> np.ndarray:
        """Return a (size, size) map of the square as (height, width) of the file."""
        top, left, height, width = self.inner
        inner = square[top : top + height, left : left + width]
        size = (self.width, self.height)
        resized: np.ndarray = cv2.resize(inner, size, interpolation=cv2.INTER_LINEAR)
        return resized
