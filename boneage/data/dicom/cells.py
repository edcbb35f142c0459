"""Pixel values in the stored words of a DICOM file, without the bits that are not theirs."""

from typing import TYPE_CHECKING

import numpy as np

from boneage.data.dicom.pixels import number, numbers

if TYPE_CHECKING:
    from pydicom import Dataset

WRAPPED = 0.1  # share of the steps between neighbours that the upper bits make smaller
MIN_VALUES_PER_SIDE = 3  # of the middle of the range: burnt-in letters have one value


def are_unsigned(file: "Dataset", words: np.ndarray) -> bool:
    """Tell whether words contain unsigned values although PixelRepresentation is 1.

    Programs mostly do so where they compress: neither JPEG nor JPEG-LS says whether its values have
    a sign. In unsigned values it is the highest bit: neighbours with different signs lie on both
    sides of the middle of the range, and most of them are closer without the sign.

    Args:
        file: the header.
        words: (H, W) integers as stored.
    """
    if words.dtype.kind != "i":
        return False
    stored = int(number(file, "BitsStored"))
    shift = max(0, int(number(file, "HighBit", stored - 1)) + 1 - stored)
    wide = words.astype(np.int64) >> shift
    values, with_sign = (_cut(wide, stored, signed) for signed in (False, True))
    if not (np.array_equal(wide, values) or np.array_equal(wide, with_sign)):
        return False  # the bits above have a meaning
    upper = with_sign < 0
    close, below, above = 0, [], []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        pairs = np.stack([values[one], values[other]])[:, upper[one] != upper[other]]
        low, high = pairs.min(axis=0), pairs.max(axis=0)
        near = high - low < 2**stored / 4
        close += int(np.count_nonzero(near | (high - low > 3 * 2**stored / 4)))
        below.append(low[near])
        above.append(high[near])
    sides = [np.concatenate(side) for side in (below, above)]
    return (
        len(sides[0]) > close / 2
        and min(len(np.unique(side)) for side in sides) >= MIN_VALUES_PER_SIDE
    )


def cells(file: "Dataset", words: np.ndarray) -> np.ndarray:
    """Return the pixel values in stored words: BitsStored bits up to HighBit (PS3.5 8.1.1).

    The other bits may contain overlays, copies of the sign, or anything. Files with a wrong HighBit
    are read where their values are: in the lowest bits.

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
    if not np.array_equal(wide, values) and _wraps(
        wide, values, stored, is_padding(file, words, values)
    ):
        raise ValueError(
            f"its values need more than BitsStored {stored} bits: export the file again"
        )
    return values


def is_padding(file: "Dataset", words: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Return where an image is padded to a rectangle (PS3.3 C.7.5.1.1.2).

    Padding may lie outside the bits of the pixel values, and it is often written with the wrong
    sign.

    Returns:
        (H, W) bool, or None if the file defines no padding.
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
    """Return the lowest bits of words, the highest of them as the sign if `signed`."""
    values = np.asarray(words & (2**bits - 1))
    return values - ((values >> (bits - 1)) << bits) if signed else values


def _wraps(wide: np.ndarray, values: np.ndarray, stored: int, padding: np.ndarray | None) -> bool:
    """Tell whether the bits above the lowest `stored` belong to the values.

    Only neighbours with other upper bits count, if they are close (less than a quarter of the
    range) with or without these bits. If the bits belong to the values, many are closer with them.

    Shares over 17 originals of the RSNA data (and 100 radiographs at 256 px) as 12 bits: overlays
    and random upper bits 0.000 (0.000), in signed values up to 0.032 (0.125); values that overflow
    or are left-aligned 0.24 to 0.99 (2 % below `WRAPPED`). Below it is also 1 of 54 originals in
    which at most 0.1 % overflow: there it is the inside of a marker with sharp edges.

    Args:
        wide: (H, W) integers with all bits.
        values: their lowest `stored` bits.
        stored: BitsStored.
        padding: (H, W) bool, pixels that do not count.
    """
    upper = (wide - values).astype(np.float64)
    if padding is not None:
        upper[padding] = np.nan
    closer, close = 0, 0
    for axis in (0, 1):
        others = np.abs(np.diff(upper, axis=axis)) > 0  # False next to padding
        with_them = np.abs(np.diff(wide, axis=axis))[others]
        without = np.abs(np.diff(values, axis=axis))[others]
        near = np.minimum(with_them, without) < 2**stored / 4
        closer += int(np.count_nonzero(near & (with_them < without)))
        close += int(np.count_nonzero(near))
    return closer > WRAPPED * close


def _with_its_sign(value: float, dtype: np.dtype) -> float:
    """Return a number that was written with the wrong sign as one of the type."""
    half, full = 2.0 ** (8 * dtype.itemsize - 1), 2.0 ** (8 * dtype.itemsize)
    if dtype.kind == "i" and half <= value < full:
        return value - full
    return value + full if dtype.kind == "u" and -half <= value < 0 else value
