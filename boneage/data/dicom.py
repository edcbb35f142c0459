"""Radiographs in DICOM files: pixels, and what the header says of sex and age."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.data.labels import MAX_AGE_YEARS
from boneage.errors import UserError

SUFFIXES = (".dcm", ".dicom")
MAGIC = (128, b"DICM")
SEXES = {"F": "female", "M": "male"}
DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
LARGEST = 2**28  # pixels
LONGEST = 200  # characters of a reason


@dataclass(frozen=True)
class Header:
    """What a DICOM file says of the patient.

    Args:
        sex: "female", "male" or "unknown".
        age_years: chronological age at the study, None where the file does not say.
    """

    sex: str
    age_years: float | None


def is_dicom(path: Path) -> bool:
    """Tell whether a file is a DICOM file, by its suffix or its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    start, magic = MAGIC
    try:
        with path.open("rb") as file:
            return file.read(start + len(magic))[start:] == magic
    except OSError:
        return False


def read_dicom(path: Path) -> tuple[np.ndarray, Header]:
    """Read a DICOM radiograph as it is meant to be seen, bones bright.

    Rescale and the first VOI LUT or window are applied, MONOCHROME1 is inverted; what the result
    can hold is spread over 16 bits.

    Returns:
        (H, W) uint16, and what the header says.

    Raises:
        UserError: with path and reason, when it is damaged, holds no single grey picture, is of a
            kind that cannot be decoded here, or pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom import config
    except ImportError as error:
        raise UserError(
            f"{path}: reading DICOM needs pydicom: pip install 'boneage[dicom]'"
        ) from error
    try:
        config.settings.reading_validation_mode = config.IGNORE  # it warns of every odd value
        file = pydicom.dcmread(path)
        _require_single_grey(path, file)
        sex = str(file.get("PatientSex") or "").strip().upper()
        header = Header(SEXES.get(sex, "unknown"), age_of(str(file.get("PatientAge") or "")))
    except UserError:
        raise
    except Exception as error:  # pydicom raises whatever damaged bytes lead it to
        raise UserError(f"{path}: no readable DICOM file: {_line(error)}") from error
    try:
        return _as_shown(file), header
    except Exception as error:  # so do its decoders
        raise UserError(f"{path}: its pixels cannot be decoded: {_line(error)}") from error


def age_of(text: str) -> float | None:
    """Return years of a DICOM age string such as 018M, 090D, 052W or 012Y.

    None of any other, and of an age over `MAX_AGE_YEARS`, which tables may not hold either.
    """
    match = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY])\s*", text.upper())
    years = int(match[1]) * DAYS[match[2]] / DAYS["Y"] if match else None
    return years if years is not None and years <= MAX_AGE_YEARS else None


def _require_single_grey(path: Path, file: "pydicom.Dataset") -> None:  # type: ignore[name-defined]  # noqa: F821
    """Raise UserError when a file holds no picture, several, or one in colour."""
    if "PixelData" not in file:
        raise UserError(
            f"{path}: holds no picture ({_line(file.get('Modality') or 'unknown modality')})"
        )
    frames = int(file.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UserError(f"{path}: holds {frames} pictures; give one radiograph a file")
    interpretation = str(file.get("PhotometricInterpretation") or "")
    if int(file.get("SamplesPerPixel") or 1) != 1 or interpretation not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise UserError(
            f"{path}: is {_line(interpretation or 'of unknown colours')}, not a grey radiograph"
        )
    rows, columns = (int(file.get(name) or 0) for name in ("Rows", "Columns"))
    if not 0 < rows * columns <= LARGEST:
        raise UserError(f"{path}: claims an absurd size: {rows} x {columns}")


def _as_shown(file: "pydicom.Dataset") -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    """Return (H, W) uint16 grey values."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    widths = file.get("WindowWidth")
    if widths is not None and not np.min(widths) >= 1:  # of no meaning (PS3.3 C.11.2.1.2)
        del file.WindowWidth
    slope, intercept = file.get("RescaleSlope"), file.get("RescaleIntercept")
    if slope or intercept:  # without the other, pydicom would not rescale
        file.RescaleSlope, file.RescaleIntercept = slope or 1, intercept or 0
    rescaled = apply_modality_lut(file.pixel_array, file)
    if None not in (file.get("WindowCenter"), file.get("WindowWidth")):
        # pydicom spreads a window over the rescaled ends, which a negative slope would swap
        file.RescaleSlope, file.RescaleIntercept = 1, 0
    shown = np.asarray(apply_voi_lut(rescaled, file), np.float64)
    low, high = _range(file)
    share = np.clip((shown - low) / (high - low), 0, 1)
    if file.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    return np.rint(65535 * share).astype(np.uint16)


def _range(file: "pydicom.Dataset") -> tuple[float, float]:  # type: ignore[name-defined]  # noqa: F821
    """Return the least and the greatest value that the shown pixels may have (PS3.3 C.11)."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if file.get(name):
            return 0.0, 2.0 ** int(file[name].value[0].LUTDescriptor[2]) - 1
    bits = int(file.BitsStored)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not int(file.PixelRepresentation):
        low, high = 0, 2**bits - 1
    slope, intercept = (
        float(file.get("RescaleSlope") or 1),
        float(file.get("RescaleIntercept") or 0),
    )
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return ends[0], ends[1]


def _line(said: object) -> str:
    """Return on one line what may hold any bytes of a damaged file."""
    printable = "".join(c if c.isprintable() else " " for c in str(said))
    return textwrap.shorten(printable, LONGEST) or type(said).__name__
