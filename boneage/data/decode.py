"""From a radiograph file to one square of 8-bit grey values."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION as PHOTOMETRIC
from PIL.TiffImagePlugin import TiffImageFile

from boneage.data.crop import Crop, find_crop
from boneage.data.muting import muted_decoders
from boneage.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
SIDES = (8, 4096)
BIT_DEPTHS = (8, 10, 12, 14, 16)
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


def decode(path: str | Path, preprocessing: Preprocessing) -> np.ndarray:
    """Decode a radiograph file into a square of 8 bits.

    Returns:
        (size, size) uint8.

    Raises:
        UserError: as `read_grey`.
    """
    image = read_grey(path)
    return to_square(image, preprocessing, find_crop(image, preprocessing.crop))


def to_square(image: np.ndarray, preprocessing: Preprocessing, crop: Crop) -> np.ndarray:
    """Return the crop of an (H, W) uint8 or uint16 radiograph as a (size, size) uint8 square.

    The radiograph is resized in its own depth, then mapped to 8 bits in one linear step. The full
    scale of a 16-bit file is that of the smallest depth of 8, 10, 12, 14 and 16 bits that holds
    its maximum, since detectors of 10 to 14 bits store their values unscaled.
    """
    full_scale = next(2**bits - 1 for bits in BIT_DEPTHS if image.max() < 2**bits)
    resized = _resize(image[crop.slices(*image.shape)], preprocessing)
    low, high = 0.0, float(full_scale)
    if preprocessing.contrast == "stretch":
        hand = crop.hand_in(*resized.shape)
        low = np.percentile(resized, STRETCH_PERCENTILES[0])
        high = np.percentile(resized if hand is None else resized[hand], STRETCH_PERCENTILES[1])
    scaled = (resized.astype(np.float32) - low) * (255 / max(high - low, 1))
    return _pad(np.clip(np.rint(scaled), 0, 255).astype(np.uint8), preprocessing.size)


def read_grey(path: str | Path) -> np.ndarray:
    """Read a PNG, JPEG, TIFF or BMP file of 8 or 16 bits, grey or colour.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        UserError: with path and reason, when the file is missing, damaged, too large or not such
            an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    white_is_zero = _check_header(path, data)
    with muted_decoders():
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        )
    if image is None:
        raise UserError(f"{path}: truncated or damaged")
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: holds {image.dtype} pixels; save it with 8 or 16 bits")
    if white_is_zero and image.dtype == np.uint16:  # OpenCV turns only 8 bits around
        image = np.iinfo(np.uint16).max - image
    return image


def _check_header(path: str | Path, data: bytes) -> bool:
    """Refuse what is no image, or claims a size that would fill the memory.

    Returns:
        Whether 0 is white, as a TIFF may say.
    """
    if not data:
        raise UserError(f"{path}: empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == 0
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: claims an absurd size: {error}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable PNG, JPEG, TIFF or BMP image") from error


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
