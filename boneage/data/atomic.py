"""Write files and folders so that they are complete or unchanged; the folder of caches."""

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from boneage.errors import UserError

log = logging.getLogger(__name__)
PARTIAL = "boneage-partial-"  # prefix of the names of incomplete folders
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
LOCK = ".lock"  # in a folder that one process at a time may write into
CHOOSE_ANOTHER_OUT = "choose another --out"
AGAIN = "when this is fixed, repeat the command"


@contextmanager
def writing(out: Path, remedy: str = CHOOSE_ANOTHER_OUT) -> Iterator[None]:
    """Report in one line which file cannot be written, or that `out` cannot.

    Raises:
        UserError: with the remedy.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(error, out, remedy) from error


def unwritable(error: OSError, out: Path, remedy: str = "") -> UserError:
    """Return the error for people: the file that cannot be written, or `out`, and the remedy."""
    said = f"{error.filename or out} cannot be written ({error.strerror or error})"
    return UserError(f"{said}: {remedy}" if remedy else said)


def require_writable(folder: Path, remedy: str = CHOOSE_ANOTHER_OUT) -> None:
    """Check that a folder for results, if it does not exist yet, can be made; make nothing.

    Raises:
        UserError: if it cannot be written.
    """
    with writing(folder, remedy):
        existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            error.filename = str(folder)
            raise


def make_writable(folder: Path, remedy: str = CHOOSE_ANOTHER_OUT) -> None:
    """Make a folder for results, before a long computation.

    Raises:
        UserError: if it cannot be written.
    """
    require_writable(folder, remedy)
    with writing(folder, remedy):
        folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def only_writer(folder: Path, who: str, remedy: str, seconds: float = 0) -> Iterator[None]:
    """Keep other processes that call this out of a folder.

    On a file system without locks, as some network folders are, it only warns.

    Args:
        folder: exists.
        who: writes into it: "run".
        remedy: how to choose another folder.
        seconds: to wait for the end of the other.

    Raises:
        UserError: if another process is writing into it, or the lock cannot be written.
    """
    file = folder / LOCK
    lock: AbstractContextManager[object] = nullcontext()
    try:
        lock = FileLock(file).acquire(timeout=seconds)
    except Timeout:
        raise UserError(
            f"another {who} is writing into {folder}: wait for its end, or {remedy}"
        ) from None
    except OSError as error:
        said = f"{file} cannot be locked ({error.strerror or error})"
        if error.errno not in NO_LOCKS:
            raise UserError(f"{said}: {remedy}") from error
        log.warning("%s: let no other %s write into this folder, or %s", said, who, remedy)
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file; the lock does it at its end
                file.unlink()


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `file` on success.

    Until then, and after an error, `file` is unchanged.

    Raises:
        OSError: with the name of `file`, also if the disk is full.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        yield part
        part.replace(file)
    except OSError as error:
        if error.filename in (None, str(part)):
            error.strerror = error.strerror or str(error)  # NumPy's has only a text
            error.filename, error.filename2 = str(file), None
        raise
    finally:
        with suppress(OSError):
            part.unlink()


def write_files(contents: Mapping[Path, str | bytes]) -> None:
    """Write files together: after an error, all are unchanged.

    Args:
        contents: of each file; text is written as UTF-8.

    Raises:
        OSError: with the name of the file that cannot be written.
    """
    with ExitStack() as files:
        for file, content in contents.items():
            part = files.enter_context(atomic_file(file))
            if isinstance(content, str):  # a file name in it may not be UTF-8
                content = content.encode(errors="backslashreplace")
            part.write_bytes(content)


def write_file(file: Path, content: str | bytes) -> None:
    """Write a file as `write_files` does."""
    write_files({file: content})


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which replaces `folder` on success.

    Until then, and after an error, `folder` is unchanged. Of a link, the folder that it names is
    replaced.
    """
    folder = folder.resolve()
    partial = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def default_cache_dir() -> Path:
    """Return the user's cache directory, or the environment variable BONEAGE_CACHE.

    Raises:
        UserError: if there is neither, as for an unknown user in a container.
    """
    if given := os.environ.get("BONEAGE_CACHE"):
        return Path(given)
    if (folder := _personal_cache_dir()) is not None:
        return folder
    raise UserError("the user has no home folder for a cache: set BONEAGE_CACHE to a folder")


def _personal_cache_dir() -> Path | None:
    """Return the user's cache directory; None if the user has no home folder."""
    with suppress(RuntimeError):
        folder: Path = platformdirs.user_cache_path("boneage")
        if folder.is_absolute():  # some versions return "~/.cache" as it is
            return folder
    return None


@contextmanager
def build_lock(cache_dir: Path) -> Iterator[None]:
    """Lock a cache folder, and remove the leftovers of a killed build.

    A new folder in the user's cache directory can be read by its user alone, since it will contain
    patients' radiographs. Any other may be shared, and has the permissions of any new folder.
    """
    mode = 0o700 if cache_dir == _personal_cache_dir() else 0o777
    cache_dir.mkdir(mode, parents=True, exist_ok=True)
    lock = FileLock(cache_dir / "build.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log.info("Waiting for another run that is writing into %s", cache_dir)
        held = lock.acquire()
    with held:
        for leftover in cache_dir.glob(f"{PARTIAL}*"):
            shutil.rmtree(leftover)
        yield
