"""A picture of each predicted radiograph: the film, and what raises or lowers the prediction."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from boneage.explain.overlay import overlay, scaled
from boneage.predict.radiograph import Film, Radiograph

FOLDER = "pictures"
LONGEST = 50  # characters of an id in a name
GAP = 8  # pixels between film and map
WIDE = 1.2  # width over height from which the map lies below the film, not beside it
FRAME = (255, 255, 255)  # RGB, of what the model sees
QUALITY = 80  # of JPEG


def write_pictures(
    names: Sequence[str], radiographs: Sequence[Radiograph], maps: np.ndarray | None, out: Path
) -> None:
    """Write pictures of some radiographs.

    Args:
        names: n names, relative to `out`.
        radiographs: n radiographs with films.
        maps: (n, h, w) signed maps of the first model's squares; None draws the films alone.
        out: the folder.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    for i, (name, radiograph) in enumerate(zip(names, radiographs, strict=True)):
        assert radiograph.film is not None
        rgb = picture(radiograph.film, None if maps is None else maps[i])
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        _, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], options)
        (out / name).write_bytes(jpeg.tobytes())


def picture(film: Film, map_: np.ndarray | None) -> np.ndarray:
    """Return a film, and the same with a (h, w) signed map of its square over it, as uint8 RGB.

    The map is scaled by its strongest value on the film. Where the model sees a part of the film
    only, a thin frame shows which.
    """
    plain = np.repeat(film.pixels[..., None], 3, axis=2)
    if map_ is None:
        return plain
    height, width = film.pixels.shape
    laid = film.geometry.to_film(map_.astype(np.float32), height, width)
    mapped = overlay(film.pixels, scaled(laid[None])[0])
    rows, columns = film.geometry.seen_in(height, width)
    if (rows.start, rows.stop, columns.start, columns.stop) != (0, height, 0, width):
        corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
        cv2.rectangle(mapped, *corners, FRAME, 1)
    if width > WIDE * height:
        return np.vstack([plain, np.full((GAP, width, 3), 255, np.uint8), mapped])
    return np.hstack([plain, np.full((height, GAP, 3), 255, np.uint8), mapped])


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
        names = (f"{FOLDER}/{stem}{end}.jpg" for end in chain([""], map("_{}".format, count(2))))
        name = next(name for name in names if name not in self.taken)
        self.taken.add(name)
        return name
