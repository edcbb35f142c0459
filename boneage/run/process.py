"""The process of a run: its memory, its terminal, its signals, and its further processes."""

import ctypes
import logging
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from boneage.data.storage import REMEDY
from boneage.errors import FailedRun, UserError
from boneage.evaluation.run_folder import ERROR
from boneage.run.options import command

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's malloc.h
NOT_FOR_THE_USER = (
    ".*does not have many workers.*",  # the uint8 cache is faster than workers on few cores
    ".*LeafSpec.*is deprecated.*",  # between lightning and torch
    ".*smaller than the logging interval.*",  # every epoch is logged anyway
    ".*enabled train dataloader shuffling.*",  # debug=overfit wants the same batch again
    ".*is not supported by the model summary.*",
    ".*Early stopping conditioned on metric.*",  # of an epoch without validation
    ".*could not find the monitored key.*",
    ".*exists and is not empty.*",  # a run that is resumed in its own folder
)
log = logging.getLogger(__name__)


def is_first_process() -> bool:
    """Whether this process writes the run folder and speaks to the user."""
    rank: int | None = getattr(rank_zero_only, "rank", None)
    return not rank


def check_strategy(cfg: DictConfig) -> None:
    """Raise UserError when a sweep asks each of its jobs to start further processes.

    Lightning's `ddp` starts them with this command line, so each would run the whole sweep; its
    `ddp_spawn` leaves results in processes that are gone.
    """
    sweeping = HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN
    if sweeping and "ddp" in str(cfg.trainer.get("strategy")):
        raise UserError(
            f"trainer.strategy={cfg.trainer.strategy} cannot be swept with -m: its processes would "
            "start the sweep anew; run these settings one after the other, or let each job have "
            "one device (hydra/launcher=joblib or slurm)"
        )


def keep_freed_memory() -> None:
    """Tell glibc's malloc to reuse large buffers instead of returning them at every step.

    Worth a factor of about 1.4 in CPU training; other C libraries are left alone.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def quieten_lightning() -> None:
    """Hide announcements of libraries, warnings that do not apply here, and further processes."""
    if not is_first_process():
        logging.disable(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric", "fontTools"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in NOT_FOR_THE_USER:
        warnings.filterwarnings("ignore", message)


class CurrentStdout:
    """Standard output as it is when a line is written, not as it was when logging began.

    While a progress bar is shown, standard output is the bar's, which puts lines above itself.
    """

    def write(self, text: str) -> int:
        """Write to standard output."""
        return sys.stdout.write(text)

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


STDOUT = CurrentStdout()


@contextmanager
def interruptible(run_dir: Path) -> Iterator[None]:
    """Leave a run that is interrupted or fails marked as such, and exit as shells expect.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM.
        UserError: when a file cannot be written, a loader process died, or training diverged.
    """
    received = signal.SIGINT

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = signal.SIGTERM
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are not delivered here
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        log.error(_mark(run_dir, f"interrupted by {received.name}"))
        sys.exit(128 + received)
    except OSError as error:
        what = f"{error.filename or run_dir}: {error.strerror or error}"
        raise UserError(_mark(run_dir, f"{what}; when that is mended")) from error
    except FailedRun as error:
        _write(run_dir, str(error))
        raise
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        why = f"{_why_loader_died(str(error))}: {REMEDY}"
        raise UserError(_mark(run_dir, f"{why}; when that is mended")) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _why_loader_died(message: str) -> str:
    """Say in one line what torch says of a loader process that is no more."""
    if "shared memory" in message or "shm" in message or "No space left" in message:
        return "a loader process found too little shared memory"
    return "a loader process died, perhaps because memory ran out"


def _mark(run_dir: Path, why: str) -> str:
    """Write into the run folder why the run stopped and how it goes on; return that line."""
    if (run_dir / "checkpoints/last.ckpt").exists():
        where = "go on from the end of the last whole epoch with"
    else:
        where = "no epoch was finished; start again with"
    words = (command() or "the same config and").removesuffix(" resume=auto")
    again = f"{words} hydra.run.dir={run_dir} resume=auto"
    message = f"{why}: {where}: {again}"
    _write(run_dir, message)
    return message


def _write(run_dir: Path, message: str) -> None:
    if is_first_process():
        try:
            (run_dir / ERROR).write_text(message + "\n")
        except OSError as error:
            log.warning("%s cannot be written: %s", run_dir / ERROR, error.strerror)
