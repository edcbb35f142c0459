"""Call functions in processes that import nothing heavy."""

import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import cv2
from joblib import Parallel

from boneage.data.atomic import writing
from boneage.errors import UserError
from boneage.terminal import check_temporary_folder

TRACKER_WARNINGS = "ignore:resource_tracker"  # of a process of joblib, after a stop
SAFE_PATH = "PYTHONSAFEPATH"  # environment variable: a process imports nothing from its folder
# joblib has one set of processes: a second call would end those of the first, or both would wait
_PROCESSES = threading.Lock()


def run_pool(calls: Iterable[Any], **options: Any) -> Generator[Any, None, None]:  # noqa: ANN401 - joblib's
    """Yield the results of joblib's delayed calls; a stop or a failure gives no other output.

    To be closed, unless all are taken: until then its processes and files remain. While another
    thread has processes, the calls are made in this one.

    Args:
        calls: made by `joblib.delayed`.
        options: of `joblib.Parallel`, with `n_jobs`.

    Raises:
        UserError: if a process is killed, or a temporary file cannot be written.
    """
    if options["n_jobs"] == 1 or not _PROCESSES.acquire(blocking=False):
        yield from Parallel(n_jobs=1, return_as="generator")(calls)  # in this process
        return
    try:
        yield from _in_processes(calls, options)
    finally:
        _PROCESSES.release()


def _in_processes(calls: Iterable[Any], options: dict[str, Any]) -> Iterator[Any]:
    check_temporary_folder()
    warnings.filterwarnings("ignore", ".*tasks have been successfully executed")  # after a stop
    if TRACKER_WARNINGS not in sys.warnoptions:
        sys.warnoptions.append(TRACKER_WARNINGS)
    logging.getLogger("concurrent.futures").setLevel(logging.CRITICAL)
    if getattr(threading.excepthook, "func", None) is not _report_thread:
        threading.excepthook = partial(_report_thread, threading.excepthook)
    with tempfile.TemporaryDirectory(prefix="boneage-", ignore_cleanup_errors=True) as folder:
        stored = (
            (_store, (function, Path(folder, str(number)), *given), named)
            for number, (function, given, named) in enumerate(calls)
        )
        try:
            with _held_interrupt(), _safe_imports():
                files = Parallel(return_as="generator", initializer=_prepare_process, **options)(
                    stored
                )
            with closing(files):  # ends the processes, which write into the folder
                for file in files:
                    yield pickle.loads(file.read_bytes())
                    file.unlink()
        except BrokenProcessPool as error:
            raise UserError("a process was killed, perhaps because memory ran out") from error


def _store(function: Callable[..., Any], file: Path, *given: object, **named: object) -> Path:
    """Store a result in a file, and return the file.

    Of a process that is killed while it sends a long result, joblib waits for the rest for ever.
    """
    result = pickle.dumps(function(*given, **named), pickle.HIGHEST_PROTOCOL)
    with writing(file.parent, "choose another folder for temporary files with TMPDIR="):
        file.write_bytes(result)
    return file


def _report_thread(report: Callable[..., object], failed: threading.ExceptHookArgs) -> None:
    """Report an exception in a thread, unless it is joblib's, which loses calls at a stop."""
    if failed.thread is None or failed.thread.name != "ExecutorManagerThread":
        report(failed)


@contextmanager
def _safe_imports() -> Iterator[None]:
    """Keep new processes from importing files of the working directory, as data may contain them.

    Python would run a `pickle.py` there. Afterwards they have the import path of this process.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def _held_interrupt() -> Iterator[None]:
    """Receive Ctrl-C afterwards; processes that start meanwhile, on POSIX, never receive it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would end the hold
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_process() -> None:
    """Leave Ctrl-C to the main process, which ends the others, and the other cores to these."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
