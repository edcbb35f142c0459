"""Download files over HTTP; interrupted downloads are resumed."""

import http.client
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from boneage.data.atomic import AGAIN, make_writable, unwritable
from boneage.data.download.manifest import (
    ARCHIVES,
    BASE,
    Archive,
    Fetched,
    Part,
    broken_files,
    read_manifest,
    write_manifest,
)
from boneage.data.download.unpack import unpack
from boneage.errors import UserError, plural
from boneage.weights import sha256

BYTES_FETCHED_AT_ONCE = 1 << 20
TRIES = 5  # in a row without a new byte
PAUSE = 1.0  # seconds before the second try, doubled after each without a new byte
TIMEOUT = 60.0  # seconds without a byte
RETRIED = {408, 416, 429}  # and server errors, from 500 on
Notify = Callable[[int, int | None], None]  # bytes so far and in total
log = logging.getLogger(__name__)


def fetch(url: str, file: Path, progress: Notify, pause: float = PAUSE) -> None:
    """Download a URL to a file; resume an interrupted download.

    Until it is complete, the bytes are in `<file>.part`, and the server's version tag in
    `<file>.tag`: a file that has changed on the server is downloaded again.

    Args:
        url: the address.
        file: the output file.
        progress: called with the bytes so far.
        pause: seconds before the second try.

    Raises:
        UserError: when it does not exist, is refused, does not fit on the disk, or the connection
            fails repeatedly.
    """
    part, tag = (file.with_name(f"{file.name}.{end}") for end in ("part", "tag"))
    failed = 0
    while True:
        before = _size(part)
        try:
            _resume(url, part, tag, progress)
            break
        except (URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, HTTPError) and error.code < 500 and error.code not in RETRIED:
                raise UserError(
                    f"{url} answers {error.code} {error.reason}: the file may have moved. Look for "
                    "it on the pages of the RSNA, and unpack it into the data root yourself"
                ) from error
            if isinstance(error, OSError) and error.filename is not None and not _of_the_web(error):
                raise unwritable(error, part, AGAIN) from error
            failed = 0 if _size(part) > before else failed + 1
            if failed >= TRIES:
                raise UserError(
                    f"{url} cannot be downloaded ({_reason(error)}): repeat the command "
                    f"later, it resumes from {_size(part):,} bytes"
                ) from error
            time.sleep(pause * 2**failed)
    part.replace(file)
    tag.unlink(missing_ok=True)


def _resume(url: str, part: Path, tag: Path, progress: Notify) -> None:
    """Download the rest of a part; raise when the connection ends early."""
    have = _size(part)
    headers = {}
    if have and tag.exists():
        headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    try:
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # the part is not a beginning of the server's file
            part.unlink(missing_ok=True)
        raise
    with answer:
        if answer.status != 206:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        if total is not None and shutil.disk_usage(part.parent).free < total - have:
            raise UserError(
                f"{part.parent} has {shutil.disk_usage(part.parent).free / 1e9:.1f} GB free, "
                f"{url} needs {(total - have) / 1e9:.1f} GB: make room, or choose another folder"
            )
        _note(tag, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
        with part.open("ab" if have else "wb") as out:
            progress(have, total)
            while chunk := answer.read(BYTES_FETCHED_AT_ONCE):
                out.write(chunk)
                have += len(chunk)
                progress(have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _note(tag: Path, version: str | None) -> None:
    if version is None or version.startswith("W/"):  # a weak one does not guarantee equal bytes
        tag.unlink(missing_ok=True)
    else:
        tag.write_text(version, encoding="utf-8")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _of_the_web(error: OSError) -> bool:
    return isinstance(error, URLError | ConnectionError | TimeoutError)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    return str(getattr(error, "reason", error)) or type(error).__name__


def download(folder: Path, parts: Iterable[Part], base: str = BASE) -> None:
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
    wanted = set(parts)
    for archive in ARCHIVES:
        if archive.part not in wanted:
            continue
        fetched = manifest.archives.get(archive.name)
        if fetched is not None:
            broken = broken_files(folder, fetched, contents=False)
            if not broken:
                log.info("%s is complete: %s", archive.folder, plural(len(fetched.files), "file"))
                continue
            log.warning("%s: %s missing or changed", archive.folder, plural(len(broken), "file"))
        manifest.archives[archive.name] = _fetch_archive(archive, folder, base)
        write_manifest(folder, manifest)


def _fetch_archive(archive: Archive, folder: Path, base: str) -> Fetched:
    url, file = base + archive.name, folder / archive.name
    if not file.exists():
        with _bar(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as bar:
            task = bar.add_task(archive.folder, total=None)
            fetch(url, file, lambda have, total: bar.update(task, completed=have, total=total))
    checksum = sha256(file)
    with _bar(MofNCompleteColumn()) as bar:
        task = bar.add_task(f"{archive.folder}: unpacking", total=None)
        try:
            files = unpack(
                file,
                folder / archive.folder,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        except UserError:
            file.replace(file.with_name(f"{file.name}.refused"))  # the next call downloads it again
            raise
    below = {f"{archive.folder}/{name}": facts for name, facts in files.items()}
    fetched = Fetched(url=url, size=file.stat().st_size, sha256=checksum, files=below)
    file.unlink()
    return fetched


def _bar(*columns: object) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), *columns)  # type: ignore[arg-type]
