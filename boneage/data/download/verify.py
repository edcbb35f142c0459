"""Say what is there of the official data, and what is missing."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from boneage.data.download.archives import OFFICIAL_COUNTS, Part
from boneage.data.download.manifest import broken_files, read_manifest
from boneage.data.layouts import read_rows
from boneage.data.matching import clause, find_pairs
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


def verify(folder: Path) -> tuple[list[Found], list[str], list[str]]:
    """Count the radiographs below a folder, and check the files that were downloaded into it.

    Returns:
        One row a part; clauses on ids without an image, images without a row, and ids with
        several images; and the files, as the manifest names them, that are gone or changed.

    Raises:
        UserError: when it is no folder, or holds no label table or image at all.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: give the folder that it is in")
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"{folder} is no folder with anything in it: boneage download {folder}")
    manifest = read_manifest(folder)
    broken = [
        name
        for fetched in manifest.archives.values()
        for name in broken_files(folder, fetched, contents=True)
    ]
    origins: list[str] = []
    missing: list[str] = []
    try:
        below, _, labels = read_rows(folder, age_unit="months")  # which the files do not depend on
        pairs = find_pairs(folder, below, labels)
        origins = list(labels["origin"][labels["id"].isin(pairs.image_of)])
        missing = pairs.missing()
        twice = [id_ for id_, image in pairs.image_of.items() if len(below.images[image]) > 1]
        if twice:
            missing.append(clause(twice, "id", "with several images"))
    except UserError:
        if not broken:  # which says more
            raise
    rows = [
        Found(part, origins.count(ORIGINS[part]), OFFICIAL_COUNTS[part]) for part in get_args(Part)
    ]
    return rows, missing, broken
