"""The data pipeline: decoding into the cache, opening it again, batches per second.

python benchmarks/data_pipeline.py FOLDER [N]       a folder of PNG files, and the number to decode

Use N of about 400 for files of original size, and thousands for small files.
"""

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measure

SIZE, BATCH = 128, 64
WARM = 100  # images decoded before timing, to start the processes
ROWS = (12_611, 1_000_000)
SECONDS = 2  # during which batches are counted


def table_of(files: list[Path], rows: int):  # noqa: ANN201 - a DataFrame
    """Return a label table that repeats the files."""
    import pandas as pd

    paths = [str(files[row % len(files)]) for row in range(rows)]
    return pd.DataFrame({"id": [str(row) for row in range(rows)], "path": paths})


def build(files: list[Path], n: int, crop: str) -> float:
    """Return images per second of building the cache of this project."""
    from boneage.data.cache import open_cache
    from boneage.data.decode import Preprocessing

    preprocessing = Preprocessing(SIZE, contrast="stretch", crop=crop)
    with tempfile.TemporaryDirectory() as folder:
        open_cache(table_of(files, WARM), preprocessing, Path(folder))
        started = time.perf_counter()
        open_cache(table_of(files, n), preprocessing, Path(folder))
        return n / (time.perf_counter() - started)


def decode_alone(files: list[Path], n: int) -> float:
    """Return images per second of decoding and resizing by OpenCV alone, on all cores."""
    import cv2

    cv2.setNumThreads(1)

    def one(path: str) -> object:
        image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.perf_counter()
        list(pool.map(one, table_of(files, n)["path"]))
        return n / (time.perf_counter() - started)


def reopen(rows: int, what: str) -> float:
    """Return seconds or additional megabytes of opening an existing cache of this size."""
    import numpy as np

    from boneage.data import cache
    from boneage.data.decode import Preprocessing
    from boneage.data.parallel import Decoded

    with tempfile.TemporaryDirectory() as folder:
        originals = [Path(folder) / f"{number}.png" for number in range(ROWS[0])]
        for file in originals:
            file.touch()
        table, preprocessing = table_of(originals, rows), Preprocessing(SIZE)

        def write_nothing(paths, preprocessing, images, workers):  # noqa: ANN001, ANN202
            return Decoded()  # the file stays sparse

        cache.decode_files = write_nothing
        arguments = (table, preprocessing, Path(folder))
        builder = multiprocessing.get_context("fork").Process(
            None, cache.open_cache, None, arguments
        )
        builder.start()  # in a separate process, whose memory is not counted
        builder.join()
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        opened = cache.open_cache(*arguments)
        assert np.load(opened.path, mmap_mode="r").shape == (rows, SIZE, SIZE)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds if what == "seconds" else (after - before) / 1024


def loader_of(augment: str, option: str):  # noqa: ANN201 - a loader
    """Return the training loader of a config, after one epoch of warm-up."""
    from hydra.utils import instantiate

    options = (f"augment={augment}", f"data.batch_size={BATCH}", option)
    data = instantiate(measure.compose(*options).data)
    data.setup("fit")
    loader = data.train_dataloader()
    list(loader)
    return loader


def batches() -> dict[str, list[float]]:
    """Return radiographs per second of loaders without a model, alternating in one process."""
    where = (*(f"data.num_workers={n}" for n in (0, 1, 2)), "data.residence=device")
    loaders = {
        f"{augment} {option}": loader_of(augment, option)
        for augment in ("none", "report", "geometric", "robust")
        for option in where
    }
    numbers: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(5):
        for name, loader in loaders.items():
            started, seen = time.perf_counter(), 0
            while time.perf_counter() - started < SECONDS:
                seen += sum(len(batch["index"]) for batch in loader)
            numbers[name].append(seen / (time.perf_counter() - started))
    return numbers


def one(variant: str, *words: str) -> float:
    """Return the result of one variant."""
    if variant == "reopen":
        return reopen(int(words[0]), words[1])
    files = sorted(Path(words[0]).rglob("*.png"))
    if variant == "decode_alone":
        return decode_alone(files, int(words[1]))
    return build(files, int(words[1]), variant)


def main(folder: str, n: str = "400") -> None:
    """Measure all variants in alternation, five times."""
    variants = [[name, folder, n] for name in ("none", "hand", "decode_alone")]
    numbers = measure.in_turns(__file__, variants)
    none, hand, alone = (statistics.median(values) for values in numbers.values())
    ratios = {"hand / none": hand / none, "hand / decode_alone": hand / alone}
    measure.show("cache_build", "images/s", numbers, ratios)
    for what in ("seconds", "megabytes"):
        variants = [["reopen", str(rows), what] for rows in ROWS]
        measure.show(f"cache_reopen_{what}", what, measure.in_turns(__file__, variants), {})
    measure.show("batches", "images/s", batches(), {})


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in ("none", "hand", "decode_alone", "reopen"):
        print(one(*sys.argv[1:]))
    elif len(sys.argv) in (2, 3):
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
