"""An attribution map laid over the picture of a radiograph, with NumPy alone."""

import numpy as np

STRONGEST = 0.8  # opacity of the strongest value
ORANGE_TO_PURPLE = (
    (127, 59, 8), (179, 88, 6), (224, 130, 20), (253, 184, 99), (254, 224, 182), (247, 247, 247),
    (216, 218, 235), (178, 171, 210), (128, 115, 172), (84, 39, 136), (45, 0, 75),
)  # fmt: skip
# ColorBrewer's PuOr: orange raises, purple lowers, told apart by colour-blind readers


def _levels(colours: tuple[tuple[int, int, int], ...], n: int = 256) -> np.ndarray:
    """Return (n, 3) RGB levels of a scale, from some colours at equal distances."""
    at, stops = np.linspace(0, 1, n), np.linspace(0, 1, len(colours))
    return np.stack([np.interp(at, stops, channel) for channel in zip(*colours, strict=True)], 1)


COLOURS = _levels(ORANGE_TO_PURPLE[::-1])  # of -1 to 1


def overlay(film: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return an (h, w) uint8 film with an (h, w) map of -1 to 1 over it, as (h, w, 3) uint8 RGB.

    It is see-through near zero, where the map changes sign.
    """
    level = np.rint((shown + 1) / 2 * (len(COLOURS) - 1)).astype(int)
    opacity = (STRONGEST * np.abs(shown))[..., None]
    mixed = (1 - opacity) * film[..., None] + opacity * COLOURS[level]
    result: np.ndarray = np.rint(mixed).astype(np.uint8)
    return result


def scaled(maps: np.ndarray) -> np.ndarray:
    """Return (n, H, W) maps, each divided by its strongest value; an empty map stays empty.

    Values that are not finite count as zero: a model that has diverged looks at nothing.
    """
    maps = np.where(np.isfinite(maps), maps, 0)
    strongest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    result: np.ndarray = maps / np.where(strongest > 0, strongest, 1)
    return result
