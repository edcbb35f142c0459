"""Read PNG, JPEG, TIFF and BMP files as grey pixels."""

import io
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import TiffImagePlugin as Tiff
from PIL.PngImagePlugin import PngImageFile

from boneage.data.decoders import NO_WARNINGS, mentions_damage, muted_decoders, shared
from boneage.errors import InaccessibleFile, UserError
from boneage.terminal import require_file

UNDECODED = (OSError, ValueError, SyntaxError)  # what Pillow raises on pixels it cannot decode
DAMAGED_HEADER = (*UNDECODED, LookupError, TypeError, struct.error)
DEEP, COLOUR_SAMPLES = 16, 3  # bits, samples per pixel
GREY_WITH_ALPHA = 2  # samples per pixel
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")  # modes of Pillow
COLOUR_SPREAD = 12.0  # grey levels, mean range of the channels; more is a colour image
COLOUR_IMAGE = "colour image"
FULLY_TRANSPARENT = "fully transparent: read as opaque"
UNREAD_TRANSPARENCY = "transparency not read: save it without"
LEVELS_OF_14_BITS = 2**14 >> 8  # that are left in the upper 8 of 16 bits
USUAL_BITS = (1, 2, 4, 8, 16, 32, 64)  # in a TIFF; some more are read
WHOLE_NUMBERS = (1, 2, 4)  # sample formats: unsigned, signed, unspecified
BIT_DEPTH_AT = 24  # in a PNG
ANIMATION = "is an animation; save the radiograph as a file of one image"  # of which any is read
COLOURS_APART = (  # memory is read that nobody has written
    "stores each colour of its 16-bit pixels by itself (PlanarConfiguration 2); save it in grey"
)
NO_POLARITY = (  # 8 bits are inverted, 16 are not
    "does not say whether 0 is black or white (PhotometricInterpretation); save it as PNG"
)


def read_image(path: str | Path) -> np.ndarray:
    """Read a PNG, JPEG, TIFF or BMP file of 8 or 16 bits, grey or colour, whatever its name.

    It is rotated as its EXIF orientation says. Fully transparent pixels are black, since their
    colour is arbitrary. If all are (see `file_flags`), the transparency is a mistake and
    ignored. Of a TIFF's pages the first is read; the others must be smaller, as thumbnails are. An
    animated PNG is refused.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        UserError: with path and reason, when the file is missing, damaged, too large or not such
            an image.
    """
    data = read_bytes(path)
    facts = _read_header(path, data)
    if facts.refusal:
        raise UserError(f"{path}: {facts.refusal}")
    with muted_decoders() as messages:
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        )
    damaged = mentions_damage(messages)
    if image is None and facts.is_tiff:  # of 2 or 4 bits, or compressed as Zstandard or LZMA
        with muted_decoders():
            image, damaged = _read_with_pillow(data, facts.bits), False  # it raises its errors
    elif facts.is_tiff:
        damaged = damaged or _has_damaged_strips(data)
    if image is None and facts.bits not in USUAL_BITS:
        raise UserError(
            f"{path}: damaged, or its {facts.bits} bits per pixel are not supported; save it with "
            "8 or 16 bits"
        )
    if image is None or damaged:
        raise UserError(f"{path}: truncated or damaged")
    if image.dtype == np.int16 and image.min() >= 0:
        image = image.view(np.uint16)
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{path}: stores {image.dtype} pixels; save it with 8 or 16 bits")
    if facts.bits == DEEP and image.dtype == np.uint8 and image.max() < LEVELS_OF_14_BITS:
        raise UserError(
            f"{path}: its 16-bit pixels can only be read with 8 bits, because they have "
            f"transparency or several colours; {image.max() + 1} grey levels are left: save it in "
            "grey without transparency"
        )
    if facts.white_is_zero and image.dtype == np.uint16:  # OpenCV inverts only 8 bits
        image = np.iinfo(np.uint16).max - image
    alpha = _alpha(data) if facts.has_alpha else None
    if alpha is None or not alpha.any():
        return image
    return np.where(alpha > 0, image, 0).astype(image.dtype)


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: for a pipe or a device; InaccessibleFile where the system cannot read it.
    """
    require_file(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InaccessibleFile(f"{path}: {error.strerror}") from error


def is_accessible(path: str | Path) -> bool:
    """Tell whether the system can read a file, whatever it contains."""
    try:
        read_bytes(path)
    except UserError:
        return False
    return True


def file_flags(path: str | Path) -> list[str]:
    """Return the anomalies of an image file that its grey pixels no longer show.

    Raises:
        UserError: when it cannot be read.
    """
    data = read_bytes(path)
    facts = _read_header(path, data)
    flags = [COLOUR_IMAGE] if facts.may_be_coloured and _is_coloured(data) else []
    if facts.has_alpha:
        alpha = _alpha(data)
        if alpha is None:
            flags.append(UNREAD_TRANSPARENCY)
        elif not alpha.any():
            flags.append(FULLY_TRANSPARENT)
    return flags


@dataclass(frozen=True)
class _Facts:
    """What the header of an image file says and OpenCV ignores."""

    is_tiff: bool = False
    white_is_zero: bool = False
    has_alpha: bool = False
    may_be_coloured: bool = False
    bits: int = 8  # per pixel and colour
    refusal: str = ""  # why OpenCV would not read it as it is meant, and what to do


def _read_header(path: str | Path, data: bytes) -> _Facts:
    """Refuse files that are not images, or claim a size that would fill the memory."""
    try:
        with shared(NO_WARNINGS):
            try:
                with Image.open(io.BytesIO(data)) as image:
                    _require_usual(image.size)
                    alpha = image.has_transparency_data
                    may_be_coloured = image.mode not in GREY_MODES
                    animated = isinstance(image, PngImageFile) and image.is_animated
                    facts, sizes = _Facts(refusal=ANIMATION if animated else ""), [image.size]
                    if isinstance(image, Tiff.TiffImageFile):
                        facts, sizes = _tiff_facts(image.tag_v2), _page_sizes(image)
            except OSError:
                return _read_tiff_tags(data)
            if len(sizes) > 1 and max(map(math.prod, sizes[1:])) >= math.prod(sizes[0]):
                raise UserError(
                    f"{path}: contains {len(sizes)} images, and the first is not the largest: save "
                    "the radiograph as a file of one image"
                )
            return replace(facts, has_alpha=alpha, may_be_coloured=may_be_coloured)
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: claims an absurd size: {error}") from error
    except DAMAGED_HEADER as error:
        raise UserError(
            f"{path}: not a readable image: copy it again, or save it as PNG with 8 or 16 bits"
        ) from error


def _require_usual(size: tuple[int, int]) -> None:
    """Raise DecompressionBombError also for a size that Pillow only warns of."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and math.prod(size) > limit:
        raise Image.DecompressionBombError(
            f"Image size ({math.prod(size)} pixels) exceeds limit of {limit} pixels"
        )


def _read_tiff_tags(data: bytes) -> _Facts:
    """Read the header of a TIFF file whose pixels OpenCV supports, but Pillow does not.

    An example is a big-endian file of 16 bits in which zero is white.
    """
    tags = Tiff.ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if tags.get(Tiff.SAMPLEFORMAT, (1,))[0] not in WHOLE_NUMBERS:
        raise ValueError("floating-point pixels")
    if tags.get(Tiff.COMPRESSION, 1) not in Tiff.COMPRESSION_INFO:  # OpenCV would give black pixels
        raise ValueError("a compression such as JPEG 2000")
    _require_usual((tags[Tiff.IMAGEWIDTH], tags[Tiff.IMAGELENGTH]))
    return replace(_tiff_facts(tags), has_alpha=tags.get(Tiff.SAMPLESPERPIXEL) == GREY_WITH_ALPHA)


def _tiff_facts(tags: Tiff.ImageFileDirectory_v2) -> _Facts:
    bits = tags.get(Tiff.BITSPERSAMPLE, (1,))[0]
    apart = (
        bits == DEEP
        and tags.get(Tiff.SAMPLESPERPIXEL, 1) >= COLOUR_SAMPLES
        and tags.get(Tiff.PLANAR_CONFIGURATION) == 2
    )
    refusal = (
        COLOURS_APART if apart else "" if Tiff.PHOTOMETRIC_INTERPRETATION in tags else NO_POLARITY
    )
    return _Facts(True, tags.get(Tiff.PHOTOMETRIC_INTERPRETATION) == 0, bits=bits, refusal=refusal)


def _page_sizes(image: Tiff.TiffImageFile) -> list[tuple[int, int]]:
    """Return width and height of the pages of a TIFF, up to one that cannot be read."""
    sizes = [image.size]
    try:
        for page in range(1, image.n_frames):
            image.seek(page)
            sizes.append(image.size)
    except (EOFError, *DAMAGED_HEADER):
        pass  # OpenCV and Pillow read the first without the others
    return sizes


def _read_with_pillow(data: bytes, bits: int) -> np.ndarray | None:
    """Return (H, W) pixels of the file's type, None if Pillow cannot decode it either."""
    try:
        with (
            shared(NO_WARNINGS),
            Image.open(io.BytesIO(data), formats=("TIFF",)) as image,
        ):
            if not image.mode.startswith(("I", "F")):
                return np.asarray(image.convert("L"))  # which would clip other numbers to 8 bits
            signed = image.mode == "I" and bits == DEEP
            pixels = np.asarray(image, np.int16 if signed else None)
            return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    except UNDECODED:
        return None


def _has_damaged_strips(data: bytes) -> bool:
    """Tell whether Pillow cannot decompress a TIFF; OpenCV leaves such strips and tiles black."""
    with muted_decoders(), shared(NO_WARNINGS):
        try:
            with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
                if any(tile[0] == "libtiff" for tile in image.tile):
                    image.load()
        except UnidentifiedImageError:  # only OpenCV reads it
            return False
        except UNDECODED:
            return True
    return False


def _is_coloured(data: bytes) -> bool:
    with muted_decoders():
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
    return image is not None and bool(np.ptp(image, axis=2).mean() > COLOUR_SPREAD)


def _alpha(data: bytes) -> np.ndarray | None:
    """Return (H, W) uint8, 0 where a file is fully transparent; None if that is unknown."""
    try:
        with shared(NO_WARNINGS), Image.open(io.BytesIO(data)) as file:
            file.load()
            colour = file.info.get("transparency")
            if file.format == "PNG" and file.mode != "P" and colour is not None:
                return _other_than(data, colour)
            return np.asarray(ImageOps.exif_transpose(file).convert("RGBA"))[..., 3]
    except UNDECODED:  # of 16 bits, with one transparent value
        return None


def _other_than(data: bytes, colour: int | tuple[int, ...]) -> np.ndarray | None:
    """Return (H, W) uint8, 0 where a PNG has its only transparent colour (tRNS), else 255.

    Pillow would compare its 8-bit pixels with a grey value or colour of any other depth.
    """
    highest = 2 ** data[BIT_DEPTH_AT] - 1
    with muted_decoders():
        pixels = cv2.imdecode(
            np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        )
    if pixels is None:
        return None
    scale = max(1, 255 // highest)  # OpenCV scales 1, 2 and 4 bits to 8
    blue_green_red = (np.atleast_1d(colour)[::-1] & highest) * scale
    same = (pixels.reshape(*pixels.shape[:2], -1) == blue_green_red).all(axis=-1)
    return np.where(same, 0, 255).astype(np.uint8)
