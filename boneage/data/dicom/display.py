"""Grey values of a DICOM file as its header asks to display them (PS3.3 C.11)."""

from typing import TYPE_CHECKING

import numpy as np

from boneage.data.dicom.cells import cells, is_padding
from boneage.data.dicom.pixels import first_item, number, numbers, read_words

if TYPE_CHECKING:
    from pydicom import Dataset

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
WIDEST = 16  # bits of the result
DESCRIBED = 3  # values of a LUTDescriptor: entries, first value, bits


def displayed(file: "Dataset") -> np.ndarray:
    """Return the pixels of a single grey image as they are meant to be displayed, bones bright.

    Modality LUT or rescaling, then the first VOI LUT or window, then MONOCHROME1 is inverted.
    Padding is black.

    Returns:
        (H, W) uint16: the range that the header allows, scaled to 16 bits.

    Raises:
        Exception: as `read_words` and `cells`.
    """
    words = read_words(file)
    values = cells(file, words)
    padding = is_padding(file, words, values)
    share = _share(file, values)
    if file.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    if padding is not None:
        share[padding] = 0
    return np.asarray(np.rint(65535 * share), np.uint16)


def _share(file: "Dataset", values: np.ndarray) -> np.ndarray:
    """Return (H, W) from 0, the least displayable value, to 1, the greatest."""
    low, high = _ends(file, values)
    modality, voi = _table(file, "ModalityLUTSequence"), _table(file, "VOILUTSequence")
    if modality is not None:
        values, (low, high) = _look_up(file, modality, values)
    else:
        slope = number(file, "RescaleSlope", 1) or 1.0
        intercept = number(file, "RescaleIntercept", 0)
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if voi is not None:
        values, (low, high) = _look_up(file, voi, values)
    elif (window := _window(file)) is not None:
        share = _through(window, values)
        if (
            (share > 0) & (share < 1)
        ).any():  # else the window shows only black and white: ignore it
            return share
    return np.clip((values - low) / (high - low), 0, 1)


def _ends(file: "Dataset", values: np.ndarray) -> tuple[float, float]:
    """Return the least and greatest value of BitsStored bits; above 16, of the bits used."""
    bits = int(number(file, "BitsStored"))
    signed = bool(number(file, "PixelRepresentation"))
    if bits > WIDEST:
        used = max(int(values.max()), -1 - int(values.min())).bit_length() + signed
        bits = min(bits, max(WIDEST, used + used % 2))
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def _table(file: "Dataset", name: str) -> "Dataset | None":
    """Return the first lookup table of a sequence, None if there is none, or it is empty."""
    item = first_item(file, name)
    return item if item is not None and item.get("LUTDescriptor") and item.get("LUTData") else None


def _look_up(
    file: "Dataset", item: "Dataset", values: np.ndarray
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return values through a lookup table, and the least and greatest it can give."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != DESCRIBED:
        raise ValueError(
            f"the LUTDescriptor has {len(descriptor)} values, not {DESCRIBED}: export it again"
        )
    entries, first, bits = map(int, descriptor)
    entries = entries or 2**16
    if isinstance(item.LUTData, bytes):
        little = file.file_meta.TransferSyntaxUID.is_little_endian
        packed = len(item.LUTData) < 2 * entries  # 8 bits each
        table = np.frombuffer(item.LUTData, "u1" if packed else "<u2" if little else ">u2")
    else:
        table = np.atleast_1d(np.asarray(item.LUTData, np.int64))
    table = table[:entries]
    if len(table) < entries or not 1 <= bits <= WIDEST or table.max() > 2**bits:
        raise ValueError(
            f"the lookup table does not have {entries} entries of {bits} bits: export it again"
        )
    if first >= 2**15 and values.min() < 0:  # written with the wrong sign
        first -= 2**16
    places = np.clip(np.floor(values) - first, 0, entries - 1).astype(np.int64)
    return table[places].astype(np.float64), (0.0, 2.0**bits - 1)


def _window(file: "Dataset") -> tuple[str, float, float] | None:
    """Return function, centre and width of the first valid window (C.11.2.1.2)."""
    function = str(file.get("VOILUTFunction") or "").strip().upper() or "LINEAR"
    if function not in FUNCTIONS:
        raise ValueError(
            f"the VOILUTFunction is {function}, not {', '.join(FUNCTIONS)}: export the file with "
            "one of these"
        )
    pairs = zip(numbers(file, "WindowCenter"), numbers(file, "WindowWidth"), strict=False)
    narrowest = 1 if function == "LINEAR" else 0
    return next(((function, c, width) for c, width in pairs if width > narrowest), None)


def _through(window: tuple[str, float, float], values: np.ndarray) -> np.ndarray:
    """Return values through a window, 0 to 1."""
    function, centre, width = window
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return np.clip((values - centre) / width + 0.5, 0, 1)
