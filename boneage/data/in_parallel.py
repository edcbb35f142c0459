"""Work on many files at once, and say how far it is."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from rich.progress import track

log = logging.getLogger(__name__)

FEW = 16  # items that are done before a pool has started
LINES = 10  # of a log, at most
QUIET_SECONDS = 1.0  # between two lines

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    if sys.stdout.isatty():
        yield from track(results, what, len(items), transient=True)
    else:
        yield from _logged(results, what, len(items))


def _logged(results: Iterator[Result], what: str, total: int) -> Iterator[Result]:
    said, begun = 0.0, time.perf_counter()
    for number, result in enumerate(results, start=1):
        yield result
        passed = time.perf_counter() - begun
        due = number * LINES // total > (number - 1) * LINES // total
        if due and number < total and passed - said > QUIET_SECONDS:
            left = passed * (total - number) / number
            log.info(f"{what}: {number:,} of {total:,}, {left:,.0f} s left")
            said = passed
