"""The formats of radiograph files, one row each, and the one reader of all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.data.dicom.header import Header
from boneage.data.dicom.read import begins_dicom, read_dicom
from boneage.data.images import read_image
from boneage.errors import InaccessibleFile, UserError
from boneage.terminal import require_file

DICOM_INDEX = "DICOMDIR"  # the list of files on a DICOM disc (PS3.10), which contains no pixels
OTHERS = {  # unsupported contents, by their first bytes
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
REMEDIES = {  # by a word of the kind
    "archive": "unpack it",
    "image": "convert it to PNG",
    "PDF": "save its image as PNG",
    "Git LFS": "fetch it with git lfs pull",
}

TAR, TAR_AT = b"ustar", 257
BEGINNING = TAR_AT + len(TAR)  # bytes that tell what a file contains


@dataclass(frozen=True)
class Format:
    """A format of radiograph files.

    Args:
        name: of the format.
        suffixes: of the names of its files, in lower case.
        begins: tells from the first `BEGINNING` bytes of a file whether it has this format.
        read: returns (H, W) uint8 or uint16 pixels with bright bones, and the patient data of the
            header, None if the format has no such header; raises UserError.
        bare: whether its files often have names with dots but no suffix, such as UIDs, so that
            files of any name are checked.
    """

    name: str
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    read: Callable[[Path], tuple[np.ndarray, Header | None]]
    bare: bool = False


def _image(name: str, suffixes: tuple[str, ...], *magic: bytes) -> Format:
    """Return a format that `read_image` reads, and whose files begin with fixed bytes."""
    return Format(
        name, suffixes, lambda head: head.startswith(magic), lambda path: (read_image(path), None)
    )


FORMATS = (  # the first match counts: a DICOM file may also begin like a TIFF file
    Format("DICOM", (".dcm", ".dicom"), begins_dicom, read_dicom, bare=True),
    _image("PNG", (".png",), b"\x89PNG\r\n\x1a\n"),
    _image("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), b"\xff\xd8\xff"),
    _image("TIFF", (".tif", ".tiff"), b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    _image("BMP", (".bmp",), b"BM"),
)
RADIOGRAPH_SUFFIXES = tuple(suffix for row in FORMATS for suffix in row.suffixes)
FORMAT_NAMES = ", ".join(row.name for row in FORMATS[:-1]) + f" or {FORMATS[-1].name}"


def read_radiograph(path: str | Path) -> tuple[np.ndarray, Header | None]:
    """Read a radiograph of any supported format, whatever the file's name.

    Returns:
        (H, W) uint8 or uint16 with bright bones, and the patient data of a DICOM header.

    Raises:
        UserError: with path and reason.
    """
    file = Path(path)
    try:
        head = _head(file)
    except OSError as error:
        raise InaccessibleFile(f"{file}: {error.strerror}") from error
    if not head:
        raise UserError(f"{file}: empty file")
    format_ = _match(head)
    if format_ is None:
        kind = _kind(head)
        content = f"; its content: {kind}" if kind else ""
        content += next((f": {do}" for word, do in REMEDIES.items() if word in content), "")
        raise UserError(f"{file}: not a readable {FORMAT_NAMES} file{content}")
    return format_.read(file)


def is_radiograph(file: Path) -> bool:
    """Tell by the suffix; without one, and for DICOM whatever the name, by the first bytes."""
    if file.suffix.lower() in RADIOGRAPH_SUFFIXES:
        return True
    if file.name.upper() == DICOM_INDEX or not file.is_file():
        return False
    format_ = _match(_beginning(file))
    return format_ is not None and (format_.bare or not file.suffix)


def is_binary(file: Path) -> bool:
    """Tell whether a file begins as no text does, or is a PDF; False if it cannot be read."""
    head = _beginning(file) if file.is_file() else b""
    return b"\0" in head or head.startswith(b"%PDF")


def describe_file(file: Path) -> str:
    """Return what to do with a file that was given as a folder."""
    kind = _kind(_beginning(file)) or ""
    if "archive" in kind:
        return f"a {kind}: {REMEDIES['archive']}, and give the folder"
    return "a file: give the folder that it is in"


def may_have_header(path: str) -> bool:
    """Tell by the suffix whether a file may have a header with patient data."""
    suffix = Path(path).suffix.lower()
    return not any(suffix in row.suffixes for row in FORMATS if not row.bare)


def _head(file: Path) -> bytes:
    require_file(file)
    with file.open("rb") as content:
        return content.read(BEGINNING)


def _beginning(file: Path) -> bytes:
    """Return the first bytes of a file; none if it cannot be read."""
    try:
        return _head(file)
    except OSError:
        return b""


def _match(head: bytes) -> Format | None:
    return next((row for row in FORMATS if row.begins(head)), None)


def _kind(head: bytes) -> str | None:
    """Return the kind of an unsupported file, such as "gzip archive"; None if unknown."""
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "video")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP image"
    if head[TAR_AT:] == TAR:
        return "tar archive"
    return next((kind for magic, kind in OTHERS.items() if head.startswith(magic)), None)
