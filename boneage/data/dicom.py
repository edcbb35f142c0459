"""Radiographs in DICOM files: pixels, and what the header says of the patient."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.data.dicom_checks import line_of, require_single_grey
from boneage.data.dicom_display import shown
from boneage.data.dicom_header import Header, header_of
from boneage.data.signatures import describe, is_dicom_content, is_readable_image, read_head
from boneage.errors import UserError, install

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")


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
        raise UserError(f"{path}: reading DICOM needs pydicom: {install('dicom')}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of every odd value
        try:
            file = _open(path)
            require_single_grey(path, file)
            header = header_of(file)
        except UserError:
            raise
        except Exception as error:  # pydicom raises whatever damaged bytes lead it to
            raise UserError(
                f"{path}: not a readable DICOM file, its header is damaged: copy or export it "
                f"again ({line_of(error)})"
            ) from error
        try:
            return shown(file), header
        except Exception as error:  # so do its decoders
            raise UserError(f"{path}: its pixels cannot be decoded: {line_of(error)}") from error


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
