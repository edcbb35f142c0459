"""Stored pixels of a DICOM file, decompressed, and the numbers of its header.

OpenCV decodes JPEG of 8 bits, pydicom JPEG 2000 and RLE, imagecodecs the rest. GDCM would end the
process on damaged headers of JPEG Lossless; pylibjpeg-libjpeg is GPL.
"""

import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from boneage.data.decoders import mentions_damage, muted_decoders
from boneage.errors import MissingPackage

if TYPE_CHECKING:
    from pydicom import Dataset

PACKAGE = "imagecodecs"
BASELINE, EXTENDED = "JPEGBaseline8Bit", "JPEGExtended12Bit"
CODECS = {  # functions of imagecodecs, by the keyword of the transfer syntax
    EXTENDED: "jpeg8_decode",
    "JPEGLossless": "jpeg8_decode",
    "JPEGLosslessSV1": "jpeg8_decode",
    "JPEGLSLossless": "jpegls_decode",
    "JPEGLSNearLossless": "jpegls_decode",
    "HTJ2KLossless": "jpeg2k_decode",
    "HTJ2KLosslessRPCL": "jpeg2k_decode",
    "HTJ2K": "jpeg2k_decode",
}
DAMAGED_PIXELS = "they are damaged, or not {} as the header says: copy or export the file again"
SEVERAL_IMAGES = "they are {} images: give one radiograph per file"
JPEG, JPEG_2000, END_OF_JPEG = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
NO_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # among the markers 0xC0 to 0xCF
JPEG_LS_HEADER = 0xF7


def decompress(file: "Dataset", codec: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Return the (H, W) values in the only compressed frame of a file.

    Raises:
        ValueError: when there are several frames, or the frame is damaged, cut off, or of another
            size than the header says.
    """
    from pydicom.encaps import generate_fragments, parse_basic_offsets

    damaged = DAMAGED_PIXELS.format(file.file_meta.TransferSyntaxUID.name)
    try:
        pixels = io.BytesIO(file.PixelData)
        parse_basic_offsets(pixels)
        fragments = list(generate_fragments(pixels))
    except Exception as error:
        raise ValueError(damaged) from error
    images = sum(fragment.startswith((JPEG, JPEG_2000)) for fragment in fragments)
    if images > 1:
        raise ValueError(SEVERAL_IMAGES.format(images))
    frame = b"".join(fragments)
    if END_OF_JPEG not in frame:  # decoders would fill in the missing data, or hang
        raise ValueError("they are cut off: copy or export the file again")
    size, expected = frame_size(frame), (int(file.Rows), int(file.Columns))
    if size is None:
        raise ValueError(damaged)
    if size != expected:
        raise ValueError(
            f"they are {size[0]} x {size[1]}, but the header says {expected[0]} x {expected[1]}: "
            "export the file again"
        )
    try:
        with muted_decoders() as messages:
            values = np.asarray(codec(frame))
    except Exception as error:  # decoders can raise anything on damaged bytes
        raise ValueError(damaged) from error
    if mentions_damage(messages):
        raise ValueError(damaged)
    if values.shape != expected:
        raise ValueError("they are not grey: export the file in grey")
    return values.view(f"i{values.itemsize}") if int(file.PixelRepresentation) else values


def _decode_jpeg(frame: bytes) -> np.ndarray:
    """Return the pixels of a JPEG of 8 bits: (H, W), or with colours (H, W, 3)."""
    pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("not a JPEG of 8 bits")
    return pixels


def frame_size(frame: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 frame declares, if it does."""
    if frame.startswith(JPEG_2000) and len(frame) > 24:
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        return bottom - top, right - left
    at = 2
    while at + 9 < len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == JPEG_LS_HEADER or (marker & 0xF0 == 0xC0 and marker not in NO_FRAME_HEADERS):
            rows, columns = struct.unpack_from(">2H", frame, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + length  # fill bytes may precede markers
    return None


def numbers(file: "Dataset", name: str) -> list[float]:
    """Return the numbers of an element in order; none if it is missing or empty.

    Raises:
        ValueError: when a value is not a finite number.
    """
    value = file.get(name)
    if value is None or isinstance(value, bytes):
        return []
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    texts = [str(each) for each in values if each is not None and str(each).strip()]
    try:
        parsed = [float(text) for text in texts]
    except ValueError:
        parsed = [np.nan]
    if not np.isfinite(parsed).all():
        raise ValueError(
            f"{name} is {', '.join(texts)}, which is not a number: export the file again"
        )
    return parsed


def number(file: "Dataset", name: str, default: float | None = None) -> float:
    """Return the first number of an element.

    Raises:
        ValueError: when it has none, and there is no default.
    """
    values = numbers(file, name)
    if not values and default is None:
        raise ValueError(f"{name} is missing: export the file again")
    return values[0] if values else float(default or 0)


def first_item(file: "Dataset", name: str) -> "Dataset | None":
    """Return the first item of a sequence; None if it is missing or empty."""
    return next(iter(file.get(name) or []), None)


def read_words(file: "Dataset") -> np.ndarray:
    """Return the decompressed pixels of a single grey image as they are stored, all bits.

    Returns:
        (H, W) in the byte order of this machine, signed where PixelRepresentation says so.

    Raises:
        MissingPackage: when a package is missing that decompresses it.
        ValueError: when it contains several images, or its bytes are damaged.
    """
    from pydicom.pixels.decoders.base import get_decoder

    syntax = file.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ValueError(
            f"their transfer syntax, {syntax.name or 'without a name'}, is not supported: "
            "export the file as Explicit VR Little Endian"
        ) from error
    if syntax.keyword in (BASELINE, EXTENDED) and number(file, "BitsStored") == 8:
        return decompress(file, _decode_jpeg)  # Pillow would not tell of damage
    if syntax.keyword in CODECS:
        try:
            import imagecodecs
        except ImportError as error:
            if not set(decoder.available_plugins) - {"pillow"}:
                raise MissingPackage(
                    f"pip install {PACKAGE}, to decompress {syntax.name}"
                ) from error
        else:
            return decompress(file, getattr(imagecodecs, CODECS[syntax.keyword]))
    all_bits: dict[str, Any] = {"correct_unused_bits": False}
    try:
        with muted_decoders():
            words, _ = decoder.as_array(file, raw=True, **all_bits)
    except Exception as error:  # decoders can raise anything on damaged bytes
        raise ValueError(DAMAGED_PIXELS.format(syntax.name)) from error
    if words.ndim != 2:
        raise ValueError(SEVERAL_IMAGES.format(len(words)))
    return np.asarray(words, words.dtype.newbyteorder("="))
