"""Radiographs in DICOM files: whether they can be read, and reading them."""

import io
import struct
import textwrap
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.data.decoders import NO_WARNINGS, shared
from boneage.data.dicom.display import SHUTTER, displayed, lookup_table
from boneage.data.dicom.header import Header, header_of
from boneage.data.dicom.pixels import first_item, number, numbers
from boneage.data.images import read_bytes
from boneage.errors import MissingPackage, UserError

if TYPE_CHECKING:
    from pydicom import Dataset

GREYS = ("MONOCHROME1", "MONOCHROME2")
BITS = ("BitsAllocated", "BitsStored", "PixelRepresentation")
REQUIRED_TAGS = ("Rows", "Columns", *BITS)
ALLOCATED = (1, 8, 16, 32)  # bits
MAX_PIXELS = 89_478_485  # as many as Pillow reads of other formats; they need 3 GB of memory
MAX_INFLATED = 4 * MAX_PIXELS + 2**24  # bytes of a deflated file: pixels of 32 bits, and a header
MAX_REASON = 200  # characters
MAGIC, MAGIC_AT = b"DICM", 128
MAGIC_BYTES = MAGIC_AT + len(MAGIC)  # bytes that tell whether a file is DICOM
FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
GROUP_OF = {  # where enhanced files have what other files have at the top (PS3.3 C.7.6.16)
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "VOILUTFunction": "FrameVOILUTSequence",
    "VOILUTSequence": "FrameVOILUTSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    **dict.fromkeys(SHUTTER, "FrameDisplayShutterSequence"),
}
BARE_GROUPS = (2, 8)  # that a data set without a preamble starts with
LONGEST_FIRST_VALUE = 1024  # bytes


def _require_single_grey(file: "Dataset") -> None:
    """Raise UserError, without the path, when a file contains no image, several, or one in colour.

    Empty header fields that describe one grey image are filled in.
    """
    if not file.get("PixelData"):
        raise UserError(_without_pixels(file))
    frames = int(number(file, "NumberOfFrames", 1)) or 1
    if frames != 1:
        raise UserError(f"contains {frames} images; give one radiograph per file")
    colours = str(file.get("PhotometricInterpretation") or "").strip().upper()
    if number(file, "SamplesPerPixel", 1) != 1 or colours not in GREYS:
        raise UserError(
            f"is {line_of(colours or 'of unknown colours')}, not a grey radiograph: export it as a "
            "grey image"
        )
    if colours == "MONOCHROME2" and (inverse := _inverse_presentation(file)):
        raise UserError(
            "its header contradicts itself: by MONOCHROME2 the greatest value is white, by "
            f"{inverse} it is black: export the file again"
        )
    if absent := [name for name in REQUIRED_TAGS if not numbers(file, name)]:
        raise UserError(f"its header lacks {', '.join(absent)}: export the file again")
    rows, columns = (int(number(file, name)) for name in ("Rows", "Columns"))
    if not 0 < rows * columns <= MAX_PIXELS:
        raise UserError(f"claims an absurd size, {rows} x {columns}: export it again")
    _require_sound_bits(file)
    syntax = file.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise UserError(
            f"its transfer syntax {syntax} is not supported: export it as Explicit VR Little Endian"
        )
    if not syntax.is_compressed:
        _require_all_bytes(file, rows * columns)
    file.PhotometricInterpretation, file.SamplesPerPixel, file.NumberOfFrames = colours, 1, 1
    _unfold_groups(file)


def _inverse_presentation(file: "Dataset") -> str:
    """Return the element that makes great values black; empty if none does."""
    if str(file.get("PresentationLUTShape")).upper() == "INVERSE":
        return "PresentationLUTShape INVERSE"
    table = lookup_table(file, "PresentationLUTSequence")
    falls = table is not None and table[0][0] > table[0][-1]
    return "PresentationLUTSequence" if falls else ""


def _unfold_groups(file: "Dataset") -> None:
    """Put what an enhanced file says of its one frame where other files have it."""
    for groups in filter(None, (first_item(file, frames) for frames in FRAMES)):
        for name, group in GROUP_OF.items():
            item = first_item(groups, group)
            if item is not None and name in item and name not in file:
                file[name] = item[name]


def _require_sound_bits(file: "Dataset") -> None:
    """Raise UserError when the bit fields of a header are invalid."""
    allocated, stored, sign = (int(number(file, name)) for name in BITS)
    if allocated not in ALLOCATED:
        raise UserError(
            f"its BitsAllocated is {allocated}, only 1, 8, 16 and 32 are supported: export it with "
            "8 or 16 bits"
        )
    if not 1 <= stored <= allocated:
        raise UserError(
            f"its header contradicts itself: BitsStored is {stored} of BitsAllocated {allocated}: "
            "export the file again"
        )
    if sign not in (0, 1):
        raise UserError(
            f"its PixelRepresentation is {sign}, it must be 0 or 1: export the file again"
        )


def _require_all_bytes(file: "Dataset", pixels: int) -> None:
    """Raise UserError when uncompressed pixels are cut off, or are compressed after all."""
    if file["PixelData"].is_undefined_length:
        raise UserError(
            "its pixels are compressed, but its TransferSyntaxUID says that they are not: export "
            "the file again"
        )
    stored, needed = len(file.PixelData), -(-pixels * int(number(file, "BitsAllocated")) // 8)
    if stored < needed:
        raise UserError(
            f"its pixels are cut off after {stored:,} of {needed:,} bytes: copy or export the file "
            "again"
        )


def _without_pixels(file: "Dataset") -> str:
    """Return what a DICOM file without pixels is, and what to do."""
    from pydicom.uid import UID

    if file.get("FloatPixelData") or file.get("DoubleFloatPixelData"):
        return "contains floating-point pixels: export it with 8 or 16 bits"
    uid = file.get("SOPClassUID") or file.file_meta.get("MediaStorageSOPClassUID")
    kind = UID(uid).name if uid else str(file.get("Modality") or "").strip()
    if kind in ("", uid):
        return "contains no image, and does not say what it is: copy or export the file again"
    kind = line_of(kind)
    if "Image Storage" in kind:
        return f"is a {kind}, but its pixels are missing: copy or export the file again"
    return f"contains no image, but {kind}: give the file of the radiograph"


def line_of(value: object) -> str:
    """Return a value of a damaged file, which may contain any bytes, as one line."""
    printable = "".join(c if c.isprintable() else " " for c in str(value))
    return textwrap.shorten(printable, MAX_REASON) or type(value).__name__


def begins_dicom(head: bytes) -> bool:
    """Tell whether a file's first `MAGIC_BYTES` are those of DICOM, with or without a preamble."""
    return head[MAGIC_AT:MAGIC_BYTES] == MAGIC or any(
        _starts_data_set(head, order) for order in "<>"
    )


def _starts_data_set(head: bytes, order: str) -> bool:
    """Tell whether bytes start with the tag, VR and length of a first DICOM element."""
    if len(head) < MAGIC_BYTES:
        return False
    group, element = struct.unpack_from(f"{order}HH", head)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    short = struct.unpack_from(f"{order}I", head, 4)[0] <= LONGEST_FIRST_VALUE
    return group in BARE_GROUPS and element < 256 and (explicit or short)


def read_dicom(path: Path) -> tuple[np.ndarray, Header]:
    """Read a DICOM radiograph as it is meant to be displayed, with bright bones.

    Returns:
        (H, W) uint16 of `display.displayed`, and the patient data of the header.

    Raises:
        UserError: with path and reason, when it cannot be read, is damaged, does not contain a
            single grey image, or is of a kind that cannot be decoded here; MissingPackage where a
            package could.
    """
    try:
        from pydicom.config import disable_value_validation
    except ImportError as error:
        raise MissingPackage(f"{path}: reading DICOM needs pydicom: pip install pydicom") from error
    content = read_bytes(path)
    with shared(NO_WARNINGS), shared(disable_value_validation):  # of any value
        try:
            file = _open(content)
            _require_single_grey(file)
            header = header_of(file)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except Exception as error:  # pydicom can raise anything on damaged bytes
            raise UserError(
                f"{path}: not a readable DICOM file, its header is damaged: copy or export it "
                f"again ({line_of(error)})"
            ) from error
        try:
            return displayed(file), header
        except MissingPackage as error:
            raise MissingPackage(f"{path}: its pixels cannot be decoded: {error}") from error
        except Exception as error:  # so can its decoders
            raise UserError(f"{path}: its pixels cannot be decoded: {line_of(error)}") from error


def _open(content: bytes) -> "Dataset":
    """Read a file with or without preamble; without a transfer syntax, as its bytes suggest."""
    import pydicom
    from pydicom import uid

    if uid.DeflatedExplicitVRLittleEndian.encode() in content:
        _require_inflatable(content)
    file = pydicom.dcmread(io.BytesIO(content), force=True)
    if not file.file_meta.get("TransferSyntaxUID"):
        file.file_meta.TransferSyntaxUID = {
            (True, True): uid.ImplicitVRLittleEndian,
            (False, True): uid.ExplicitVRLittleEndian,
            (False, False): uid.ExplicitVRBigEndian,
        }.get(file.original_encoding, uid.ImplicitVRLittleEndian)  # type: ignore[arg-type]
    return file


def _require_inflatable(content: bytes) -> None:
    """Raise UserError for a file whose deflated data set would fill the memory."""
    from pydicom.filereader import read_dataset, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    stream = io.BytesIO(content)
    read_preamble(stream, force=True)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(stream.read(), MAX_INFLATED)
        if inflater.unconsumed_tail:
            raise UserError(f"unpacks to more than {MAX_INFLATED / 1e9:.1f} GB: export it again")
