"""Grey values of a DICOM file as its header asks to display them (PS3.3 C.11)."""

from typing import TYPE_CHECKING

import cv2
import numpy as np

from boneage.data.dicom.cells import are_unsigned, cells, is_padding
from boneage.data.dicom.pixels import first_item, number, numbers, read_words

if TYPE_CHECKING:
    from pydicom import Dataset

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
WIDEST = 16  # bits of the result
DESCRIPTOR_VALUES = 3  # entries, first value, bits
EDGES = (  # of a rectangular shutter, counted from 1
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
)
SHUTTER = (  # all elements of a display shutter
    "ShutterShape",
    *EDGES,
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio")  # of rows, then of columns
SQUARE, JUNK = 1.02, 4.0  # ratios of spacings: up to the first they are equal, above the last wrong


def displayed(file: "Dataset") -> np.ndarray:
    """Return the pixels of a single grey image as they are meant to be displayed, bones bright.

    Modality LUT or rescaling, then the first VOI LUT or window, then MONOCHROME1 is inverted.
    Padding is black, and so is what the display shutter hides. Where rows and columns have
    different spacings, the finer ones are reduced.

    Returns:
        (H, W) uint16: the range that the header allows, scaled to 16 bits.

    Raises:
        Exception: as `read_words` and `cells`.
    """
    words = read_words(file)
    if are_unsigned(file, words):
        file.PixelRepresentation, words = 0, words.view(f"u{words.itemsize}")
    values = cells(file, words)
    padding = is_padding(file, words, values)
    share = _share(file, values)
    if file.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    if padding is not None:
        share[padding] = 0
    if file.get("ShutterShape"):
        shown = np.where(_open_part(file, share.shape), share, 0)
        share = shown if shown.any() else share  # a shutter that hides everything is wrong
    return _with_square_pixels(file, np.asarray(np.rint(65535 * share), np.uint16))


def _share(file: "Dataset", values: np.ndarray) -> np.ndarray:
    """Return (H, W) from 0, the least displayable value, to 1, the greatest."""
    low, high = _ends(file, values)
    modality, voi = lookup_table(file, "ModalityLUTSequence"), lookup_table(file, "VOILUTSequence")
    if modality is not None:
        values, (low, high) = _look_up(modality, values)
    else:
        slope = number(file, "RescaleSlope", 1) or 1.0
        intercept = number(file, "RescaleIntercept", 0)
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if voi is not None:
        values, (low, high) = _look_up(voi, values)
    elif (window := _window(file)) is not None:
        share = _through(window, values)
        if ((share > 0) & (share < 1)).any():  # else it shows only black and white: ignore it
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


def lookup_table(file: "Dataset", name: str) -> tuple[np.ndarray, int, int] | None:
    """Return the first lookup table of a sequence; None if there is none, or it is empty.

    Returns:
        (n,) integers, the value that the first is for, and the number of bits of the greatest.

    Raises:
        ValueError: when it contradicts its descriptor.
    """
    item = first_item(file, name)
    if item is None or not item.get("LUTDescriptor") or not item.get("LUTData"):
        return None
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != DESCRIPTOR_VALUES:
        raise ValueError(
            f"the LUTDescriptor has {len(descriptor)} values, not {DESCRIPTOR_VALUES}: "
            "export it again"
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
    return table, first, bits


def _look_up(
    table: tuple[np.ndarray, int, int], values: np.ndarray
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return values through a lookup table, and the least and greatest it can give."""
    entries, first, bits = table
    if first >= 2**15 and values.min() < 0:  # written with the wrong sign
        first -= 2**16
    places = np.clip(np.floor(values) - first, 0, len(entries) - 1).astype(np.int64)
    return entries[places].astype(np.float64), (0.0, 2.0**bits - 1)


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


def _open_part(file: "Dataset", shape: tuple[int, ...]) -> np.ndarray:
    """Return (H, W) bool, where the display shutter of a file is open (PS3.3 C.7.6.11)."""
    rows, columns = np.indices(shape, sparse=True)
    open_ = np.ones(shape, bool)
    shapes = str(file.get("ShutterShape") or "").upper()
    edges = [_optional_numbers(file, name)[:1] for name in EDGES]
    if "RECTANGULAR" in shapes and all(edges):
        (upper,), (lower,), (left,), (right,) = edges
        open_ &= (rows >= upper - 1) & (rows < lower) & (columns >= left - 1) & (columns < right)
    centre = _optional_numbers(file, "CenterOfCircularShutter")
    radius = _optional_numbers(file, "RadiusOfCircularShutter")
    if "CIRCULAR" in shapes and len(centre) == 2 and radius:
        from_centre = np.hypot(rows + 1 - centre[0], columns + 1 - centre[1])
        open_ &= from_centre <= radius[0]
    corners = _optional_numbers(file, "VerticesOfThePolygonalShutter")
    if "POLYGONAL" in shapes and len(corners) >= 6 and len(corners) % 2 == 0:
        points = np.clip(np.reshape(corners, (-1, 2))[:, ::-1] - 1, -(2**15), 2**15)
        polygon = np.zeros(shape, np.uint8)
        cv2.fillPoly(polygon, [np.rint(points).astype(np.int32)], 1)
        open_ &= polygon > 0
    return open_


def _with_square_pixels(file: "Dataset", pixels: np.ndarray) -> np.ndarray:
    """Return pixels with one spacing of rows and columns: the finer side is reduced by area."""
    spacings = (_optional_numbers(file, name) for name in SPACINGS)
    of_rows, of_columns = next(
        (pair for pair in spacings if len(pair) == 2 and min(pair) > 0), (1.0, 1.0)
    )
    ratio = of_rows / of_columns
    if not SQUARE < max(ratio, 1 / ratio) <= JUNK:
        return pixels
    height, width = pixels.shape
    size = max(1, round(width * min(1, 1 / ratio))), max(1, round(height * min(1, ratio)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _optional_numbers(file: "Dataset", name: str) -> list[float]:
    """Return the numbers of an element that the pixels can be shown without; none of junk."""
    try:
        return numbers(file, name)
    except (ValueError, TypeError, OverflowError):
        return []
