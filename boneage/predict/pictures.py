"""A picture of each predicted radiograph: the film, and what raises or lowers the prediction."""

from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np

from boneage.data.film import to_jpeg
from boneage.explain.film import picture
from boneage.predict.radiograph import Radiograph

FOLDER = "pictures"
LONGEST = 50  # characters of an id in a name


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
        drawn = picture(radiograph.film, None if maps is None else maps[i])
        (out / name).write_bytes(to_jpeg(drawn))


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
