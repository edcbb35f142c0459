"""Speed of predicting original-size files, compared with decoding them only.

python benchmarks/predict.py ORIGINALS RUN      a folder of original-size PNG files, and a run
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import measure
from data_pipeline import table_of

FILES = 400  # by repeating the given files
MANY = 10_000  # files for measuring memory


def prepare(files: list[Path], checkpoint: Path) -> float:
    """Return radiographs per second of decoding into a cache with a checkpoint's preprocessing."""
    from boneage.data.cache import open_cache
    from boneage.data.decode import Preprocessing
    from boneage.run.checkpoint import read_checkpoint
    from boneage.run.checkpoint_file import checkpoint_file

    record = read_checkpoint(checkpoint_file(checkpoint))["boneage"]
    preprocessing = Preprocessing(**record["preprocessing"])
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        open_cache(table_of(files, FILES), preprocessing, Path(folder))
        return FILES / (time.perf_counter() - started)


def links(files: list[Path], n: int, folder: Path) -> None:
    """Fill a folder with n links that repeat the files."""
    for row in range(n):
        file = files[row % len(files)]
        (folder / f"{row:05d}{file.suffix}").symlink_to(file.absolute())


def predict(files: list[Path], checkpoint: Path, n: int = FILES) -> float:
    """Return radiographs per second of `boneage predict`, without loading the model."""
    from boneage.predict.ensemble import Ensemble
    from boneage.predict.predict import predict as predict_files

    ensemble = Ensemble([checkpoint])
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder, "films")
        films.mkdir()
        links(files, n, films)
        started = time.perf_counter()
        predict_files([films], ensemble, Path(folder, "out"))
        return n / (time.perf_counter() - started)


def memory(files: list[Path], checkpoint: Path, n: int) -> float:
    """Return peak memory in megabytes of predicting n files."""
    predict(files, checkpoint, n)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one(variant: str, originals: str, checkpoint: str, *n: str) -> float:
    """Return the result of one variant."""
    files = sorted(Path(originals).rglob("*.png"))
    if variant == "prepare":
        return prepare(files, Path(checkpoint))
    if variant == "predict":
        return predict(files, Path(checkpoint))
    return memory(files, Path(checkpoint), int(n[0]))


def main(originals: str, checkpoint: str) -> None:
    """Measure both in alternation, five times; then the memory of few and of many files."""
    where = [originals, checkpoint]
    numbers = measure.in_turns(__file__, [["prepare", *where], ["predict", *where]])
    median = measure.medians(numbers)
    ratio = median[" ".join(["predict", *where])] / median[" ".join(["prepare", *where])]
    measure.show("predict", "radiographs/s", numbers, {"predict / prepare": ratio})
    variants = [["memory", *where, str(n)] for n in (MANY // 10, MANY)]
    measure.show("predict_memory", "megabytes", measure.in_turns(__file__, variants, 1), {})


if __name__ == "__main__":
    if len(sys.argv) > 3:
        print(one(*sys.argv[1:]))
    elif len(sys.argv) == 3:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
