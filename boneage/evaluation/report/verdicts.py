"""The report's two stories, answered from the numbers of a run."""

from collections.abc import Mapping

from boneage.evaluation.bootstrap import Results
from boneage.evaluation.glossary import describe
from boneage.evaluation.numbers import number

HEADLINES = (  # the first that a run has must be better than that of this baseline
    ("age/mae_years", "constant", "the mean training age"),
    ("stage/balanced_accuracy", "majority_class", "the most frequent stage"),
)
FOLLOWS = 0.5  # a slope nearer to 1 follows the age, one nearer to 0 is a ceiling


def verdicts(test: Results) -> list[str]:
    """Return a sentence on the infant gap, the ceiling and the tail, as far as they are known.

    Args:
        test: the metrics of the test fold.
    """
    return [
        sentence
        for sentence in (_infant_gap(test), _ceiling(test), _tail(test))
        if sentence is not None
    ]


def behind_baselines(test: Results, baselines: Mapping[str, Results]) -> str | None:
    """Return a sentence with advice where a model is no better than one that sees no radiograph.

    Args:
        test: the metrics of the test fold.
        baselines: those of trivial predictors on the same fold.
    """
    for metric, baseline, what in HEADLINES:
        if metric not in test:
            continue
        own, other = test[metric]["value"], baselines[baseline][metric]["value"]
        told = describe(metric)
        if own is None or other is None:
            return None
        if (own > other) if told.better == "higher" else (own < other):
            return None
        return (
            f"No better than without a radiograph: {told.label} {number(own)}, where {what} has "
            f"{number(other)}. Train for more epochs, lower optimizer.lr, and check that labels "
            "and images belong together"
        )
    return None


def _infant_gap(test: Results) -> str | None:
    limits = _limits(test, "age/infant_sd_years") + _limits(test, "age/older_sd_years")
    if len(limits) < 4:
        return None
    low, high, older_low, older_high = limits
    n = test["age/infant_sd_years"]["n"]
    if low > older_high:
        answer = "is larger than"
    elif high < older_low:
        answer = "is smaller than"
    else:
        answer = "cannot be told from"
    bias = test["age/infant_bias_years"]["value"] or 0
    return (
        f'"Infant gap": the spread of the error under 2 years (n = {n}) {answer} that of others; '
        f"its mean is {bias:+.1f} years."
    )


def _ceiling(test: Results) -> str | None:
    limits = _limits(test, "age/ceiling_slope")
    if len(limits) < 2:
        return None
    n = test["age/ceiling_slope"]["n"]
    if limits[1] < FOLLOWS:
        answer = "hardly follows the true one: there is a ceiling"
    elif limits[0] > FOLLOWS:
        answer = "follows the true one: there is no ceiling"
    else:
        answer = "may follow the true one or not: the interval of the slope holds both"
    return f'"Maturity ceiling": from 17 years on (n = {n}) the predicted age {answer}.'


def _tail(test: Results) -> str | None:
    share = test.get("age/worst_5_percent_share", {}).get("value")
    if share is None:
        return None
    return f"The worst 5 % of the radiographs carry {100 * share:.0f} % of the squared error."


def _limits(test: Results, name: str) -> list[float]:
    """Return low and high of a metric, nothing where it has no interval."""
    result = test.get(name, {})
    limits = [result.get("low"), result.get("high")]
    return [float(limit) for limit in limits if limit is not None]
