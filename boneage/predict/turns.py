"""Radiographs that lie on their side or are inverted: how they become usual ones."""

from collections.abc import Callable
from functools import partial

import numpy as np

from boneage.data.hand import Hand

BORDER = 0.04  # of the shorter side

Turn = Callable[[np.ndarray], np.ndarray]
INVERTED = "inverted"


def _invert(image: np.ndarray) -> np.ndarray:
    inverted: np.ndarray = np.iinfo(image.dtype).max - image
    return inverted


TURNED: dict[str, Turn] = {f"turned by {90 * k} degrees": partial(np.rot90, k=k) for k in (1, 2, 3)}
TURNS: dict[str, Turn] = {
    INVERTED: _invert,
    **TURNED,
    **{
        f"{INVERTED} and {name}": lambda image, turn=turn: turn(_invert(image))  # type: ignore[misc]
        for name, turn in TURNED.items()
    },
}


def turns_worth_trying(picture: np.ndarray, hand: Hand | None) -> tuple[str, ...]:
    """Return the turns that a picture looks to be in need of.

    Args:
        picture: (h, w) uint8 that `small` made.
        hand: the hand in it, if one was found.
    """
    turns: list[str] = []
    if has_bright_border(picture):
        turns += [name for name in TURNS if name.startswith(INVERTED)]
    if hand is not None and lies_on_its_side(hand):
        turns += TURNED
    return tuple(turns)


def has_bright_border(picture: np.ndarray) -> bool:
    """Tell whether an (h, w) uint8 picture is brighter at its border than in its middle.

    The lower border counts for nothing: the forearm leaves there.
    """
    height, width = picture.shape
    edge = max(1, round(BORDER * min(height, width)))
    border = np.r_[picture[:edge].ravel(), picture[:, :edge].ravel(), picture[:, -edge:].ravel()]
    middle = picture[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    return bool(np.median(border) > np.median(middle))


def lies_on_its_side(hand: Hand) -> bool:
    """Tell whether a hand is wider than tall."""
    left, top, right, bottom = hand.box
    height, width = hand.mask.shape
    return bool((right - left) * width > (bottom - top) * height)
