"""All metrics of ages and stages, one entry each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np

from boneage.evaluation.age import (
    CEILING_YEARS,
    INFANT_YEARS,
    LIMITS_OF_AGREEMENT,
    TAIL,
    Errors,
    concordance,
    infant,
    near_maturity,
    older,
    r2,
    rmse_minus_mae,
    share_of_tail,
    slope,
    within,
)
from boneage.evaluation.metric_set import INDEX, NOT_NEGATIVE, SHARE, Metric, MetricSet, of_class
from boneage.evaluation.stage import Confusion, calibration_error, f1_of_overlap


def _in_both_units(metric: Metric, logged: tuple[str, ...] = ()) -> tuple[Metric, ...]:
    """Return a metric of ages in years and in months; compared and drawn is that in months."""
    in_years = metric.function
    assert in_years is not None
    functions = {"years": in_years, "months": lambda ages: 12 * in_years(ages)}
    return tuple(
        replace(
            metric,
            name=f"{metric.name}_{u}",
            function=function,
            unit=u,
            logged=u in logged,
            compared=metric.compared and u == "months",
            curve=metric.curve and u == "months",
        )
        for u, function in functions.items()
    )


def _within(months: int, headline: bool = False) -> Metric:
    label, meaning = f"Within {months} months", "share of the radiographs"
    function = partial(within, months=months)
    return Metric(
        f"within_{months}_months", label, meaning, function,
        headline=headline, bounds=SHARE, share=True,
    )  # fmt: skip


AGE = MetricSet(
    (
        *_in_both_units(
            Metric(
                "mae", "MAE", "mean absolute error", lambda ages: ages.absolute.mean(axis=-1),
                better="lower", headline=True, compared=True, curve=True, bounds=NOT_NEGATIVE,
            ),
            logged=("years", "months"),
        ),
        *_in_both_units(
            Metric(
                "rmse", "RMSE", "root mean squared error", lambda ages: np.sqrt(ages.squared),
                better="lower", headline=True, compared=True, bounds=NOT_NEGATIVE,
            ),
            logged=("years",),
        ),
        *_in_both_units(
            Metric(
                "median_ae", "Median AE", "half of the errors are smaller",
                lambda ages: ages.median_and_p90[0], better="lower", bounds=NOT_NEGATIVE,
            )
        ),
        *_in_both_units(
            Metric(
                "p90_ae", "90th percentile AE", "nine errors in ten are smaller",
                lambda ages: ages.median_and_p90[1], better="lower", bounds=NOT_NEGATIVE,
            )
        ),
        *_in_both_units(
            Metric(
                "bias", "Bias", "mean of predicted minus true", lambda ages: ages.bias,
                better="near zero", headline=True,
            )
        ),
        *_in_both_units(
            Metric(
                "loa_low", "Limit of agreement, lower",
                f"bias - {LIMITS_OF_AGREEMENT} SD of the error",
                lambda ages: ages.bias - ages.spread, better=None,
            )
        ),
        *_in_both_units(
            Metric(
                "loa_high", "Limit of agreement, upper",
                f"bias + {LIMITS_OF_AGREEMENT} SD of the error",
                lambda ages: ages.bias + ages.spread, better=None,
            )
        ),
        Metric(
            "r2", "R2", "explained share of the variance", r2,
            headline=True, compared=True, bounds=(-inf, 1.0), logged=True,
        ),
        Metric(
            "ccc", "Concordance correlation", "agreement with the identity line", concordance,
            headline=True, bounds=INDEX,
        ),
        _within(6),
        _within(12, headline=True),
        _within(24),
        Metric(
            "infant_sd_years", f"Error SD under {INFANT_YEARS:g} years", "spread of the error",
            lambda ages: ages.sd, "years", "lower", bounds=NOT_NEGATIVE, among=infant,
        ),
        Metric(
            "infant_bias_years", f"Bias under {INFANT_YEARS:g} years", "mean error",
            lambda ages: ages.bias, "years", "near zero", among=infant,
        ),
        Metric(
            "older_sd_years", f"Error SD from {INFANT_YEARS:g} years on",
            "spread of all other errors", lambda ages: ages.sd,
            "years", "lower", bounds=NOT_NEGATIVE, among=older,
        ),
        Metric(
            "ceiling_slope", f"Slope from {CEILING_YEARS:g} years on",
            "of predicted on true age: 0 is a ceiling", slope,
            better="near one", among=near_maturity,
        ),
        Metric(
            "ceiling_bias_years", f"Bias from {CEILING_YEARS:g} years on", "mean error",
            lambda ages: ages.bias, "years", "near zero", among=near_maturity,
        ),
        Metric(
            "rmse_minus_mae_years", "RMSE - MAE", "large where few errors are large",
            rmse_minus_mae, "years", "lower", bounds=NOT_NEGATIVE,
        ),
        Metric(
            "worst_5_percent_share", f"Share of the worst {100 * TAIL:g} %",
            "of the squared error; 0.28 if normal", share_of_tail, better="lower", bounds=SHARE,
        ),
    ),
    Errors,
)  # fmt: skip
STAGE = (
    Metric(
        "accuracy", "Accuracy", "share of correct stages", lambda stages: stages.accuracy,
        headline=True, compared=True, curve=True, bounds=SHARE, share=True, logged=True,
    ),
    Metric(
        "balanced_accuracy", "Balanced accuracy", "mean recall",
        lambda stages: stages.mean(stages.recall),
        headline=True, compared=True, curve=True, bounds=SHARE, logged=True, mean_of="recall",
    ),
    Metric(
        "macro_f1", "Macro F1", "mean F1 of the stages", lambda stages: stages.mean(stages.f1),
        headline=True, bounds=SHARE, mean_of="f1",
    ),
    Metric(
        "kappa", "Weighted kappa", "quadratic weights; 0 is chance", lambda stages: stages.kappa,
        headline=True, bounds=INDEX, logged=True,
    ),
    Metric(
        "recall", "Recall", "share of this stage that is found", lambda stages: stages.recall,
        headline=True, compared=True, bounds=SHARE, share=True, logged=True, of_class="true",
    ),
    Metric(
        "precision", "Precision", "share of predictions of this stage that are correct",
        lambda stages: stages.precision, bounds=SHARE, share=True, of_class="predicted",
    ),
    Metric(
        "f1", "F1", "harmonic mean of precision and recall", lambda stages: stages.f1,
        bounds=SHARE, from_share=f1_of_overlap, of_class="true",
    ),
)  # fmt: skip
CALIBRATION = MetricSet(  # of hits and confidences
    (
        Metric(
            "calibration_error", "Expected calibration error", "gap of confidence and accuracy",
            lambda pairs: calibration_error(pairs.true, pairs.predicted),
            better="lower", bounds=SHARE,
        ),
    )
)  # fmt: skip
HEADS = MetricSet(  # of predicted stages and stages of predicted ages
    (
        Metric(
            "disagreement", "Heads disagree", "predicted stage is not that of predicted age",
            lambda pairs: (pairs.true != pairs.predicted).mean(axis=-1),
            better=None, headline=True, bounds=SHARE, share=True,
        ),
    )
)  # fmt: skip
FROM_AGE = "stage_from_age"
GROUPS = {
    "age": "Bone age",
    "stage": "Stage",
    FROM_AGE: "Stage, from the predicted age",
    "heads": "Agreement of the two heads",
}
BUILT_IN = AGE.by_name() | {m.name: m for m in (*STAGE, *CALIBRATION.metrics, *HEADS.metrics)}
_own: dict[str, Metric] = {}


def stage_metrics(names: tuple[str, ...]) -> MetricSet:
    """Return the metrics of stage indices, with these names of the stages."""
    return MetricSet(STAGE, partial(Confusion, k=len(names)), names)


def stage_probability_metrics(names: tuple[str, ...]) -> MetricSet:
    """Return the metrics of (n, K) probabilities, computed from the most likely stages."""
    return MetricSet(STAGE, partial(_most_likely, k=len(names)), names)


def _most_likely(
    true: np.ndarray, probability: np.ndarray, k: int, present: np.ndarray | None = None
) -> Confusion:
    return Confusion(true, probability.argmax(axis=-1), k, present)


def is_built_in(name: str) -> bool:
    """Tell whether a metric such as `age/mae_months` is built in, not from a new task."""
    group, _, metric = name.partition("/")
    return group in GROUPS and _built_in(metric) is not None


def common_name(name: str) -> str:
    """Return `stage/accuracy` for `stage_from_age/accuracy`: the name that all runs have."""
    return name.replace(f"{FROM_AGE}/", "stage/")


def shown_baselines(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the baselines of `metrics.json` that have a metric of the model, by name."""
    names = {common_name(name) for name in metrics["test"]}
    return {name: own for name, own in metrics["baselines"].items() if names & own.keys()}


def is_compared(name: str) -> bool:
    """Tell whether a metric such as `age/mae_months` is in the tables of a comparison."""
    chosen = describe(name).compared and not name.startswith(f"{FROM_AGE}/")
    return chosen or is_own_headline(name)


def is_curve(name: str) -> bool:
    """Tell whether the validation values of a metric are drawn by epoch."""
    return describe(name).curve or is_own_headline(name)


def is_own_headline(name: str) -> bool:
    """Tell whether a metric is from a new task, and in the short tables."""
    return not is_built_in(name) and describe(name).headline


def register(described: Mapping[str, Metric]) -> None:
    """Register metrics of new tasks for pages and tables, by `<task>/<metric>`."""
    _own.update({name: metric for name, metric in described.items() if not is_built_in(name)})


def describe(name: str) -> Metric:
    """Return the metric of a name such as `age/mae_months` or `stage/recall_child`."""
    metric = name.split("/", 1)[-1]
    unknown = Metric(metric, metric.replace("_", " "), "", better=None, headline=True)
    return _own.get(name) or _built_in(metric) or unknown


def _built_in(metric: str) -> Metric | None:
    if metric in BUILT_IN:
        return BUILT_IN[metric]
    kind, _, stage = metric.partition("_")
    if kind in BUILT_IN and BUILT_IN[kind].of_class and stage:
        return of_class(BUILT_IN[kind], stage)
    return None


def metric_label(name: str) -> str:
    """Return the label of a metric with its unit."""
    metric = describe(name)
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def metric_labels(names: Sequence[str]) -> list[str]:
    """Return the labels of the metrics of a table; where two are equal, their groups as well."""
    labels = [metric_label(name) for name in names]
    return [
        f"{group_label(name)}: {label}" if labels.count(label) > 1 else label
        for name, label in zip(names, labels, strict=True)
    ]


def group_label(name: str) -> str:
    """Return the heading of a metric's group, the part before the slash."""
    group = name.split("/", 1)[0]
    words = group.replace("_", " ")
    return GROUPS.get(group, words[:1].upper() + words[1:])  # that of a new task
