"""From a radiograph file to one square of 8-bit grey values."""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, ImageFileDirectory_v2, TiffImageFile
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION as PHOTOMETRIC
from PIL.TiffImagePlugin import SAMPLEFORMAT as SAMPLE_FORMAT

from boneage.data.crop import Crop, find_crop
from boneage.data.depth import full_scale, unsqueezed
from boneage.data.muting import muted_decoders
from boneage.data.signatures import HEAD, describe, is_readable_image
from boneage.errors import UserError

VERSION = 4  # of the preprocessing: raise it when the same file and options give other pixels
WHOLE_NUMBERS = (1, 2, 4)  # sample formats: unsigned, signed, not said
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
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


def read_grey(path: str | Path) -> np.ndarray:
    """Read a PNG, JPEG, TIFF or BMP file of 8 or 16 bits, grey or colour, whatever its name.

    It is turned upright as its EXIF orientation says. What is fully transparent is black, since
    programs leave any colour there; where all of it is (see `is_transparent`), the transparency is
    a mistake and ignored. Of several pages the first is read.

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
    if not data:
        raise UserError(f"{path}: empty file")
    facts = _read_header(path, data)
    with muted_decoders():
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        )
        if image is None and facts.is_tiff:  # of 2 or 4 bits, or compressed as Zstandard or LZMA
            image = _read_with_pillow(data)
    if image is None:
        raise UserError(f"{path}: truncated or damaged")
    if image.dtype == np.int16 and image.min() >= 0:
        image = image.view(np.uint16)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: stores {image.dtype} pixels; save it with 8 or 16 bits")
    if facts.white_is_zero and image.dtype == np.uint16:  # OpenCV turns only 8 bits around
        image = np.iinfo(np.uint16).max - image
    alpha = _alpha(data) if facts.has_alpha else None
    if alpha is None or not alpha.any():
        return image
    return np.where(alpha > 0, image, 0).astype(image.dtype)


def is_transparent(path: str | Path) -> bool:
    """Tell whether an image that `read_grey` reads is fully transparent everywhere."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if not image.has_transparency_data:  # of most, whose pixels need not be read again
                return False
    except (OSError, ValueError, SyntaxError):  # a TIFF of a kind that only OpenCV reads
        return False
    alpha = _alpha(Path(path).read_bytes())
    return alpha is not None and not alpha.any()


@dataclass(frozen=True)
class _Facts:
    """What the header of an image file says, beside what OpenCV heeds."""

    is_tiff: bool = False
    white_is_zero: bool = False
    has_alpha: bool = False


def _read_header(path: str | Path, data: bytes) -> _Facts:
    """Refuse what is no image, or claims a size that would fill the memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            try:
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    alpha = image.has_transparency_data
                    if not isinstance(image, TiffImageFile):
                        return _Facts(has_alpha=alpha)
                    return _Facts(True, image.tag_v2.get(PHOTOMETRIC) == 0, alpha)
            except OSError:
                return _read_tiff_tags(data)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: claims an absurd size: {error}") from error
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error) as error:
        kind = describe(data[:HEAD])
        content = f"; its content: {kind}" if kind and not is_readable_image(data[:HEAD]) else ""
        raise UserError(f"{path}: not a readable PNG, JPEG, TIFF or BMP image{content}") from error


def _read_tiff_tags(data: bytes) -> _Facts:
    """Read the header of a TIFF file whose pixels Pillow does not know, but OpenCV does.

    Such are big-endian ones of 16 bits in which zero is white.
    """
    tags = ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if tags.get(SAMPLE_FORMAT, (1,))[0] not in WHOLE_NUMBERS:
        raise ValueError("floating-point pixels")
    Image._decompression_bomb_check((tags[IMAGEWIDTH], tags[IMAGELENGTH]))
    return _Facts(is_tiff=True, white_is_zero=tags.get(PHOTOMETRIC) == 0)


def _read_with_pillow(data: bytes) -> np.ndarray | None:
    """Return (H, W) uint8 or uint16, None of what Pillow cannot decode either."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=("TIFF",)) as image,
        ):
            sixteen = image.mode.startswith("I;16")
            return np.asarray(image if sixteen else image.convert("L"))
    except (OSError, ValueError, SyntaxError):
        return None


def _alpha(data: bytes) -> np.ndarray | None:
    """Return (H, W) uint8, 0 where a file is fully transparent; None where Pillow cannot tell."""
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=FORMATS) as file,
        ):
            file.load()
            return np.asarray(ImageOps.exif_transpose(file).convert("RGBA"))[..., 3]
    except (OSError, ValueError, SyntaxError):  # of 16 bits, with one transparent value
        return None


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
