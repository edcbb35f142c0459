"""The official RSNA 2017 data: download and unpack its archives, and verify them."""

import logging
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ValidationError
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from boneage.data.atomic import make_writable, write_file
from boneage.data.fetch import Notify, RefusedArchive, fetch, unpack
from boneage.data.file_facts import warn_of_copies
from boneage.data.formats import describe_file
from boneage.data.layouts import looks_official, read_rows
from boneage.data.tables.columns import DEFAULT_COLUMNS, Columns
from boneage.data.tables.matching import clause, find_pairs
from boneage.errors import UserError, plural, shell_line
from boneage.weights import sha256

log = logging.getLogger(__name__)
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


ARCHIVES: dict[str, Part] = {  # by file name, as the address has it
    "Bone+Age+Training+Set+Annotations.zip": "train",
    "Bone+Age+Training+Set.zip": "train",
    "Bone+Age+Validation+Set.zip": "validation",
    "Bone+Age+Test+Set.zip": "test",
}
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


def broken_files(folder: Path, fetched: Fetched, contents: bool) -> list[str]:
    """Return which files of an archive are missing or changed.

    Args:
        folder: the folder of the manifest.
        fetched: the archive.
        contents: compare checksums as well, which reads everything.
    """
    broken = []
    for name, (size, crc) in fetched.files.items():
        file = folder / name
        intact = file.is_file() and file.stat().st_size == size
        if not intact or (contents and zlib.crc32(file.read_bytes()) != crc):
            broken.append(name)
    return broken


def download(folder: Path, parts: Collection[Part], base: str = BASE) -> None:
    """Download and unpack missing archives; resume an interrupted download.

    An archive is removed once it is unpacked; the manifest contains its size and checksum.

    Args:
        folder: the output folder.
        parts: which parts.
        base: address of the folder of the archives.

    Raises:
        UserError: when something cannot be downloaded, unpacked or written.
    """
    make_writable(folder, "choose another folder")
    manifest = read_manifest(folder)
    for name in [name for name, part in ARCHIVES.items() if part in parts]:
        unpacked = folder / name.removesuffix(".zip").replace("+", " ")
        fetched = manifest.archives.get(name)
        if fetched is not None:
            broken = broken_files(folder, fetched, contents=False)
            if not broken:
                log.info("%s is complete: %s", unpacked.name, plural(len(fetched.files), "file"))
                continue
            log.warning("%s: %s missing or changed", unpacked.name, plural(len(broken), "file"))
        manifest.archives[name] = _fetch_archive(base + name, folder / name, unpacked)
        write_file(folder / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def _fetch_archive(url: str, file: Path, unpacked: Path) -> Fetched:
    """Download an archive, unless the file exists, and unpack it into a folder next to it."""
    if not file.exists():
        columns = DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        with _bar(unpacked.name, *columns) as notify:
            fetch(url, file, notify)
    checksum = sha256(file)
    with _bar(f"{unpacked.name}: unpacking", MofNCompleteColumn()) as notify:
        try:
            files = unpack(file, unpacked, notify)
        except RefusedArchive:
            file.replace(file.with_name(f"{file.name}.refused"))  # the next call downloads it again
            raise
    below = {f"{unpacked.name}/{name}": facts for name, facts in files.items()}
    fetched = Fetched(url=url, size=file.stat().st_size, sha256=checksum, files=below)
    file.unlink()
    return fetched


@contextmanager
def _bar(title: str, *columns: ProgressColumn) -> Iterator[Notify]:
    """Show a progress bar; yield a function of how much is done, and of how much in total."""
    with Progress(TextColumn("{task.description}"), BarColumn(), *columns) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
