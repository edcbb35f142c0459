"""One new radiograph: its preprocessed pixels, orientation and anomalies."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from boneage.data.decode import Preprocessing
from boneage.data.depth import full_scale
from boneage.data.dicom.header import Header
from boneage.data.formats import read_radiograph
from boneage.data.hand import QUARTERS, Detection, detect, thumbnail
from boneage.data.images import file_flags
from boneage.data.quality import quality_flags
from boneage.errors import UserError
from boneage.explain.film import Film, film_of

Correction = Callable[[np.ndarray], np.ndarray]
INVERTED = "inverted"
EMPTY = 8.0  # grey levels of 255 from the 5th to the 95th percentile; less is a nearly empty image
SMALL = 128  # pixels of the longer side
NEARLY_EMPTY, TWO_HANDS, NO_HAND = NO_SINGLE_HAND = ("nearly empty", "two hands", "no hand found")


def _invert(image: np.ndarray) -> np.ndarray:
    white = image.dtype.type(full_scale(image))
    inverted: np.ndarray = white - np.minimum(image, white)
    return inverted


ROTATIONS: dict[str, Correction] = {
    f"turned by {90 * k} degrees": partial(np.rot90, k=k) for k in (1, 2, 3)
}
CORRECTIONS: dict[str, Correction] = {
    INVERTED: _invert,
    **ROTATIONS,
    **{
        f"{INVERTED} and {name}": lambda image, rotate=rotate: rotate(_invert(image))  # type: ignore[misc]
        for name, rotate in ROTATIONS.items()
    },
}


def correction_needed(detection: Detection) -> str:
    """Return which of `CORRECTIONS` a radiograph appears to need; empty if none."""
    back = -detection.quarter_turns % QUARTERS
    names = [INVERTED] * detection.inverted + [f"turned by {90 * back} degrees"] * bool(back)
    return " and ".join(names)


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as the models receive it.

    Args:
        squares: one (size, size) uint8 square per preprocessing.
        flags: anomalies of the image.
        turn: which of `CORRECTIONS` it appears to need; empty if none.
        header: the DICOM header; None for other formats.
        error: why it cannot be read; empty if it can.
        film: the film to draw; None unless requested.
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
    """Read a radiograph with each preprocessing; a file that cannot be read gives `error`."""
    try:
        if path.exists() and not path.is_file():
            instead = "; it is a folder: give the files in it" if path.is_dir() else ""
            return Radiograph(error=f"{path} is not a radiograph file{instead}")
        image, header = read_radiograph(path)
    except UserError as error:
        return Radiograph(error=str(error))
    except (OSError, ValueError) as error:  # a folder without access, or an impossible name
        return Radiograph(error=f"the file cannot be read: {error}")
    radiograph = see(image, preprocessings, with_film)
    if header is not None:
        radiograph.flags.extend(header.image_flags)
        return replace(radiograph, header=header)
    radiograph.flags.extend(file_flags(path))
    return radiograph


def see(
    image: np.ndarray, preprocessings: tuple[Preprocessing, ...], with_film: bool
) -> Radiograph:
    """Preprocess an (H, W) uint8 or uint16 radiograph, and find its anomalies."""
    reduced = thumbnail(image)
    detection = detect(reduced)
    squares = [each.square(image, detection) for each in preprocessings]
    film = film_of(image, detection, preprocessings[0]) if with_film else None
    flags = image_flags(reduced, detection)
    if max(image.shape) < SMALL:
        flags.append("small image")
    if squares and NEARLY_EMPTY not in flags:
        flags += quality_flags(image, max(squares, key=lambda square: square.pixels.size))
    pixels = tuple(square.pixels for square in squares)
    return Radiograph(pixels, flags, correction_needed(detection), film=film)


def image_flags(reduced: np.ndarray, detection: Detection) -> list[str]:
    """Return the anomalies of an image made by `thumbnail`, in which `detection` was found."""
    low, high = np.percentile(reduced, [5, 95])
    if high - low < EMPTY:
        return [NEARLY_EMPTY]
    if detection.two:
        return [TWO_HANDS]
    return [] if detection.hand is not None else [NO_HAND]
