"""Ctrl-C, and the SIGTERM that a cluster sends before it takes a machine back."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from boneage.evaluation.run_folder import ERROR
from boneage.run.options import command
from boneage.run.processes import is_first_process

log = logging.getLogger(__name__)


@contextmanager
def interruptible(run_dir: Path) -> Iterator[None]:
    """Leave a run that is interrupted marked as such, and exit as shells expect.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM.
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
        if (run_dir / "checkpoints/last.ckpt").exists():
            where = "go on from the end of the last whole epoch with"
        else:
            where = "no epoch was finished; start again with"
        again = f"{command() or 'the same config and'} hydra.run.dir={run_dir} resume=auto"
        message = f"interrupted by {received.name}: {where}: {again}"
        if is_first_process():
            (run_dir / ERROR).write_text(message + "\n")
            log.error(message)
        sys.exit(128 + received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
