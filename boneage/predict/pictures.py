"""A picture of each predicted radiograph: plain, and what raises or lowers the prediction."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
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
LONGEST = 50  # characters of an id in a name


def write_pictures(
    names: Sequence[str], squares: np.ndarray, sexes: Sequence[str], predictor: Predictor, out: Path
) -> None:
    """Write pictures of some radiographs, with Grad-CAM of the first checkpoint.

    Args:
        names: n names, relative to `out`.
        squares: (n, size, size) uint8, as the first checkpoint sees them.
        sexes: n sexes.
        predictor: the checkpoints.
        out: the folder.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    model = predictor.models[0]
    maps = maps_of(model, squares, sex_indices(sexes), next(iter(model.tasks)), "gradcam")
    for name, square, shown in zip(names, squares, scaled(maps), strict=True):
        _, png = cv2.imencode(".png", picture(square, shown))
        (out / name).write_bytes(png.tobytes())


def picture(square: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return a (SIDE, 2 SIDE, 3) uint8 BGR picture of a square and its (H, W) map from -1 to 1."""
    grey = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    values = cv2.resize(shown.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    colour = mpl.colormaps[COLOURS]((values + 1) / 2)[..., 2::-1] * 255
    opacity = STRONGEST * np.sqrt(np.abs(values))[..., None]
    plain = np.repeat(grey[..., None], 3, axis=2)
    over = (1 - opacity) * plain + opacity * colour
    return np.hstack([plain, np.rint(over).astype(np.uint8)])


class PictureNames:
    """Names of pictures: the radiograph's id, numbered where that is taken.

    Args:
        taken: the names that are.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def new(self, id_: str) -> str:
        """Return a name that no other picture has, relative to the folder of the predictions."""
        stem = id_.encode(errors="replace").decode()[:LONGEST]
        names = (f"{FOLDER}/{stem}{end}.png" for end in chain([""], map("_{}".format, count(2))))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name
