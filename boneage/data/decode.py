"""From the pixels of a radiograph to the square that the network sees, and back."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from boneage.data.depth import check_pixels, clip_marks, full_scale, to_8_bits
from boneage.data.hand import Crop, Detection, crop_around, detect, resized_mask, sides_at
from boneage.errors import UserError, require_choice

PREPROCESSING_VERSION = 4  # raise it when the same file and options give other pixels
SIDES = (8, 4096)
STRETCH_PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Preprocessing:
    """How a radiograph becomes a square.

    Args:
        size: side of the square, pixels.
        fit: "squash" to the square, or "pad": keep the aspect ratio, centred on black.
        contrast: "none", or "stretch" per radiograph: percentiles 1 and 99 become 0 and 255; in a
            hand crop, the upper one is of the hand only, so that a bright marker does not raise it.
        crop: "none", or "hand": the part of the radiograph with the detected hand.

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
            raise UserError(f"data.size={self.size!r}: must be a whole number from {low} to {high}")
        require_choice("data.fit", self.fit, "squash", "pad")
        require_choice("data.contrast", self.contrast, "none", "stretch")
        require_choice("data.crop", self.crop, "none", "hand")

    def matches_version(self, version: object) -> bool:
        """Tell whether the preprocessing version stored with a model gives the same pixels."""
        return self.crop != "hand" or version == PREPROCESSING_VERSION

    def square(self, image: np.ndarray, detection: Detection | None = None) -> "Square":
        """Return what the network sees of a radiograph.

        Args:
            image: (H, W) uint8 or uint16.
            detection: result of `detect` for it; None runs it now.

        Raises:
            UserError: for other pixels.
        """
        return self.geometry(image, detection).square(image)

    def geometry(self, image: np.ndarray, detection: Detection | None = None) -> "Geometry":
        """Return how a radiograph maps to its square; arguments as for `square`."""
        check_pixels(image)
        crop = Crop()
        if self.crop == "hand":
            crop = crop_around((detection or detect(image)).hand)
        height, width = image.shape
        return Geometry(height, width, self, crop)


@dataclass(frozen=True)
class Geometry:
    """How a file of a given size maps to the square.

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
        """Top, left, height and width, in pixels of the square, of the part that the crop fills."""
        size = self.preprocessing.size
        if self.preprocessing.fit == "squash":
            return 0, 0, size, size
        height, width = (s.stop - s.start for s in self.seen)
        height, width = sides_at(size, height, width)
        return (size - height) // 2, (size - width) // 2, height, width

    @property
    def scales(self) -> np.ndarray:
        """Pixels of the square per pixel of the file, vertically and horizontally."""
        rows, columns = self.seen
        seen = rows.stop - rows.start, columns.stop - columns.start
        scales: np.ndarray = np.array(self.inner[2:]) / seen
        return scales

    def square(self, image: np.ndarray) -> "Square":
        """Return the square of (height, width) uint8 or uint16 pixels.

        They are resized at their own bit depth, then mapped to 8 bits in one linear step.
        """
        scale = full_scale(image)
        image = clip_marks(image)
        top, left, height, width = self.inner
        resized = _resize(image[self.seen], height, width)
        if self.preprocessing.contrast == "stretch":
            hand = self.crop.hand_in(height, width)
            low = np.percentile(resized, STRETCH_PERCENTILES[0])
            high = np.percentile(resized if hand is None else resized[hand], STRETCH_PERCENTILES[1])
            high = min(high, scale)  # marks may be brighter; without a hand their pixels count
        else:
            low, high = 0.0, float(scale)
        pixels = np.zeros((self.preprocessing.size, self.preprocessing.size), np.uint8)
        pixels[top : top + height, left : left + width] = to_8_bits(resized, low, high)
        return Square(pixels, self, 255 / max(high - low, 1))

    def boxes_to_square(self, boxes: np.ndarray) -> np.ndarray:
        """Return (n, 4) boxes `xmin, ymin, xmax, ymax` of the file in pixels of the square."""
        top, left, *_ = self.inner
        rows, columns = self.seen
        scale = np.tile(self.scales[::-1], 2)
        origin = np.array([columns.start, rows.start] * 2)
        square: np.ndarray = (boxes - origin) * scale + np.array([left, top] * 2)
        return square

    def mask_to_square(self, mask: np.ndarray) -> np.ndarray:
        """Return an (h, w) bool mask of the file, at any scale, as (size, size) of the square."""
        top, left, height, width = self.inner
        size = self.preprocessing.size
        square = np.zeros((size, size), bool)
        part = resized_mask(mask, self.height, self.width)[self.seen].astype(np.float32)
        shares = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
        square[top : top + height, left : left + width] = shares > 0.5
        return square

    def square_to_image(self, square: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return a map of the square as (height, width) of the file's image, 0 elsewhere.

        Args:
            square: (h, w) map of the whole square, at any resolution.
            height: of the image, pixels; it may be reduced or enlarged.
            width: of the image, pixels.
        """
        size = self.preprocessing.size
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_LINEAR)
        top, left, inner_height, inner_width = self.inner
        inner = square[top : top + inner_height, left : left + inner_width]
        rows, columns = self.seen_in(height, width)
        seen = (columns.stop - columns.start, rows.stop - rows.start)
        image = np.zeros((height, width), inner.dtype)
        image[rows, columns] = cv2.resize(inner, seen, interpolation=cv2.INTER_LINEAR)
        return image

    def seen_in(self, height: int, width: int) -> tuple[slice, slice]:
        """Return rows and columns of what the square shows, in a (height, width) image."""
        rows, columns = self.seen
        return _scaled(rows, height / self.height), _scaled(columns, width / self.width)


def _scaled(pixels: slice, scale: float) -> slice:
    """Return the same part at another scale, at least one pixel."""
    start, stop = round(pixels.start * scale), round(pixels.stop * scale)
    return slice(min(start, stop - 1), stop) if stop else slice(0, 1)


@dataclass(frozen=True)
class Square:
    """A radiograph as the network sees it.

    Args:
        pixels: (size, size) uint8.
        geometry: how the radiograph maps to them.
        gain: grey levels of the square per grey level of the file.
    """

    pixels: np.ndarray
    geometry: Geometry
    gain: float


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by area where a side shrinks, linearly where it grows."""
    smaller = (min(image.shape[1], width), min(image.shape[0], height))
    image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
