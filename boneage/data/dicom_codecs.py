"""The compressions of DICOM pixels that pydicom cannot read without help: imagecodecs reads them.

GDCM and pylibjpeg-libjpeg were tried: the first ends the process on damaged headers of JPEG
Lossless, the second is GPL. What neither needs, JPEG Baseline, JPEG 2000 and RLE, is pydicom's.
"""

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from boneage.data.muting import muted_decoders

if TYPE_CHECKING:
    from pydicom import Dataset

PACKAGE = "imagecodecs"
CODECS = {  # functions of imagecodecs, by the keyword of the transfer syntax
    "JPEGExtended12Bit": "jpeg8_decode",
    "JPEGLossless": "jpeg8_decode",
    "JPEGLosslessSV1": "jpeg8_decode",
    "JPEGLSLossless": "jpegls_decode",
    "JPEGLSNearLossless": "jpegls_decode",
    "HTJ2KLossless": "jpeg2k_decode",
    "HTJ2KLosslessRPCL": "jpeg2k_decode",
    "HTJ2K": "jpeg2k_decode",
}
DAMAGED = "they are damaged, or no {} as the header says: copy or export the file again"
JPEG_2000, END_OF_JPEG = b"\xff\x4f\xff\x51", b"\xff\xd9"
NO_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # among the markers 0xC0 to 0xCF
JPEG_LS_HEADER = 0xF7


def decompress(file: "Dataset", codec: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Return the (H, W) values in the only compressed frame of a file.

    Raises:
        ValueError: when the frame is damaged, cut off, or of another size than the header says.
    """
    from pydicom.encaps import generate_frames

    damaged = DAMAGED.format(file.file_meta.TransferSyntaxUID.name)
    try:
        frame = next(generate_frames(file.PixelData, number_of_frames=1))
    except Exception as error:
        raise ValueError(damaged) from error
    if END_OF_JPEG not in frame:  # the decoders fill up what is missing, or look for it for ever
        raise ValueError("they are cut off: copy or export the file again")
    size, expected = frame_size(frame), (int(file.Rows), int(file.Columns))
    if size is None:
        raise ValueError(damaged)
    if size != expected:
        raise ValueError(
            f"they are {size[0]} x {size[1]}, but {expected[0]} x {expected[1]} by the header: "
            "export the file again"
        )
    try:
        with muted_decoders():
            values = np.asarray(codec(frame))
    except Exception as error:  # whatever damaged bytes lead the decoder to
        raise ValueError(damaged) from error
    if values.shape != expected:
        raise ValueError("they are not grey: export the file in grey")
    return values.view(f"i{values.itemsize}") if int(file.PixelRepresentation) else values


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
        at += 1 if marker == 0xFF else 2 + length  # markers may be filled up
    return None
