"""Draw the README's contact sheet: python studies/phantom_sheet.py docs/phantom.png."""

import sys
from pathlib import Path

import cv2
import numpy as np

from boneage.data.phantom import expose

AGES_YEARS = (1, 3, 6, 9, 12, 15, 18)
CELL = 240, 180  # height and width, pixels
HEADER = 30  # pixels above each radiograph for its caption
SHEET_PERCENTILES = (0.5, 99.8)  # stretched between these, so that faint films can be read
SEED = 10
CHILD = {"female": "girl", "male": "boy"}


def contact_sheet() -> np.ndarray:
    """Return radiographs of 1 to 18 years as one (H, W) uint8 image, each boy below the girl.

    Both of an age have the same pose and exposure, so that only their maturity differs.
    """
    rows = [np.hstack([_cell(age, sex) for age in AGES_YEARS]) for sex in CHILD]
    return np.vstack(rows)


def _cell(age_years: int, sex: str) -> np.ndarray:
    height, width = CELL
    image = expose(age_years, sex, 2 * height, np.random.default_rng([SEED, age_years])).image
    low, high = np.percentile(image, SHEET_PERCENTILES)
    image = np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    cell = np.zeros((height + HEADER, width), np.uint8)
    drawn = cv2.resize(
        image, (min(width, image.shape[1] // 2), height), interpolation=cv2.INTER_AREA
    )
    left = (width - drawn.shape[1]) // 2
    cell[HEADER:, left : left + drawn.shape[1]] = drawn
    years = "year" if age_years == 1 else "years"
    cv2.putText(
        cell, f"{CHILD[sex]}, {age_years} {years}", (8, 21),
        cv2.FONT_HERSHEY_SIMPLEX, 0.68, 240, 1, cv2.LINE_AA,
    )  # fmt: skip
    return cell


if __name__ == "__main__":
    png = cv2.imencode(".png", contact_sheet(), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    Path(sys.argv[1]).write_bytes(png.tobytes())
