"""Stored pixel values of a DICOM file: decompressed, and freed of the bits that are not theirs."""

from typing import TYPE_CHECKING, Any

import numpy as np

from boneage.data.dicom_codecs import CODECS, DAMAGED, PACKAGE, decompress
from boneage.data.muting import muted_decoders

if TYPE_CHECKING:
    from pydicom import Dataset

ROUGHER = 1.5  # times: what neighbouring pixels differ by when the values wrap around


def numbers(file: "Dataset", name: str) -> list[float]:
    """Return the numbers of an element in order; none where it is missing or empty.

    Raises:
        ValueError: when a value is no finite number.
    """
    value = file.get(name)
    if value is None or isinstance(value, bytes):
        return []
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
    texts = [str(each) for each in values if each is not None and str(each).strip()]
    try:
        found = [float(text) for text in texts]
    except ValueError:
        found = [np.nan]
    if not np.isfinite(found).all():
        raise ValueError(f"{name} is {', '.join(texts)}, which is no number: export the file again")
    return found


def number(file: "Dataset", name: str, default: float | None = None) -> float:
    """Return the first number of an element.

    Raises:
        ValueError: when it has none, and there is no default.
    """
    found = numbers(file, name)
    if not found and default is None:
        raise ValueError(f"{name} is missing: export the file again")
    return found[0] if found else float(default or 0)


def read_words(file: "Dataset") -> np.ndarray:
    """Return the decompressed pixels of a single grey image as they are stored, all bits.

    Returns:
        (H, W), signed where PixelRepresentation says so.

    Raises:
        ValueError: when a package is missing that decompresses it, it contains several images,
            or its bytes are damaged.
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
    eight_bits = number(file, "BitsStored") == 8  # of this codec, Pillow reads them
    if syntax.keyword in CODECS and not (eight_bits and syntax.keyword == "JPEGExtended12Bit"):
        try:
            import imagecodecs
        except ImportError as error:
            if not set(decoder.available_plugins) - {"pillow"}:
                raise ValueError(f"pip install {PACKAGE}, to decompress {syntax.name}") from error
        else:
            return decompress(file, getattr(imagecodecs, CODECS[syntax.keyword]))
    all_bits: dict[str, Any] = {"correct_unused_bits": False}
    try:
        with muted_decoders():
            words, _ = decoder.as_array(file, raw=True, **all_bits)
    except Exception as error:  # whatever damaged bytes lead the decoders to
        raise ValueError(DAMAGED.format(syntax.name)) from error
    if words.ndim != 2:
        raise ValueError(f"they are {len(words)} images: give one radiograph a file")
    return np.asarray(words)


def cells(file: "Dataset", words: np.ndarray) -> np.ndarray:
    """Return the pixel values in stored words: BitsStored bits up to HighBit (PS3.5 8.1.1).

    The other bits may hold overlays, copies of the sign, or anything. Files whose HighBit is
    wrong are read as their values are stored: at the lower end.

    Args:
        file: the header.
        words: (H, W) integers as stored.

    Returns:
        (H, W) int64.

    Raises:
        ValueError: when the header contradicts itself, or the values need more bits.
    """
    allocated, stored = int(number(file, "BitsAllocated")), int(number(file, "BitsStored"))
    high = int(number(file, "HighBit", stored - 1))
    shift = high + 1 - stored
    if not 0 <= shift <= allocated - stored:
        raise ValueError(
            f"HighBit {high} does not fit BitsStored {stored} and BitsAllocated {allocated}: "
            "export the file again"
        )
    wide = words.astype(np.int64)
    signed = words.dtype.kind == "i"
    if shift and _lies_below(wide, stored, shift):
        shift = 0
    wide = wide >> shift
    values = _cut(wide, stored, signed)
    if not np.array_equal(wide, values) and _roughness(values) > ROUGHER * _roughness(wide):
        raise ValueError(
            f"its values need more than BitsStored {stored} bits: export the file again"
        )
    return values


def is_padding(file: "Dataset", words: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Return where an image is filled up to a rectangle (PS3.3 C.7.5.1.1.2).

    Padding may lie outside the bits of the pixel values, and it is often written with the wrong
    sign.

    Returns:
        (H, W) bool, or None where the file names no padding.
    """
    ends = numbers(file, "PixelPaddingValue")[:1]
    if not ends:
        return None
    ends += numbers(file, "PixelPaddingRangeLimit")[:1]
    ends = [_with_its_sign(end, words.dtype) for end in ends]
    low, high = min(ends), max(ends)
    shifted = int(number(file, "HighBit", 0)) >= int(number(file, "BitsStored"))
    inside = (values >= low) & (values <= high)
    return inside if shifted else inside | ((words >= low) & (words <= high))


def _lies_below(words: np.ndarray, stored: int, shift: int) -> bool:
    """Tell whether HighBit is wrong: nothing in the upper bits, something below the lowest."""
    fits = words.min() >= -(2 ** (stored - 1)) and words.max() < 2**stored
    return bool(fits and (words & (2**shift - 1)).any())


def _cut(words: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Return the lowest bits of words, the uppermost of them as a sign if asked."""
    values = np.asarray(words & (2**bits - 1))
    return values - ((values >> (bits - 1)) << bits) if signed else values


def _roughness(values: np.ndarray) -> float:
    """Return the summed differences of neighbours along rows and columns."""
    across, down = np.diff(values, axis=1), np.diff(values, axis=0)
    return float(np.abs(across).sum(dtype=float) + np.abs(down).sum(dtype=float))


def _with_its_sign(value: float, dtype: np.dtype) -> float:
    """Return a number that was written with the wrong sign as one of the type."""
    half, whole = 2.0 ** (8 * dtype.itemsize - 1), 2.0 ** (8 * dtype.itemsize)
    if dtype.kind == "i" and half <= value < whole:
        return value - whole
    return value + whole if dtype.kind == "u" and -half <= value < 0 else value
