"""A picture of each predicted radiograph: plain, and what raises or lowers the prediction."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

from boneage.data.dataset import sex_indices
from boneage.explain.inference import maps_of
from boneage.explain.overlay import COLOURS, STRONGEST, scaled
from boneage.predict.model import Predictor

FOLDER = "pictures"
SIDE = 256  # pixels of each half


def write_pictures(
    names: Sequence[str], squares: np.ndarray, sexes: Sequence[str], predictor: Predictor, out: Path
) -> None:
    """Write `pictures/<name>.png` of some radiographs, with Grad-CAM of the first checkpoint.

    Args:
        names: n names.
        squares: (n, size, size) uint8, as the first checkpoint sees them.
        sexes: n sexes.
        predictor: the checkpoints.
        out: the folder.
    """
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    model = predictor.models[0]
    maps = maps_of(model, squares, sex_indices(sexes), next(iter(model.tasks)), "gradcam")
    for name, square, shown in zip(names, squares, scaled(maps), strict=True):
        _, png = cv2.imencode(".png", picture(square, shown))
        (folder / f"{name}.png").write_bytes(png.tobytes())


def picture(square: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return a (SIDE, 2 SIDE, 3) uint8 BGR picture of a square and its (H, W) map from -1 to 1."""
    grey = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    values = cv2.resize(shown.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    colour = mpl.colormaps[COLOURS]((values + 1) / 2)[..., 2::-1] * 255
    opacity = STRONGEST * np.sqrt(np.abs(values))[..., None]
    plain = np.repeat(grey[..., None], 3, axis=2)
    over = (1 - opacity) * plain + opacity * colour
    return np.hstack([plain, np.rint(over).astype(np.uint8)])


def picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the picture of each file: its id, numbered where that is taken."""
    names: dict[Path, str] = {}
    taken = set()
    for file in files:
        stem = name = file.stem.encode(errors="replace").decode()
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        names[file] = name
    return names
