"""Conclusions from the metrics of a run, in sentences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.tables.ids import patient_codes
from boneage.errors import plural
from boneage.evaluation.age import CEILING_YEARS, INFANT_YEARS, TAIL, infant, size_of_tail
from boneage.evaluation.gaps import clearest_gap
from boneage.evaluation.intervals import Result, Results
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import in_months, is_few, number, with_limits
from boneage.evaluation.predictions import error_months

HEADLINES = (  # the first that a run has must be better than that of this baseline
    ("age/mae_years", "constant", "the mean training age"),
    ("stage/balanced_accuracy", "majority_class", "the most frequent stage"),
)
YOUNG = "young"
SIGNIFICANT = 0.05  # p
FOLLOWS = 0.5  # a slope nearer to 1 follows the age, one nearer to 0 is a ceiling


def behind_baselines(
    test: Results, baselines: Mapping[str, Results], trained: bool = True
) -> str | None:
    """Return a sentence with advice if a model is no better than one that sees no radiograph.

    Args:
        test: the metrics of the test fold.
        baselines: the metrics of trivial predictors on the same fold.
        trained: whether the run has trained the model, or only tested it.
    """
    for metric, baseline, what in HEADLINES:
        if metric not in test or baseline not in baselines:
            continue
        own, other = test[metric]["value"], baselines[baseline][metric]["value"]
        described = describe(metric)
        if own is None or other is None:
            return None
        if (own > other) if described.better == "higher" else (own < other):
            return None
        unit = f" {described.unit}" if described.unit else ""
        values = [number(value, described.unit) for value in (own, other)]
        advice = "Train for more epochs, lower optimizer.lr, and check" if trained else "Check"
        return (
            f"No better than without a radiograph: {described.label} {values[0]}{unit}, "
            f"compared with {values[1]}{unit} for {what}. {advice} that labels and images match"
        )
    return None


def extremes(test: Results, predictions: pd.DataFrame) -> list[str]:
    """Return the available sentences on the youngest, the oldest and the worst radiographs.

    Args:
        test: the metrics of the test fold.
        predictions: `predictions.csv` of the run.
    """
    sentences = []
    if _has_interval(test, "age/infant_sd_years") and _has_interval(test, "age/older_sd_years"):
        sentences.append(
            f"Under {INFANT_YEARS:g} years (n = {test['age/infant_sd_years']['n']:,}), the spread "
            f"of the error {_spread_of_the_youngest(predictions)} that at other ages. The mean "
            f"error is {test['age/infant_bias_years']['value'] or 0:+z.1f} years."
        )
    if _has_interval(test, "age/ceiling_slope"):
        slope = test["age/ceiling_slope"]
        sentences.append(
            f"From {CEILING_YEARS:g} years on (n = {slope['n']:,}), the predicted age "
            f"{_follows(slope)}."
        )
    tail = test.get("age/worst_5_percent_share", {})
    if (share := tail.get("value")) is not None:
        n = int(tail["n"] or 0)
        sentences.append(
            f"The worst {100 * TAIL:g} % of the radiographs ({size_of_tail(n):,} of {n:,}) account "
            f"for {100 * share:.0f} % of the squared error."
        )
    return sentences


def _has_interval(test: Results, name: str) -> bool:
    return test.get(name, {}).get("low") is not None


def _spread_of_the_youngest(predictions: pd.DataFrame) -> str:
    """Return how the spread compares: distances from the median, permuted (Brown & Forsythe)."""
    young = infant(predictions["age_years"].to_numpy(float))
    error = error_months(predictions)
    distance = error - np.where(young, np.median(error[young]), np.median(error[~young]))
    gap = clearest_gap(distance, np.where(young, YOUNG, "older"), patient_codes(predictions))
    if gap is None:
        return "is from too few to compare it with"
    if gap.p >= SIGNIFICANT:
        return "cannot be distinguished from"
    return "is larger than" if gap.high == YOUNG else "is smaller than"


def _follows(slope: Result) -> str:
    """Return whether predicted ages follow the true ones, from a slope with its interval."""
    if is_few(slope):  # the bootstrap intervals of few are too narrow
        return "may or may not follow the true age: they are too few to tell"
    if (slope["high"] or 0) < FOLLOWS:
        return "hardly follows the true age: there is a ceiling"
    if (slope["low"] or 0) > FOLLOWS:
        return "follows the true age: there is no ceiling"
    return f"may or may not follow the true age: the slope's interval contains {FOLLOWS:g}"


def limit_of_readers(metrics: Mapping[str, Any]) -> str | None:
    """Return the MAE of a model without error, against one reading and the mean, in a sentence.

    Args:
        metrics: what `metrics.json` contains.

    Returns:
        None without several readers, and if the model predicts no ages.
    """
    report = metrics.get("readers_report")
    if report is None or "model" not in report:
        return None
    perfect = report["perfect_mae_months"]
    one, mean = (with_limits(perfect[k], "months") for k in ("one_reading", "mean_of_readings"))
    return (
        f"As readers differ, a perfect model has an MAE of {one} months against one reading, and "
        f"of {mean} months against the mean of all readings."
    )


def verdict(comparison: Mapping[str, Any], margin_months: float) -> str:
    """Return whether a model is worse than a reader by more than a margin, in one sentence."""
    reader, difference = str(comparison["reader"]), comparison["difference"]
    if not reader.lower().startswith("reader"):
        reader = f"reader {reader}"
    months = in_months(margin_months)
    measured = f"difference {with_limits(difference, 'months')} months"
    if comparison["inferior"] is None:
        these = "This" if difference["n"] == 1 else "These"
        return (
            f"{these} {plural(difference['n'], 'radiograph')} cannot tell whether the model is "
            f"worse than {reader} by more than {months}: {measured}."
        )
    answer = "worse" if comparison["inferior"] else "no worse"
    return f"The model is {answer} than {reader} by more than {months}: {measured}."
