"""Process many files in parallel, in processes that import nothing heavy, and show progress."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np
from joblib import delayed
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)

from boneage.data.decode import Preprocessing, Square
from boneage.data.dicom.header import Header
from boneage.data.formats import read_radiograph
from boneage.data.pool import run_pool
from boneage.errors import InaccessibleFile, MissingPackage, UserError
from boneage.terminal import is_terminal

log = logging.getLogger(__name__)
FEW_ITEMS = 16  # items that take less time than the start of a pool
LINES = 10  # maximum in a log
QUIET_SECONDS = 1.0  # between two lines
Item = TypeVar("Item")
Result = TypeVar("Result")
RADIOGRAPHS_PER_JOB = 32
FEW_FILES = 100  # radiographs that take less time to decode than the start of a pool
IDLE_WORKER_SECONDS = 5
NO_HEADER = Header(sex="unknown", age_years=None)
LINE = (
    "Decoded {percent:.0f} %: {done:,} of {total:,} radiographs, "
    "{rate:,.0f} images/s, {left:,.0f} s left"
)


class ProgressLines:
    """Log progress, a line every 10 %, where no progress bar is shown.

    Args:
        total: number of items.
        text: of a line, with the fields `percent`, `done`, `total`, `rate` (items per second) and
            `left` (seconds).
    """

    def __init__(self, total: int, text: str) -> None:
        self.total = total
        self.text = text
        self.done = 0
        self._logged = 0  # tenths
        self._start = self._last = time.perf_counter()

    def advance(self, n: int = 1) -> None:
        """Count n items more; log a line where one is due."""
        self.done += n
        now = time.perf_counter()
        tenths = self.done * LINES // self.total
        due = self._logged < tenths < LINES
        if not due or now - self._last < QUIET_SECONDS:
            return
        rate = self.done / (now - self._start)
        left = (self.total - self.done) / rate
        counts = {"percent": 100 * self.done / self.total, "done": self.done, "total": self.total}
        log.info("%s", self.text.format(**counts, rate=rate, left=left))
        self._logged, self._last = tenths, now


def in_parallel(
    function: Callable[[Item], Result], items: Sequence[Item], what: str
) -> Iterator[Result]:
    """Yield the result of a function for each item, in order, computed on all cores.

    A terminal shows a bar; elsewhere a line is logged every 10 %.

    Args:
        function: of a module that imports nothing heavy, as every process imports it.
        items: its arguments.
        what: the work, as in "Decoding".
    """
    calls = (delayed(function)(item) for item in items)
    with closing(run_pool(calls, n_jobs=1 if len(items) < FEW_ITEMS else -1)) as results:
        yield from with_progress(results, len(items), what)


def with_progress(results: Iterable[Result], n: int, what: str) -> Iterator[Result]:
    """Yield n results, and show progress: a bar in a terminal, else log lines."""
    if is_terminal():
        yield from track(results, what, n, transient=True)
        return
    lines = ProgressLines(n, what + ": {done:,} of {total:,}, {left:,.0f} s left")
    for result in results:
        yield result
        lines.advance()


def read_squares(
    files: Sequence[Path], preprocessing: Preprocessing
) -> tuple[np.ndarray, list[Square], list[str]]:
    """Read radiographs in parallel; a file that cannot be read is left out, with a warning.

    Returns:
        The rows of the others, their squares, and the sexes in their headers.

    Raises:
        UserError: if none can be read.
    """
    results = list(in_parallel(partial(_read, preprocessing=preprocessing), files, "Decoding"))
    errors = [result for result in results if isinstance(result, UserError)]
    if len(errors) == len(results):
        raise errors[0]
    for error in errors:
        log.warning("Left out: %s", error)
    rows = np.flatnonzero([not isinstance(result, UserError) for result in results])
    pairs = [result for result in results if not isinstance(result, UserError)]
    return rows, [square for square, _ in pairs], [header.sex for _, header in pairs]


def _read(path: str | Path, preprocessing: Preprocessing) -> tuple[Square, Header] | UserError:
    """Return the square of a file, and its header; or why it cannot be read."""
    try:
        image, header = read_radiograph(path)
    except MissingPackage:  # the file is not at fault, and must not be cached as unreadable
        raise
    except UserError as error:
        return error
    return preprocessing.square(image), header or NO_HEADER


@dataclass
class Decoded:
    """Facts about decoded files other than their pixels, by row.

    Args:
        unreadable: why a file could not be decoded; its row is zeros.
        inaccessible: those of them that the system could not read, perhaps only for now.
        without_hand: radiographs that a hand crop leaves uncropped, because no hand was detected.
        flags: why a radiograph is not of a hand, by the file's header.
        sexes: "female" or "male", if the file's header contains it.
        patients: the PatientID, if the file's header contains one.
        digests: of the pixels, unless all are equal.
    """

    unreadable: dict[int, str] = field(default_factory=dict)
    inaccessible: list[int] = field(default_factory=list)
    without_hand: list[int] = field(default_factory=list)
    flags: dict[int, str] = field(default_factory=dict)
    sexes: dict[int, str] = field(default_factory=dict)
    patients: dict[int, str] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Decoded") -> None:
        """Add the facts about other rows."""
        for name, rows in vars(other).items():
            own = getattr(self, name)
            own.extend(rows) if isinstance(own, list) else own.update(rows)


def decode_files(
    paths: list[str], preprocessing: Preprocessing, images: Path, workers: int | None
) -> Decoded:
    """Decode files in parallel into the rows of an array on disk, and show progress.

    A terminal shows a bar; elsewhere a line is logged every 10 %.

    Args:
        paths: radiograph files.
        preprocessing: size, fit, contrast and crop.
        images: `.npy` file of (n, size, size) uint8, to be filled.
        workers: decoding processes, None for one per core.

    Raises:
        OSError: when the array cannot be written.
        MissingPackage: when a file needs a package that is not installed.
    """
    starts = range(0, len(paths), RADIOGRAPHS_PER_JOB)
    chunks = run_pool(
        (
            delayed(_decode_chunk)(s, paths[s : s + RADIOGRAPHS_PER_JOB], preprocessing, images)
            for s in starts
        ),
        n_jobs=1 if len(paths) < FEW_FILES else workers or -1,
        idle_worker_timeout=IDLE_WORKER_SECONDS,
    )
    decoded = Decoded()
    rate = TextColumn("{task.fields[rate]:,.0f} images/s")
    columns = TextColumn("Decoding"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
    bar = Progress(*columns, transient=True, disable=not is_terminal())
    with closing(chunks), bar:
        task = bar.add_task("", total=len(paths), rate=0)
        lines = ProgressLines(len(paths), LINE)
        for n, part in chunks:
            decoded.add(part)
            bar.update(task, advance=n, rate=bar.tasks[0].speed or 0)
            if bar.disable:
                lines.advance(n)
    return decoded


def _decode_chunk(
    start: int, paths: list[str], preprocessing: Preprocessing, images: Path
) -> tuple[int, Decoded]:
    """Decode files into the rows from `start` on; return their number, and facts about them.

    The rows are written to the file: on a full disk, a write to a memory map kills the process.
    """
    pixels = np.zeros((len(paths), preprocessing.size, preprocessing.size), np.uint8)
    decoded = Decoded()
    for i, path in enumerate(paths):
        read = _read(path, preprocessing)
        if isinstance(read, UserError):
            decoded.unreadable[start + i] = str(read)
            if isinstance(read, InaccessibleFile):
                decoded.inaccessible.append(start + i)
            continue
        square, header = read
        pixels[i] = square.pixels
        if preprocessing.crop == "hand" and square.geometry.crop.mask is None:
            decoded.without_hand.append(start + i)
        if header.image_flags:
            decoded.flags[start + i] = "; ".join(header.image_flags)
        if header.sex != "unknown":
            decoded.sexes[start + i] = header.sex
        if header.patient:
            decoded.patients[start + i] = header.patient
        if np.ptp(square.pixels):
            decoded.digests[start + i] = blake2b(pixels[i].tobytes(), digest_size=8).hexdigest()
    with images.open("r+b") as file:
        file.seek(np.load(images, mmap_mode="r").offset + start * pixels[0].nbytes)
        file.write(pixels.data)
    return len(paths), decoded
