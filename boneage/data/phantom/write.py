"""Draw synthetic radiographs, with ages and sexes distributed like RSNA's, and write a data set."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from boneage.data.atomic import atomic_folder, build_lock, default_cache_dir, writing
from boneage.data.phantom.hand import Shape, Tissue, draw_hand
from boneage.data.phantom.ossification import Maturity
from boneage.errors import UserError

log = logging.getLogger(__name__)

SUBPIXEL_BITS = 4
WIDTH_SHARE = (0.74, 0.9)  # of the height, as in most films
ADULT_FRAME_MM = 285.0
WRIST_FROM_BELOW = 0.24  # height of the wrist in the frame
TISSUES: tuple[Tissue, ...] = ("soft tissue", "shaft", "epiphysis", "carpal")
LOW_CONTRAST_SHARE = 1 / 6
BORDER_SHARE = 0.25

# Radiographs per year of bone age, 0 to 19, in the RSNA training set (Halabi et al. 2019).
PER_YEAR = np.array(
    [13, 78, 175, 231, 304, 531, 739, 877, 896, 444,
     1210, 1665, 1400, 1947, 1002, 581, 209, 216, 74, 19]
)  # fmt: skip
OLDEST_MONTHS = 228
MALE_SHARE = 6833 / 12611
ALL_MALE_FROM_MONTHS = 217
# Boys' bones are on average 1.45 years older than girls', at a spread of 3.43 years: the log odds
# of being a boy rise by 1.45 / 3.43^2 a year.
MALE_LOG_ODDS_PER_YEAR = 0.123
MEAN_AGE_YEARS = 10.6
PHANTOM_VERSION = 2  # raise it when the same arguments draw other radiographs
RSNA_NAME = "boneage-training-dataset"  # as RSNA calls table and image folder
PHANTOM_FILE = "phantom.json"
FIRST_ID = 100_001  # above the ids of RSNA, which the built-in model was trained on
FIRST_DRAWING = 1001  # seeds the hand of the first id, together with the seed of the phantom
SIZE_RANGE = (32, 1024)


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
    layers = _fill_layers(shapes, _pose(maturity.growth, size, width, rng), size, width)
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


def _fill_layers(
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
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.1))


def draw_population(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return n rows of `boneage` (whole months) and `male`, in random order.

    Ages are drawn one from each n-th of the distribution, so that small sets resemble it too.
    """
    quantiles = (rng.permutation(n) + rng.random(n)) / n
    cumulated = np.concatenate([[0], np.cumsum(PER_YEAR)]) / PER_YEAR.sum()
    part, year = np.modf(np.interp(quantiles, cumulated, np.arange(len(PER_YEAR) + 1)))
    months = (12 * (year + part**2)).astype(int)  # labels pile up on whole years
    months = months.clip(1, OLDEST_MONTHS)
    odds = np.log(MALE_SHARE / (1 - MALE_SHARE))
    odds = odds + MALE_LOG_ODDS_PER_YEAR * (months / 12 - MEAN_AGE_YEARS)
    male = rng.random(n) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame({"boneage": months, "male": male | (months >= ALL_MALE_FROM_MONTHS)})


def write_phantom(
    folder: str | Path | None = None, n: int = 1200, size: int = 256, seed: int = 0
) -> Path:
    """Write n synthetic radiographs of left hands, unless they are already written.

    The layout is RSNA's: `boneage-training-dataset.csv` (`id,boneage,male`, months) next to
    `boneage-training-dataset/<id>.png`. `masks/<id>.npz` contains the exact (H, W) bool masks
    `carpals`, `epiphyses` and `soft_tissue`.

    Args:
        folder: the output folder; None is one in the user's cache directory.
        n: number of radiographs.
        size: their height in pixels.
        seed: seed of the hands.

    Returns:
        The folder.

    Raises:
        UserError: when a number is out of range, or the folder contains something else or cannot be
            written.
    """
    if n < 1 or not SIZE_RANGE[0] <= size <= SIZE_RANGE[1] or seed < 0:
        smallest, largest = SIZE_RANGE
        raise UserError(
            f"phantom: n={n} must be 1 or more, size={size} from {smallest} to {largest}, "
            f"seed={seed} 0 or more"
        )
    description = {"version": PHANTOM_VERSION, "n": n, "size": size, "seed": seed}
    cache_dir = default_cache_dir()
    name = "phantom-" + "-".join(str(value) for value in description.values())
    root = Path(folder).absolute() if folder else cache_dir / name
    with writing(root, "choose another folder, and for a cache set BONEAGE_CACHE="):
        if _is_written(root, description):  # perhaps in a cache that only another user can write
            return root
        with build_lock(cache_dir):
            if not _is_written(root, description):
                log.info(f"Drawing {n:,} synthetic radiographs into {root}")
                with atomic_folder(root) as new:
                    _write_files(new, n, size, seed)
                    text = json.dumps(description) + "\n"
                    (new / PHANTOM_FILE).write_text(text, encoding="utf-8")
    return root


def _is_written(root: Path, description: dict[str, int]) -> bool:
    """Tell whether the phantom exists; refuse to overwrite anything else."""
    if (root / PHANTOM_FILE).is_file():
        try:
            existing = json.loads((root / PHANTOM_FILE).read_text(encoding="utf-8"))
        except ValueError:
            existing = None
        if existing == description:
            return True
        if isinstance(existing, dict):
            options = ", ".join(f"{name} {value}" for name, value in existing.items())
            raise UserError(f"{root} contains another phantom ({options}): choose another folder")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} contains something else: choose another folder for the phantom")
    return False


def _write_files(folder: Path, n: int, size: int, seed: int) -> None:
    (folder / RSNA_NAME).mkdir()
    (folder / "masks").mkdir()
    table = draw_population(n, np.random.default_rng(seed))
    table.insert(0, "id", range(FIRST_ID, FIRST_ID + n))
    table.to_csv(folder / f"{RSNA_NAME}.csv", index=False)
    for id_, months, male in zip(table["id"], table["boneage"], table["male"], strict=True):
        rng = np.random.default_rng([seed, FIRST_DRAWING + id_ - FIRST_ID])
        drawn = expose(months / 12, "male" if male else "female", size, rng)
        png = cv2.imencode(".png", drawn.image)[1]  # imwrite fails on letters of Windows users
        (folder / RSNA_NAME / f"{id_}.png").write_bytes(png.tobytes())
        np.savez_compressed(folder / "masks" / f"{id_}.npz", allow_pickle=False, **drawn.masks)
