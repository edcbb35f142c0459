"""Finished runs below some folders, and why the others are left out."""

import os
from collections.abc import Sequence
from pathlib import Path

from boneage.errors import UserError
from boneage.evaluation.run_folder import ERROR, METRICS, FinishedRun, read_run, run_folder

TRACES = (METRICS, ".hydra", "split.csv", ERROR)  # any of them makes a folder a run's


def find_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[str]]:
    """Return the finished runs in and below folders, in order of their paths.

    Args:
        folders: run folders or their checkpoint files, or folders that hold some at any depth.

    Returns:
        The runs, and for every other run's folder one line that says what is wrong with it.

    Raises:
        UserError: when a folder does not exist, or no finished run is there.
    """
    runs: dict[Path, FinishedRun] = {}
    skipped: dict[Path, str] = {}
    for given in folders:
        folder = run_folder(given)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        if given.is_file() and not (given.suffix == ".ckpt" and _is_run(os.listdir(folder))):
            raise UserError(f"{given} is neither a run's folder nor a checkpoint in one")
        for path in _run_folders(folder):
            try:
                runs[path.resolve()] = read_run(path)
            except UserError as error:
                skipped[path.resolve()] = str(error)
    if not runs:
        reasons = "".join(f"; {reason}" for reason in list(skipped.values())[:3])
        where = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no finished run in or below {where}{reasons}")
    return list(runs.values()), list(skipped.values())


def _is_run(names: Sequence[str]) -> bool:
    """Tell whether a folder that contains these is a run's."""
    return any(trace in names for trace in TRACES)


def _run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs in and below a folder, links included."""
    found, visited = [], set()
    for where, subfolders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(where) in visited:  # a link back up, or to a sibling
            subfolders.clear()
            continue
        visited.add(os.path.realpath(where))
        if _is_run([*files, *subfolders]):
            found.append(Path(where))
            subfolders.clear()
        subfolders.sort()
    return sorted(found)
