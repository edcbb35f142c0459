"""The hand in a radiograph: found by a small network, cropped, and shown to a reader.

OpenCV runs the network in about a millisecond. `studies/rsna/hand_finder` contains the training
code and describes the data.
"""

import threading
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np

from boneage.data.depth import check_pixels, clip_marks, full_scale, to_8_bits

MASK_SIDE = 256  # pixels of the longer side of the mask
INPUT = 112  # pixels of the network's square input
NETWORK = "hand_finder.onnx"
MIN_HAND_SHARE = 0.03  # minimum share of the radiograph that a hand fills
LIKELY = 0.25  # probability at the edge of a hand: low, so that no fingertip is lost
SURE = 0.7  # minimum mean probability of the pixels of a hand
SECOND = 0.4  # minimum area of a second hand, as a share of the first
EPSILON = 0.255  # grey levels
BLANK_SD = 1.0  # grey levels, standard deviation of a radiograph that shows nothing
SURE_ORIENTATION = 0.9  # probability from which a radiograph counts as rotated or inverted
QUARTERS = 4
HAND_MARGIN = 0.03  # of the hand's box, on each side
LONGER_SIDE = 480  # pixels of the image for a reader
QUALITY = 80  # of JPEG
CONTRAST_PERCENTILES = (1.0, 99.7)  # of the grey values that become black and white

_local = threading.local()


@dataclass(frozen=True)
class Hand:
    """A hand in a radiograph.

    Args:
        mask: (h, w) bool, the radiograph at `MASK_SIDE` pixels of its longer side.
        box: left, top, right and bottom as shares of width and height.
    """

    mask: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """The hands in a radiograph, and how it is oriented.

    Args:
        hand: the largest hand; None without one.
        two: whether there is a second hand.
        inverted: whether it looks inverted: bones dark.
        quarter_turns: its rotation in steps of 90 degrees, anticlockwise; 0 is fingers up.
    """

    hand: Hand | None
    two: bool = False
    inverted: bool = False
    quarter_turns: int = 0


def sides_at(longer: int, height: int, width: int) -> tuple[int, int]:
    """Return height and width of an image that is resized until its longer side is `longer`."""
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resized_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an (h, w) bool mask as (height, width), each pixel that of the nearest place."""
    size = (width, height)
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph as uint8, its longer side `MASK_SIDE` pixels.

    Raises:
        UserError: for other pixels.
    """
    check_pixels(image)
    rows, columns = sides_at(MASK_SIDE, *image.shape)
    image = clip_marks(image)
    if image.dtype != np.uint8 and image.max() > (limit := full_scale(image)):
        image = np.minimum(image, np.uint16(limit))
    # much faster than in one step
    while min(image.shape) >= 2 and max(image.shape) >= 2 * MASK_SIDE:
        height, width = (side // 2 for side in image.shape)
        even = image[: 2 * height, : 2 * width]
        image = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    if image.dtype == np.uint8:
        return image
    return cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore[call-overload, no-any-return]


def ellipse(size: int) -> np.ndarray:
    """Return the kernel of a morphological operation, `size` pixels across."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))


def detect(image: np.ndarray) -> Detection:
    """Look for hands in an (H, W) uint8 or uint16 radiograph of any orientation."""
    reduced = thumbnail(image)
    square = cv2.resize(reduced, (INPUT, INPUT), interpolation=cv2.INTER_AREA)
    mean, spread = (float(value[0, 0]) for value in cv2.meanStdDev(square))
    if spread < BLANK_SD:
        return Detection(None)
    shares, orientations = _run((square.astype(np.float32) - mean) / (spread + EPSILON))
    hands = _pieces(cv2.resize(shares, reduced.shape[::-1], interpolation=cv2.INTER_LINEAR))
    if not hands:
        return Detection(None)
    largest, outline, mask = hands[0]
    left, top, width, height = cv2.boundingRect(outline)
    rows, columns = reduced.shape
    box = (left / columns, top / rows, (left + width) / columns, (top + height) / rows)
    two = len(hands) > 1 and hands[1][0] > SECOND * largest
    likeliest = int(orientations.argmax()) if orientations.max() >= SURE_ORIENTATION else 0
    inverted, quarters = divmod(likeliest, QUARTERS)
    return Detection(Hand(mask.astype(bool), box), two, bool(inverted), quarters)


def _run(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of a hand by pixel, and of 8 orientations, of a standardised square."""
    if not hasattr(_local, "network"):  # it must not be run by two threads at once
        content = files(__package__).joinpath(NETWORK).read_bytes()
        _local.network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    _local.network.setInput(square[None, None])
    shares, orientations = _local.network.forward(["hand", "turn"])
    return shares[0, 0], orientations[0]


def _pieces(shares: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Return area in pixels, outline and uint8 mask of each hand, the largest first."""
    likely = (shares > LIKELY).astype(np.uint8)
    outlines, _ = cv2.findContours(likely, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hands = []
    for outline in outlines:
        area = cv2.contourArea(outline)
        if area >= MIN_HAND_SHARE * shares.size:
            inside = cv2.drawContours(np.zeros_like(likely), [outline], -1, 1, cv2.FILLED)
            if cv2.mean(shares, inside)[0] >= SURE:
                hands.append((area, outline, inside))
    return sorted(hands, key=lambda hand: -hand[0])


@dataclass(frozen=True)
class Crop:
    """A part of a radiograph.

    Args:
        box: left, top, right and bottom as shares of width and height.
        mask: (h, w) bool, the hand in the whole radiograph at any resolution; None without
            one.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mask: np.ndarray | None = None

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns of the crop in a radiograph of this size."""
        left, top, right, bottom = self.box
        rows = slice(int(top * height), max(int(np.ceil(bottom * height)), int(top * height) + 1))
        columns = slice(int(left * width), max(int(np.ceil(right * width)), int(left * width) + 1))
        return rows, columns

    def hand_in(self, height: int, width: int) -> np.ndarray | None:
        """Return the bool mask of the hand in the crop, resized to (height, width)."""
        if self.mask is None:
            return None
        resized = resized_mask(self.mask[self.slices(*self.mask.shape)], height, width)
        return resized if resized.any() else None


def crop_around(hand: Hand | None) -> Crop:
    """Return the crop to a hand and a margin; the whole radiograph without one."""
    if hand is None:
        return Crop()
    left, top, right, bottom = hand.box
    x, y = HAND_MARGIN * (right - left), HAND_MARGIN * (bottom - top)
    box = (max(left - x, 0.0), max(top - y, 0.0), min(right + x, 1.0), min(bottom + y, 1.0))
    return Crop(box, hand.mask)


def to_film(image: np.ndarray, hand: Hand | None = None) -> np.ndarray:
    """Return an (H, W) uint8 or uint16 radiograph as an (h, w) uint8 image for a reader.

    Its longer side has `LONGER_SIDE` pixels. Black and white are `CONTRAST_PERCENTILES` of the
    hand, so that markers and borders do not change the contrast; without a hand, of all pixels.
    """
    height, width = sides_at(LONGER_SIDE, *image.shape)
    interpolation = cv2.INTER_AREA if max(image.shape) > LONGER_SIDE else cv2.INTER_CUBIC
    resized = cv2.resize(image, (width, height), interpolation=interpolation)
    mask = None if hand is None else Crop(mask=hand.mask).hand_in(height, width)
    low, high = np.percentile(resized if mask is None else resized[mask], CONTRAST_PERCENTILES)
    return to_8_bits(resized, low, min(high, full_scale(image)))


def to_jpeg(image: np.ndarray) -> bytes:
    """Return an (h, w) grey or (h, w, 3) RGB uint8 image as the content of a JPEG file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    as_opencv = image if image.ndim == 2 else image[..., ::-1]
    return cv2.imencode(".jpg", as_opencv, options)[1].tobytes()
