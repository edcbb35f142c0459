"""One new radiograph: its pixels as a model sees them, its orientation, its anomalies."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from boneage.data.decode import Preprocessing
from boneage.data.dicom_header import Header
from boneage.data.formats import read_radiograph
from boneage.data.hand import QUARTERS, Detection, detect, thumbnail
from boneage.data.images import is_transparent
from boneage.errors import UserError
from boneage.explain.film import Film, film_of

Turn = Callable[[np.ndarray], np.ndarray]
INVERTED = "inverted"
EMPTY = 8.0  # grey levels of 255 between the 5th and the 95th percentile of a nearly empty picture
COLOUR = 12.0  # grey levels, mean difference of the channels of a picture in colour
GREY = ("1", "L", "LA", "I", "I;16", "I;16B")  # modes of Pillow
TRANSPARENT = "fully transparent: read as opaque"
NEARLY_EMPTY, TWO_HANDS, NO_HAND = NO_SINGLE_HAND = ("nearly empty", "two hands", "no hand found")


def _invert(image: np.ndarray) -> np.ndarray:
    inverted: np.ndarray = np.iinfo(image.dtype).max - image
    return inverted


TURNED: dict[str, Turn] = {f"turned by {90 * k} degrees": partial(np.rot90, k=k) for k in (1, 2, 3)}
TURNS: dict[str, Turn] = {
    INVERTED: _invert,
    **TURNED,
    **{
        f"{INVERTED} and {name}": lambda image, turn=turn: turn(_invert(image))  # type: ignore[misc]
        for name, turn in TURNED.items()
    },
}


def turn_needed(detection: Detection) -> str:
    """Return the name of what makes a radiograph a usual one; empty where it is one already."""
    back = -detection.quarter_turns % QUARTERS
    names = [INVERTED] * detection.inverted + [f"turned by {90 * back} degrees"] * bool(back)
    return " and ".join(names)


@dataclass(frozen=True)
class Radiograph:
    """A file as models see it.

    Args:
        squares: per preprocessing the (size, size) uint8 square.
        flags: what is odd about the picture.
        turn: name of the one of `TURNS` that it looks to be in need of; empty if of none.
        header: what a DICOM file says; None of any other.
        error: why there is nothing to see; empty if there is.
        film: for a picture of it; None where none was asked for.
    """

    squares: tuple[np.ndarray, ...] = ()
    flags: list[str] = field(default_factory=list)
    turn: str = ""
    header: Header | None = None
    error: str = ""
    film: Film | None = None


def load(
    path: Path, preprocessings: tuple[Preprocessing, ...], with_film: bool = False
) -> Radiograph:
    """Return a radiograph for models of some preprocessings; an unreadable one says why."""
    cv2.setNumThreads(1)  # the other cores have processes of their own
    if path.exists() and not path.is_file():
        return Radiograph(error=f"{path}: is not a file with a radiograph")
    try:
        image, header = read_radiograph(path)
    except UserError as error:
        return Radiograph(error=str(error))
    radiograph = see(image, preprocessings, with_film)
    if header is None and _is_coloured(path):
        radiograph.flags.append("colour picture")
    if header is None and is_transparent(path):
        radiograph.flags.append(TRANSPARENT)
    return replace(radiograph, header=header)


def see(
    image: np.ndarray, preprocessings: tuple[Preprocessing, ...], with_film: bool
) -> Radiograph:
    """Return what models and readers see of an (H, W) uint8 or uint16 radiograph."""
    picture = thumbnail(image)
    detection = detect(picture)
    squares = tuple(each.square(image, detection).pixels for each in preprocessings)
    film = film_of(image, detection, preprocessings[0]) if with_film else None
    flags, turn = picture_flags(picture, detection), turn_needed(detection)
    return Radiograph(squares, flags, turn, film=film)


def picture_flags(picture: np.ndarray, detection: Detection) -> list[str]:
    """Return what is odd about a picture that `thumbnail` made, and what is seen of hands in it."""
    low, high = np.percentile(picture, [5, 95])
    if high - low < EMPTY:
        return [NEARLY_EMPTY]
    if detection.two:
        return [TWO_HANDS]
    return [] if detection.hand is not None else [NO_HAND]


def _is_coloured(path: Path) -> bool:
    try:
        with Image.open(path) as header:
            if header.mode in GREY:  # most are: the pixels need not be decoded again
                return False
    except OSError:  # a TIFF of a grey kind that only OpenCV reads
        return False
    content = np.frombuffer(path.read_bytes(), np.uint8)  # imread fails on names that are not UTF-8
    image = cv2.imdecode(content, cv2.IMREAD_REDUCED_COLOR_8)
    if image is None or image.ndim != 3:
        return False
    spread = image.max(axis=2).astype(float) - image.min(axis=2)
    return bool(spread.mean() > COLOUR)
