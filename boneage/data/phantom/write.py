"""Write a phantom data set in the layout of the RSNA training set."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np

from boneage.data.phantom.exposure import expose
from boneage.data.phantom.population import draw_population
from boneage.data.storage import default_cache_dir, one_builder, whole_folder
from boneage.errors import UserError

log = logging.getLogger(__name__)

VERSION = 1  # raise it when the same arguments draw other radiographs
NAME = "boneage-training-dataset"  # as RSNA calls table and image folder
DESCRIPTION = "phantom.json"
FIRST_ID = 1001
SIZES = (32, 1024)


def write_phantom(
    folder: str | Path | None = None, n: int = 1200, size: int = 256, seed: int = 0
) -> Path:
    """Write n synthetic radiographs of left hands, or find them already written.

    They lie as RSNA's do: `boneage-training-dataset.csv` (`id,boneage,male`, months) beside
    `boneage-training-dataset/<id>.png`. `masks/<id>.npz` holds, as (H, W) bool arrays, exactly
    which pixels are `carpals`, `epiphyses` and `soft_tissue`.

    Args:
        folder: where to; None is a folder in the user's cache directory.
        n: number of radiographs.
        size: their height in pixels.
        seed: another seed draws other hands.

    Returns:
        The folder.

    Raises:
        UserError: when it holds something else, or cannot be written.
    """
    if n < 1 or not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"phantom: n={n} must be 1 or more, size={size} from {SIZES[0]} to 1024")
    description = {"version": VERSION, "n": n, "size": size, "seed": seed}
    cache_dir = default_cache_dir()
    name = "phantom-" + "-".join(str(value) for value in description.values())
    root = Path(folder).absolute() if folder else cache_dir / name
    try:
        with one_builder(cache_dir):
            if not _is_written(root, description):
                log.info(f"Drawing {n:,} synthetic radiographs into {root}")
                with whole_folder(root) as new:
                    _fill(new, n, size, seed)
                    (new / DESCRIPTION).write_text(json.dumps(description) + "\n")
    except OSError as error:
        raise UserError(
            f"the phantom cannot be written to {root} ({error.strerror or error}): "
            "choose another folder"
        ) from error
    return root


def _is_written(root: Path, description: dict[str, int]) -> bool:
    """Tell whether the phantom is there; refuse to write over anything else."""
    if (root / DESCRIPTION).is_file():
        found = json.loads((root / DESCRIPTION).read_text())
        if found == description:
            return True
        held = ", ".join(f"{name} {value}" for name, value in found.items())
        raise UserError(f"{root} holds another phantom ({held}): choose another folder")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} holds something else: choose another folder for the phantom")
    return False


def _fill(folder: Path, n: int, size: int, seed: int) -> None:
    (folder / NAME).mkdir()
    (folder / "masks").mkdir()
    table = draw_population(n, np.random.default_rng(seed))
    table.insert(0, "id", range(FIRST_ID, FIRST_ID + n))
    table.to_csv(folder / f"{NAME}.csv", index=False)
    for id_, months, male in zip(table["id"], table["boneage"], table["male"], strict=True):
        rng = np.random.default_rng([seed, id_])
        drawn = expose(months / 12, "male" if male else "female", size, rng)
        if not cv2.imwrite(str(folder / NAME / f"{id_}.png"), drawn.image):
            raise OSError(f"{id_}.png could not be written")
        np.savez_compressed(folder / "masks" / f"{id_}.npz", allow_pickle=False, **drawn.masks)
