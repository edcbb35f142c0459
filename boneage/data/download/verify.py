"""Say what is there of the official data, and what is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from boneage.data.download.archives import OFFICIAL_COUNTS, Part
from boneage.data.download.manifest import broken_files, read_manifest
from boneage.data.layouts import read_source
from boneage.errors import UserError

ORIGINS: dict[Part, str] = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Found:
    """What is there of a part.

    Args:
        part: the part.
        radiographs: with a label and an image.
        official: radiographs of the official part.
    """

    part: Part
    radiographs: int
    official: int


def verify(folder: Path) -> tuple[list[Found], list[str]]:
    """Count the radiographs below a folder, and check the files that were downloaded into it.

    Returns:
        One row a part; and the files, as the manifest names them, that are gone or changed.

    Raises:
        UserError: when the folder holds no label table or image at all.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"{folder} is no folder with anything in it: boneage download {folder}")
    manifest = read_manifest(folder)
    broken = [
        name
        for fetched in manifest.archives.values()
        for name in broken_files(folder, fetched, contents=True)
    ]
    try:
        origins = list(read_source(folder, missing="drop")["origin"])
    except UserError:
        if not broken:  # which says more
            raise
        origins = []
    rows = [
        Found(part, origins.count(ORIGINS[part]), OFFICIAL_COUNTS[part]) for part in get_args(Part)
    ]
    return rows, broken
