"""Files and folders that are either complete or as they were before."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = "partial-"  # how the names of folders begin that are not complete


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `file` when all has gone well.

    Until then, and after an error, `file` is as it was.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes the place of `folder` when all has gone well.

    Until then, and after an error, `folder` is as it was.
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
