"""What a command gets from its system: folders, standard output, standard error."""

import errno
import gc
import io
import logging
import os
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, TextIO

from boneage.errors import UserError, without_controls

CLOSED = (errno.EPIPE, errno.EINVAL)  # of a pipe without a reader; the second on Windows


def collect_garbage_less_often() -> None:
    """Look for unused objects less often: importing torch and Lightning is then a fifth faster."""
    gc.set_threshold(10_000)


def exit_on_sigterm() -> None:
    """End the process in order on SIGTERM; only its first thread receives signals."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def check_working_directory() -> None:
    """Raise UserError if the working directory was removed: libraries fail to load without it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the working directory was removed: change to another one") from error


def check_temporary_folder() -> None:
    """Raise UserError if there is no folder for temporary files."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise UserError(
            "no folder for temporary files can be written: set TMPDIR to one that can"
        ) from error


def require_file(path: str | Path) -> None:
    """Raise UserError for a pipe, a device or a socket: reading one may never end.

    A folder or a missing file is left to the reader.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{path} is a pipe or a device: give a file")


def is_terminal() -> bool:
    """Tell whether standard output is a terminal; it may be closed, or an object of a notebook."""
    return bool(getattr(sys.stdout, "isatty", bool)())


def plain_markup(text: str) -> str:
    """Return a text for rich's `print` that is shown as it is: no markup, no control characters."""
    from rich.markup import escape  # not for --help

    return escape(_without_controls(text))


def _without_controls(text: str) -> str:
    """Return lines without control characters."""
    return "\n".join(map(without_controls, text.split("\n")))


def relative_path(path: str | Path) -> str:
    """Return a path relative to the working directory; as it is if that is on another drive."""
    try:
        return os.path.relpath(path)
    except ValueError:  # of Windows
        return str(path)


def prepare_output(required: bool) -> None:
    """Make standard output and standard error safe to write to; call it once, at the start.

    A character that the encoding lacks is replaced by a question mark. What is written after the
    reader has closed the pipe is dropped, and so are what a full disk keeps out of a log file and
    Matplotlib's advice on its cache of fonts. Control characters are replaced in log messages. A
    width of 0 columns counts as unknown.

    Args:
        required: whether standard output is the result of the command, so that a full disk is an
            error. Otherwise this output is dropped too, as it always is on standard error.
    """
    if os.environ.get("COLUMNS") == "0":  # of a terminal of unknown width: tables would be empty
        del os.environ["COLUMNS"]
    logging.raiseExceptions = False
    logging.setLogRecordFactory(_Record)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    sys.stdout = _prepared(sys.stdout, required)
    sys.stderr = _prepared(sys.stderr, required=False)


def _prepared(stream: TextIO | None, required: bool) -> TextIO:
    """Return a stream with the same file and encoding that follows these rules."""
    if stream is None:  # closed before the start
        return open(os.devnull, "w", encoding="utf-8", errors="replace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.reconfigure(errors="replace")
    if not isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO):
        return stream  # a console of Windows
    stream.flush()
    output = io.BufferedWriter(_Output(stream.fileno(), required))
    return io.TextIOWrapper(output, stream.encoding, "replace", line_buffering=True)


class _Record(logging.LogRecord):
    """A log record without control characters, which names of files may contain."""

    def getMessage(self) -> str:
        return _without_controls(super().getMessage())


class _Output(io.FileIO):
    """A file that drops everything once its reader has gone or its disk is full.

    If the output is required, the first write to a full disk raises OSError.
    """

    def __init__(self, number: int, required: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._required = required

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self._required and error.errno not in CLOSED:
                raise OSError(error.errno, error.strerror, "standard output") from None
        return len(data)
