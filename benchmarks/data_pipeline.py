"""The way of the data: decoding into the cache, opening it again, batches a second.

python benchmarks/data_pipeline.py ORIGINALS        a folder of original-size PNG files
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import measure

SIZE, BATCH = 128, 64
DECODED = 400  # images that are decoded, the given files over and over
ROWS = (12_611, 1_000_000)
SECONDS = 2  # that batches are counted for


def table_of(files: list[Path], rows: int):  # noqa: ANN201 - a DataFrame
    """Return a label table over the files, over and over."""
    import pandas as pd

    paths = [str(files[row % len(files)]) for row in range(rows)]
    return pd.DataFrame({"id": [str(row) for row in range(rows)], "path": paths})


def build(files: list[Path]) -> float:
    """Return images a second of building the project's cache."""
    from boneage.data.cache import open_cache
    from boneage.data.decode import Preprocessing

    table = table_of(files, DECODED)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        open_cache(table, Preprocessing(SIZE), Path(folder))
        return DECODED / (time.perf_counter() - started)


def decode_alone(files: list[Path]) -> float:
    """Return images a second of OpenCV's decoding and resizing alone, on all cores."""
    import cv2

    cv2.setNumThreads(1)

    def one(path: str) -> object:
        image = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        return cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.perf_counter()
        list(pool.map(one, table_of(files, DECODED)["path"]))
        return DECODED / (time.perf_counter() - started)


def reopen(rows: int, what: str) -> float:
    """Return seconds or further megabytes of opening a cache of so many rows that is there."""
    import numpy as np

    from boneage.data import cache
    from boneage.data.decode import Preprocessing

    with tempfile.TemporaryDirectory() as folder:
        originals = [Path(folder) / f"{number}.png" for number in range(ROWS[0])]
        for file in originals:
            file.touch()
        table, preprocessing = table_of(originals, rows), Preprocessing(SIZE)

        def write_nothing(paths, preprocessing, images, workers):  # noqa: ANN001, ANN202
            return {}, []  # leaves the file sparse

        cache.decode_files = write_nothing
        arguments = (table, preprocessing, Path(folder))
        builder = multiprocessing.get_context("fork").Process(
            None, cache.open_cache, None, arguments
        )
        builder.start()  # in a process of its own: its memory is not counted
        builder.join()
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        opened = cache.open_cache(*arguments)
        assert np.load(opened.path, mmap_mode="r").shape == (rows, SIZE, SIZE)
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds if what == "seconds" else (after - before) / 1024


def loader_of(augment: str, option: str):  # noqa: ANN201 - a loader
    """Return the training loader of a config, warm."""
    from hydra.utils import instantiate

    options = (f"augment={augment}", f"data.batch_size={BATCH}", option)
    data = instantiate(measure.compose(*options).data)
    data.setup("fit")
    loader = data.train_dataloader()
    list(loader)
    return loader


def batches() -> dict[str, list[float]]:
    """Return radiographs a second of loaders without a model, in turns within one process."""
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
    """Return the number of one variant."""
    if variant in ("build", "decode_alone"):
        return globals()[variant](sorted(Path(words[0]).rglob("*.png")))
    return reopen(int(words[0]), words[1])


def main(originals: str) -> None:
    """Measure all in turns, five times."""
    numbers = measure.in_turns(__file__, [["build", originals], ["decode_alone", originals]])
    median = measure.medians(numbers)
    ratio = median[f"build {originals}"] / median[f"decode_alone {originals}"]
    measure.show("cache_build", "images/s", numbers, {"build / decode_alone": ratio})
    for what in ("seconds", "megabytes"):
        variants = [["reopen", str(rows), what] for rows in ROWS]
        measure.show(f"cache_reopen_{what}", what, measure.in_turns(__file__, variants), {})
    measure.show("batches", "images/s", batches(), {})


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(one(*sys.argv[1:]))
    elif len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        sys.exit(__doc__)
