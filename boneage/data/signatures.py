"""What a file is, by its first bytes, whatever its name says."""

import struct
from pathlib import Path

DICOM, DICOM_START = b"DICM", 128
HEAD = DICOM_START + len(DICOM)  # bytes that tell it
READABLE = {
    b"\x89PNG\r\n\x1a\n": "PNG image",
    b"\xff\xd8\xff": "JPEG image",
    b"II*\0": "TIFF image",
    b"MM\0*": "TIFF image",
    b"II+\0": "TIFF image",
    b"MM\0+": "TIFF image",
    b"BM": "BMP image",
}
OTHERS = {
    b"GIF8": "GIF image",
    b"\0\0\0\x0cjP  ": "JPEG 2000 image",
    b"\xff\x4f\xff\x51": "JPEG 2000 image",
    b"\xff\x0a": "JPEG XL image",
    b"\0\0\0\x0cJXL ": "JPEG XL image",
    b"8BPS": "Photoshop image",
    b"\x1f\x8b": "gzip archive",
    b"PK\x03\x04": "zip archive",
    b"BZh": "bzip2 archive",
    b"\xfd7zXZ\0": "xz archive",
    b"7z\xbc\xaf\x27\x1c": "7-Zip archive",
    b"Rar!": "RAR archive",
    b"\x28\xb5\x2f\xfd": "Zstandard archive",
    b"%PDF": "PDF document",
    b"\x93NUMPY": "NumPy array",
    b"\x89HDF": "HDF5 file",
    b"{\\rtf": "text document",
    b"<": "web page or XML file",
    b"version https://git-lfs": "Git LFS pointer without the file itself",
}
BRANDS = {  # of the container of HEIC and AVIF, at bytes 8 to 12 after "ftyp"
    b"heic": "HEIC image",
    b"heix": "HEIC image",
    b"mif1": "HEIC image",
    b"msf1": "HEIC image",
    b"avif": "AVIF image",
}
BARE_GROUPS = (2, 8)  # that a DICOM data set without a preamble starts with
LONGEST_FIRST_VALUE = 1024  # bytes


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, which tell what it is.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(HEAD)


def is_dicom_content(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a DICOM file, with or without preamble."""
    return head[DICOM_START:HEAD] == DICOM or any(
        _starts_data_set(head, order) for order in ("<", ">")
    )


def _starts_data_set(head: bytes, order: str) -> bool:
    """Tell whether bytes start with the tag, VR and length of a first DICOM element."""
    if len(head) < HEAD:
        return False
    group, element = struct.unpack_from(f"{order}HH", head)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    short = struct.unpack_from(f"{order}I", head, 4)[0] <= LONGEST_FIRST_VALUE
    return group in BARE_GROUPS and element < 256 and (explicit or short)


def is_readable_image(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a PNG, JPEG, TIFF or BMP image."""
    return not is_dicom_content(head) and head.startswith(tuple(READABLE))


def describe(head: bytes) -> str | None:
    """Return what a file is by its first bytes, such as "gzip archive"; None where unknown."""
    if is_dicom_content(head):
        return "DICOM file"
    if not head:
        return "empty file"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "video")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP image"
    known = READABLE | OTHERS
    return next((kind for magic, kind in known.items() if head.startswith(magic)), None)
