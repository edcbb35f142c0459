"""Radiographs that lie on their side or are inverted: how they become usual ones."""

from collections.abc import Callable
from functools import partial

import numpy as np

from boneage.data.hand import QUARTERS, Sighting

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


def turn_needed(sighting: Sighting) -> str:
    """Return the name of what makes a radiograph a usual one; empty where it is one already."""
    back = -sighting.quarter_turns % QUARTERS
    names = [INVERTED] * sighting.inverted + [f"turned by {90 * back} degrees"] * bool(back)
    return " and ".join(names)
