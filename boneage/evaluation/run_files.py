"""Names of the files and folders of a run, and why it failed."""

from pathlib import Path

METRICS, PREDICTIONS, ERROR = "metrics.json", "predictions.csv", "error.txt"
SPLIT, SUBGROUPS, HISTORY = "split.csv", "subgroups.csv", "history.csv"
STORED_IMAGES = "images.npz"
CHECKPOINTS, HYDRA = "checkpoints", ".hydra"  # folders
BEST, LAST = f"{CHECKPOINTS}/best.ckpt", f"{CHECKPOINTS}/last.ckpt"
CASES = "cases.csv"  # the images in a folder, with their captions


def why_failed(run: Path) -> str | None:
    """Return the reason in the folder of a run that failed; None if there is none."""
    error = run / ERROR
    if not error.is_file():
        return None
    reason = error.read_text(errors="replace").strip()
    return reason or f"{ERROR} is empty, since the disk was full"
