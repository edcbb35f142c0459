"""Sweeps: folders that Hydra can write, why jobs failed, and the comparison of what they did."""

import logging
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

log = logging.getLogger(__name__)
LOCK = ".comparison.lock"


class WritableFolder(Callback):
    """End in one line when the folder of a run or sweep cannot be made."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folder of a single run."""
        make_folder(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folder of a sweep."""
        make_folder(Path(config.hydra.sweep.dir), "hydra.sweep.dir")


def make_folder(folder: Path, option: str) -> None:
    """Make a folder and write into it.

    Raises:
        SystemExit: naming the folder, the reason and the option.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        sys.exit(
            f"error: nothing can be written into {folder} ({error.strerror}): choose another "
            f"folder with {option}="
        )


class SweepComparison(Callback):
    """Compare the finished runs of a sweep in the sweep's own folder, after every job.

    Hydra tells the end of a sweep only when no job has failed; the end of each job it always tells.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:  # noqa: ANN401
        """Note why a job has failed, and compare what is finished."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        sweep = Path(config.hydra.sweep.dir)
        try:
            if job_return.status is JobStatus.FAILED:
                note_failure(Path(config.hydra.runtime.output_dir), job_return._return_value)
            compare_sweep(sweep)
        except Exception as error:  # whatever it is, a sweep goes on, and says it in one line
            log.warning("No comparison in %s: %s: %s", sweep, type(error).__name__, error)


def note_failure(folder: Path, error: BaseException) -> None:
    """Write one line that says why a job has failed into its folder."""
    from boneage.evaluation.run_folder import ERROR

    folder.mkdir(parents=True, exist_ok=True)
    line = " ".join(str(error).removeprefix("error: ").split()) or type(error).__name__
    (folder / ERROR).write_text(line + "\n")
    log.error("Failed: %s", line)


def compare_sweep(sweep: Path) -> None:
    """Write `comparison.html` and `.csv` of a sweep into its folder; one process at a time."""
    from boneage.evaluation.comparison.page import PAGE, write_comparison
    from boneage.evaluation.run_folder import METRICS

    with FileLock(sweep / LOCK):
        if not any(sweep.rglob(METRICS)):
            return  # no job has finished yet
        if not (sweep / PAGE).exists():
            log.info("Finished runs of this sweep stand side by side in %s", sweep / PAGE)
        write_comparison([sweep], sweep)
