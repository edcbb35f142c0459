"""Between the pixels of a radiograph file and the square that the network sees."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from boneage.data.crop import Crop, find_crop
from boneage.data.decode import Preprocessing, to_square
from boneage.data.formats import read_radiograph


@dataclass(frozen=True)
class Geometry:
    """How a file of some size lies in the square.

    Args:
        height: of the file, pixels.
        width: of the file, pixels.
        preprocessing: side and fit of the square.
        crop: part of the file that the square shows.
    """

    height: int
    width: int
    preprocessing: Preprocessing
    crop: Crop

    @property
    def seen(self) -> tuple[slice, slice]:
        """Rows and columns of the file that the square shows."""
        return self.crop.slices(self.height, self.width)

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Top, left, height and width, in pixels of the square, of what the crop fills."""
        size = self.preprocessing.size
        if self.preprocessing.fit == "squash":
            return 0, 0, size, size
        height, width = (s.stop - s.start for s in self.seen)
        scale = size / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        return (size - height) // 2, (size - width) // 2, height, width

    def to_square(self, boxes: np.ndarray) -> np.ndarray:
        """Return (n, 4) boxes `xmin, ymin, xmax, ymax` of the file in pixels of the square."""
        top, left, height, width = self.inner
        rows, columns = self.seen
        scale = np.array(
            [width / (columns.stop - columns.start), height / (rows.stop - rows.start)]
        )
        origin = np.array([columns.start, rows.start] * 2)
        square: np.ndarray = (boxes - origin) * np.tile(scale, 2) + np.array([left, top] * 2)
        return square

    def mask_to_square(self, mask: np.ndarray) -> np.ndarray:
        """Return a (height, width) bool mask of the file as (size, size) of the square."""
        top, left, height, width = self.inner
        size = self.preprocessing.size
        square = np.zeros((size, size), bool)
        part = mask[self.seen].astype(np.float32)
        shares = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        square[top : top + height, left : left + width] = shares > 0.5
        return square

    def to_file(self, square: np.ndarray) -> np.ndarray:
        """Return a (size, size) map of the square as (height, width) of the file, 0 elsewhere."""
        return self.to_film(square, self.height, self.width)

    def to_film(self, square: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return a map of the square as (height, width) of the file's picture, 0 elsewhere.

        Args:
            square: (h, w) map of the whole square, at any resolution.
            height: of the picture, pixels.
            width: of the picture, pixels.
        """
        size = self.preprocessing.size
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR)
        top, left, inner_height, inner_width = self.inner
        inner = square[top : top + inner_height, left : left + inner_width]
        rows, columns = self.seen_in(height, width)
        seen = (columns.stop - columns.start, rows.stop - rows.start)
        whole = np.zeros((height, width), inner.dtype)
        whole[rows, columns] = cv2.resize(inner, seen, interpolation=cv2.INTER_LINEAR)
        return whole

    def seen_in(self, height: int, width: int) -> tuple[slice, slice]:
        """Return rows and columns of what the square shows, in a (height, width) picture."""
        rows, columns = self.seen
        return _scaled(rows, height / self.height), _scaled(columns, width / self.width)


def _scaled(pixels: slice, scale: float) -> slice:
    """Return the same part at another scale, of one pixel at least."""
    start, stop = round(pixels.start * scale), round(pixels.stop * scale)
    return slice(min(start, stop - 1), stop) if stop else slice(0, 1)


def read_square(path: Path, preprocessing: Preprocessing) -> tuple[np.ndarray, Geometry, str]:
    """Return the (size, size) square of a file, how the file lies in it, and the header's sex.

    Raises:
        UserError: when the file cannot be read.
    """
    image, header = read_radiograph(path)
    height, width = image.shape
    crop = find_crop(image, preprocessing.crop)
    geometry = Geometry(height, width, preprocessing, crop)
    sex = header.sex if header is not None else "unknown"
    return to_square(image, preprocessing, crop), geometry, sex
