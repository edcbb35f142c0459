"""Write a phantom data set, with ages and sexes distributed like those of the RSNA training set."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from boneage.data.atomic import atomic_folder, writing
from boneage.data.phantom.exposure import expose
from boneage.data.storage import build_lock, default_cache_dir
from boneage.errors import UserError

# Radiographs per year of bone age, 0 to 19, in the RSNA training set (Halabi et al. 2019).
PER_YEAR = np.array(
    [13, 78, 175, 231, 304, 531, 739, 877, 896, 444,
     1210, 1665, 1400, 1947, 1002, 581, 209, 216, 74, 19]
)  # fmt: skip
OLDEST_MONTHS = 228
MALE_SHARE = 6833 / 12611
ALL_MALE_FROM_MONTHS = 217
# Boys' bones are on average 1.45 years older than girls', at a spread of 3.43 years: the log odds
# of being a boy rise by 1.45 / 3.43^2 a year.
MALE_LOG_ODDS_PER_YEAR = 0.123
MEAN_AGE_YEARS = 10.6
log = logging.getLogger(__name__)
PHANTOM_VERSION = 2  # raise it when the same arguments draw other radiographs
RSNA_NAME = "boneage-training-dataset"  # as RSNA calls table and image folder
PHANTOM_FILE = "phantom.json"
FIRST_ID = 100_001  # above the ids of RSNA, which the built-in model was trained on
FIRST_DRAWING = 1001  # seeds the hand of the first id, together with the seed of the phantom
SIZE_RANGE = (32, 1024)


def draw_population(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return n rows of `boneage` (whole months) and `male`, in random order.

    Ages are drawn one from each n-th of the distribution, so that small sets resemble it too.
    """
    quantiles = (rng.permutation(n) + rng.random(n)) / n
    cumulated = np.concatenate([[0], np.cumsum(PER_YEAR)]) / PER_YEAR.sum()
    part, year = np.modf(np.interp(quantiles, cumulated, np.arange(len(PER_YEAR) + 1)))
    months = (12 * (year + part**2)).astype(int)  # labels pile up on whole years
    months = months.clip(1, OLDEST_MONTHS)
    odds = np.log(MALE_SHARE / (1 - MALE_SHARE))
    odds = odds + MALE_LOG_ODDS_PER_YEAR * (months / 12 - MEAN_AGE_YEARS)
    male = rng.random(n) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame({"boneage": months, "male": male | (months >= ALL_MALE_FROM_MONTHS)})


def write_phantom(
    folder: str | Path | None = None, n: int = 1200, size: int = 256, seed: int = 0
) -> Path:
    """Write n synthetic radiographs of left hands, unless they are already written.

    The layout is RSNA's: `boneage-training-dataset.csv` (`id,boneage,male`, months) next to
    `boneage-training-dataset/<id>.png`. `masks/<id>.npz` contains the exact (H, W) bool masks
    `carpals`, `epiphyses` and `soft_tissue`.

    Args:
        folder: the output folder; None is one in the user's cache directory.
        n: number of radiographs.
        size: their height in pixels.
        seed: seed of the hands.

    Returns:
        The folder.

    Raises:
        UserError: when a number is out of range, or the folder contains something else or cannot be
            written.
    """
    if n < 1 or not SIZE_RANGE[0] <= size <= SIZE_RANGE[1] or seed < 0:
        smallest, largest = SIZE_RANGE
        raise UserError(
            f"phantom: n={n} must be 1 or more, size={size} from {smallest} to {largest}, "
            f"seed={seed} 0 or more"
        )
    description = {"version": PHANTOM_VERSION, "n": n, "size": size, "seed": seed}
    cache_dir = default_cache_dir()
    name = "phantom-" + "-".join(str(value) for value in description.values())
    root = Path(folder).absolute() if folder else cache_dir / name
    with writing(root, "choose another folder, and for a cache set BONEAGE_CACHE="):
        if _is_written(root, description):  # perhaps in a cache that only another user can write
            return root
        with build_lock(cache_dir):
            if not _is_written(root, description):
                log.info(f"Drawing {n:,} synthetic radiographs into {root}")
                with atomic_folder(root) as new:
                    _fill(new, n, size, seed)
                    text = json.dumps(description) + "\n"
                    (new / PHANTOM_FILE).write_text(text, encoding="utf-8")
    return root


def _is_written(root: Path, description: dict[str, int]) -> bool:
    """Tell whether the phantom exists; refuse to overwrite anything else."""
    if (root / PHANTOM_FILE).is_file():
        try:
            existing = json.loads((root / PHANTOM_FILE).read_text(encoding="utf-8"))
        except ValueError:
            existing = None
        if existing == description:
            return True
        if isinstance(existing, dict):
            options = ", ".join(f"{name} {value}" for name, value in existing.items())
            raise UserError(f"{root} contains another phantom ({options}): choose another folder")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} contains something else: choose another folder for the phantom")
    return False


def _fill(folder: Path, n: int, size: int, seed: int) -> None:
    (folder / RSNA_NAME).mkdir()
    (folder / "masks").mkdir()
    table = draw_population(n, np.random.default_rng(seed))
    table.insert(0, "id", range(FIRST_ID, FIRST_ID + n))
    table.to_csv(folder / f"{RSNA_NAME}.csv", index=False)
    for id_, months, male in zip(table["id"], table["boneage"], table["male"], strict=True):
        rng = np.random.default_rng([seed, FIRST_DRAWING + id_ - FIRST_ID])
        drawn = expose(months / 12, "male" if male else "female", size, rng)
        png = cv2.imencode(".png", drawn.image)[1]  # imwrite fails on letters of Windows users
        (folder / RSNA_NAME / f"{id_}.png").write_bytes(png.tobytes())
        np.savez_compressed(folder / "masks" / f"{id_}.npz", allow_pickle=False, **drawn.masks)
