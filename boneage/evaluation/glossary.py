"""What each metric is called, its unit, what it says, and which way is better."""

from dataclasses import dataclass, replace
from math import inf
from typing import Literal

Better = Literal["lower", "higher", "near zero", "near one", None]

ANY, NOT_NEGATIVE, SHARE, INDEX = (-inf, inf), (0.0, inf), (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True)
class Metric:
    """How a metric is shown to a reader.

    Args:
        label: its name in the field.
        meaning: what it says, in a few words.
        unit: unit of its values; empty for a share or an index.
        better: which way is better.
        headline: whether it stands in the short tables.
        bounds: the least and the greatest value that it can have.
    """

    label: str
    meaning: str
    unit: str = ""
    better: Better = "higher"
    headline: bool = False
    bounds: tuple[float, float] = ANY


AGES = {
    "mae": Metric("MAE", "mean absolute error", better="lower", headline=True, bounds=NOT_NEGATIVE),
    "rmse": Metric(
        "RMSE", "root mean squared error", better="lower", headline=True, bounds=NOT_NEGATIVE
    ),
    "median_ae": Metric(
        "Median AE", "half of the errors are smaller", better="lower", bounds=NOT_NEGATIVE
    ),
    "p90_ae": Metric(
        "90th percentile AE", "nine errors in ten are smaller", better="lower", bounds=NOT_NEGATIVE
    ),
    "bias": Metric("Bias", "mean of predicted minus true", better="near zero", headline=True),
    "loa_low": Metric("Limit of agreement, lower", "bias - 1.96 SD of the error", better=None),
    "loa_high": Metric("Limit of agreement, upper", "bias + 1.96 SD of the error", better=None),
    "infant_sd": Metric(
        "Error SD under 2 years", "spread of the error", better="lower", bounds=NOT_NEGATIVE
    ),
    "older_sd": Metric(
        "Error SD from 2 years on", "the same for the others", better="lower", bounds=NOT_NEGATIVE
    ),
    "infant_bias": Metric("Bias under 2 years", "mean error", better="near zero"),
    "ceiling_bias": Metric("Bias from 17 years on", "mean error", better="near zero"),
    "rmse_minus_mae": Metric(
        "RMSE - MAE", "large where few errors are large", better="lower", bounds=NOT_NEGATIVE
    ),
}
SHARES = {
    "r2": Metric("R2", "explained share of the variance", headline=True, bounds=(-inf, 1.0)),
    "ccc": Metric(
        "Concordance correlation", "agreement with the identity line", headline=True, bounds=INDEX
    ),
    "within_6_months": Metric("Within 6 months", "share of the radiographs", bounds=SHARE),
    "within_12_months": Metric(
        "Within 12 months", "share of the radiographs", headline=True, bounds=SHARE
    ),
    "within_24_months": Metric("Within 24 months", "share of the radiographs", bounds=SHARE),
    "ceiling_slope": Metric(
        "Slope from 17 years on", "of predicted on true age: 0 is a ceiling", better="near one"
    ),
    "worst_5_percent_share": Metric(
        "Share of the worst 5 %",
        "of the squared error; 0.28 if normal",
        better="lower",
        bounds=SHARE,
    ),
    "accuracy": Metric("Accuracy", "share of right stages", headline=True, bounds=SHARE),
    "balanced_accuracy": Metric("Balanced accuracy", "mean recall", headline=True, bounds=SHARE),
    "macro_f1": Metric("Macro F1", "mean F1 of the stages", headline=True, bounds=SHARE),
    "kappa": Metric(
        "Weighted kappa", "quadratic weights; 0 is chance", headline=True, bounds=INDEX
    ),
    "calibration_error": Metric(
        "Expected calibration error", "gap of confidence and accuracy", better="lower", bounds=SHARE
    ),
    "disagreement": Metric(
        "Heads disagree",
        "predicted stage is not that of predicted age",
        better=None,
        headline=True,
        bounds=SHARE,
    ),
}
OF_A_STAGE = {
    "recall": Metric("Recall", "found, of this stage", headline=True, bounds=SHARE),
    "precision": Metric("Precision", "right, of those called this stage", bounds=SHARE),
    "f1": Metric("F1", "harmonic mean of precision and recall", bounds=SHARE),
}
GROUPS = {
    "age": "Bone age",
    "stage": "Stage",
    "stage_from_age": "Stage, from the predicted age",
    "heads": "Agreement of the two heads",
}


def describe(name: str) -> Metric:
    """Return how a metric such as `age/mae_months` or `stage/recall_child` is shown."""
    metric = name.split("/", 1)[-1]
    stem, _, last = metric.rpartition("_")
    if stem in AGES and last in ("years", "months"):
        return replace(AGES[stem], unit=last)
    if metric in SHARES:
        return SHARES[metric]
    kind, _, stage = metric.partition("_")
    if kind in OF_A_STAGE and stage:
        known = OF_A_STAGE[kind]
        return replace(known, label=f"{known.label}, {stage}")
    return Metric(metric.replace("_", " "), "", better=None, headline=True)


def named(name: str) -> str:
    """Return the label of a metric with its unit."""
    metric = describe(name)
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def group_label(name: str) -> str:
    """Return the heading of a metric's group, the part before the slash."""
    group = name.split("/", 1)[0]
    return GROUPS.get(group, group)
