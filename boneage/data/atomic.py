"""Write files and folders so that they are complete or unchanged, never partial."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = "partial-"  # prefix of the names of incomplete folders


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `file` on success.

    Until then, and after an error, `file` is unchanged.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which replaces `folder` on success.

    Until then, and after an error, `folder` is unchanged.
    """
    partial = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
