"""The files in and below a folder, and which of them this project wrote."""

import logging
import os
import re
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path

from boneage.data.formats import is_radiograph
from boneage.errors import join_first, plural
from boneage.run_files import HYDRA, LOG, METRICS, PREDICTIONS, STRESS_FIGURE, STRESS_TABLE

log = logging.getLogger(__name__)
HIDDEN = (".", "~$")
APPLE_DOUBLE = "._"  # what macOS stores about a file next to it, under the file's suffix
PICTURES = "pictures"  # folder of images of radiographs
PREDICTION_FILES = (PREDICTIONS, "predictions.part")  # next to it: of finished, stopped calls
DRAWN_SUFFIXES = (".png", ".jpg")
ANSWERS = "predictions.json"  # of a finished call


def walk(root: Path, quiet: bool = False) -> Iterator[str]:
    """Yield the path of every file in and below a folder; hidden ones are skipped.

    Links are followed. A folder that is reached twice, by a link back up or to a sibling, counts
    once. What cannot be opened is skipped and logged. Hidden radiographs are counted in one line.
    Folders of runs below the folder, and images that `boneage` drew, are skipped, and counted in
    one line each.

    Args:
        root: the folder; the paths start with it.
        quiet: log nothing, of a folder that was read before.
    """
    visited = set()
    report = None if quiet else log_skipped
    hidden: list[str] = []
    runs: list[str] = []
    drawn: list[str] = []
    names_in = cache(_drawn_names)  # a folder contains many files
    for where, subfolders, names in os.walk(root, followlinks=True, onerror=report):
        status = os.stat(where)
        if status.st_ino and (status.st_dev, status.st_ino) in visited:  # 0: it has no number
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        if where != os.fspath(root) and _is_run(subfolders, names):
            runs.append(where)
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(HIDDEN))
        for name in sorted(names):
            file = os.path.join(where, name)
            if _is_drawn(Path(file), names_in):
                drawn.append(file)
            elif not name.startswith(HIDDEN):
                yield file
            elif not name.startswith(APPLE_DOUBLE) and is_radiograph(Path(file)):
                hidden.append(name)
    if quiet:
        return
    if hidden:
        log.warning(
            "%s: %s skipped, because a dot before the name hides a file: %s",
            root, plural(len(hidden), "image"), join_first(hidden),
        )  # fmt: skip
    if runs:
        log.info("%s: %s skipped: %s", root, plural(len(runs), "run folder"), join_first(runs))
    if drawn:
        log.info(
            "%s: %s drawn by boneage skipped: %s",
            root, plural(len(drawn), "image"), join_first(drawn),
        )  # fmt: skip


def log_skipped(error: Exception) -> None:
    """Log what is not read."""
    log.warning("Skipped: %s", error)


def _is_run(subfolders: Collection[str], names: Collection[str]) -> bool:
    """Tell whether a folder is of a run, by what it contains; an ensemble is a run too."""
    return (METRICS in names and PREDICTIONS in names) or (LOG in names and HYDRA in subfolders)


def _is_drawn(file: Path, names_in: Callable[[Path], str]) -> bool:
    """Tell whether an image was drawn by predict, explain or stress."""
    if file.suffix not in DRAWN_SUFFIXES:
        return False
    if file.is_symlink():
        file = Path(os.path.realpath(file))  # `resolve` fails on a link to itself
    return re.fullmatch(names_in(file.parent), file.name) is not None


def _drawn_names(folder: Path) -> str:
    """Return a pattern of the names of drawn images in a folder, by what else it contains."""
    folder = folder.resolve()
    if folder.name == PICTURES and any((folder.parent / n).exists() for n in PREDICTION_FILES):
        return ".*"
    tasks: set[str] = set()
    for file in folder.glob("*_*.npy"):  # maps of explain: <id>_<task>.npy, both may contain a "_"
        parts = file.stem.split("_")
        tasks.update("_".join(parts[start:]) for start in range(1, len(parts)))
    # a task is no number: 001_002.png next to 001_002.npy is a radiograph
    names = [rf"{re.escape(task)}_\d{{3,}}\.png" for task in sorted(tasks) if task.isidentifier()]
    names += [re.escape(STRESS_FIGURE)] * (folder / STRESS_TABLE).exists()
    return "|".join(names)
