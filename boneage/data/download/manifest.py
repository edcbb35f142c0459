"""What has been fetched and unpacked, in a file beside it."""

import zlib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from boneage.errors import UserError

NAME = "manifest.json"


class Fetched(BaseModel):
    """An archive that has been unpacked.

    Args:
        url: where it came from.
        size: its bytes.
        sha256: its checksum.
        files: per file that was in it, relative to the manifest, its bytes and CRC-32.
    """

    url: str
    size: int
    sha256: str
    files: dict[str, tuple[int, int]]


class Manifest(BaseModel):
    """Per archive, by its name, what was in it."""

    archives: dict[str, Fetched] = {}


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder, an empty one where there is none.

    Raises:
        UserError: when it is damaged.
    """
    file = folder / NAME
    if not file.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(file.read_text())
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged: remove it, and download again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of an earlier one."""
    part = folder / f"{NAME}.part"
    part.write_text(manifest.model_dump_json(indent=1) + "\n")
    part.replace(folder / NAME)


def broken_files(folder: Path, fetched: Fetched, contents: bool) -> list[str]:
    """Return which files of an archive are missing or not as they were.

    Args:
        folder: where the manifest lies.
        fetched: the archive.
        contents: compare checksums as well, which reads everything.
    """
    return [
        name
        for name, (size, crc) in fetched.files.items()
        if not _is_whole(folder / name, size, crc if contents else None)
    ]


def _is_whole(file: Path, size: int, crc: int | None) -> bool:
    if not file.is_file() or file.stat().st_size != size:
        return False
    return crc is None or zlib.crc32(file.read_bytes()) == crc
