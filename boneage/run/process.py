"""The process of a run: memory, terminal, signals and subprocesses."""

import ctypes
import logging
import platform
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from boneage.data.atomic import only_writer, write_file
from boneage.data.dataset import REMEDY
from boneage.errors import FailedRun, UserError, option_word, shell_line
from boneage.run.options import command, folder_option, is_sweep
from boneage.run_files import ERROR, LAST

LOADERS_END_SECONDS = 10  # after a run was killed
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
HIDDEN_WARNINGS = (
    ".*does not have many workers.*",  # the uint8 cache is faster than workers on few cores
    ".*LeafSpec.*is deprecated.*",  # between lightning and torch
    ".*smaller than the logging interval.*",  # every epoch is logged anyway
    ".*enabled train dataloader shuffling.*",  # debug=overfit repeats one batch
    ".*is not supported by the model summary.*",
    ".*Early stopping conditioned on metric.*",  # in an epoch without validation
    ".*could not find the monitored key.*",
    ".*exists and is not empty.*",  # when a run is resumed in its own folder
)
log = logging.getLogger(__name__)


def is_first_process() -> bool:
    """Tell whether this process writes the run folder and the terminal."""
    rank: int | None = getattr(rank_zero_only, "rank", None)
    return not rank


def check_strategy(trainer: L.Trainer, cfg: DictConfig) -> None:
    """Raise UserError if the trainer of a sweep's job would start subprocesses.

    Lightning's `ddp`, which `auto` chooses for several devices, starts them with this command line,
    so each would run the whole sweep; with `ddp_spawn` the results are lost when they end.
    """
    if is_sweep() and trainer.strategy.launcher is not None:
        on = f" on {trainer.num_devices} devices" if trainer.num_devices > 1 else ""
        raise UserError(
            f"trainer.strategy={cfg.trainer.get('strategy', 'auto')}{on} cannot be swept with -m: "
            "its subprocesses would start the sweep again; run these settings one after the other, "
            "or give each job one device (trainer.strategy=auto trainer.devices=1)"
        )


def keep_freed_memory() -> None:
    """Make glibc's malloc reuse large buffers instead of returning them at every step.

    CPU training is about 1.4 times as fast; other C libraries are not changed.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":  # it reads Python's own file
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def quieten_lightning() -> None:
    """Hide messages of libraries, warnings that do not apply here, and output of subprocesses."""
    if not is_first_process():
        logging.disable(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric", "timm", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in HIDDEN_WARNINGS:
        warnings.filterwarnings("ignore", message)


class CurrentStdout:
    """The current standard output at each write, not the one when logging began.

    A progress bar replaces standard output to print lines above itself.
    """

    def write(self, text: str) -> int:
        """Write to standard output."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


STDOUT = CurrentStdout()


@contextmanager
def only_run_in(run_dir: Path) -> Iterator[None]:
    """Keep other runs out of a run folder.

    Raises:
        UserError: if a run is writing into it, or it cannot be locked.
    """
    if not is_first_process() or not run_dir.exists():
        yield
        return
    elsewhere = f"choose another folder with {folder_option()}"
    with only_writer(run_dir, "run", elsewhere, LOADERS_END_SECONDS):
        yield


@contextmanager
def interruptible(run_dir: Path) -> Iterator[None]:
    """Mark the folder of a run that is interrupted or fails, and exit with the usual status.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM.
        UserError: if a file cannot be written, a loader process died, or training diverged.
    """
    received = signal.SIGINT

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signal.SIGTERM
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only it receives signals
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning converts the first to the second
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        why = f"interrupted by {received.name}"
        marked = _mark(run_dir, why)
        log.error(why if is_sweep() else marked)  # train.py ends with the command of the sweep
        sys.exit(128 + received)
    except OSError as error:
        file = error.filename2 or error.filename or run_dir  # the target of a copy comes second
        what = f"{file}: {error.strerror or error}"
        raise UserError(_mark(run_dir, f"{what}; when this is fixed")) from error
    except FailedRun as error:
        own = error.args[0].rpartition("FailedRun: ")[2].strip()  # without a loader's traceback
        _write(run_dir, own)
        raise FailedRun(own) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        of_shared_memory = ("shared memory", "shm", "No space left")
        if any(words in str(error) for words in of_shared_memory):
            why = "a loader process had too little shared memory"
        else:
            why = "a loader process died, perhaps because memory ran out"
        raise UserError(_mark(run_dir, f"{why}: {REMEDY}; when this is fixed")) from error
    finally:
        for number, handler in before.items():
            if handler is not None:  # that of a program that contains Python, such as R
                signal.signal(number, handler)


def _mark(run_dir: Path, why: str) -> str:
    """Write into the run folder why the run stopped and how to resume it; return that line."""
    if (run_dir / LAST).exists():
        advice = "resume from the last finished epoch with"
    else:
        advice = "no epoch was finished; start again with"
    words = [w for w in shlex.split(command() or "the same config and") if w != "resume=auto"]
    again = f"{shell_line(*words)} {option_word('hydra.run.dir', run_dir)} resume=auto"
    message = f"{why}: {advice}: {again}"
    _write(run_dir, message)
    return message


def _write(run_dir: Path, message: str) -> None:
    if is_first_process() and run_dir.is_dir():  # it is made when the data are read
        try:
            write_file(run_dir / ERROR, message + "\n")
        except OSError as error:
            log.warning("%s cannot be written: %s", run_dir / ERROR, error.strerror)
