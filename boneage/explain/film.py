"""Radiographs as readers see them, plain and with an attribution map."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from boneage.data.decode import Geometry, Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.hand import Crop, Detection, detect, to_film

STRONGEST = 0.8  # opacity of the strongest value
ORANGE_TO_PURPLE = (  # ColorBrewer's PuOr, distinguishable for colour-blind readers
    (127, 59, 8), (179, 88, 6), (224, 130, 20), (253, 184, 99), (254, 224, 182), (247, 247, 247),
    (216, 218, 235), (178, 171, 210), (128, 115, 172), (84, 39, 136), (45, 0, 75),
)  # fmt: skip
GAP_PIXELS = 8  # pixels between the plain film and the one with the map
WIDE = 1.2  # width / height above which the map is below the plain film, not next to it
FRAME_COLOUR = (255, 255, 255)  # RGB of the frame around the part that the model reads


def _levels(colours: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Return (256, 3) RGB levels of a scale, interpolated between equidistant colours."""
    at, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(colours))
    return np.stack([np.interp(at, stops, channel) for channel in zip(*colours, strict=True)], 1)


COLOURS = _levels(ORANGE_TO_PURPLE[::-1])  # for -1 (lowers, purple) to 1 (raises, orange)


def overlay(film: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return an (h, w) uint8 film with an (h, w) map of -1 to 1 over it, as (h, w, 3) uint8 RGB.

    The map is transparent near zero, where it changes sign.
    """
    level = np.rint((shown + 1) / 2 * (len(COLOURS) - 1)).astype(int)
    opacity = (STRONGEST * np.abs(shown))[..., None]
    mixed = (1 - opacity) * film[..., None] + opacity * COLOURS[level]
    result: np.ndarray = np.rint(mixed).astype(np.uint8)
    return result


def scaled(maps: np.ndarray) -> np.ndarray:
    """Return (n, H, W) maps, each divided by its strongest value; a map of zeros is unchanged.

    Values that are not finite, from a diverged model, count as zero.
    """
    maps = np.where(np.isfinite(maps), maps, 0)
    strongest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    result: np.ndarray = maps / np.where(strongest > 0, strongest, 1)
    return result


@dataclass(frozen=True)
class Film:
    """A radiograph as a reader sees it.

    Args:
        pixels: (h, w) uint8, the entire radiograph with its aspect ratio.
        geometry: position of the file in a model's square.
    """

    pixels: np.ndarray
    geometry: Geometry


def film_of(image: np.ndarray, detection: Detection, preprocessing: Preprocessing) -> Film:
    """Return the film of an (H, W) radiograph with the result of `detect`."""
    geometry = preprocessing.geometry(image, detection)
    without_mask = replace(geometry, crop=Crop(geometry.crop.box))  # many films are in memory
    return Film(to_film(image, detection.hand), without_mask)


def read_film(path: Path, preprocessing: Preprocessing) -> Film:
    """Return the film of a file.

    Raises:
        UserError: when the file cannot be read.
    """
    image, _ = read_radiograph(path)
    return film_of(image, detect(image), preprocessing)


def square_film(square: np.ndarray) -> Film:
    """Return a (size, size) square as a film, if the file does not exist."""
    size = len(square)
    return Film(square, Geometry(size, size, Preprocessing(size=size, fit="squash"), Crop()))


def with_map(film: Film, map_: np.ndarray) -> np.ndarray:
    """Return a film with a (h, w) signed map of its square over it, as (H, W, 3) uint8 RGB.

    The map is scaled by its strongest value on the film. If the model reads only a part of the
    film, a thin frame marks that part.
    """
    height, width = film.pixels.shape
    finite = scaled(map_[None])[0].astype(np.float32)
    map_on_film = film.geometry.square_to_image(finite, height, width)
    mapped = overlay(film.pixels, scaled(map_on_film[None])[0])
    rows, columns = film.geometry.seen_in(height, width)
    if (rows.start, rows.stop, columns.start, columns.stop) != (0, height, 0, width):
        corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
        cv2.rectangle(mapped, *corners, FRAME_COLOUR, 1)
    return mapped


def film_image(film: Film, map_: np.ndarray | None) -> np.ndarray:
    """Return a film, and the same film with a map over it, as one uint8 RGB image.

    Args:
        film: the film.
        map_: (h, w) signed map of its square; None gives the plain film alone.
    """
    plain = np.repeat(film.pixels[..., None], 3, axis=2)
    if map_ is None:
        return plain
    height, width = film.pixels.shape
    mapped = with_map(film, map_)
    if width > WIDE * height:
        return np.vstack([plain, np.full((GAP_PIXELS, width, 3), 255, np.uint8), mapped])
    return np.hstack([plain, np.full((height, GAP_PIXELS, 3), 255, np.uint8), mapped])
