"""The files and folders of a run: their names, how they are read, and why a run failed."""

import json
from pathlib import Path
from typing import Any

from boneage.errors import UserError

METRICS, PREDICTIONS, ERROR = "metrics.json", "predictions.csv", "error.txt"
SPLIT, SUBGROUPS, HISTORY = "split.csv", "subgroups.csv", "history.csv"
STORED_IMAGES = "images.npz"
PAGE, LOG = "report.html", "train.log"
STRESS_TABLE, STRESS_FIGURE = "stress.csv", "stress.png"
CHECKPOINTS, HYDRA, MAPS = "checkpoints", ".hydra", "gradcam"  # folders
CLAIMS, CHECKS = "claims.txt", "checks.txt"  # sentences on the maps
BEST, LAST = f"{CHECKPOINTS}/best.ckpt", f"{CHECKPOINTS}/last.ckpt"
CASES = "cases.csv"  # the images in a folder, with their captions


def runs_below(folder: Path, file: str) -> list[str]:
    """Return the folders one or two levels below a folder that contain a file of a run, sorted."""
    up = len(Path(file).parts) - 1
    found = (f for level in ("*", "*/*") for f in folder.glob(f"{level}/{file}"))
    return sorted({str(f.parents[up]) for f in found})


def why_failed(run: Path) -> str | None:
    """Return the reason in the folder of a run that failed; None if there is none."""
    error = run / ERROR
    if not error.is_file():
        return None
    reason = error.read_text(encoding="utf-8", errors="replace").strip()
    return reason or f"{ERROR} is empty, since the disk was full"


def read_json(file: Path) -> dict[str, Any]:
    """Return the content of a JSON file that a run or `boneage predict` has written.

    Raises:
        UserError: when it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged: wrong format")
    return content
