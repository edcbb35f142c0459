"""Radiograph files of any known kind: found in folders, and read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boneage.data.decode import read_grey
from boneage.data.dicom import SUFFIXES as DICOM_SUFFIXES
from boneage.data.dicom import is_dicom, read_dicom
from boneage.data.dicom_header import Header
from boneage.data.folder import IMAGE_SUFFIXES
from boneage.data.ids import normal_id
from boneage.data.walk import walk
from boneage.errors import UserError, first_five

SUFFIXES = (*IMAGE_SUFFIXES, *DICOM_SUFFIXES)


def find_radiographs(paths: Sequence[Path]) -> list[Path]:
    """Return the files given, and the radiographs in and below the folders given, in order.

    Raises:
        UserError: when a path does not exist, or there is nothing at all.
    """
    files: list[Path] = []
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        if not path.is_dir():
            files.append(path)
            continue
        files += [file for file in map(Path, walk(path)) if _is_radiograph(file)]
    if not files:
        raise UserError(f"no radiograph in {first_five([str(path) for path in paths])}")
    return list(dict.fromkeys(files))


def radiograph_id(file: Path) -> str:
    """Return a file's name without its suffix; of a DICOM file named by its UID, all of it."""
    return normal_id(file.stem if file.suffix.lower() in SUFFIXES else file.name)


def read_radiograph(path: Path) -> tuple[np.ndarray, Header | None]:
    """Read a radiograph of any known kind.

    Returns:
        (H, W) uint8 or uint16, and what a DICOM header says.

    Raises:
        UserError: with path and reason.
    """
    return read_dicom(path) if is_dicom(path) else (read_grey(path), None)


def _is_radiograph(file: Path) -> bool:
    """Tell by the suffix, or by the first bytes: exported DICOM files often have no suffix."""
    return file.suffix.lower() in SUFFIXES or (file.is_file() and is_dicom(file))
