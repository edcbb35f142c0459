"""Train and test a bone-age model; python train.py --help lists the choices."""

import logging
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from boneage.errors import UserError
from boneage.run.overrides import SWEEP, check_overrides, unusable
from boneage.run.sweep import SweepComparison, WritableFolder
from boneage.run_files import HYDRA, LOG
from boneage.terminal import (
    check_temporary_folder,
    check_working_directory,
    collect_garbage_less_often,
    exit_on_sigterm,
    prepare_output,
)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Run one experiment and return its best validation score, for searches.

    A user error is reported in one line and leaves no empty run behind.
    """
    exit_on_sigterm()
    try:
        from boneage.run.experiment import train  # torch takes seconds: not for --help

        return train(cfg)["best_validation"]
    except UserError as error:
        if HydraConfig.get().mode is RunMode.MULTIRUN:  # the other jobs of the sweep continue
            raise CompactHydraException(f"error: {error}") from None
        sys.exit(f"error: {error}")
    except (SystemExit, KeyboardInterrupt) as stop:
        _remove_if_empty(Path(HydraConfig.get().runtime.output_dir))
        sys.exit(stop.code if isinstance(stop, SystemExit) else 128 + signal.SIGINT)


def _remove_if_empty(run_dir: Path) -> None:
    """Remove the folder of a run if it contains only Hydra's files."""
    if run_dir.is_dir() and {path.name for path in run_dir.iterdir()} <= {HYDRA, LOG}:
        logging.shutdown()  # Windows removes no open file
        shutil.rmtree(run_dir)


def _occurred_in_job(error: Exception) -> bool:
    """Tell whether a single run raised an error, which is not the user's: show its traceback."""
    frames = traceback.walk_tb(error.__traceback__)
    functions = {
        frame.f_code.co_name for frame, _ in frames if frame.f_code.co_filename == __file__
    }
    return "main" in functions


if __name__ == "__main__":
    exit_on_sigterm()  # here too: the jobs of a sweep may be other processes
    collect_garbage_less_often()
    prepare_output(required=False)  # the log file has all of it
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in SWEEP)  # Hydra wants -m first
    try:
        check_working_directory()
        check_temporary_folder()  # of checkpoints and libraries
        check_overrides(sys.argv[1:], Path(__file__).parent / "conf")
    except UserError as error:
        sys.exit(f"error: {error}")
    wanted = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra prints no error, but raises it
    try:
        main()
    except KeyboardInterrupt:  # of a sweep whose jobs are other processes
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if wanted == "1" or _occurred_in_job(error):
            raise
        sys.exit(f"error: {unusable(error, sys.argv[1:])}")
    finally:
        if WritableFolder.of_run is not None and isinstance(sys.exception(), SystemExit):
            for number in (signal.SIGINT, signal.SIGTERM):  # a second one would stop the removal
                signal.signal(number, signal.SIG_IGN)
            _remove_if_empty(WritableFolder.of_run)  # also if torch was still being imported
        for line in SweepComparison.last_lines(sys.exception()):
            print(line)
