"""What stops a run half way: Ctrl-C, SIGTERM before a cluster takes its machine, a full disk."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from boneage.errors import UserError
from boneage.evaluation.run_folder import ERROR
from boneage.run.options import command
from boneage.run.processes import is_first_process

log = logging.getLogger(__name__)


@contextmanager
def interruptible(run_dir: Path) -> Iterator[None]:
    """Leave a run that is interrupted marked as such, and exit as shells expect.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM.
        UserError: when a file cannot be written.
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
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _mark(run_dir: Path, why: str) -> str:
    """Write into the run folder why the run stopped and how it goes on; return that line."""
    if (run_dir / "checkpoints/last.ckpt").exists():
        where = "go on from the end of the last whole epoch with"
    else:
        where = "no epoch was finished; start again with"
    words = (command() or "the same config and").removesuffix(" resume=auto")
    again = f"{words} hydra.run.dir={run_dir} resume=auto"
    message = f"{why}: {where}: {again}"
    if is_first_process():
        try:
            (run_dir / ERROR).write_text(message + "\n")
        except OSError as error:
            log.warning("%s cannot be written: %s", run_dir / ERROR, error.strerror)
    return message
