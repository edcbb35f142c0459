"""Unpack an archive that contains only radiographs and tables."""

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from boneage.data.atomic import AGAIN, unwritable
from boneage.errors import UserError

ALLOWED = (".png", ".csv", ".xlsx")
IGNORED = ("__MACOSX/", ".DS_Store")
DEEPEST = 2  # an archive, and archives in it
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
MAX_FILE_BYTES = 200 * 2**20  # bytes of one file; the largest radiograph has 20 million

Files = dict[str, tuple[int, int]]  # per path below a folder its bytes and CRC-32


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
        UserError: when the archive is damaged, contains what it should not (a path out of the
            folder, a link, other kinds of files, one much too large), or does not fit on the disk;
            nothing of an archive with such a member is written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, archive.name, folder, progress, depth=1)
    except (*DAMAGED_ARCHIVE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # bz2 has none for damaged bytes
            raise unwritable(error, folder, AGAIN) from error
        raise UserError(f"{archive} is damaged: {error}") from error


def _unpack(
    opened: zipfile.ZipFile,
    name: str,
    folder: Path,
    progress: Callable[[int, int], None],
    depth: int,
) -> Files:
    members = [m for m in opened.infolist() if not m.is_dir() and not _ignored(m.filename)]
    for member in members:
        _check(member, name, depth)
    needed, free = sum(member.file_size for member in members), _free(folder)
    if needed > free:
        raise UserError(
            f"{folder} has {free / 1e9:.1f} GB free, {name} needs {needed / 1e9:.1f} GB: make "
            "room, or choose another folder"
        )
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
    """Raise UserError when a member of an archive is not allowed."""
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
    raise UserError(f"{archive} is not unpacked: {member.filename!r} in it {why}")


def _ignored(name: str) -> bool:
    return name.startswith(IGNORED[0]) or PurePosixPath(name).name == IGNORED[1]


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
