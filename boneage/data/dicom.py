"""Radiographs in DICOM files: pixels, and what the header says of the patient."""

import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.data.dicom_display import shown
from boneage.data.dicom_header import Header, header_of
from boneage.data.dicom_pixels import number
from boneage.data.signatures import describe, is_dicom_content, is_readable_image, read_head
from boneage.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
GREYS = ("MONOCHROME1", "MONOCHROME2")
LARGEST = 2**28  # pixels
LONGEST = 200  # characters of a reason


def is_dicom(path: Path) -> bool:
    """Tell whether a file is to be read as DICOM: by its first bytes, else by its suffix."""
    try:
        head = read_head(path)
    except OSError:
        head = b""
    named = path.suffix.lower() in SUFFIXES
    return is_dicom_content(head) or (named and not is_readable_image(head))


def read_dicom(path: Path) -> tuple[np.ndarray, Header]:
    """Read a DICOM radiograph as it is meant to be seen, bones bright.

    Returns:
        (H, W) uint16 of `dicom_display.shown`, and what the header says.

    Raises:
        UserError: with path and reason, when it is damaged, does not contain a single grey image,
            is of a kind that cannot be decoded here, or pydicom is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{path}: reading DICOM needs pydicom: pip install 'boneage[dicom]'"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every odd value
        try:
            file = _open(path)
            _require_single_grey(path, file)
            header = header_of(file)
        except UserError:
            raise
        except Exception as error:  # pydicom raises whatever damaged bytes lead it to
            raise UserError(f"{path}: not a readable DICOM file: {_line(error)}") from error
        try:
            return shown(file), header
        except Exception as error:  # so do its decoders
            raise UserError(f"{path}: its pixels cannot be decoded: {_line(error)}") from error


def _open(path: Path) -> "Dataset":
    """Read a file with or without preamble; without a transfer syntax, as its bytes suggest."""
    import pydicom
    from pydicom import config, uid

    try:
        head = read_head(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if not is_dicom_content(head):
        kind = describe(head) or "unknown kind of file"
        raise UserError(f"{path}: not a DICOM file, by its content: {kind}")
    config.settings.reading_validation_mode = config.IGNORE
    file = pydicom.dcmread(path, force=True)
    if not file.file_meta.get("TransferSyntaxUID"):
        file.file_meta.TransferSyntaxUID = {
            (True, True): uid.ImplicitVRLittleEndian,
            (False, True): uid.ExplicitVRLittleEndian,
            (False, False): uid.ExplicitVRBigEndian,
        }.get(file.original_encoding, uid.ImplicitVRLittleEndian)  # type: ignore[arg-type]
    return file


def _require_single_grey(path: Path, file: "Dataset") -> None:
    """Raise UserError when a file contains no image, several, or one in colour.

    What says that there is one grey image is filled in where it was left empty.
    """
    if not file.get("PixelData"):
        raise UserError(f"{path}: contains no image, but: {_content(file)}")
    frames = int(number(file, "NumberOfFrames", 1)) or 1
    if frames != 1:
        raise UserError(f"{path}: contains {frames} images; give one radiograph a file")
    colours = str(file.get("PhotometricInterpretation") or "").strip().upper()
    if number(file, "SamplesPerPixel", 1) != 1 or colours not in GREYS:
        raise UserError(
            f"{path}: is {_line(colours or 'of unknown colours')}, not a grey radiograph"
        )
    if colours == "MONOCHROME2" and str(file.get("PresentationLUTShape")).upper() == "INVERSE":
        raise UserError(
            f"{path}: contradicts itself: by MONOCHROME2 the greatest value is white, "
            "by PresentationLUTShape INVERSE black"
        )
    rows, columns = (int(number(file, name, 0)) for name in ("Rows", "Columns"))
    if not 0 < rows * columns <= LARGEST:
        raise UserError(f"{path}: claims an absurd size: {rows} x {columns}")
    file.PhotometricInterpretation, file.SamplesPerPixel, file.NumberOfFrames = colours, 1, 1


def _content(file: "Dataset") -> str:
    """Return what a DICOM file without pixels is."""
    from pydicom.uid import UID

    if file.get("FloatPixelData") or file.get("DoubleFloatPixelData"):
        return "floating-point pixels"
    kind = file.get("SOPClassUID") or file.file_meta.get("MediaStorageSOPClassUID")
    return _line(UID(kind).name if kind else file.get("Modality") or "unknown kind")


def _line(said: object) -> str:
    """Return on one line what may hold any bytes of a damaged file."""
    printable = "".join(c if c.isprintable() else " " for c in str(said))
    return textwrap.shorten(printable, LONGEST) or type(said).__name__
