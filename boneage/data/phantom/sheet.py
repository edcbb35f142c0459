"""Draw the README's contact sheet: python -m boneage.data.phantom.sheet docs/phantom.png."""

import sys

import cv2
import numpy as np

from boneage.data.phantom.exposure import expose

AGES_YEARS = range(1, 19)
COLUMNS = 9
CELL = 118, 96  # height and width, pixels
HEADER = 14  # pixels above each radiograph for its caption
PERCENTILES = (0.5, 99.8)  # stretched between these, so that faint films can be read


def contact_sheet(seed: int = 3) -> np.ndarray:
    """Return radiographs of ages 1 to 18 years for both sexes as one (H, W) uint8 picture."""
    cells = [_cell(age, sex, seed) for sex in ("female", "male") for age in AGES_YEARS]
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    return np.vstack(rows)


def _cell(age_years: int, sex: str, seed: int) -> np.ndarray:
    height, width = CELL
    image = expose(age_years, sex, 2 * height, np.random.default_rng([seed, age_years])).image
    low, high = np.percentile(image, PERCENTILES)
    image = np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    cell = np.zeros((height + HEADER, width), np.uint8)
    drawn = cv2.resize(
        image, (min(width, image.shape[1] // 2), height), interpolation=cv2.INTER_AREA
    )
    left = (width - drawn.shape[1]) // 2
    cell[HEADER:, left : left + drawn.shape[1]] = drawn
    cv2.putText(
        cell, f"{sex} {age_years} y", (4, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.32, 210, 1, cv2.LINE_AA
    )
    return cell


if __name__ == "__main__":
    if not cv2.imwrite(sys.argv[1], contact_sheet(), [cv2.IMWRITE_PNG_COMPRESSION, 9]):
        sys.exit(f"{sys.argv[1]} cannot be written")
