"""An external test compared with the test fold of the checkpoint's own run."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from boneage.data.tables.ids import patient_codes
from boneage.evaluation.intervals import (
    Result,
    Results,
    bounded,
    mean_absolute,
    unpaired_difference,
)
from boneage.evaluation.predictions import count_not_finite, error_months, predicted_stage
from boneage.evaluation.shares import limits_of_difference
from boneage.stages import Stages

COMPARED_SHARES = ("stage/accuracy",)
Columns = tuple[np.ndarray, ...]


def differences(
    own: pd.DataFrame, own_test: Results, external: pd.DataFrame, test: Results, stages: Stages
) -> Results:
    """Return how much metrics of an external test differ from those of a run's own test fold.

    Each set is resampled on its own. Radiographs in both would make the intervals too wide.

    Args:
        own: `predictions.csv` of the run.
        own_test: its metrics.
        external: the predictions of the external radiographs.
        test: their metrics.
        stages: the stages of both.

    Returns:
        Per metric that both have `value`, `low` and `high`, external minus own. There is no
        interval where one of the two metrics has none, as for a single radiograph. Where a share
        is exactly 0 or 1 it is that of Newcombe (`limits_of_difference`), from the intervals of the
        two shares.
    """
    scored: dict[str, tuple[Callable[..., np.ndarray], Callable[[pd.DataFrame], Columns]]] = {
        "age/mae_months": (mean_absolute, lambda table: (error_months(table),)),
        "age/bias_months": (_mean, lambda table: (error_months(table),)),
        "stage/accuracy": (_mean, lambda table: _hits(table, stages)),
    }
    found: Results = {}
    if count_not_finite(own) or count_not_finite(external):
        return found
    patients = patient_codes(own), patient_codes(external)
    for name, (metric, columns) in scored.items():
        pair = own_test.get(name), test.get(name)
        if pair[0] is None or pair[1] is None or None in (pair[0]["value"], pair[1]["value"]):
            continue
        found[name] = unpaired_difference(metric, columns(own), columns(external), patients)
        if pair[0]["low"] is None or pair[1]["low"] is None:
            found[name] |= {"low": None, "high": None}
        elif name in COMPARED_SHARES and {pair[0]["value"], pair[1]["value"]} & {0, 1}:
            low, high = limits_of_difference(*map(_with_limits, (pair[0], pair[1])))
            found[name] |= {"low": low, "high": high}
        if name in COMPARED_SHARES:
            found[name] = bounded(found[name], 1.0)
    return found


def _hits(table: pd.DataFrame, stages: Stages) -> Columns:
    true = stages.index_of(table["age_years"].to_numpy(float))
    return ((predicted_stage(table, stages) == true).astype(float),)


def _mean(values: np.ndarray) -> np.ndarray:
    mean: np.ndarray = values.mean(axis=-1)
    return mean


def _with_limits(share: Result) -> list[float]:
    return [float(share[part] or 0) for part in ("value", "low", "high")]
