"""Every file below a folder, in order: training, prediction and maps find the same ones."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

HIDDEN = (".", "~$")


def walk(root: Path) -> Iterator[str]:
    """Yield the path of every file in and below a folder; hidden ones are passed over.

    Links are followed. A folder that is reached twice, by a link back up or to a sibling, counts
    once. What cannot be opened is passed over and said.

    Args:
        root: the folder; the paths start with it.
    """
    visited = set()
    for where, subfolders, names in os.walk(root, followlinks=True, onerror=pass_over):
        status = os.stat(where)
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(HIDDEN))
        yield from (os.path.join(where, n) for n in sorted(names) if not n.startswith(HIDDEN))


def pass_over(error: Exception) -> None:
    """Say what is not read."""
    log.warning("Passed over: %s", error)
