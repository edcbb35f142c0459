"""What each metric is called, its unit, what it says, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "near zero", "near one", None]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown to a reader.

    Args:
        label: its name in the field.
        meaning: what it says, in a few words.
        unit: unit of its values; empty for a share or an index.
        better: which way is better.
        headline: whether it stands in the short tables.
    """

    label: str
    meaning: str
    unit: str = ""
    better: Better = "higher"
    headline: bool = False


AGES = {
    "mae": Metric("MAE", "mean absolute error", better="lower", headline=True),
    "rmse": Metric("RMSE", "root mean squared error", better="lower", headline=True),
    "median_ae": Metric("Median AE", "half of the errors are smaller", better="lower"),
    "p90_ae": Metric("90th percentile AE", "nine errors in ten are smaller", better="lower"),
    "bias": Metric("Bias", "mean of predicted minus true", better="near zero", headline=True),
    "loa_low": Metric("Limit of agreement, lower", "bias - 1.96 SD of the error", better=None),
    "loa_high": Metric("Limit of agreement, upper", "bias + 1.96 SD of the error", better=None),
    "infant_sd": Metric("Error SD under 2 years", "spread, the infant gap", better="lower"),
    "older_sd": Metric("Error SD from 2 years on", "the same for the others", better="lower"),
    "infant_bias": Metric("Bias under 2 years", "mean error", better="near zero"),
    "ceiling_bias": Metric("Bias from 17 years on", "mean error", better="near zero"),
    "rmse_minus_mae": Metric("RMSE - MAE", "large where few errors are large", better="lower"),
}
SHARES = {
    "r2": Metric("R2", "explained share of the variance", headline=True),
    "ccc": Metric("Concordance correlation", "agreement with the identity line", headline=True),
    "within_6_months": Metric("Within 6 months", "share of the radiographs"),
    "within_12_months": Metric("Within 12 months", "share of the radiographs", headline=True),
    "within_24_months": Metric("Within 24 months", "share of the radiographs"),
    "ceiling_slope": Metric(
        "Slope from 17 years on", "of predicted on true age: 0 is a ceiling", better="near one"
    ),
    "worst_5_percent_share": Metric(
        "Share of the worst 5 %", "of the squared error; 0.28 if normal", better="lower"
    ),
    "accuracy": Metric("Accuracy", "share of right stages", headline=True),
    "balanced_accuracy": Metric("Balanced accuracy", "mean recall", headline=True),
    "macro_f1": Metric("Macro F1", "mean F1 of the stages", headline=True),
    "kappa": Metric("Weighted kappa", "quadratic weights; 0 is chance", headline=True),
    "calibration_error": Metric(
        "Expected calibration error", "gap of confidence and accuracy", better="lower"
    ),
    "disagreement": Metric(
        "Heads disagree", "predicted stage is not that of predicted age", better=None, headline=True
    ),
}
OF_A_STAGE = {
    "recall": Metric("Recall", "found, of this stage", headline=True),
    "precision": Metric("Precision", "right, of those called this stage"),
    "f1": Metric("F1", "harmonic mean of precision and recall"),
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
        known = AGES[stem]
        return Metric(known.label, known.meaning, last, known.better, known.headline)
    if metric in SHARES:
        return SHARES[metric]
    kind, _, stage = metric.partition("_")
    if kind in OF_A_STAGE and stage:
        known = OF_A_STAGE[kind]
        label = f"{known.label}, {stage}"
        return Metric(label, known.meaning, "", known.better, known.headline)
    return Metric(metric.replace("_", " "), "", better=None, headline=True)


def named(name: str) -> str:
    """Return the label of a metric with its unit."""
    metric = describe(name)
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def group_label(name: str) -> str:
    """Return the heading of a metric's group, the part before the slash."""
    group = name.split("/", 1)[0]
    return GROUPS.get(group, group)
