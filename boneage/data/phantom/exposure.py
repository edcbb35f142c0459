"""From outlines in millimetres to a grey radiograph and its exact masks."""

from dataclasses import dataclass

import cv2
import numpy as np

from boneage.data.phantom.hand import Shape, Tissue, draw_hand
from boneage.data.phantom.ossification import Maturity

SUBPIXEL_BITS = 4
WIDTH_SHARE = (0.74, 0.9)  # of the height, as in most films
ADULT_FRAME_MM = 285.0
WRIST_FROM_BELOW = 0.24  # height of the wrist in the frame
TISSUES: tuple[Tissue, ...] = ("soft tissue", "shaft", "epiphysis", "carpal")
LOW_CONTRAST_SHARE = 1 / 6
BORDER_SHARE = 0.25


@dataclass(frozen=True)
class Radiograph:
    """A synthetic radiograph: (H, W) uint8 pixels, and (H, W) bool masks by tissue.

    The masks are `carpals`, `epiphyses` (fused or not) and `soft_tissue` (the whole hand).
    """

    image: np.ndarray
    masks: dict[str, np.ndarray]


def expose(age_years: float, sex: str, size: int, rng: np.random.Generator) -> Radiograph:
    """Draw one radiograph of a left hand.

    Args:
        age_years: bone age.
        sex: "male" or "female".
        size: height in pixels.
        rng: draws anatomy, pose and exposure.
    """
    maturity = Maturity(age_years, sex, rng)
    shapes = draw_hand(maturity, rng)
    width = round(size * rng.uniform(*WIDTH_SHARE))
    layers = _fill(shapes, _pose(maturity.growth, size, width, rng), size, width)
    masks = {
        "carpals": layers["carpal"] > 0.5 * 0.75,
        "epiphyses": layers["epiphysis"] > 0.5,
        "soft_tissue": layers["soft tissue"] > 0.5,
    }
    image = _develop(_attenuate(layers, size, rng), size, rng)
    return Radiograph(image, masks)


def _pose(growth: float, size: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the 2 x 3 matrix from millimetres to pixels: small hands are imaged closer."""
    frame_mm = ADULT_FRAME_MM * (0.35 + 0.65 * growth) * rng.uniform(0.92, 1.12)
    angle = np.radians(rng.normal(0, 6))
    scale = size / frame_mm
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [-np.sin(angle), -np.cos(angle)]])
    wrist = [
        width * (0.46 + rng.uniform(-0.06, 0.06)),
        size * (1 - WRIST_FROM_BELOW + rng.uniform(-0.04, 0.04)),
    ]
    return np.column_stack([rotation, wrist])


def _fill(
    shapes: list[Shape], matrix: np.ndarray, size: int, width: int
) -> dict[Tissue, np.ndarray]:
    """Return one (H, W) float32 layer of density, 0 to 1, for each tissue."""
    layers: dict[Tissue, np.ndarray] = {t: np.zeros((size, width), np.uint8) for t in TISSUES}
    for shape in sorted(shapes, key=lambda shape: shape.density):
        pixels = shape.outline @ matrix[:, :2].T + matrix[:, 2]
        points = np.rint(pixels * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(
            layers[shape.tissue], [points], round(255 * shape.density), cv2.LINE_AA, SUBPIXEL_BITS
        )
    return {tissue: layer.astype(np.float32) / 255 for tissue, layer in layers.items()}


def _attenuate(layers: dict[Tissue, np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """Return the attenuation of each pixel: soft tissue, spongy bone, and its bright cortex."""
    flesh = layers["soft tissue"]
    thickness = flesh * (0.25 + 0.75 * _blur(flesh, 0.045 * size))
    joined = np.maximum(layers["shaft"], layers["epiphysis"]) + layers["carpal"]
    spongy = joined * (1 - 0.25 * _blur(joined, 0.02 * size))
    cortex = np.clip(joined - _blur(joined, 0.006 * size), 0, None)
    grain = cv2.resize(
        rng.normal(1, 0.08, (size // 4, size // 4)).astype(np.float32), joined.T.shape
    )
    bone_strength = rng.uniform(0.8, 1.15)
    attenuation: np.ndarray = 0.30 * thickness + bone_strength * (
        0.26 * spongy * grain * (0.5 + 0.5 * thickness) + 0.5 * cortex
    )
    return attenuation


def _develop(attenuation: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return (H, W) uint8: exposure, fog, blur, border, marker, noise and contrast."""
    height, width = attenuation.shape
    fog = rng.uniform(0.02, 0.12)
    slope = np.linspace(-1, 1, width)[None] * rng.normal(0, 0.02)
    image = fog + slope + rng.uniform(0.8, 1.15) * attenuation
    image = _blur(image.astype(np.float32), size / 256 * rng.uniform(0.3, 0.7))
    image = np.clip(image, 0, 1) ** rng.uniform(0.8, 1.25)
    if rng.random() < BORDER_SHARE:
        image = _collimate(image, rng)
    image = _mark(image, rng)
    if rng.random() < LOW_CONTRAST_SHARE:
        image = rng.uniform(0.02, 0.25) + image * rng.uniform(0.2, 0.35)
    image += rng.normal(0, rng.uniform(0.004, 0.02), (height, width))
    return np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)


def _collimate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cover a strip along each side with the film's border, dark or bright."""
    height, width = image.shape
    strips = rng.uniform(0, 0.06, 4) * [height, height, width, width]
    top, bottom, left, right = strips.astype(int)
    border = np.full_like(image, rng.choice([0.0, 0.0, 0.9]))
    inside = np.s_[top : height - bottom, left : width - right]
    border[inside] = image[inside]
    return border


def _mark(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Write the "L" of a left hand near the left edge of the radiograph."""
    height, width = image.shape
    letter = np.zeros((height, width), np.uint8)
    x, y = int(width * rng.uniform(0.02, 0.10)), int(height * rng.uniform(0.12, 0.8))
    scale, thick = height / 256 * rng.uniform(0.6, 1.0), max(1, round(height / 128))
    cv2.putText(letter, "L", (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 240, thick, cv2.LINE_AA)
    marked: np.ndarray = np.maximum(image, letter / np.float32(255))
    return marked


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    blurred: np.ndarray = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1))
    return blurred
