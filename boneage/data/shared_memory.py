"""The shared memory through which loader processes hand over their batches."""

import shutil
from pathlib import Path

from boneage.data.storage import amount
from boneage.errors import UserError

SHARED_MEMORY = Path("/dev/shm")  # of Linux; Docker gives a container 64 MB
SMALL = 3 * 4096  # bytes of a batch beside its images: a page each for ages, sexes and rows
REMEDY = "use data.num_workers=0 or fewer, or give a container more with docker run --shm-size=2g"


def check_shared_memory(image_bytes: int, batch_size: int, workers: int, prefetch: int) -> None:
    """Check that the batches that loader processes have ready fit the shared memory.

    Each process prepares some batches ahead, and two more are in the hands of the trainer.

    Args:
        image_bytes: of one radiograph.
        batch_size: radiographs of a batch.
        workers: loader processes of all training processes of this machine.
        prefetch: batches that each prepares ahead.

    Raises:
        UserError: when too little is free; a loader would stop without a word, or be killed.
    """
    free = free_shared_memory()
    needed = (batch_size * image_bytes + SMALL) * (workers * prefetch + 2) if workers else 0
    if free is not None and needed > free:
        raise UserError(
            f"data.num_workers={workers}: batches on their way need {amount(needed)} of "
            f"shared memory, but {SHARED_MEMORY} has {amount(free)} free: {REMEDY}"
        )


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None where the system has no such folder."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None
