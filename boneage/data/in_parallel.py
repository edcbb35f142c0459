"""Work on many files at once, and say how far it is."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from rich.progress import track

log = logging.getLogger(__name__)

FEW = 16  # items that are done before a pool has started
LINES = 10  # of a log, at most
QUIET_SECONDS = 1.0  # between two lines

Item = TypeVar("Item")
Result = TypeVar("Result")


class ProgressLines:
    """Log how far a work is, a line every tenth, where no progress bar is shown.

    Args:
        total: number of items.
        text: of a line, with the fields `percent`, `done`, `total`, `rate` (items a second) and
            `left` (seconds).
    """

    def __init__(self, total: int, text: str) -> None:
        self.total = total
        self.text = text
        self.done = 0
        self._told = 0  # tenths
        self._begun = self._said = time.perf_counter()

    def advance(self, n: int = 1) -> None:
        """Count n items more; log a line where one is due."""
        self.done += n
        now = time.perf_counter()
        tenths = self.done * LINES // self.total
        due = self._told < tenths < LINES
        if not due or now - self._said < QUIET_SECONDS:
            return
        rate = self.done / (now - self._begun)
        left = (self.total - self.done) / rate
        share = 100 * self.done / self.total
        told = {"percent": share, "done": self.done, "total": self.total}
        log.info("%s", self.text.format(**told, rate=rate, left=left))
        self._told, self._said = tenths, now


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Yield what a function makes of each item, in order, worked out by all cores.

    A terminal shows a bar, all else a line every 10 %.

    Args:
        function: of a module that imports nothing heavy, as every process imports it.
        items: its arguments.
        what: the work, as in "Decoding".
    """
    run = Parallel(n_jobs=1 if len(items) < FEW else -1, return_as="generator")
    results: Iterator[Result] = run(delayed(function)(item) for item in items)
    yield from followed(results, len(items), what)


def followed(results: Iterable[Result], n: int, what: str) -> Iterator[Result]:
    """Yield n results, and show how far that is: a bar in a terminal, else lines."""
    if sys.stdout.isatty():
        yield from track(results, what, n, transient=True)
        return
    lines = ProgressLines(n, what + ": {done:,} of {total:,}, {left:,.0f} s left")
    for result in results:
        yield result
        lines.advance()
