"""How far predictions move when the laterality marker is painted over."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from boneage.explain.background import BACKGROUND, MARKER, elsewhere, paint_over
from boneage.explain.inference import Predict
from boneage.explain.localisation import summarise_groups
from boneage.stages import Stages

MOVED = "moved"
SOURCES = ("model", "elsewhere")


def marker_effect(
    images: np.ndarray,
    masks: Sequence[Mapping[str, np.ndarray]],
    predict: Predict,
    age_years: np.ndarray,
    stages: Stages,
) -> pd.DataFrame:
    """Return by how much predictions change, in absolute value, without the marker.

    The marker is filled in from its surroundings. The yardstick is its mirror image in the
    background, where there is nothing: filling in changes a picture a little wherever it is done.

    Args:
        images: (n, H, W) uint8.
        masks: n times, per region, (H, W) bool.
        predict: from images to (n,) predictions.
        age_years: (n,) true ages; NaN where unknown.
        stages: the stages.

    Returns:
        Rows as of `summarise` of the metric `moved`, in units of the prediction, from the sources
        `model`, `elsewhere` and their `difference`; none where no radiograph has a marker and room
        beside it.
    """
    pairs = {}
    for i, regions in enumerate(masks):
        if MARKER in regions and BACKGROUND in regions:
            other = elsewhere(regions[MARKER], ~regions[BACKGROUND])
            if other is not None:
                pairs[i] = (regions[MARKER], other)
    if not pairs:
        return pd.DataFrame()
    rows = list(pairs)
    whole = predict(images)
    moved = {}
    for source, patches in zip(SOURCES, zip(*pairs.values(), strict=True), strict=False):
        painted = images.copy()
        painted[rows] = paint_over(images[rows], np.stack(patches))
        moved[source] = np.abs(predict(painted) - whole)[rows]
    moved["difference"] = moved["model"] - moved["elsewhere"]
    columns = {"image": rows, "region": MARKER}
    parts = [pd.DataFrame({**columns, "source": s, MOVED: change}) for s, change in moved.items()]
    return summarise_groups(
        pd.concat(parts), [MOVED], lambda change: {MOVED: change.mean(axis=-1)}, age_years, stages
    )
