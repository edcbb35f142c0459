"""The official archives, which of them are unpacked, and what is missing."""

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ValidationError

from boneage.data.atomic import write_file
from boneage.data.file_facts import warn_of_copies
from boneage.data.formats import describe_file
from boneage.data.layouts import looks_official, read_rows
from boneage.data.tables.columns import DEFAULT_COLUMNS, Columns
from boneage.data.tables.matching import clause, find_pairs
from boneage.errors import UserError, shell_line

Part = Literal["train", "validation", "test"]
BASE = "https://s3.amazonaws.com/east1.public.rsna.org/AI/2017/"
TERMS = """\
The radiographs of the RSNA Pediatric Bone Age Challenge 2017 may be used for non-commercial
academic research and education. You must not try to identify anyone. If you redistribute them, you
must link to the page of the RSNA and cite:

  Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine Learning
  Challenge. Radiology 2019;290(2):498-503.
"""
MANIFEST = "manifest.json"
ORIGINS: dict[Part, str] = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Archive:
    """An archive of a part of the data.

    Args:
        part: what it belongs to.
        name: its file name, as the address has it.
    """

    part: Part
    name: str

    @property
    def folder(self) -> str:
        """Name of the folder that it is unpacked into."""
        return self.name.removesuffix(".zip").replace("+", " ")


ARCHIVES = (
    Archive("train", "Bone+Age+Training+Set+Annotations.zip"),
    Archive("train", "Bone+Age+Training+Set.zip"),
    Archive("validation", "Bone+Age+Validation+Set.zip"),
    Archive("test", "Bone+Age+Test+Set.zip"),
)
OFFICIAL_COUNTS: dict[Part, int] = {"train": 12_611, "validation": 1_425, "test": 200}


class Fetched(BaseModel):
    """An archive that has been unpacked.

    Args:
        url: its address.
        size: its bytes.
        sha256: its checksum.
        files: bytes and CRC-32 of each of its files, by path relative to the manifest.
    """

    url: str
    size: int
    sha256: str
    files: dict[str, tuple[int, int]]


class Manifest(BaseModel):
    """The unpacked archives, by name."""

    archives: dict[str, Fetched] = {}


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a folder, an empty one if there is none.

    Raises:
        UserError: when it is damaged.
    """
    file = folder / MANIFEST
    if not file.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is damaged: remove it and download again") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest, replacing an earlier one."""
    write_file(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def broken_files(folder: Path, fetched: Fetched, contents: bool) -> list[str]:
    """Return which files of an archive are missing or changed.

    Args:
        folder: the folder of the manifest.
        fetched: the archive.
        contents: compare checksums as well, which reads everything.
    """
    return [
        name
        for name, (size, crc) in fetched.files.items()
        if not _is_intact(folder / name, size, crc if contents else None)
    ]


def _is_intact(file: Path, size: int, crc: int | None) -> bool:
    if not file.is_file() or file.stat().st_size != size:
        return False
    return crc is None or zlib.crc32(file.read_bytes()) == crc


@dataclass(frozen=True)
class PartCount:
    """The number of radiographs of a part.

    Args:
        part: the part.
        radiographs: with a label and an image.
        official: radiographs of the official part; None in a folder of other radiographs.
    """

    part: Part
    radiographs: int
    official: int | None


def verify(
    folder: Path, columns: Columns = DEFAULT_COLUMNS
) -> tuple[list[PartCount], list[str], list[str]]:
    """Count the radiographs in a folder, and check its downloaded files.

    Warns of copies of a file under different ids. Training also notices those in another format.

    Args:
        folder: the folder.
        columns: of a custom table.

    Returns:
        One row per part, without empty ones in a folder of other radiographs; clauses on ids
        without an image, images without a row, and ids with several images; and the missing or
        changed files, as the manifest names them.

    Raises:
        UserError: when it is not a folder, or contains no label table or no image.
    """
    if folder.is_file():
        raise UserError(f"{folder} is {describe_file(folder)}")
    if not folder.is_dir() or not any(folder.iterdir()):
        what = "is an empty folder" if folder.is_dir() else "does not exist"
        raise UserError(
            f"{folder} {what}: give the folder with the radiographs, or download them: "
            f"{shell_line('boneage', 'download', str(folder))}"
        )
    manifest = read_manifest(folder)
    broken = [
        name
        for fetched in manifest.archives.values()
        for name in broken_files(folder, fetched, contents=True)
    ]
    official = bool(manifest.archives)
    origins: list[str] = []
    missing: list[str] = []
    try:
        below, used, labels = read_rows(folder, columns=replace(columns, age_unit="any"))
        pairs = find_pairs(below, used, labels)
        official = official or looks_official(labels)
        warn_of_copies({id_: files[0] for id_, files in pairs.files.items()}, folder)
        origins = list(labels["origin"][labels["id"].isin(pairs.files)])
        missing = pairs.missing()
        if pairs.repeated:
            missing.append(clause(list(pairs.repeated), "id", "with several images"))
    except UserError:
        if not broken:  # these say more
            raise
    rows = [
        PartCount(part, origins.count(ORIGINS[part]), OFFICIAL_COUNTS[part] if official else None)
        for part in get_args(Part)
        if official or ORIGINS[part] in origins
    ]
    return rows, missing, broken
