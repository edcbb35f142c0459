"""Folders of runs and sweeps: check that they can be written, record config and failures."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from boneage.errors import UserError, first_line, one_line, option_word, plural, shell_line

log = logging.getLogger(__name__)
COMPARISON_LOCK = ".comparison.lock"
COMPARISON_BEGUN = ".comparison.begun"  # its time is that of the newest comparison's start
FAILED = "failed.txt"
RUN_DIR = "hydra.run.dir"
STORAGE = "hydra.sweeper.storage"
SQLITE = "sqlite:///"  # before the file of a storage


class WritableFolder(Callback):
    """Stop with one line if the folder of a run or sweep cannot be written."""

    of_run: ClassVar[Path | None] = None  # the folder of the single run of this process

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folder of a single run."""
        _make_folder(config, RUN_DIR)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Make the folders of a sweep and of its storage file."""
        _make_folder(config, "hydra.sweep.dir")
        if is_search(config):
            _make_folder(config, STORAGE)


def is_search(config: DictConfig) -> bool:
    """Tell whether Optuna chooses the values of a sweep."""
    return "direction" in config.hydra.sweeper


def _make_folder(config: DictConfig, option: str) -> None:
    """Make the folder, or that of the storage file, which an option names; check it can be written.

    Raises:
        SystemExit: naming the option, and the folder or a reference that does not exist.
    """
    from boneage.data.atomic import make_writable

    try:
        folder = str(OmegaConf.select(config, option))
        if option == STORAGE:
            if not folder.startswith(SQLITE):
                return
            folder = os.path.dirname(folder.removeprefix(SQLITE))
        if option == RUN_DIR:  # first: a signal may end the process as soon as the folder is there
            WritableFolder.of_run = Path(folder).absolute()
        make_writable(Path(folder), f"choose another folder with {option}=")
    except OmegaConfBaseException as error:
        sys.exit(f"error: {option}: {first_line(error)}")
    except UserError as error:
        WritableFolder.of_run = None  # it is not this process that made the folder
        sys.exit(f"error: {error}")


class RecordedConfig(Callback):
    """Write the config of a run into `.hydra/`, unless its folder contains a run.

    Hydra would write it before the run is known to be refused, or resumed with its own options.
    """

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Write the files of Hydra's `output_subdir`."""
        from boneage.data.atomic import write_file
        from boneage.evaluation.run_folder import contains_run
        from boneage.run.process import is_first_process
        from boneage.run_files import HYDRA

        run_dir = Path(config.hydra.runtime.output_dir)
        if contains_run(run_dir) or not is_first_process():
            return
        folder = run_dir / HYDRA
        folder.mkdir(exist_ok=True)
        parts = {
            "config": OmegaConf.masked_copy(config, [str(k) for k in config if k != "hydra"]),
            "hydra": OmegaConf.masked_copy(config, ["hydra"]),
            "overrides": config.hydra.overrides.task,
        }
        for name, part in parts.items():
            write_file(folder / f"{name}.yaml", OmegaConf.to_yaml(part))


class SweepComparison(Callback):
    """Compare the finished runs of a sweep in the sweep's folder, after every job.

    Hydra calls `on_multirun_end` only if no job failed; `on_job_end` it always calls, but in the
    process of the job.
    """

    folder: ClassVar[Path | None] = None  # of the sweep that this process has begun
    again: ClassVar[str | None] = None  # the command that continues it

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Forget the failures of an earlier call, and note how to continue this one."""
        sweep = SweepComparison.folder = Path(config.hydra.sweep.dir)
        (sweep / FAILED).unlink(missing_ok=True)
        own = None if is_search(config) else sweep  # a search continues when repeated
        SweepComparison.again = repeated(sys.argv[1:], own)
        failed: Any = JobReturn  # whose property prints all options of a failed job
        failed.return_value = failed.return_value.getter(_result)

    @classmethod
    def last_lines(cls, end: BaseException | None) -> list[str]:
        """Return where the comparison of a sweep is, what failed, and how to continue it.

        Args:
            end: the exception that ends the process; an interrupted sweep can be continued.
        """
        if cls.folder is None:  # no sweep: the next import takes a second
            return []
        from boneage.evaluation.comparison.page import COMPARISON_PAGE

        lines = []
        if (cls.folder / COMPARISON_PAGE).exists():
            lines.append(f"Comparison of the finished runs: {cls.folder / COMPARISON_PAGE}")
        if (failed := cls.folder / FAILED).exists():
            n = len(failed.read_text(encoding="utf-8").splitlines())
            lines.append(f"{plural(n, 'job')} failed or refused: the reasons are in {failed}")
        interrupted = isinstance(end, SystemExit) and isinstance(end.code, int) and end.code > 128
        if cls.again is not None and interrupted:
            lines.append(f"Continue with: {cls.again}")
        return lines

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:  # noqa: ANN401
        """Record why a job failed, and compare the finished runs."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        sweep = Path(config.hydra.sweep.dir)
        try:
            if job_return.status is JobStatus.FAILED:
                folder = Path(config.hydra.runtime.output_dir)
                record_failure(folder, job_return._return_value, sweep / FAILED)
            compare_sweep(sweep)
        except Exception as error:  # a sweep continues after any error here
            log.warning("No comparison in %s: %s: %s", sweep, type(error).__name__, error)


def _result(job: JobReturn) -> Any:  # noqa: ANN401 - of any job
    """Return what a job of a sweep returned; its error names the options that the sweep chose."""
    if job.status is not JobStatus.FAILED:
        return job._return_value
    typed = {word.lower() for word in sys.argv}
    given = {*typed, *(f"{word}=null" for word in typed)}  # Hydra's way to write ~option
    chosen = " ".join(word for word in job.overrides or () if word.lower() not in given)
    line = _reason(job._return_value)
    named = line if line.startswith(chosen) else f"{chosen}: {line}"
    raise CompactHydraException(f"error: {named}") from job._return_value


def _reason(error: BaseException) -> str:
    """Return in one line why a job failed."""
    return one_line(error).removeprefix("error: ") or type(error).__name__


def repeated(arguments: Sequence[str], sweep: Path | None) -> str:
    """Return the command that continues a sweep.

    Args:
        arguments: of train.py.
        sweep: folder of the sweep; None repeats the arguments as they are.
    """
    words = shell_line("python", "train.py", *arguments)
    if sweep is not None and not any(word.startswith("hydra.sweep.dir=") for word in arguments):
        words += f" {option_word('hydra.sweep.dir', sweep)}"
    if sweep is not None and "resume=auto" not in arguments:
        words += " resume=auto"
    return words


def record_failure(folder: Path, error: BaseException, list_of_all: Path) -> None:
    """Write why a job failed, in one line, into its folder and into a list of all failures.

    Not into the folder of an earlier run, which the job did not touch: a finished one, or one that
    the job was refused for. A run that has begun records the errors of the user on its own. The
    log has the traceback of any other error: the process of the sweep may not get it.
    """
    from boneage.evaluation.run_folder import contains_run
    from boneage.run_files import ERROR, METRICS

    folder.mkdir(parents=True, exist_ok=True)
    line, of_user = _reason(error), isinstance(error, CompactHydraException)
    refused = of_user and contains_run(folder)
    if not refused and not (folder / METRICS).exists():
        (folder / ERROR).write_text(line + "\n", encoding="utf-8")
    with list_of_all.open("a", encoding="utf-8") as lines:
        lines.write(f"{folder.name}: {line}\n")
    log.error("Failed: %s", line, exc_info=None if of_user else error)


def compare_sweep(sweep: Path) -> None:
    """Write `comparison.html` and `.csv` into the folder of a sweep, one process at a time.

    Nothing is written if they are newer than all results, as for all but one of the jobs that end
    together.
    """
    from boneage.evaluation.comparison.page import COMPARISON_PAGE, write_comparison
    from boneage.run_files import METRICS

    page, begun = sweep / COMPARISON_PAGE, sweep / COMPARISON_BEGUN
    with FileLock(sweep / COMPARISON_LOCK):
        newest = max((file.stat().st_mtime for file in sweep.rglob(METRICS)), default=None)
        if newest is None:
            return  # no job has finished yet
        if page.exists() and begun.exists():
            start = begun.stat().st_mtime
            if newest < start <= page.stat().st_mtime:
                return
        else:
            log.info("Finished runs of this sweep are compared in %s", page)
        begun.touch()
        write_comparison([sweep], sweep)
