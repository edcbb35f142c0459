"""The bones and the soft tissue of a left hand, thumb to the right, as outlines in millimetres.

Millimetres of the adult hand before growth; the origin is the middle of the wrist, y points to the
fingers. Bone proportions are typical of adults, rounded.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from boneage.data.phantom.ossification import Maturity

# Half-width of a tubular bone along its axis: from a broad base over a slim waist to a head.
ALONG = np.array([0.0, 0.03, 0.10, 0.22, 0.50, 0.76, 0.88, 0.96, 1.0])
BASE_SHARE = np.array([0.80, 1.0, 0.95, 0.45, 0.0, 0.0, 0.0, 0.0, 0.0])
HEAD_SHARE = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.40, 0.95, 0.90, 0.45])
ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
Tissue = Literal["soft tissue", "shaft", "epiphysis", "carpal"]
SEGMENTS = ("metacarpal", "proximal", "middle", "distal")
JOINT_SPACE = 0.8
# digit: base of the metacarpal, angle of the metacarpal and of the finger (degrees)
RAYS = {
    1: ((25, 25), 40, 30),
    2: ((13, 32), 9, 10),
    3: ((2, 33), 1, 1),
    4: ((-8, 31), -7, -9),
    5: ((-17, 28), -15, -20),
}
# length, then full width of base, waist and head, of metacarpal, proximal, middle, distal bone
BONES = {
    1: ((46, 15, 10, 15), (32, 15, 9.5, 12), (22, 12.5, 7, 8.5)),
    2: ((66, 14, 8.5, 14.5), (40, 14.5, 9, 10.5), (23, 12, 8, 9), (16, 9.5, 4.5, 6.5)),
    3: ((64, 12, 8, 14), (45, 15, 9.5, 11), (28, 12.5, 8.5, 9.5), (17.5, 10, 5, 7)),
    4: ((57, 11, 7, 12), (42, 14, 8.5, 10), (27, 12, 8, 9), (18, 10, 5, 7)),
    5: ((53, 12, 7, 11.5), (33, 12.5, 7.5, 9), (18, 10.5, 6.5, 7.5), (16, 8.5, 4.2, 6)),
}
FOREARM = {"radius": ((8.5, 1), 28, 14), "ulna": ((-16, -2), 14, 9)}  # end, width of end and shaft
FOREARM_LENGTH = 200
# centre, half axes, angle (degrees), 3- and 4-fold irregularity
CARPALS = {
    "scaphoid": ((13, 10), (9, 5.8), 40, (0.06, 0.0)),
    "lunate": ((1, 7.5), (6.8, 6.3), 0, (0.09, 0.03)),
    "triquetrum": ((-10, 10), (6.2, 5.3), 30, (0.1, 0.0)),
    "trapezium": ((21, 19.5), (6.8, 6.3), 30, (0.03, 0.09)),
    "trapezoid": ((12, 23.5), (5.2, 5.0), 10, (0.1, 0.05)),
    "capitate": ((2.5, 22), (6.3, 9.5), 0, (0.04, 0.05)),
    "hamate": ((-8.5, 22), (6.6, 7.8), 0, (0.15, 0.0)),
    "pisiform": ((-13, 8), (4.3, 3.8), 0, (0.03, 0.0)),
}


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
    across = _rounded(np.cos(ANGLES), 0.75)
    along = 0.5 * thickness * _rounded(np.sin(ANGLES), 0.75) + capping * across**2
    return np.column_stack([0.5 * width * across, middle + along])


def pebble(width: float, height: float, dents: tuple[float, float]) -> np.ndarray:
    """Return a carpal: an ellipse with corners, `dents` being its 3- and 4-fold irregularity."""
    radius = 1 + dents[0] * np.cos(3 * ANGLES + 0.7) + dents[1] * np.cos(4 * ANGLES)
    return np.column_stack([width * radius * np.cos(ANGLES), height * radius * np.sin(ANGLES)])


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


@dataclass(frozen=True)
class Shape:
    """One filled outline: (n, 2) millimetres, and how dense it is (1 = solid)."""

    tissue: Tissue
    outline: np.ndarray
    density: float = 1.0


def draw_hand(maturity: Maturity, rng: np.random.Generator) -> list[Shape]:
    """Return the shapes of one hand in millimetres, grown to its age, fingers freely posed.

    Args:
        maturity: which centres are present, and how far they have grown and fused.
        rng: draws the pose of the fingers.
    """
    shapes = [*_carpals(maturity), *_forearm(maturity)]
    childlike = 1 - maturity.growth
    spread, knuckles = rng.uniform(0.7, 1.4), [np.array([24.0, -4.0]), np.array([-25.0, -4.0])]
    for digit, (base, metacarpal_angle, finger_angle) in RAYS.items():
        bend = rng.normal(0, 6 if digit == 1 else 2)
        angles = [metacarpal_angle + bend / 2] + [spread * finger_angle + bend] * 3
        joint = np.array(base, float)
        segments = [s for s in SEGMENTS if s != "middle" or digit > 1]
        for segment, angle, (length, *widths) in zip(segments, angles, BONES[digit], strict=False):
            bone, axis = f"{segment} {digit}", direction(angle)
            shapes += _long_bone(bone, joint, axis, length, widths, maturity)
            if segment != "metacarpal" or digit == 1:
                flesh = (1.65 + 0.7 * childlike) * np.array([widths[0], widths[1] + 4])
                outline = capsule(length + 3, *flesh)
                shapes.append(Shape("soft tissue", place(outline, joint, axis)))
            if segment == "metacarpal":
                knuckles += [joint, joint + axis * (length + 2)]
            joint = joint + axis * length
    shapes.append(Shape("soft tissue", _hull(np.array(knuckles), margin=9 + 5 * childlike)))
    return [Shape(s.tissue, s.outline * maturity.growth, s.density) for s in shapes]


def _long_bone(
    bone: str,
    joint: np.ndarray,
    axis: np.ndarray,
    length: float,
    widths: Sequence[float],
    maturity: Maturity,
) -> Iterator[Shape]:
    """Yield shaft, growth plate and epiphysis; metacarpals 2 to 5 grow at their far end."""
    base, waist, head = np.array(widths) * (1 + 0.1 * (1 - maturity.growth))
    if bone.startswith("metacarpal") and not bone.endswith("1"):
        joint, axis = joint + axis * length, -axis
        base, head = head, base
    mature, bridged = maturity.epiphysis(bone)
    zone = JOINT_SPACE + length * (0.12 + 0.10 * (1 - maturity.growth))
    shaft = Shape("shaft", tube(zone, length - JOINT_SPACE, base, waist, head))
    yield from _placed((*_growing_end(zone, float(base), mature, bridged), shaft), joint, axis)


def _placed(shapes: Iterable[Shape], origin: np.ndarray, axis: np.ndarray) -> Iterator[Shape]:
    """Yield shapes at an origin and in the direction of an axis."""
    for shape in shapes:
        yield Shape(shape.tissue, place(shape.outline, origin, axis), shape.density)


def _growing_end(zone: float, base: float, mature: float, bridged: float) -> Iterator[Shape]:
    """Yield the bridged growth plate and the epiphysis between the joint and the shaft.

    Gilsanz and Ratib: the epiphysis first grows as wide as the metaphysis, then wider, caps it,
    and finally fuses with it.
    """
    if mature == 0:
        return
    plate = (zone - JOINT_SPACE) * (0.34 - 0.22 * mature)
    thickness = (zone - JOINT_SPACE) * (0.22 + 0.66 * mature**0.8)
    width = base * (0.22 + 0.86 * mature**0.75)
    capping = 0.8 * plate * max(0.0, mature - 0.6) / 0.4
    if bridged:
        half = 0.46 * base
        ends = np.array([zone - plate - 0.3 * thickness, zone + 0.04 * base])
        corners = [[-half, ends[0]], [half, ends[0]], [half, ends[1]], [-half, ends[1]]]
        yield Shape("shaft", np.array(corners), bridged)
    yield Shape("epiphysis", epiphysis(zone - plate - thickness / 2, width, thickness, capping))


def _forearm(maturity: Maturity) -> Iterator[Shape]:
    down = np.array([0.0, -1.0])
    for bone, (end, width, shaft) in FOREARM.items():
        mature, bridged = maturity.epiphysis(bone)
        zone = 0.30 * width + 2.5 * (1 - maturity.growth)
        stem = Shape("shaft", tube(zone, FOREARM_LENGTH, width, shaft, shaft))
        bones = (*_growing_end(zone, width, mature, bridged), stem)
        yield from _placed(bones, np.array(end, float), down)
    wide = 27 + 10 * (1 - maturity.growth)
    corners = [[-wide, 2], [wide - 2, 2], [wide + 4, -200], [-wide - 6, -200]]
    yield Shape("soft tissue", np.array(corners))


def _carpals(maturity: Maturity) -> Iterator[Shape]:
    for bone, (centre, axes, angle, dents) in CARPALS.items():
        size = maturity.carpal_size(bone)
        if size:
            outline = pebble(0.93 * size * axes[0], 0.93 * size * axes[1], dents)
            tilted = place(outline, np.array(centre, float), direction(angle))
            yield Shape("carpal", tilted, 0.75)


def _hull(points: np.ndarray, margin: float) -> np.ndarray:
    """Return a convex outline around points, widened from their middle by a margin."""
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)
    out = hull - hull.mean(axis=0)
    widened: np.ndarray = hull + margin * out / np.linalg.norm(out, axis=1, keepdims=True)
    return widened
