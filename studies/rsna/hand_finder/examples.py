"""Training examples for the hand finder: films, phantoms and non-hands, augmented."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from outline import find_outline
from torch import Tensor

from boneage.data.formats import read_radiograph
from boneage.data.layouts import read_source
from boneage.data.phantom import expose
from boneage.data.splits import assign_folds

SIDE = 128  # pixels of the square that stores a film
PHANTOMS = 1500
YOUNG, YOUNG_WEIGHT = 36.0, 4.0  # films below this age in months are oversampled by this factor
PHANTOM_WEIGHT = 0.7
NO_ORIENTATION = -100  # for non-hands; PyTorch's cross-entropy ignores it
MARKS = "LRABDH170"


@dataclass(frozen=True)
class Examples:
    """Radiographs with their hands.

    Args:
        images: (n, SIDE, SIDE) uint8.
        masks: (n, SIDE, SIDE) uint8, 255 where the hand is.
        weights: (n,) sampling probabilities.
    """

    images: np.ndarray
    masks: np.ndarray
    weights: np.ndarray


def square(image: np.ndarray) -> np.ndarray:
    """Resize an image to a square, ignoring its aspect ratio."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def film(path: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a film and the mask of its hand outline, as squares; None without an outline."""
    image = read_radiograph(path)[0]
    mask = find_outline(image)
    return None if mask is None else (square(image), square(mask.astype(np.uint8) * 255))


def read_examples(root: Path) -> Examples:
    """Return the films of the training fold, and phantoms."""
    table = read_source(root)
    table = table[assign_folds(table, seed=0) == "train"]
    found = Parallel(n_jobs=-1)(delayed(film)(path) for path in table["path"])
    young = (table["age_months"] < YOUNG).to_numpy()
    weights = [YOUNG_WEIGHT if y else 1.0 for y, pair in zip(young, found, strict=True) if pair]
    pairs = [pair for pair in found if pair]
    rng = np.random.default_rng(1)
    for i in range(PHANTOMS):
        drawn = expose(float(rng.uniform(0.3, 19)), ("male", "female")[i % 2], 256, rng)
        pairs.append((square(drawn.image), square(drawn.masks["soft_tissue"] * np.uint8(255))))
    share = np.array(weights + [PHANTOM_WEIGHT] * PHANTOMS)
    images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    return Examples(images, masks, share / share.sum())


def draw(
    examples: Examples, n: int, side: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return n augmented examples.

    Returns:
        (n, 1, side, side) float32 images of mean 0 and standard deviation 1, (n, 1, side, side)
        float32 share of each pixel covered by a hand, and (n,) int64 orientations: number of
        rotations by 90 degrees, plus 4 if inverted.
    """
    rows = rng.choice(len(examples.weights), n, p=examples.weights)
    images, masks, orientations = [], [], np.zeros(n, np.int64)
    for i, row in enumerate(rows):
        image, mask = (part[row].astype(np.float32) for part in (examples.images, examples.masks))
        kind = rng.random()
        if rng.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        if kind < 0.1:
            image, mask, orientations[i] = (
                draw_other(image, rng),
                np.zeros_like(mask),
                NO_ORIENTATION,
            )
        elif kind < 0.2:
            other = rng.choice(rows)
            pair = (examples.images[other], examples.masks[other])
            if rng.random() < 0.5:
                pair = (image[:, ::-1], mask[:, ::-1])
            image, mask = side_by_side(image, mask, *pair, gap=int(rng.integers(12)))
        if rng.random() < 0.3:
            image = with_marks(image, mask > 64, rng)
        images.append(np.ascontiguousarray(image, np.float32))
        masks.append(np.ascontiguousarray(mask, np.float32) / 255)
    moved, masks = move(np.stack(images), np.stack(masks), side, rng)
    for i in range(n):
        image = exposed(framed(moved[i], masks[i], rng), rng)
        inverted, quarters = (
            rng.random() < 0.25,
            0 if rng.random() < 0.5 else int(rng.integers(1, 4)),
        )
        moved[i] = np.rot90(1 - image if inverted else image, quarters)
        masks[i] = np.rot90(masks[i], quarters)
        if orientations[i] != NO_ORIENTATION:
            orientations[i] = 4 * inverted + quarters
    mean, spread = moved.mean((1, 2), keepdims=True), moved.std((1, 2), keepdims=True)
    normal = (moved - mean) / (spread + 0.001)
    return (
        torch.from_numpy(normal[:, None]),
        torch.from_numpy(masks[:, None]),
        torch.from_numpy(orientations),
    )


def side_by_side(
    image: np.ndarray, mask: np.ndarray, other: np.ndarray, other_mask: np.ndarray, gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """Place two hands next to each other."""
    dark = np.full((SIDE, gap), np.percentile(image, 2), np.float32)
    both = np.hstack([image, dark, other.astype(np.float32)])
    masks = np.hstack([mask, np.zeros_like(dark), other_mask.astype(np.float32)])
    return square(both), square(masks)


def with_marks(image: np.ndarray, hand: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw letters and plates outside the hand."""
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(2, SIDE - 10, 2).tolist()
        layer = np.zeros(image.shape, np.uint8)
        if rng.random() < 0.6:
            text = "".join(rng.choice(list(MARKS), int(rng.integers(1, 4))))
            size, width = float(rng.uniform(0.3, 0.9)), int(rng.integers(1, 3))
            cv2.putText(layer, text, (x, y), int(rng.integers(0, 4)), size, 255, width)
        else:
            corner = (x + int(rng.integers(3, 25)), y + int(rng.integers(3, 12)))
            cv2.rectangle(layer, (x, y), corner, 255, cv2.FILLED)
        share = np.where(hand, 0, layer).astype(np.float32) / 255
        image = image * (1 - share) + rng.uniform(180, 255) * share
    return image


def move(
    images: np.ndarray, masks: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate, shift and shrink; a few to a third of their size, like infants on large plates."""
    n = len(images)
    angle = np.radians(np.where(rng.random(n) < 0.15, rng.uniform(-40, 40, n), rng.normal(0, 7, n)))
    wide = np.where(
        rng.random(n) < 0.45, np.exp(rng.uniform(-0.12, 0.6, n)), np.exp(rng.normal(0, 0.06, n))
    )
    wide = np.where(rng.random(n) < 0.12, np.exp(rng.uniform(0.6, 1.15, n)), wide)
    high = wide * np.exp(rng.normal(0, 0.1, n))
    x, y = (rng.uniform(-0.25, 0.25, n) * np.maximum(s - 1, 0.25) for s in (wide, high))
    matrix = np.stack(
        [
            np.stack([wide * np.cos(angle), -wide * np.sin(angle), x], 1),
            np.stack([high * np.sin(angle), high * np.cos(angle), y], 1),
        ],
        1,
    )
    matrix[rng.random(n) < 0.3] = np.eye(2, 3)
    grid = F.affine_grid(torch.from_numpy(matrix.astype(np.float32)), [n, 1, side, side], False)
    dark = np.percentile(images, 2, axis=(1, 2))
    around = np.where(rng.random(n) < 0.1, rng.uniform(0, 255, n), dark * (rng.random(n) < 0.5))
    fill = torch.from_numpy(around.astype(np.float32))[:, None, None, None]
    moved = (
        F.grid_sample(torch.from_numpy(images)[:, None] - fill, grid, align_corners=False) + fill
    )
    mask = F.grid_sample(torch.from_numpy(masks)[:, None], grid, align_corners=False)
    return moved[:, 0].numpy(), mask[:, 0].numpy()


def framed(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a bright frame to a share of the images; pixels below it are not hand."""
    if rng.random() < 0.12:
        top, bottom, left, right = rng.integers(0, 16, 4)
        if rng.random() < 0.3:
            top = bottom = 0
        frame = np.ones(image.shape, bool)
        frame[top : len(frame) - bottom, left : len(frame) - right] = False
        image[frame], mask[frame] = rng.uniform(150, 255), 0
    return image


def exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image from 0 to 1 with changed blur, gamma, contrast and noise."""
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    image = np.clip(image / 255, 0, 1) ** np.exp(rng.normal(0, 0.35))
    image = image * (rng.uniform(0.08, 0.3) if rng.random() < 0.12 else rng.uniform(0.25, 1))
    if rng.random() < 0.3:
        image = image + rng.uniform(0, 0.4)
    if rng.random() < 0.3:
        image = image + rng.normal(0, rng.uniform(0.005, 0.06), image.shape)
    return np.clip(image, 0, 1)


def draw_other(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a non-hand: noise, gradients, clouds, a shuffled film, limbs, skulls, scenes."""
    kind = rng.integers(8)
    y, x = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * x + np.sin(angle) * y
    slope = 255 * (slope - slope.min()) / np.ptp(slope) * rng.uniform(0.2, 1)
    if kind == 0:
        return rng.integers(0, 256, (SIDE, SIDE)).astype(np.float32)
    if kind == 1:
        return (slope + rng.normal(0, 3, slope.shape)).clip(0, 255)
    if kind == 2:
        cloud = cv2.GaussianBlur(rng.normal(0, 1, slope.shape), (0, 0), rng.uniform(1, 12))
        return 255 * (cloud - cloud.min()) / np.ptp(cloud)
    if kind == 3:
        n = int(rng.choice([4, 8]))
        tiles = image.reshape(n, SIDE // n, n, SIDE // n).swapaxes(1, 2).reshape(n * n, -1)
        tiles = tiles[rng.permutation(n * n)].reshape(n, n, SIDE // n, SIDE // n)
        return tiles.swapaxes(1, 2).reshape(SIDE, SIDE)
    body = np.full(slope.shape, rng.uniform(0, 40), np.float32)
    if kind == 4:
        return draw_limb(body, rng)
    if kind == 5:
        return draw_trunk(body, rng)
    return draw_scene((slope + rng.normal(0, 3, slope.shape)).clip(0, 255).astype(np.uint8), rng)


def draw_limb(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one or two long bones in soft tissue."""
    middle, half = int(rng.integers(30, 98)), int(rng.integers(15, 50))
    top = int(rng.choice([0, 0, rng.integers(0, 80)]))
    tissue = float(rng.uniform(60, 140))
    cv2.rectangle(image, (middle - half, top), (middle + half, SIDE), tissue, cv2.FILLED)
    for side in (-1, 1):
        if rng.random() < 0.85:
            start = (middle + side * half // 2, top + int(rng.integers(20)))
            end = (start[0] + int(rng.integers(-6, 6)), SIDE)
            cv2.line(image, start, end, float(rng.uniform(150, 255)), int(rng.integers(4, 14)))
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))


def draw_trunk(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an ellipse with a rim and cavities, half of them with ribs, like skulls and chests."""
    centre = tuple(rng.integers(50, 78, 2).tolist())
    width, height = rng.integers(20, 60, 2).tolist()
    tissue, bone = float(rng.uniform(60, 200)), float(rng.uniform(100, 255))
    cv2.ellipse(image, centre, (width, height), 0, 0, 360, tissue, cv2.FILLED)
    cv2.ellipse(image, centre, (width, height), 0, 0, 360, bone, int(rng.integers(1, 6)))
    for side in (-1, 1):
        at = (centre[0] + side * width // 2, centre[1] + int(rng.integers(-15, 15)))
        radius = max(2, width // int(rng.integers(3, 6)))
        cv2.circle(image, at, radius, float(rng.uniform(0, 120)), cv2.FILLED)
    for rib in range(6 if rng.random() < 0.5 else 0):
        axes = (width, max(2, height // (rib + 1)))
        cv2.ellipse(image, centre, axes, 0, 0, 180, float(rng.uniform(100, 220)), 2)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))


def draw_scene(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw boxes, discs, polygons and lines, as in a photograph of objects."""
    for _ in range(rng.integers(3, 25)):
        grey, kind = int(rng.integers(256)), rng.integers(4)
        start, end = rng.integers(0, SIDE, (2, 2)).tolist()
        if kind == 0:
            cv2.rectangle(image, start, end, grey, cv2.FILLED)
        elif kind == 1:
            cv2.circle(image, start, int(rng.integers(3, 32)), grey, cv2.FILLED)
        elif kind == 2:
            corners = rng.integers(0, SIDE, (int(rng.integers(3, 7)), 2)).astype(np.int32)
            cv2.fillPoly(image, [corners], grey)
        else:
            cv2.line(image, start, end, grey, int(rng.integers(1, 9)))
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5)).astype(np.float32)
