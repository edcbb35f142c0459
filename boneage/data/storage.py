"""The cache folder of decoded radiographs and phantoms, and the shared memory of loaders."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from boneage.data.atomic import PARTIAL
from boneage.errors import UserError

log = logging.getLogger(__name__)
SHARED_MEMORY = Path("/dev/shm")  # of Linux; Docker gives a container 64 MB
OVERHEAD = 3 * 4096  # bytes of a batch besides its images: a page each for ages, sexes, rows
REMEDY = (
    "use fewer workers or data.num_workers=0, or give a container more: docker run --shm-size=2g"
)


def amount(n_bytes: float) -> str:
    """Return a number of bytes with a unit: "4.2 MB", "310 kB"."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.{0 if n_bytes >= 10 * size else 1}f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


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


def check_shared_memory(image_bytes: int, batch_size: int, workers: int, prefetch: int) -> None:
    """Check that the batches that loader processes prepare ahead fit into shared memory.

    Each process prepares `prefetch` batches ahead, and the trainer uses two more.

    Args:
        image_bytes: bytes of one radiograph.
        batch_size: radiographs in a batch.
        workers: loader processes of all training processes of this machine.
        prefetch: batches that each prepares ahead.

    Raises:
        UserError: when too little is free; a loader would hang silently, or be killed.
    """
    free = free_shared_memory()
    needed = (batch_size * image_bytes + OVERHEAD) * (workers * prefetch + 2) if workers else 0
    if free is not None and needed > free:
        raise UserError(
            f"data.num_workers={workers}: batches loaded ahead need {amount(needed)} of "
            f"shared memory, but {SHARED_MEMORY} has {amount(free)} free: {REMEDY}"
        )


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None if the system has no such folder."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None
