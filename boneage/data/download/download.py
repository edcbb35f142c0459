"""Bring parts of the official data into a folder that training takes as it is."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from boneage.data.download.archives import ARCHIVES, BASE, Archive, Part
from boneage.data.download.fetch import fetch
from boneage.data.download.manifest import Fetched, broken_files, read_manifest, write_manifest
from boneage.data.download.unpack import unpack
from boneage.errors import UserError

log = logging.getLogger(__name__)


def download(folder: Path, parts: Iterable[Part], base: str = BASE) -> None:
    """Fetch and unpack what is missing of some parts; go on where an earlier call was stopped.

    An archive is removed once it is unpacked; its size and checksum stay in the manifest.

    Args:
        folder: where to.
        parts: which parts.
        base: address of the folder of the archives.

    Raises:
        UserError: when something cannot be fetched, unpacked or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}") from error
    manifest = read_manifest(folder)
    wanted = set(parts)
    for archive in ARCHIVES:
        if archive.part not in wanted:
            continue
        known = manifest.archives.get(archive.name)
        if known is not None:
            broken = broken_files(folder, known, contents=False)
            if not broken:
                log.info("%s is there: %s files", archive.folder, f"{len(known.files):,}")
                continue
            log.warning("%s: %s files are gone or changed", archive.folder, f"{len(broken):,}")
        manifest.archives[archive.name] = _bring(archive, folder, base)
        write_manifest(folder, manifest)


def _bring(archive: Archive, folder: Path, base: str) -> Fetched:
    url, file = base + archive.name, folder / archive.name
    if not file.exists():
        with _bar(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
            task = bar.add_task(archive.folder, total=None)
            fetch(url, file, lambda have, total: bar.update(task, completed=have, total=total))
    with file.open("rb") as opened:
        checksum = hashlib.file_digest(opened, "sha256").hexdigest()
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(f"{archive.folder}: unpacking", total=None)
        try:
            files = unpack(
                file,
                folder / archive.folder,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        except UserError:
            file.replace(file.with_name(f"{file.name}.refused"))  # the next call fetches it anew
            raise
    below = {f"{archive.folder}/{name}": found for name, found in files.items()}
    fetched = Fetched(url=url, size=file.stat().st_size, sha256=checksum, files=below)
    file.unlink()
    return fetched


def _bar(*columns: object) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns)  # type: ignore[arg-type]
