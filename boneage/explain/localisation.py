"""Measure the share of a map in a region, and the effect of markers on predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.dataset import sex_indices
from boneage.data.tables.ids import patient_codes
from boneage.evaluation.intervals import Metrics, with_interval
from boneage.explain.regions import (
    BACKGROUND,
    HAND,
    MARKER,
    SOFT_TISSUE,
    mirrored_mask,
    paint_over,
)
from boneage.models.inference import Predict
from boneage.stages import ALL, BANDS, Stages

POINTING_TOLERANCE = 1 / 32  # of the side: a maximum this near to a region counts as inside
HAND_REGIONS = (HAND, SOFT_TISSUE)  # detected on a radiograph, or exact for a phantom
REGION_SHARES, SHARES_IN_HAND = ("energy", "area", "hit"), ("energy_in_hand", "area_in_hand")
BLOB_SIGMA = 1 / 4  # of the side: hands are in the middle of the image
MOVED = "moved"
SOURCES = ("model", "elsewhere")
DIFFERENCE = "difference"  # of the sources
Groups = Mapping[str, np.ndarray]
Regions = Mapping[str, Mapping[str, np.ndarray]]  # masks by id and region


@dataclass(frozen=True)
class Sample:
    """Radiographs whose maps are measured.

    Args:
        images: (n, H, W) uint8 radiographs that the model was not trained on.
        sex: (n,) int64, index into `SEXES`.
        masks: n times, per region, (H, W) bool.
        groups: (n,) bool of each group, from `age_groups`.
        patients: (n,) numbers of the patients, as for `with_interval`.
    """

    images: np.ndarray
    sex: Tensor
    masks: Sequence[Mapping[str, np.ndarray]]
    groups: Groups
    patients: np.ndarray | None = None

    @classmethod
    def of(cls, table: pd.DataFrame, images: np.ndarray, masks: Regions, stages: Stages) -> Self:
        """Return the n radiographs of a table, with (n, H, W) images, and masks by id."""
        return cls(
            images,
            sex_indices(table["sex"]),
            [masks[id_] for id_ in table["id"]],
            age_groups(table["age_years"].to_numpy(float), stages),
            patient_codes(table),
        )


def age_groups(age_years: np.ndarray, stages: Stages) -> Groups:
    """Return which radiographs are in each group: all, the stages and the age bands.

    An unknown age, NaN, is in no stage and no band.
    """
    has_age = ~np.isnan(age_years)
    groups = {ALL: np.ones(len(age_years), bool)}
    for division in (stages, BANDS):
        index = division.index_of(age_years)
        groups |= {name: has_age & (index == i) for i, name in enumerate(division.names)}
    return groups


def measure(maps: np.ndarray, masks: Sequence[Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Return the overlap of each map with each region of its radiograph.

    Values of the (n, H, W) maps below zero do not count; the n masks are as of `Sample`.

    Returns:
        A row per radiograph and region: `image` (position), `region`, `energy` (share of the map's
        sum inside the region), `area` (share of the image), `hit` (whether the maximum is inside,
        or at most 1/32 of the side away: the pointing game), and `energy_in_hand` and
        `area_in_hand`, the same shares within the hand; NaN without a hand mask, and for regions
        outside the hand or as large as it. A map without positive values has NaN.
    """
    rows = []
    side = maps.shape[-1]
    kernel = np.ones((2 * round(POINTING_TOLERANCE * side) + 1,) * 2, np.uint8)
    for i, (map_, regions) in enumerate(zip(maps, masks, strict=True)):
        positive = map_.clip(min=0)
        total = positive.sum()
        peak = np.unravel_index(positive.argmax(), positive.shape)
        hand = next((regions[name] for name in HAND_REGIONS if name in regions), None)
        for region, mask in regions.items():
            near = cv2.dilate(mask.astype(np.uint8), kernel)
            row: dict[str, object] = {"image": i, "region": region, "area": mask.mean()}
            row["energy"] = positive[mask].sum() / total if total > 0 else np.nan
            row["hit"] = float(near[peak]) if total > 0 else np.nan
            row |= _in_hand(positive, mask, hand)
            rows.append(row)
    return pd.DataFrame(rows)


def _in_hand(positive: np.ndarray, mask: np.ndarray, hand: np.ndarray | None) -> dict[str, float]:
    """Return the shares of a region in the map and the area within the hand."""
    energy = area = np.nan
    if hand is not None and (total := positive[hand].sum()):
        within = mask & hand
        if within.any() and (within != hand).any():
            energy, area = positive[within].sum() / total, within.sum() / hand.sum()
    return {"energy_in_hand": energy, "area_in_hand": area}


def summarise(
    measured: pd.DataFrame, groups: Groups, patients: np.ndarray | None = None
) -> pd.DataFrame:
    """Return energy share, enrichment and pointing game by region, for all, stages and age bands.

    Enrichment is the mean energy share divided by the mean area share: 1 is chance, as for a
    uniform map. `enrichment_in_hand` is the same within the hand, of the radiographs with a hand
    mask and a map on it, which its n counts. Intervals are 95 % bootstrap intervals over patients,
    or over radiographs if the patients are not known.

    Args:
        measured: from `measure`, with `source`.
        groups: as of `Sample`.
        patients: as of `Sample`.

    Returns:
        Rows with `source`, `region`, `group`, `metric`, `value`, `low`, `high`, `n` (and
        `patients`).
    """
    rows = measured.dropna(subset="energy")
    on_hand = rows.dropna(subset="energy_in_hand")
    parts = [
        summarise_groups(rows, REGION_SHARES, _shares, groups, patients),
        summarise_groups(on_hand, SHARES_IN_HAND, _shares_in_hand, groups, patients),
    ]
    return pd.concat(parts, ignore_index=True)


def summarise_groups(
    measured: pd.DataFrame,
    columns: Sequence[str],
    metrics: Callable[..., Metrics],
    groups: Groups,
    patients: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return metrics with intervals by source and region, for all, stages and age bands.

    Args:
        measured: `source`, `region`, `image` (position) and the columns.
        columns: arguments of the metrics.
        metrics: function of (..., n) arrays.
        groups: as of `Sample`.
        patients: as of `Sample`.

    Returns:
        As `summarise`; undefined metrics are left out.
    """
    rows = []
    for (source, region), part in measured.groupby(["source", "region"], sort=False):
        for group, members in groups.items():
            chosen = part[members[part["image"].to_numpy()]]
            if chosen.empty:
                continue
            values = (chosen[name].to_numpy(float) for name in columns)
            own = None if patients is None else patients[chosen["image"].to_numpy()]
            what = {"source": source, "region": region, "group": group}
            named = (MOVED,) if source == DIFFERENCE else ()
            results = with_interval(metrics, *values, patients=own, differences=named)
            for metric, result in results.items():
                if result["value"] is not None:
                    rows.append({**what, "metric": metric, **result})
    summary = pd.DataFrame(rows)
    limits = [name for name in ("low", "high") if name in summary]
    return summary.astype(dict.fromkeys(limits, float))  # NaN if there is no interval


def _shares(energy: np.ndarray, area: np.ndarray, hit: np.ndarray) -> Metrics:
    inside, share = energy.mean(axis=-1), area.mean(axis=-1)
    enrichment = inside / np.where(share > 0, share, np.nan)  # NaN of a region outside the crop
    return {"energy": inside, "area": share, "enrichment": enrichment, "pointing": hit.mean(-1)}


def _shares_in_hand(energy: np.ndarray, area: np.ndarray) -> Metrics:
    return {"enrichment_in_hand": energy.mean(axis=-1) / area.mean(axis=-1)}


def blob(side: int) -> np.ndarray:
    """Return a (side, side) centred Gaussian, a control: hands are in the middle of the image."""
    axis = (np.arange(side) + 0.5) / side - 0.5
    bell = np.exp(-0.5 * (axis / BLOB_SIGMA) ** 2)
    return np.outer(bell, bell)


def edges(images: np.ndarray) -> np.ndarray:
    """Return the (n, H, W) strength of Sobel edges of (n, H, W) uint8 radiographs."""
    strengths = []
    for image in images:
        grey = image.astype(np.float32)
        strengths.append(np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1)))
    return np.stack(strengths)


def marker_effect(sample: Sample, predict: Predict) -> pd.DataFrame:
    """Return the absolute change of predictions without the marker.

    The marker is inpainted from its surroundings. The control is its mirror image in the empty
    background, since inpainting changes an image slightly wherever it is done.

    Returns:
        Rows as from `summarise` for the metric `moved`, in units of the prediction, with the
        sources `model`, `elsewhere`, their `difference`, and the `spread` of the unchanged
        predictions, which is their mean absolute deviation; empty if no radiograph has a marker and
        an empty place for the control.
    """
    pairs = {}
    for i, regions in enumerate(sample.masks):
        if MARKER in regions and BACKGROUND in regions:
            other = mirrored_mask(regions[MARKER], ~regions[BACKGROUND])
            if other is not None:
                pairs[i] = (regions[MARKER], other)
    if not pairs:
        return pd.DataFrame()
    images, rows = sample.images, list(pairs)
    unchanged = predict(images)
    moved = {}
    for source, patches in zip(SOURCES, zip(*pairs.values(), strict=True), strict=False):
        painted = images.copy()
        painted[rows] = paint_over(images[rows], np.stack(patches))
        moved[source] = np.abs(predict(painted) - unchanged)[rows]
    moved[DIFFERENCE] = moved["model"] - moved["elsewhere"]
    moved["spread"] = np.abs(unchanged - unchanged.mean())[rows]
    columns = {"image": rows, "region": MARKER}
    parts = [pd.DataFrame({**columns, "source": s, MOVED: change}) for s, change in moved.items()]

    def mean(change: np.ndarray) -> Metrics:
        return {MOVED: change.mean(axis=-1)}

    return summarise_groups(pd.concat(parts), [MOVED], mean, sample.groups, sample.patients)
