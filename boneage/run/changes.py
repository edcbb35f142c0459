"""Changes of a radiograph that do not change its bone age."""

from collections.abc import Callable

import cv2
import numpy as np

from boneage.data.decode import Preprocessing
from boneage.data.depth import clip_marks, full_scale
from boneage.data.formats import read_radiograph
from boneage.data.hand import resized_mask
from boneage.data.quality import quality_flags
from boneage.explain.regions import HAND, MARKER, background_masks, paint_over

BORDER = 0.2  # of each side
NOISE = 8  # grey levels, standard deviation
JPEG_QUALITY = 30
UNCHANGED = "unchanged"
Change = Callable[[np.ndarray], np.ndarray | None]


def contrast(image: np.ndarray) -> np.ndarray:
    """Return an (H, W) uint8 radiograph with 0.3 of its contrast, around its mean."""
    return _grey(image.mean() + 0.3 * (image - image.mean()))


def gamma(exponent: float) -> Change:
    """Return the change of grey values g to g ** exponent, on [0, 1]."""
    return lambda image: _grey(255 * (image / 255) ** exponent)


def border(grey: int) -> Change:
    """Return the change that adds a border of `BORDER` on each side."""

    def change(image: np.ndarray) -> np.ndarray:
        y, x = (round(BORDER * side) for side in image.shape)
        return cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=[grey])

    return change


def rotation(degrees: float) -> Change:
    """Return the change that rotates a radiograph about its centre, on black."""

    def change(image: np.ndarray) -> np.ndarray:
        height, width = image.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        return cv2.warpAffine(image, matrix, (width, height))

    return change


def mirror(image: np.ndarray) -> np.ndarray:
    """Return the mirror image."""
    return np.ascontiguousarray(image[:, ::-1])


def noise(deviation: float) -> Change:
    """Return the change that adds normal noise of an SD in grey levels, seeded by the image."""

    def change(image: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int(image.sum()))
        return _grey(image + rng.normal(0, deviation, image.shape))

    return change


def jpeg(quality: int) -> Change:
    """Return the change that compresses and reads again."""

    def change(image: np.ndarray) -> np.ndarray:
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def half_resolution(image: np.ndarray) -> np.ndarray:
    """Return a radiograph with half the pixels on each side."""
    height, width = image.shape
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def erase_marker(image: np.ndarray) -> np.ndarray | None:
    """Return a radiograph without its laterality marker; None if none is found."""
    masks = background_masks(image)
    return _paint_over(image, _marker(image, masks)) if MARKER in masks else None


def move_marker(image: np.ndarray) -> np.ndarray | None:
    """Return a radiograph with its marker in another corner, not mirrored.

    None if there is no marker or no room.
    """
    masks = background_masks(image)
    if MARKER not in masks:
        return None
    marker = _marker(image, masks)
    y, x = (np.flatnonzero(marker.any(axis=axis)) for axis in (1, 0))
    letter = image[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    erased = _paint_over(image, marker)
    size = (image.shape[1], image.shape[0])
    occupied = marker | (cv2.resize(masks[HAND].astype(np.uint8), size) > 0)
    height, width = letter.shape
    bottom, right = image.shape[0] - y[0] - height, image.shape[1] - x[0] - width
    for top, left in ((y[0], right), (bottom, x[0]), (bottom, right)):
        corner = np.s_[top : top + height, left : left + width]
        if not occupied[corner].any():
            erased[corner] = letter
            return erased
    return None


STRESSES: dict[str, Change] = {
    "contrast x 0.3": contrast,
    "gamma 0.5": gamma(0.5),
    "gamma 2": gamma(2.0),
    f"black border {100 * BORDER:g} %": border(0),
    f"bright border {100 * BORDER:g} %": border(255),
    "rotated 10 degrees": rotation(10),
    "rotated 20 degrees": rotation(20),
    "mirrored": mirror,
    f"noise, {NOISE} grey levels": noise(NOISE),
    f"JPEG quality {JPEG_QUALITY}": jpeg(JPEG_QUALITY),
    "half the resolution": half_resolution,
    "marker erased": erase_marker,
    "marker in another corner": move_marker,
}


def changed_square(
    path: str, preprocessing: Preprocessing, change: str
) -> tuple[np.ndarray, str, bool] | None:
    """Return the (size, size) uint8 square of a changed radiograph, and the sex in its header.

    And whether it is flagged as noisy or strongly compressed. None if it cannot be changed.

    Args:
        path: the file; 16 bits are reduced to 8 first.
        preprocessing: of the run.
        change: a name in `STRESSES`, or `UNCHANGED`.
    """
    image, header = read_radiograph(path)
    if image.dtype != np.uint8 and change != UNCHANGED:
        white, image = full_scale(image), clip_marks(image)
        if preprocessing.contrast == "stretch":  # removes what this adds to the brightness
            white = max(1, min(int(image.max()), white))
        image = _grey(image * (255 / white))
    changed = image if change == UNCHANGED else STRESSES[change](image)
    if changed is None:
        return None
    square = preprocessing.square(changed)
    sex = header.sex if header is not None else "unknown"
    return square.pixels, sex, bool(quality_flags(changed, square))


def _paint_over(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    (painted,) = paint_over(image[None], mask[None])
    return np.asarray(painted, np.uint8)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _marker(image: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return the (H, W) bool mask of the marker at the radiograph's resolution."""
    return resized_mask(masks[MARKER], *image.shape)
