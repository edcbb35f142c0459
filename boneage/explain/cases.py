"""The test radiographs whose maps are worth looking at, and what stands above each."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from boneage.evaluation.cases import wrongness
from boneage.evaluation.subgroups import BANDS
from boneage.stages import Stages


def telling_cases(
    predictions: pd.DataFrame, stages: Stages, cases: int, per_band: int
) -> pd.DataFrame:
    """Return the worst, the median and the best radiographs, and some of each age band.

    Args:
        predictions: truth and prediction of every test radiograph.
        stages: the stages.
        cases: how many of each of the three kinds.
        per_band: how many of each age band: those at the middle of its errors.

    Returns:
        Their rows, each once, with `kind` in front.
    """
    wrong = wrongness(predictions, stages)
    order = (
        np.arange(len(predictions))
        if wrong is None
        else np.argsort(-np.nan_to_num(wrong, nan=np.inf), kind="stable")
    )
    kinds: dict[int, str] = {}
    middle = max(0, len(order) // 2 - cases // 2)
    for kind, positions in (
        ("worst", order[:cases]),
        ("median", order[middle : middle + cases]),
        ("best", order[::-1][:cases]),
    ):
        for position in positions:
            kinds.setdefault(int(position), kind)
    band = BANDS.of(predictions["age_years"].to_numpy(float))
    for i, name in enumerate(BANDS.names):
        members = [int(p) for p in order if band[p] == i and int(p) not in kinds]
        start = max(0, len(members) // 2 - per_band // 2)
        kinds |= dict.fromkeys(members[start : start + per_band], f"{name} years")
    chosen = predictions.iloc[list(kinds)].copy()
    chosen.insert(0, "kind", list(kinds.values()))
    return chosen


def captions(rows: pd.DataFrame) -> list[str]:
    """Return two lines a radiograph: id, sex and truth; then what was predicted."""
    return [_caption(row) for row in rows.to_dict("records")]


def _caption(row: dict[Hashable, Any]) -> str:
    age = row["age_years"]
    first = f"{row['id']}, {row['sex']}, " + ("age unknown" if np.isnan(age) else f"{age:.1f} y")
    if "kind" in row:
        first = f"{row['kind']}: {first}"
    said = []
    if "age_years_predicted" in row:
        said.append(f"{row['age_years_predicted']:.1f} y")
    if "stage_predicted" in row:
        stage = row["stage_predicted"]
        probability = row.get(f"stage_probability_{stage}")
        said.append(stage if probability is None else f"{stage} ({100 * probability:.0f} %)")
    return f"{first}\npredicted {', '.join(said)}" if said else first
