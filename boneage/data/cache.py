"""Decode every radiograph once, into one array on disk that all later runs map into memory."""

import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from boneage.data.atomic import atomic_folder, build_lock
from boneage.data.decode import PREPROCESSING_VERSION, Preprocessing
from boneage.data.formats import may_have_header
from boneage.data.images import is_accessible
from boneage.data.parallel import decode_files
from boneage.data.tables.ids import rows_alike
from boneage.errors import UserError, amount, join_first, plural, require_choice

log = logging.getLogger(__name__)

HEADERS = 4  # of what the headers of DICOM files say and change: raise it to read these files again
IMAGES, CACHE_FILE = "images.npy", "cache.json"
MAX_BYTES_CHECKED = 2**30  # reading takes long: of larger caches only the size is checked
BYTES_READ_AT_ONCE = 2**24


@dataclass(frozen=True)
class Cache:
    """Decoded radiographs.

    Args:
        path: `.npy` file of (n, size, size) uint8, in the order of the table.
        unreadable: reason by row; these rows are zeros.
        without_hand: rows that are not cropped, because no hand was detected.
        flags: why a radiograph is not of a hand, by row, if the header of the file says so.
        sexes: "female" or "male" by row, if the header of the file contains it.
        same_patient: rows with the same PatientID in the header, two or more each.
        same_pixels: rows with the same pixels, two or more each.
    """

    path: Path
    unreadable: dict[int, str]
    without_hand: list[int]
    flags: dict[int, str]
    sexes: dict[int, str]
    same_patient: list[list[int]]
    same_pixels: list[list[int]]


def open_cache(
    table: pd.DataFrame,
    preprocessing: Preprocessing,
    cache_dir: Path,
    workers: int | None = None,
) -> Cache:
    """Open the decoded radiographs of a table; decode them first if needed.

    A cache is identified by its table (ids in order), its files (paths, sizes, modification times)
    and the preprocessing. It is complete or absent: it is built in a temporary folder and moved
    into place, and runs that share `cache_dir` build one after the other. It is rebuilt if it is
    damaged, or if a file can be read that the system could not read before.

    Args:
        table: columns `id` and `path`.
        preprocessing: size, fit, contrast and crop.
        cache_dir: folder of all caches.
        workers: decoding processes, None for one per core.

    Raises:
        UserError: when the folder cannot be written or has too little space, or a file needs a
            package that is not installed.
    """
    folder = cache_dir / _key(table, preprocessing)
    try:
        cache = _read(folder, table, preprocessing.size)
        if isinstance(cache, str):
            with build_lock(cache_dir):
                cache = _read(folder, table, preprocessing.size)  # another run may have built it
                if isinstance(cache, str):
                    if folder.exists():
                        log.warning("The cache in %s %s: decoding again", folder, cache)
                    cache = _build(table, preprocessing, folder, workers)
        return cache
    except OSError as error:
        raise UserError(
            f"the cache of decoded radiographs in {cache_dir} cannot be written "
            f"({error.strerror or error}): choose another folder with data.cache_dir="
        ) from error


def check_readable(
    table: pd.DataFrame, cache: Cache, unreadable: Literal["error", "drop"]
) -> np.ndarray:
    """Return the positions of the rows whose radiograph could be decoded.

    It warns about those that were not cropped, and those that are left out.

    Raises:
        UserError: when some could not be and `unreadable` is not "drop", or when none could be.
    """
    require_choice("data.unreadable", unreadable, "error", "drop")
    if uncropped := cache.without_hand:
        log.warning(
            f"Not cropped, because no hand was detected: {len(uncropped):,} of {len(table):,} "
            f"radiographs ({join_first(list(table['id'].iloc[uncropped]))})"
        )
    if cache.unreadable:
        message = (
            f"{len(cache.unreadable):,} of {len(table):,} radiographs cannot be read: "
            f"{join_first(list(cache.unreadable.values()))}"
        )
        if unreadable == "error":
            raise UserError(f"{message}; replace them, or leave them out with data.unreadable=drop")
        if len(cache.unreadable) == len(table):
            raise UserError(f"{message}; replace them")
        log.warning("Left out: %s", message)
    return np.setdiff1d(np.arange(len(table)), list(cache.unreadable))


def _key(table: pd.DataFrame, preprocessing: Preprocessing) -> str:
    digest = hashlib.sha256(json.dumps([PREPROCESSING_VERSION, asdict(preprocessing)]).encode())
    if any(map(may_have_header, table["path"])):
        digest.update(f"header {HEADERS}".encode())
    for id_, path in zip(table["id"], table["path"], strict=True):
        size, changed = -1, -1  # of no file
        with suppress(OSError):
            status = os.stat(path)
            size, changed = status.st_size, status.st_mtime_ns
        file = f"{id_}\0{path}\0{size}\0{changed}\n"  # of a name that may not be UTF-8
        digest.update(file.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _build(
    table: pd.DataFrame, preprocessing: Preprocessing, folder: Path, workers: int | None
) -> Cache:
    """Decode all radiographs in a temporary folder, then move it into place."""
    started = time.perf_counter()
    shape = (len(table), preprocessing.size, preprocessing.size)
    free = shutil.disk_usage(folder.parent).free
    if free < np.prod(shape):
        raise OSError(f"{amount(int(np.prod(shape)))} needed, {amount(free)} free")
    log.info(f"Decoding {plural(len(table), 'radiograph')} once into {folder}")
    with atomic_folder(folder) as new:
        np.lib.format.open_memmap(new / IMAGES, mode="w+", dtype=np.uint8, shape=shape)
        paths = list(table["path"])
        decoded = decode_files(paths, preprocessing, new / IMAGES, workers)
        description = {
            "preprocessing": asdict(preprocessing),
            "unreadable": decoded.unreadable,
            "inaccessible": decoded.inaccessible,
            "without_hand": decoded.without_hand,
            "flags": decoded.flags,
            "sexes": decoded.sexes,
            "same_patient": rows_alike(decoded.patients),
            "same_pixels": rows_alike(decoded.digests),
            "checksum": _checksum(new / IMAGES),
        }
        (new / CACHE_FILE).write_text(json.dumps(description, indent=1), encoding="utf-8")
    seconds = time.perf_counter() - started
    log.info(
        f"Decoded {plural(len(table), 'radiograph')} in {seconds:.1f} s "
        f"({len(table) / seconds:,.0f} images/s)"
    )
    return _described(folder, description)


def _described(folder: Path, description: dict[str, Any]) -> Cache:
    """Return a cache from the content of its JSON file; those of older versions have less."""
    unreadable, flags, sexes = (
        {int(row): value for row, value in description.get(name, {}).items()}
        for name in ("unreadable", "flags", "sexes")
    )
    same = (description.get(name, []) for name in ("same_patient", "same_pixels"))
    return Cache(folder / IMAGES, unreadable, description["without_hand"], flags, sexes, *same)


def _read(folder: Path, table: pd.DataFrame, size: int) -> Cache | str:
    """Return a cache, or why it must be built, or built again."""
    try:
        description = json.loads((folder / CACHE_FILE).read_text(encoding="utf-8"))
        intact = _checksum(folder / IMAGES) == description["checksum"]
        if intact:
            images = np.load(folder / IMAGES, mmap_mode="r")
            intact = (images.dtype, images.shape) == (np.uint8, (len(table), size, size))
            cache = _described(folder, description)
            files = table["path"].iloc[description.get("inaccessible", [])]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        intact = False
    if not intact:
        return "is damaged"
    return "lacks a file that can be read now" if any(map(is_accessible, files)) else cache


def _checksum(file: Path) -> list[int]:
    """Return the size of a file and, up to 1 GB, the CRC-32 of its bytes."""
    size, crc = file.stat().st_size, 0
    if size <= MAX_BYTES_CHECKED:
        with file.open("rb") as bytes_:
            while chunk := bytes_.read(BYTES_READ_AT_ONCE):
                crc = zlib.crc32(chunk, crc)
    return [size, crc]
