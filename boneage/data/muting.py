"""Silence for decoders in C, whose messages bypass Python's `sys.stderr`."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
_MUTING = threading.Lock()


@contextmanager
def muted_decoders() -> Iterator[None]:
    """Keep the messages of C decoders off the terminal."""
    with _MUTING, open(os.devnull, "wb") as nowhere:
        terminal = os.dup(STDERR)
        os.dup2(nowhere.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
