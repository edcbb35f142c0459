"""Decode many radiographs at once, in processes that import nothing heavy."""

import sys
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from boneage.data.crop import find_crop
from boneage.data.decode import Preprocessing, read_grey, to_square
from boneage.data.in_parallel import ProgressLines
from boneage.errors import UserError

CHUNK = 32  # radiographs
FEW = 100  # radiographs that are decoded before a pool has started
IDLE_WORKER_SECONDS = 5
LINE = (
    "Decoded {percent:.0f} %: {done:,} of {total:,} radiographs, "
    "{rate:,.0f} images/s, {left:,.0f} s left"
)


def decode_files(
    paths: list[str], preprocessing: Preprocessing, images: Path, workers: int | None
) -> tuple[dict[int, str], list[int]]:
    """Decode files in parallel into the rows of an array on disk, and show how far it is.

    Terminals show a progress bar, all else a line every 10 %.

    Args:
        paths: radiograph files.
        preprocessing: size, fit, contrast and crop.
        images: `.npy` file of (n, size, size) uint8, to be filled.
        workers: decoding processes, None for one a core.

    Returns:
        The reason, by row, why a file could not be decoded; its row is zeros. And the rows of the
        radiographs in which no hand was found though a hand crop was asked for: they are whole.

    Raises:
        OSError: when the array cannot be written.
    """
    run = Parallel(
        n_jobs=1 if len(paths) < FEW else workers or -1,
        return_as="generator_unordered",
        idle_worker_timeout=IDLE_WORKER_SECONDS,
    )
    starts = range(0, len(paths), CHUNK)
    chunks = run(
        delayed(_decode_chunk)(s, paths[s : s + CHUNK], preprocessing, images) for s in starts
    )
    unreadable: dict[int, str] = {}
    without_hand: list[int] = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:,.0f} images/s"))
    with Progress(
        TextColumn("Decoding"),
        *columns,
        TimeRemainingColumn(),
        transient=True,
        disable=not sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task("", total=len(paths), rate=0)
        lines = ProgressLines(len(paths), LINE)
        for n, reasons, whole in chunks:
            unreadable |= reasons
            without_hand += whole
            bar.update(task, advance=n, rate=bar.tasks[0].speed or 0)
            if bar.disable:
                lines.advance(n)
    return dict(sorted(unreadable.items())), sorted(without_hand)


def _decode_chunk(
    start: int, paths: list[str], preprocessing: Preprocessing, images: Path
) -> tuple[int, dict[int, str], list[int]]:
    """Decode files into the rows from `start` on.

    Return their number, by row the reasons of those that failed, and the rows without a hand.

    The rows are written as to any file: on a full disk a write to the memory map kills the process.
    """
    cv2.setNumThreads(1)  # the other cores have processes of their own
    pixels = np.zeros((len(paths), preprocessing.size, preprocessing.size), np.uint8)
    unreadable, without_hand = {}, []
    for i, path in enumerate(paths):
        try:
            image = read_grey(path)
            crop = find_crop(image, preprocessing.crop)
            pixels[i] = to_square(image, preprocessing, crop)
            if preprocessing.crop == "hand" and crop.mask is None:
                without_hand.append(start + i)
        except UserError as error:
            unreadable[start + i] = str(error)
    with images.open("r+b") as file:
        file.seek(np.load(images, mmap_mode="r").offset + start * pixels[0].nbytes)
        file.write(pixels.data)
    return len(paths), unreadable, without_hand
