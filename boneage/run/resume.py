"""Whether a run folder is free, finished, or where its run goes on."""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from boneage.errors import UserError
from boneage.evaluation.older_versions import current_options
from boneage.evaluation.run_folder import ERROR, METRICS
from boneage.options import TABLE, is_choice, kind_of
from boneage.run.checkpoint import read_checkpoint
from boneage.run.options import options
from boneage.run.process import is_first_process
from boneage.run.trust import NewerRecord

log = logging.getLogger(__name__)


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
    check_same(current_options(metrics["options"]), cfg, f"{run_dir} holds a finished run")
    log.info("%s is finished", run_dir)
    return metrics


def newest_checkpoint(run_dir: Path, cfg: DictConfig) -> Path | None:
    """Return the newest checkpoint of an unfinished run that can be read; None without one.

    The first process makes room for the rest of the run, and moves damaged checkpoints aside.

    Raises:
        UserError: when the run has other options.
    """
    if is_first_process():
        (run_dir / ERROR).unlink(missing_ok=True)  # the mark of an interruption
    whole = []
    for name in ("last", "best"):
        file = run_dir / f"checkpoints/{name}.ckpt"
        if not file.exists():
            continue
        try:
            record = read_checkpoint(file)["boneage"]
        except NewerRecord:  # nothing is wrong with it
            raise
        except UserError as error:
            log.warning("Passed over: %s", error)
            if is_first_process():
                file.rename(file.with_suffix(".damaged"))
            continue
        check_same(record["options"], cfg, f"{run_dir} holds an unfinished run")
        whole.append(file)
    if not whole:
        return None
    log.info("Going on from %s", whole[0])
    return whole[0]


def check_same(was: dict[str, Any], cfg: DictConfig, what: str) -> None:
    """Raise UserError when a run to be resumed was started with options that matter and differ."""
    now = options(cfg)
    was = {row.name: row.default for row in TABLE if row.name in now} | was  # an older version's
    names = [k for k in was | now if kind_of(k) != "bookkeeping" and not is_choice(k)]
    different = [
        f"{name} (was {was[name]})" if name in was else name
        for name in names
        if was.get(name) != now.get(name)  # an option that is new is None where it was not known
    ]
    if different:
        raise UserError(
            f"{what} of other options: {', '.join(different)}; repeat its options, or choose "
            "another folder with hydra.run.dir= (hydra.sweep.dir=)"
        )
