"""Changes of the process while a file is decoded, above all to mute the messages of C decoders."""

import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import IO

DAMAGES = (  # in messages of libjpeg
    "premature end of data segment",
    "bad Huffman code",
    "bad arithmetic code",
    "instead of RST",
)
DECODER_LINE = re.compile(  # of OpenCV, libjpeg, libpng, libtiff
    rb"\[ ?(WARN|ERROR|INFO):\d+@|> |\s*$|Corrupt JPEG|Premature end of JPEG|Invalid SOS"
    rb"|Inconsistent progression|Unknown Adobe|Warning: unknown JFIF|libpng |tempfile\.tif: "
    rb"|(_?TIFF|JPEG|LZW|ZSTD|LZMA|ZIP|PackBits|Fax)\w*: "
)
STDERR = 2
Change = Callable[[], AbstractContextManager[object]]
NO_WARNINGS = partial(warnings.catch_warnings, action="ignore")
_MUTING = threading.Lock()
_SHARING = threading.Lock()  # of the next; a thread that has it waits for nothing
_SHARED: dict[Change, "_Shared"] = {}


class _Shared(ExitStack):
    """A change that threads need now, and their number."""

    users = 0


@contextmanager
def shared(change: Change) -> Iterator[None]:
    """Change the process while any thread needs it, as with `NO_WARNINGS`.

    `warnings.catch_warnings` and its like restore what was there when they began. Threads end in
    another order than they begin, so the last would restore the change of another, for ever.

    Args:
        change: makes a context manager; equal ones are made once.
    """
    with _SHARING:
        if (made := _SHARED.get(change)) is None:
            made = _Shared()
            made.enter_context(change())
            _SHARED[change] = made
        made.users += 1
    try:
        yield
    finally:
        with _SHARING:
            made.users -= 1
            if made.users == 0:
                _SHARED.pop(change, None)
                made.close()


def _before_fork() -> None:
    """Wait for other threads: a forked process would inherit their locks and a muted terminal."""
    _MUTING.acquire()
    _SHARING.acquire()


def _after_fork() -> None:
    _SHARING.release()
    _MUTING.release()


def _in_forked_process() -> None:
    """Undo what other threads have changed, as these do not run here."""
    while _SHARED:
        _SHARED.popitem()[1].close()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_process
    )


@contextmanager
def muted_decoders() -> Iterator[list[str]]:
    """Keep the messages of C decoders off the terminal.

    What other threads write meanwhile, such as a service's log, is written when the block ends.

    Yields:
        A list that is filled with the lines when the block ends.
    """
    messages: list[str] = []
    alone = threading.active_count() == 1
    with _MUTING, _scratch_file() as lines:
        terminal = _copy_of_stderr()
        try:
            os.dup2(lines.fileno(), STDERR)
            yield messages
        finally:
            if terminal is None:
                os.close(STDERR)
            else:
                os.dup2(terminal, STDERR)
                os.close(terminal)
            lines.seek(0)
            written = lines.read()
            messages += written.decode(errors="replace").splitlines()
            if not alone and terminal is not None:
                others = (s for s in written.splitlines(True) if not DECODER_LINE.match(s))
                _write(b"".join(others))


def _write(content: bytes) -> None:
    """Write to the terminal, unless its reader is gone or its disk is full."""
    with suppress(OSError):
        while content:
            content = content[os.write(STDERR, content) :]


def _copy_of_stderr() -> int | None:
    """Return a copy of the file descriptor; None if it is closed, as in a service."""
    try:
        return os.dup(STDERR)
    except OSError:
        return None


def _scratch_file() -> IO[bytes]:
    if sys.platform != "linux":
        return tempfile.TemporaryFile()
    return os.fdopen(os.memfd_create("messages"), "w+b")  # no folder needs to be writable


def mentions_damage(messages: list[str]) -> bool:
    """Tell whether a decoder says that pixels are damaged; it has made up the rest.

    libjpeg prints only its first message of a file. With 512 zeros at 25 places of 5 radiographs,
    all 125 are recognised, but 29 % in progressive JPEG, and none with restart markers: there it
    reports extraneous bytes, which cameras and scanners also write without harm.
    """
    return any(damage in message for message in messages for damage in DAMAGES)
