"""How much of a map lies in a region, beside what chance and simple pictures would give."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pandas as pd

from boneage.evaluation.bootstrap import Metrics, with_interval
from boneage.evaluation.subgroups import ALL, BANDS
from boneage.stages import Stages

TOLERANCE = 1 / 32  # of the side: how far beside a region its maximum still counts as inside
BLOB_SIGMA = 1 / 4  # of the side: hands lie in the middle of the picture


def measure(maps: np.ndarray, masks: Sequence[Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Return how each map lies on each region of its radiograph.

    Args:
        maps: (n, H, W) maps; what is below zero does not count.
        masks: n times, per region, (H, W) bool.

    Returns:
        A row per radiograph and region: `image` (position), `region`, `energy` (share of the map's
        sum inside the region), `area` (share of the picture), `hit` (whether the maximum lies
        inside, or at most a 32nd of the side beside it: the pointing game). A map without anything
        above zero has NaN.
    """
    rows = []
    side = maps.shape[-1]
    kernel = np.ones((2 * round(TOLERANCE * side) + 1,) * 2, np.uint8)
    for i, (whole, regions) in enumerate(zip(maps, masks, strict=True)):
        positive = whole.clip(min=0)
        total = positive.sum()
        peak = np.unravel_index(positive.argmax(), positive.shape)
        for region, mask in regions.items():
            near = cv2.dilate(mask.astype(np.uint8), kernel)
            energy = positive[mask].sum() / total if total > 0 else np.nan
            hit = float(near[peak]) if total > 0 else np.nan
            rows.append((i, region, energy, mask.mean(), hit))
    return pd.DataFrame(rows, columns=["image", "region", "energy", "area", "hit"])


def summarise(measured: pd.DataFrame, age_years: np.ndarray, stages: Stages) -> pd.DataFrame:
    """Return energy share, enrichment and pointing game by region, for all, stages and age bands.

    Enrichment is the mean energy share over the mean area share: 1 is what an even map, or chance,
    gives. Intervals are 95 % bootstrap intervals over radiographs.

    Args:
        measured: from `measure`, with `source`.
        age_years: (n,) true ages of the radiographs; NaN where unknown.
        stages: the stages.

    Returns:
        Rows with `source`, `region`, `group`, `metric`, `value`, `low`, `high`, `n`.
    """
    known = ~np.isnan(age_years)
    groups = {ALL: np.ones(len(age_years), bool)}
    for division in (stages, BANDS):
        index = division.of(age_years)
        groups |= {name: known & (index == i) for i, name in enumerate(division.names)}
    rows = []
    for (source, region), part in measured.dropna().groupby(["source", "region"], sort=False):
        for group, members in groups.items():
            chosen = members[part["image"].to_numpy()]
            if not chosen.any():
                continue
            columns = (part[name].to_numpy(float)[chosen] for name in ("energy", "area", "hit"))
            what = {"source": source, "region": region, "group": group}
            for metric, result in with_interval(_shares, *columns).items():
                rows.append({**what, "metric": metric, **result})
    return pd.DataFrame(rows)


def _shares(energy: np.ndarray, area: np.ndarray, hit: np.ndarray) -> Metrics:
    inside, share = energy.mean(axis=-1), area.mean(axis=-1)
    return {"energy": inside, "area": share, "enrichment": inside / share, "pointing": hit.mean(-1)}


def blob(side: int) -> np.ndarray:
    """Return a (side, side) centred Gaussian: hands are in the middle, so it scores too."""
    axis = (np.arange(side) + 0.5) / side - 0.5
    bell = np.exp(-0.5 * (axis / BLOB_SIGMA) ** 2)
    return np.outer(bell, bell)


def edges(images: np.ndarray) -> np.ndarray:
    """Return (n, H, W) strengths of the Sobel edges of (n, H, W) uint8 radiographs."""
    strengths = []
    for image in images:
        grey = image.astype(np.float32)
        strengths.append(np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)))
    return np.stack(strengths)
