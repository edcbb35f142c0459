"""A radiograph as a reader sees it: in its own proportions, and with the contrast of a hand."""

import cv2
import numpy as np

from boneage.data.hand import Hand

LONGER_SIDE = 480  # pixels
QUALITY = 80  # of JPEG
PERCENTILES = (1.0, 99.7)  # of the grey values that become black and white


def to_film(image: np.ndarray, hand: Hand | None = None) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph as an (h, w) uint8 picture for a reader.

    Its longer side has `LONGER_SIDE` pixels. Black and white are nearly the darkest and the
    brightest of the hand, which neither markers nor borders can dim; without a hand, of the whole
    radiograph.
    """
    height, width = image.shape
    scale = LONGER_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(image, size, interpolation=way)
    low, high = np.percentile(_hand_in(resized, hand), PERCENTILES)
    stretched = (resized.astype(np.float32) - low) * (255 / max(high - low, 1))
    film: np.ndarray = np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
    return film


def to_jpeg(picture: np.ndarray) -> bytes:
    """Return an (h, w) grey or (h, w, 3) RGB uint8 picture as a JPEG file's content."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    as_opencv = picture if picture.ndim == 2 else picture[..., ::-1]
    return cv2.imencode(".jpg", as_opencv, options)[1].tobytes()


def _hand_in(image: np.ndarray, hand: Hand | None) -> np.ndarray:
    """Return the pixels of the hand in a radiograph of any size; all without one."""
    if hand is None:
        return image
    size = image.shape[::-1]
    mask = cv2.resize(hand.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return image[mask] if mask.any() else image
