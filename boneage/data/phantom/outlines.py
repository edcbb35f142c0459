"""Outlines of bones and soft tissue, in millimetres of the adult hand, as (n, 2) points."""

import numpy as np

# Half-width of a tubular bone along its axis: from a broad base over a slim waist to a head.
ALONG = np.array([0.0, 0.03, 0.10, 0.22, 0.50, 0.76, 0.88, 0.96, 1.0])
BASE_SHARE = np.array([0.80, 1.0, 0.95, 0.45, 0.0, 0.0, 0.0, 0.0, 0.0])
HEAD_SHARE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.40, 0.95, 0.90, 0.45])
TURN = np.linspace(0, 2 * np.pi, 20, endpoint=False)


def direction(angle_degrees: float) -> np.ndarray:
    """Return the unit vector at an angle from straight up, positive towards the thumb."""
    angle = np.radians(angle_degrees)
    return np.array([np.sin(angle), np.cos(angle)])


def place(local: np.ndarray, origin: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Move (n, 2) points (across, along) to an origin and the direction of an axis."""
    across = np.array([axis[1], -axis[0]])
    placed: np.ndarray = origin + local[:, :1] * across + local[:, 1:] * axis
    return placed


def tube(start: float, end: float, base: float, waist: float, head: float) -> np.ndarray:
    """Return a tubular bone between two positions on its axis; widths are full widths."""
    half = waist + BASE_SHARE * (base - waist) + HEAD_SHARE * (head - waist)
    half[0] = 0.8 * base
    half[-1] = 0.6 * head
    return _mirrored(half / 2, start + ALONG * (end - start))


def epiphysis(middle: float, width: float, thickness: float, capping: float) -> np.ndarray:
    """Return an epiphysis across the axis: a bar with round ends.

    Args:
        middle: its position on the axis.
        width: its size across the axis.
        thickness: its size along the axis.
        capping: how far its ends bend along the axis, over the metaphysis.
    """
    across = _rounded(np.cos(TURN), 0.75)
    along = 0.5 * thickness * _rounded(np.sin(TURN), 0.75) + capping * across**2
    return np.column_stack([0.5 * width * across, middle + along])


def pebble(width: float, height: float, dents: tuple[float, float]) -> np.ndarray:
    """Return a carpal: an ellipse with corners, `dents` being its 3- and 4-fold irregularity."""
    radius = 1 + dents[0] * np.cos(3 * TURN + 0.7) + dents[1] * np.cos(4 * TURN)
    return np.column_stack([width * radius * np.cos(TURN), height * radius * np.sin(TURN)])


def capsule(length: float, base: float, tip: float) -> np.ndarray:
    """Return a finger's soft tissue along its axis, with a round tip; widths are full widths."""
    bow = np.linspace(0, np.pi / 2, 7)
    along = np.concatenate([[-0.3 * base], length - tip / 2 + np.sin(bow) * tip / 2])
    half = np.concatenate([[base / 2], np.cos(bow) * tip / 2])
    return _mirrored(half, along)


def _mirrored(half: np.ndarray, along: np.ndarray) -> np.ndarray:
    right = np.column_stack([half, along])
    return np.concatenate([right, right[::-1] * [-1, 1]])


def _rounded(values: np.ndarray, power: float) -> np.ndarray:
    rounded: np.ndarray = np.sign(values) * np.abs(values) ** power
    return rounded
