"""What is not the hand: the background, and the marker that names the side of the body."""

import cv2
import numpy as np

from boneage.data.hand import ellipse, find_hand, thumbnail

HAND, BACKGROUND, MARKER = "hand", "background", "marker"
SOFT_TISSUE = "soft_tissue"  # a phantom's exact hand
STROKE = 9  # pixels at `hand.SIDE`: letters are thinner
STRONG = 0.25  # of the picture's contrast: how much a stroke stands out
JOIN = 11  # pixels: letters closer than this are one marker
LARGEST = 0.3  # of the side: longer strokes are frames
LEAST_INK = 12  # pixels
MARGIN = 2  # pixels around hand and marker
INPAINT_RADIUS = 3


def background_masks(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return `hand`, `background` and, where one is found, `marker` of an (H, W) radiograph.

    The hand is found by its network; the marker is the strongest group of thin bright strokes away
    from it.

    Returns:
        (h, w) bool masks, the radiograph at `hand.SIDE` pixels; none where no hand is found.
    """
    picture = thumbnail(image)
    hand = find_hand(picture)
    if hand is None:
        return {}
    masks = {HAND: hand.mask, BACKGROUND: ~hand.mask}
    marker = _find_marker(picture, hand.mask)
    return masks if marker is None else masks | {MARKER: marker}


def paint_over(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return (n, H, W) uint8 images whose masked pixels are filled in from around (Telea 2004)."""
    return np.stack(
        [
            cv2.inpaint(image, mask.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
            for image, mask in zip(images, masks, strict=True)
        ]
    )


def elsewhere(mask: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return a mask's mirror image that meets neither it nor the hand; None if all do."""
    for mirrored in (mask[:, ::-1], mask[::-1], mask[::-1, ::-1]):
        if not (mirrored & (hand | mask)).any():
            return mirrored
    return None


def _find_marker(picture: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return the bool mask of the marker's box in a picture at `hand.SIDE` pixels."""
    relief = cv2.morphologyEx(picture, cv2.MORPH_TOPHAT, ellipse(STROKE)).astype(float)
    near = cv2.dilate(hand.astype(np.uint8), ellipse(2 * MARGIN + 3)) > 0
    low, high = np.percentile(picture, [1, 99])
    strokes = (relief > STRONG * (high - low)) & ~near
    joined = cv2.morphologyEx(strokes.astype(np.uint8), cv2.MORPH_CLOSE, ellipse(JOIN))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(joined)
    strongest, marker = 0.0, None
    for label, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        ink = strokes & (labels == label)
        plausible = (
            ink.sum() >= LEAST_INK
            and width <= LARGEST * picture.shape[1]
            and height <= LARGEST * picture.shape[0]
            and min(width, height) > MARGIN + 1
        )
        if plausible and relief[ink].sum() > strongest:
            strongest = relief[ink].sum()
            marker = np.zeros(picture.shape, bool)
            rows = slice(max(0, top - MARGIN), top + height + MARGIN)
            marker[rows, max(0, left - MARGIN) : left + width + MARGIN] = True
    return None if marker is None else marker & ~near
