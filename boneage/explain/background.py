"""Masks of the background and of the laterality marker."""

import cv2
import numpy as np

from boneage.data.hand import detect, ellipse, thumbnail

HAND, BACKGROUND, MARKER = "hand", "background", "marker"
SOFT_TISSUE = "soft_tissue"  # the exact hand mask of a phantom
STROKE = 9  # pixels at `hand.MASK_SIDE`: letters are thinner
STROKE_CONTRAST = 0.25  # least, as a share of the contrast of the image
JOIN = 11  # pixels: letters closer than this are one marker
MAX_LENGTH = 0.3  # share of the side: longer strokes are frames
MIN_INK = 12  # pixels
MARGIN_PIXELS = 2  # pixels around hand and marker
INPAINT_RADIUS = 3


def background_masks(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return `hand`, `background` and, if found, `marker` of an (H, W) radiograph.

    The hand finder gives the hand. The marker is the strongest group of thin bright strokes away
    from it.

    Returns:
        (h, w) bool masks, for the radiograph at `hand.MASK_SIDE` pixels; empty if no hand is found.
    """
    reduced = thumbnail(image)
    hand = detect(reduced).hand
    if hand is None:
        return {}
    masks = {HAND: hand.mask, BACKGROUND: ~hand.mask}
    marker = _find_marker(reduced, hand.mask)
    return masks if marker is None else masks | {MARKER: marker}


def paint_over(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return (n, H, W) uint8 images with masked pixels inpainted (Telea 2004)."""
    return np.stack(
        [
            cv2.inpaint(image, mask.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
            for image, mask in zip(images, masks, strict=True)
        ]
    )


def mirrored_mask(mask: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return a mirror image of a mask that overlaps neither it nor the hand; None if all do."""
    for mirrored in (mask[:, ::-1], mask[::-1], mask[::-1, ::-1]):
        if not (mirrored & (hand | mask)).any():
            return mirrored
    return None


def _find_marker(image: np.ndarray, hand: np.ndarray) -> np.ndarray | None:
    """Return the bool mask of the marker's box in an image at `hand.MASK_SIDE` pixels."""
    relief = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, ellipse(STROKE)).astype(float)
    near = cv2.dilate(hand.astype(np.uint8), ellipse(2 * MARGIN_PIXELS + 3)) > 0
    low, high = np.percentile(image, [1, 99])
    strokes = (relief > STROKE_CONTRAST * (high - low)) & ~near
    joined = cv2.morphologyEx(strokes.astype(np.uint8), cv2.MORPH_CLOSE, ellipse(JOIN))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(joined)
    strongest, marker = 0.0, None
    for label, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        ink = strokes & (labels == label)
        plausible = (
            ink.sum() >= MIN_INK
            and width <= MAX_LENGTH * image.shape[1]
            and height <= MAX_LENGTH * image.shape[0]
            and min(width, height) > MARGIN_PIXELS + 1
        )
        if plausible and relief[ink].sum() > strongest:
            strongest = relief[ink].sum()
            marker = np.zeros(image.shape, bool)
            rows = slice(max(0, top - MARGIN_PIXELS), top + height + MARGIN_PIXELS)
            marker[rows, max(0, left - MARGIN_PIXELS) : left + width + MARGIN_PIXELS] = True
    return None if marker is None else marker & ~near
