"""The same metrics by age band and sex: where a model is good, and where it is not."""

import pandas as pd

from boneage.data.patients import patient_codes
from boneage.data.sexes import SEXES
from boneage.evaluation.bootstrap import Results, counts
from boneage.evaluation.evaluate import evaluate
from boneage.stages import ALL, BANDS, Stages


def subgroups(predictions: pd.DataFrame, stages: Stages) -> pd.DataFrame:
    """Return every metric of every age band, of every sex, and of both together.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.

    Returns:
        One row per group and metric: `band` (years), `sex`, `metric`, `value`, `low`, `high`, `n`,
        and `patients` where these are known; a group without radiographs has n = 0 and no value.
    """
    band = pd.Series(BANDS.of(predictions["age_years"].to_numpy(float)), index=predictions.index)
    sexes = [ALL, *(sex for sex in SEXES if (predictions["sex"] == sex).any())]
    scored: dict[tuple[str, str], Results] = {}
    for i, name in [(None, ALL), *enumerate(BANDS.names)]:
        for sex in sexes:
            in_band = band == i if i is not None else pd.Series(True, index=predictions.index)
            chosen = predictions[in_band & ((predictions["sex"] == sex) | (sex == ALL))]
            if (name, sex) != (ALL, ALL):
                scored[name, sex] = evaluate(chosen, stages) if len(chosen) else {}
    metrics = dict.fromkeys(metric for results in scored.values() for metric in results)
    none = counts(0, patient_codes(predictions[:0]))
    nothing = {"value": None, "low": None, "high": None, **none}
    rows = [
        {"band": band, "sex": sex, "metric": metric, **results.get(metric, nothing)}
        for (band, sex), results in scored.items()
        for metric in metrics
    ]
    return pd.DataFrame(rows, columns=["band", "sex", "metric", *nothing])
