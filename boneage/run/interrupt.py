"""What stops a run half way: Ctrl-C, SIGTERM, a full disk, a dead loader, divergence."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from boneage.data.shared_memory import REMEDY
from boneage.errors import FailedRun, UserError
from boneage.evaluation.run_folder import ERROR
from boneage.run.options import command
from boneage.run.processes import is_first_process

log = logging.getLogger(__name__)


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
