"""Whether a run folder is free, finished, or where its run goes on."""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from boneage.errors import UserError
from boneage.evaluation.run_folder import ERROR, METRICS
from boneage.run.checkpoint import read_checkpoint
from boneage.run.options import options
from boneage.run.processes import is_first_process

log = logging.getLogger(__name__)

CSV = "csv/metrics.csv"
DECIDE = ("seed", "stages", "task", "backbone", "sex", "optimizer", "scheduler", "augment", "data.")
FREE = ("data.root", "data.cache_dir", "data.num_workers")  # do not change a number


def finished(run_dir: Path, cfg: DictConfig) -> dict[str, Any] | None:
    """Return what `metrics.json` holds of a run that is to be resumed but has finished.

    Raises:
        UserError: when the folder holds a run that is not to be resumed, or one of other options.
    """
    if not is_first_process():  # the first process has looked before it started this one
        return None
    if cfg.resume is None:
        if (run_dir / METRICS).exists() or (run_dir / "checkpoints").exists():
            raise UserError(
                f"{run_dir} holds a run already: go on with it by resume=auto, or choose another "
                "folder with hydra.run.dir="
            )
        return None
    if not (run_dir / METRICS).exists():
        return None
    metrics: dict[str, Any] = json.loads((run_dir / METRICS).read_text())
    was, now = metrics["options"], options(cfg)
    different = [
        f"{key} (was {was[key]})"
        for key in now
        if key.startswith(DECIDE) and key not in FREE and was.get(key, now[key]) != now[key]
    ]
    if different:
        raise UserError(
            f"{run_dir} holds a finished run of other options: {', '.join(different)}; choose "
            "another folder with hydra.run.dir= (hydra.sweep.dir=)"
        )
    log.info("%s is finished", run_dir)
    return metrics


def newest_checkpoint(run_dir: Path) -> Path | None:
    """Return the newest checkpoint of an unfinished run that can be read; None without one.

    The first process makes room for the rest of the run.
    """
    if is_first_process():
        _make_room(run_dir)
    for name in ("last", "best"):
        file = run_dir / f"checkpoints/{name}.ckpt"
        if not file.exists():
            continue
        try:
            read_checkpoint(file)
        except UserError as error:
            log.warning("Passed over: %s", error)
            continue
        log.info("Going on from %s", file)
        return file
    return None


def _make_room(run_dir: Path) -> None:
    """Move aside what the CSV logger would write over, and remove the mark of an interruption."""
    (run_dir / ERROR).unlink(missing_ok=True)
    if (run_dir / CSV).exists():
        earlier = len(list((run_dir / "csv").iterdir()))
        (run_dir / CSV).rename(run_dir / f"csv/metrics_{earlier}.csv")
