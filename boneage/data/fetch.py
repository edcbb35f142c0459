"""Download a file over HTTP, and unpack an archive that contains only radiographs and tables."""

import errno
import http.client
import lzma
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from boneage.data.atomic import AGAIN, unwritable
from boneage.errors import UserError

BYTES_FETCHED_AT_ONCE = 1 << 20
TRIES = 5  # in a row without a new byte
PAUSE = 1.0  # seconds before the second try, doubled after each without a new byte
TIMEOUT = 60.0  # seconds without a byte
RETRIED = {408, 416, 429}  # and server errors, from 500 on
Notify = Callable[[int, int | None], None]  # bytes so far and in total
ALLOWED = (".png", ".csv", ".xlsx")
IGNORED = re.compile(r"^__MACOSX/|(^|/)\.DS_Store$")  # what macOS adds
DEEPEST = 2  # an archive, and archives in it
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, zlib.error,
    lzma.LZMAError, IndexError, ValueError,
)  # fmt: skip
OF_DAMAGE = (None, errno.EINVAL)  # of OSErrors from damaged bytes: by bz2, by a wrong offset
MAX_FILE_BYTES = 200 * 2**20  # bytes of one file; the largest radiograph has 20 million

Files = dict[str, tuple[int, int]]  # per path below a folder its bytes and CRC-32


class RefusedArchive(UserError):
    """An archive is damaged, or contains what it should not: unpacking it again cannot succeed."""


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
            of_the_web = isinstance(error, URLError | ConnectionError | TimeoutError)
            if isinstance(error, OSError) and error.filename is not None and not of_the_web:
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
        total = None if answer.length is None else have + answer.length
        if total is not None:
            _require_space(part.parent, total - have, url)
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "W/"
        if version.startswith("W/"):  # a weak one does not guarantee equal bytes
            tag.unlink(missing_ok=True)
        else:
            tag.write_text(version, encoding="utf-8")
        with part.open("ab" if have else "wb") as out:
            progress(have, total)
            while chunk := answer.read(BYTES_FETCHED_AT_ONCE):
                out.write(chunk)
                have += len(chunk)
                progress(have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"{error.code} {error.reason}"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    return str(getattr(error, "reason", error)) or type(error).__name__


def unpack(archive: Path, folder: Path, progress: Callable[[int, int], None]) -> Files:
    """Unpack a zip archive, and archives in it, into a folder.

    A file gets its name when it is complete; files of an earlier call are overwritten.

    Args:
        archive: the archive.
        folder: the output folder; all files go into it.
        progress: called with the number of files so far and in total.

    Returns:
        Per file, relative to the folder with forward slashes, its size in bytes and its CRC-32.

    Raises:
        RefusedArchive: when the archive is damaged, or contains what it should not (a path out of
            the folder, a link, other kinds of files, one much too large); nothing of an archive
            with such a member is written.
        UserError: when it does not fit on the disk, or a file cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, archive.name, folder, progress, depth=1)
    except (*DAMAGED_ARCHIVE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in OF_DAMAGE:
            raise unwritable(error, folder, AGAIN) from error
        raise RefusedArchive(f"{archive} is damaged: {error}") from error


def _unpack(
    opened: zipfile.ZipFile,
    name: str,
    folder: Path,
    progress: Callable[[int, int], None],
    depth: int,
) -> Files:
    members = [m for m in opened.infolist() if not (m.is_dir() or IGNORED.search(m.filename))]
    for member in members:
        _check(member, name, depth)
    _require_space(folder, sum(member.file_size for member in members), name)
    files: Files = {}
    for i, member in enumerate(members):
        target = folder / PurePosixPath(member.filename)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with opened.open(member) as source, part.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)  # checks size and CRC
        if target.suffix.lower() == ".zip":
            with zipfile.ZipFile(part) as inner:
                below = _unpack(
                    inner, f"{name}/{member.filename}", target.parent, progress, depth + 1
                )
            parent = PurePosixPath(member.filename).parent
            files |= {str(parent / path): facts for path, facts in below.items()}
            part.unlink()
        else:
            part.replace(target)
            files[str(PurePosixPath(member.filename))] = (member.file_size, member.CRC)
        progress(i + 1, len(members))
    return files


def _check(member: zipfile.ZipInfo, archive: str, depth: int) -> None:
    """Raise RefusedArchive when a member of an archive is not allowed."""
    path = PurePosixPath(member.filename)
    suffix = path.suffix.lower()
    kind = stat.S_IFMT(member.external_attr >> 16)
    if (
        not path.name
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in member.filename
        or ":" in member.filename
    ):
        why = "leads out of the folder"
    elif kind not in (0, stat.S_IFREG):
        why = "is a link, not a file"
    elif member.flag_bits & 1:
        why = "is encrypted"
    elif suffix == ".zip" and depth >= DEEPEST:
        why = "is an archive in an archive in an archive"
    elif suffix not in (*ALLOWED, ".zip"):
        why = f"is not one of {', '.join(ALLOWED)} or a zip archive"
    elif suffix != ".zip" and member.file_size > MAX_FILE_BYTES:
        why = f"has {member.file_size:,} bytes, far more than a radiograph"
    else:
        return
    raise RefusedArchive(f"{archive} is not unpacked: {member.filename!r} in it {why}")


def _require_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError when the disk of a folder, which may not exist yet, is too full."""
    free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
    if needed > free:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB free, {what} needs {needed / 1e9:.1f} GB: make "
            "room, or choose another folder"
        )
