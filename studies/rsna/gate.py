"""Measure the flags of predictions: false alarms on held-out hands, and detected non-hands.

python studies/rsna/gate.py /path/to/rsna [N]

Uses the radiographs that the built-in model was not trained on, and N (200) images of each kind
that is not a usual hand radiograph. Writes the shares by kind into gate.json.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from boneage.data.formats import read_radiograph
from boneage.data.layouts import read_source
from boneage.evaluation.intervals import with_interval
from boneage.evaluation.shares import widen_share
from boneage.predict.answering import RADIOGRAPHS_IN_MEMORY, answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.patients import Patient
from boneage.predict.radiograph import load
from boneage.run.results import write_json

SHAPE = (256, 200)
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def noise(rng: np.random.Generator, hand: np.ndarray) -> np.ndarray:
    """Draw every pixel at random."""
    return rng.integers(0, 256, SHAPE, np.uint8)


def gradient(rng: np.random.Generator, hand: np.ndarray) -> np.ndarray:
    """Draw a grey gradient with little noise."""
    y, x = np.mgrid[0 : 1 : SHAPE[0] * 1j, 0 : 1 : SHAPE[1] * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * x + np.sin(angle) * y
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    return (
        np.asarray(255 * ramp + rng.normal(0, 3, SHAPE), np.float32).clip(0, 255).astype(np.uint8)
    )


def scene(rng: np.random.Generator, hand: np.ndarray) -> np.ndarray:
    """Draw boxes, discs and lines over a gradient, as in a photograph of objects."""
    image = gradient(rng, hand)
    for _ in range(rng.integers(8, 25)):
        grey = int(rng.integers(0, 256))
        (x0, y0), (x1, y1) = rng.integers(0, SHAPE[::-1], (2, 2)).tolist()
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(image, (x0, y0), (x1, y1), grey, -1)
        elif kind == 1:
            cv2.circle(image, (x0, y0), int(rng.integers(5, 60)), grey, -1)
        else:
            cv2.line(image, (x0, y0), (x1, y1), grey, int(rng.integers(1, 12)))
    return cv2.GaussianBlur(image, (0, 0), 1.0)


def limb(rng: np.random.Generator, hand: np.ndarray) -> np.ndarray:
    """Draw two long bones in soft tissue, like a forearm or a lower leg."""
    image = np.full(SHAPE, 10, np.uint8)
    x, width = int(rng.integers(70, 130)), int(rng.integers(60, 100))
    cv2.rectangle(image, (x - width // 2, 0), (x + width // 2, SHAPE[0]), 70, -1)
    for side in (-1, 1):
        at = x + side * width // 5
        cv2.line(image, (at, 0), (at + side * 3, SHAPE[0]), 190, int(rng.integers(10, 22)))
    return cv2.GaussianBlur(image, (0, 0), 2.0)


def skull(rng: np.random.Generator, hand: np.ndarray) -> np.ndarray:
    """Draw a bright ring with darker cavities, like a skull."""
    image = np.full(SHAPE, 8, np.uint8)
    cx, cy = (int(v) for v in rng.integers((85, 105), (115, 140)))
    axes = (int(rng.integers(55, 85)), int(rng.integers(75, 105)))
    cv2.ellipse(image, (cx, cy), axes, 0, 0, 360, 120, -1)
    cv2.ellipse(image, (cx, cy), axes, 0, 0, 360, 220, 7)
    for side in (-1, 1):
        cv2.circle(image, (cx + side * axes[0] // 2, cy + axes[1] // 4), axes[0] // 4, 50, -1)
    return cv2.GaussianBlur(image, (0, 0), 2.0)


KINDS: dict[str, Draw] = {
    "noise": noise,
    "gradient": gradient,
    "drawn scene": scene,
    "drawn limb": limb,
    "drawn skull": skull,
    "two hands": lambda rng, hand: np.hstack([hand, hand[:, ::-1]]),
    "inverted hand": lambda rng, hand: 255 - hand,
    "hand turned by 90 degrees": lambda rng, hand: np.rot90(hand).copy(),
    "inverted hand turned by 90 degrees": lambda rng, hand: 255 - np.rot90(hand),
}


def flags_of(images: list[np.ndarray], ensemble: Ensemble, folder: Path) -> list[list[str]]:
    """Return the flags of each image."""
    flags = []
    for start in range(0, len(images), RADIOGRAPHS_IN_MEMORY):
        part = []
        for i, image in enumerate(images[start : start + RADIOGRAPHS_IN_MEMORY]):
            file = folder / f"{start + i}.png"
            cv2.imwrite(str(file), image)
            part.append((file, load(file, ensemble.preprocessings)))
        answers, _ = answer_all(part, [Patient()] * len(part), ensemble)
        flags += [answer.flags for answer in answers]
    return flags


def shares(flags: list[list[str]]) -> dict[str, object]:
    """Return the share with any flag, and the share that was corrected."""
    any_flag = np.array([bool(f) for f in flags], float)
    corrected = np.array([any("corrected" in word for word in f) for f in flags], float)
    table = {
        name: with_interval(lambda x: {"share": x.mean(axis=-1)}, values)["share"]
        for name, values in (("flagged", any_flag), ("corrected", corrected))
    }
    for share in table.values():
        widen_share(share)
    return {**table, "kinds": pd.Series([w for f in flags for w in f]).value_counts().to_dict()}


def main(root: Path, n: int) -> None:
    """Measure all kinds."""
    ensemble, rng = Ensemble(), np.random.default_rng(0)
    table = read_source(root)
    table = table[~table["id"].isin(ensemble.models[0].seen)]
    hands = [np.asarray(read_radiograph(path)[0], np.uint8) for path in table["path"]]
    with tempfile.TemporaryDirectory() as folder:
        measured = {"held-out hands": shares(flags_of(hands, ensemble, Path(folder)))}
        for name, draw in KINDS.items():
            drawn = [draw(rng, hands[i % len(hands)]) for i in range(n)]
            measured[name] = shares(flags_of(drawn, ensemble, Path(folder)))
            print(name, measured[name])
    write_json(Path(__file__).with_name("gate.json"), measured)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 200)
