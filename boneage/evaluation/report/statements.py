"""Sentences of a run's page: conclusions from the metrics, and limits of the data."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.errors import plural
from boneage.evaluation.age import CEILING_YEARS, INFANT_YEARS, TAIL, infant, size_of_tail
from boneage.evaluation.gaps import clearest_gap
from boneage.evaluation.intervals import Results
from boneage.evaluation.methods.words import is_ensemble, knows_training
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import FEW, count_units, interval, is_few, number
from boneage.evaluation.predictions import BEYOND_ANY_AGE, error_months
from boneage.evaluation.reference import reference_of
from boneage.evaluation.run_folder import FinishedRun
from boneage.stages import BANDS

HEADLINES = (  # the first that a run has must be better than that of this baseline
    ("age/mae_years", "constant", "the mean training age"),
    ("stage/balanced_accuracy", "majority_class", "the most frequent stage"),
)
YOUNG = "young"
SIGNIFICANT = 0.05  # p
FOLLOWS = 0.5  # a slope nearer to 1 follows the age, one nearer to 0 is a ceiling


def limits(run: FinishedRun) -> list[str]:
    """Return the sentences for "what these data cannot show"."""
    metrics = run.metrics
    sentences = []
    if metrics.get("synthetic"):
        sentences.append(
            "The radiographs are synthetic: these numbers show whether the software works, and say "
            "nothing about patients. Do not compare them with numbers from real radiographs."
        )
    for column, n in metrics.get("not_finite", {}).items():
        sentences.append(
            f"The predictions ({column}) of {n:,} of {metrics['n']['test']:,} test radiographs are "
            "not finite: training has diverged, and this output has no metrics."
        )
    sentences += _beyond_any_age(run.predictions)
    sentences += _small_stages(run)
    sentences += _small_bands(run.predictions)
    if (run.predictions["sex"] == "unknown").any():
        n = int((run.predictions["sex"] == "unknown").sum())
        sentences.append(f"The sex of {plural(n, 'test radiograph')} is unknown.")
    has_seed = knows_training(metrics["options"]) and not is_ensemble(run)
    here = f" (here {metrics['seed']})" if has_seed else ""
    sentences.append(
        "The intervals cover the choice of the test radiographs. They do not cover the variation "
        f"between seeds{here} and splits: repeat the run with other seeds and folds."
    )
    if metrics.get("official"):
        sentences.append(
            "The labels are single readings. Single readers differ from a consensus of several by "
            "5 to 7 months, so a smaller mean error cannot be distinguished from label noise."
        )
    if (reference := reference_of(metrics)) is not None:
        sentences.append(
            f"The published values ({reference.label}) were measured on other radiographs: "
            f"{reference.note}."
        )
    if metrics.get("external"):
        sentences += _external(run)
    elif metrics["options"].get("data.folds") == "site":
        sentences.append(
            "Each test radiograph is of a site without training radiographs, but of the same data "
            "set. The accuracy with other readers, on other devices, or in children with growth "
            "disorders is unknown."
        )
    elif not metrics.get("synthetic"):
        sentences.append(
            "Training and test radiographs come from the same source. The accuracy in another "
            "hospital, on other devices, or in children with growth disorders is unknown."
        )
    return sentences


def _external(run: FinishedRun) -> list[str]:
    """Return the sentences for a data set other than that of the training."""
    metrics = run.metrics
    trained_on = f" ({metrics['trained_on']})" if metrics.get("trained_on") else ""
    return [
        f"The test radiographs ({metrics['data']}) come from another data set than the training "
        f"radiographs{trained_on}. One external set does not show the accuracy in a third "
        "hospital, on other devices, or in children with disorders of growth.",
        "Radiographs that the model was trained on are recognised by id and reading. Renamed "
        "copies are not noticed.",
        "A difference from the run's own test fold has many possible causes: the children, their "
        "ages, the devices, and who read the bone ages and how.",
    ]


def _beyond_any_age(predictions: pd.DataFrame) -> list[str]:
    if PREDICTED_AGE not in predictions:
        return []
    age = predictions[PREDICTED_AGE].abs()
    beyond = int((age > BEYOND_ANY_AGE).sum())
    if not beyond:
        return []
    return [
        f"{beyond:,} of {len(age):,} predicted ages are beyond {BEYOND_ANY_AGE:g} years: training "
        "has diverged. The figures omit them, the metrics include them."
    ]


def _small_stages(run: FinishedRun) -> list[str]:
    sentences = []
    for name in run.stages.names:
        recall = run.metrics["test"].get(f"stage/recall_{name}")
        if recall is None or count_units(recall) >= FEW:
            continue
        if recall["n"] == 0:
            sentences.append(f"No test radiograph is of the stage {name}: its recall is unknown.")
            continue
        films = plural(recall["n"], "test radiograph")
        if recall.get("patients"):
            films += f" of {plural(recall['patients'], 'patient')}"
        found = f"a recall of {number(recall['value'])}"
        if recall["low"] is None:
            found += " has no interval"
        else:
            found += f" is compatible with anything from {interval(recall)}"
        be = "is" if recall["n"] == 1 else "are"
        sentences.append(f"Only {films} {be} of the stage {name}: {found}.")
    return sentences


def _small_bands(predictions: pd.DataFrame) -> list[str]:
    band = BANDS.index_of(predictions["age_years"].to_numpy(float))
    patients = patient_codes(predictions)
    units = np.arange(len(band)) if patients is None else patients
    numbers = {name: len(np.unique(units[band == i])) for i, name in enumerate(BANDS.names)}
    few = [f"{name} years ({n})" for name, n in numbers.items() if n < FEW]
    if not few:
        return []
    of_patients = f"whose test radiographs are of fewer than {FEW} patients"
    which = f"with fewer than {FEW} test radiographs" if patients is None else of_patients
    return [f"Age bands {which}: {', '.join(few)}."]


def extremes(test: Results, predictions: pd.DataFrame) -> list[str]:
    """Return the available sentences on the youngest, the oldest and the worst radiographs.

    Args:
        test: the metrics of the test fold.
        predictions: `predictions.csv` of the run.
    """
    return [
        sentence
        for sentence in (_youngest(test, predictions), _oldest(test), _tail(test))
        if sentence is not None
    ]


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


def _youngest(test: Results, predictions: pd.DataFrame) -> str | None:
    if not (_limits(test, "age/infant_sd_years") and _limits(test, "age/older_sd_years")):
        return None
    n = test["age/infant_sd_years"]["n"]
    bias = test["age/infant_bias_years"]["value"] or 0
    return (
        f"Under {INFANT_YEARS:g} years (n = {n:,}), the spread of the error "
        f"{_spread_of_the_youngest(predictions)} that at other ages. The mean error is "
        f"{bias:+z.1f} years."
    )


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


def _oldest(test: Results) -> str | None:
    limits = _limits(test, "age/ceiling_slope")
    if len(limits) < 2:
        return None
    n = test["age/ceiling_slope"]["n"]
    if is_few(test["age/ceiling_slope"]):  # the bootstrap intervals of few are too narrow
        answer = "may or may not follow the true age: they are too few to tell"
    elif limits[1] < FOLLOWS:
        answer = "hardly follows the true age: there is a ceiling"
    elif limits[0] > FOLLOWS:
        answer = "follows the true age: there is no ceiling"
    else:
        answer = f"may or may not follow the true age: the slope's interval contains {FOLLOWS:g}"
    return f"From {CEILING_YEARS:g} years on (n = {n:,}), the predicted age {answer}."


def _tail(test: Results) -> str | None:
    result = test.get("age/worst_5_percent_share")
    if result is None or result["value"] is None:
        return None
    n = int(result["n"] or 0)
    return (
        f"The worst {100 * TAIL:g} % of the radiographs ({size_of_tail(n):,} of {n:,}) account for "
        f"{100 * result['value']:.0f} % of the squared error."
    )


def _limits(test: Results, name: str) -> list[float]:
    """Return low and high of a metric; empty if it has no interval."""
    result = test.get(name, {})
    limits = [result.get("low"), result.get("high")]
    return [float(limit) for limit in limits if limit is not None]
