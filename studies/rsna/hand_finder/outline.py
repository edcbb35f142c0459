"""Find the hand in a radiograph by its outline, to train the hand finder of the package.

The image is thresholded at many grey values. A connected region above a threshold is a candidate if
its shape could be a hand. The best candidate is large and has a strong edge all around. This finds
bright hands on black, faint hands in a collimated field, and hands within a white frame.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from boneage.data.hand import ellipse, thumbnail

THRESHOLDS = np.linspace(0.04, 0.70, 34)  # share of the pixels above each threshold
OPENING, MARK = 5, 3  # pixels: thinner connections, thinner strokes (letters) are removed
PLAUSIBLE = {
    "area": (0.05, 0.65),  # share of the image
    "width": (0.2, 1.0),
    "height": (0.3, 1.0),
    "x": (0.25, 0.75),  # centre of mass
    "y": (0.2, 0.8),
    "left": (0.0, 0.35),  # share of that border it touches; an arm may fill the lower border
    "right": (0.0, 0.35),
    "top": (0.0, 0.25),
    "fill": (0.25, 0.8),  # share of its box
    "solidity": (0.4, 0.93),  # share of its convex hull: low because of gaps between fingers
    "ruggedness": (28.0, 250.0),  # squared outline over area: a square has 16, noise 300
    "holes": (0.0, 0.15),
}
WEAK = 0.1  # quantile of the edge strength along the outline
SIZE_POWER = 0.6  # preference for larger regions: high thresholds lose finger tips
FRAME = 20  # percentile of a row or column that is bright in a frame


def find_outline(image: np.ndarray) -> np.ndarray | None:
    """Return the (h, w) bool mask of the hand in an (H, W) radiograph at `MASK_SIDE`, or None.

    The radiograph is uint8 or uint16, with bones bright and fingers up.
    """
    image = thumbnail(image)
    rows, columns = _inside_frame(image)
    score, mask = _best(image)
    inner = image[rows, columns]
    if inner.shape != image.shape:
        inner_score, inner_mask = _best(np.ascontiguousarray(inner))
        if inner_score * (inner.size / image.size) ** SIZE_POWER > score:
            mask = np.zeros(image.shape, bool)
            mask[rows, columns] = inner_mask
    return mask if mask.any() else None


def _best(image: np.ndarray) -> tuple[float, np.ndarray]:
    """Return score and (H, W) bool mask of the best region; 0 and an empty mask if none."""
    nothing = (0.0, np.zeros(image.shape, bool))
    return max(_candidates(image), key=lambda candidate: candidate[0], default=nothing)


def _candidates(image: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Yield score and (H, W) bool mask of every region that could be a hand."""
    grey = _smooth(image)
    edge = _edge(grey)
    for mask in _regions(grey):
        shape, outline, filled = _shape(mask)
        if all(low <= shape[name] <= high for name, (low, high) in PLAUSIBLE.items()):
            inside = ((outline > 1) & (outline < np.array(mask.shape[::-1]) - 2)).all(axis=1)
            x, y = outline[inside].T
            strength = np.quantile(edge[y, x], WEAK) if len(x) else 0.0
            yield float(strength * shape["area"] ** SIZE_POWER), filled


def _smooth(image: np.ndarray) -> np.ndarray:
    """Remove letter strokes, then noise."""
    opened = cv2.morphologyEx(image, cv2.MORPH_OPEN, ellipse(MARK))
    return cv2.GaussianBlur(opened, (0, 0), 1.0).astype(np.float32)


def _edge(grey: np.ndarray) -> np.ndarray:
    """Return the gradient relative to the brightness, so that dark finger tips count too."""
    steepness = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))
    edge: np.ndarray = steepness / np.sqrt(np.maximum(grey - np.percentile(grey, 1), 0) + 4)
    return edge


def _regions(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (H, W) uint8 masks of large connected regions above each threshold."""
    outside_is_dark = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    for threshold in np.unique(np.quantile(grey, 1 - THRESHOLDS, method="lower")):
        above = (grey > threshold).astype(np.uint8)
        above = cv2.morphologyEx(above, cv2.MORPH_OPEN, ellipse(OPENING), **outside_is_dark)  # type: ignore[call-overload]
        _, labels, sizes, _ = cv2.connectedComponentsWithStats(above, connectivity=4)
        for label in range(1, len(sizes)):
            if sizes[label, cv2.CC_STAT_AREA] > PLAUSIBLE["area"][0] * grey.size:
                yield (labels == label).astype(np.uint8)


def _shape(mask: np.ndarray) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    """Return shape measures of a region, its (n, 2) outline (x, y), and the mask without holes."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=len)
    filled = cv2.drawContours(np.zeros_like(mask), [outline], -1, 1, cv2.FILLED)
    height, width = mask.shape
    area = cv2.countNonZero(filled)
    _, _, box_width, box_height = cv2.boundingRect(outline)
    moments = cv2.moments(filled, binaryImage=True)
    measures = {
        "area": area / mask.size,
        "width": box_width / width,
        "height": box_height / height,
        "x": moments["m10"] / area / width,
        "y": moments["m01"] / area / height,
        "left": filled[:, :2].any(axis=1).mean(),
        "right": filled[:, -2:].any(axis=1).mean(),
        "top": filled[:2].any(axis=0).mean(),
        "fill": area / (box_width * box_height),
        "solidity": area / (cv2.contourArea(cv2.convexHull(outline)) + 1),
        "ruggedness": len(outline) ** 2 / area,
        "holes": 1 - cv2.countNonZero(mask) / area,
    }
    return measures, outline[:, 0], filled.astype(bool)


def _inside_frame(image: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns inside a bright frame of at most a third of each side."""
    bright, _ = cv2.threshold(image, 0, 255, cv2.THRESH_OTSU)
    spans = []
    for axis in (1, 0):
        dark = np.percentile(image, FRAME, axis=axis) <= bright
        third = len(dark) // 3
        first = next((i for i in range(third) if dark[i]), third)
        last = next((i for i in range(third) if dark[-1 - i]), third)
        spans.append(slice(first, len(dark) - last))
    return spans[0], spans[1]
