"""The difference of runs that were tested on the same radiographs."""

from collections.abc import Callable, Sequence
from itertools import combinations, islice
from typing import Any

import numpy as np
from scipy.stats import t

from boneage.data.tables.ids import patient_codes
from boneage.evaluation.comparison.group import DEFAULT_SORT, Group, Setting, trained_seeds
from boneage.evaluation.evaluate import score
from boneage.evaluation.intervals import (
    DRAWS,
    NORMAL_LIMIT,
    ROUNDING,
    VALUES_IN_MEMORY,
    Result,
    bounded,
    paired_difference,
    widening,
)
from boneage.evaluation.metric_set import MetricSet
from boneage.evaluation.metrics import AGE, stage_metrics
from boneage.evaluation.numbers import count_units
from boneage.evaluation.predictions import truth_and_prediction
from boneage.evaluation.run_folder import FinishedRun
from boneage.evaluation.shares import widen_difference

ACROSS_TASKS = ("age/mae_months", "stage/accuracy", "stage/balanced_accuracy")


def differences_within(group: Group) -> list[dict[str, Any]]:
    """Return the difference of each run of a group from the first, on the same draws.

    The metric is the one the group is sorted by. If that is not computed over all radiographs, it
    is the MAE or the balanced accuracy.

    Returns:
        Per run except the first: `setting` and `reference` (`Setting`, here of one run), `metric`,
        `difference` (of the setting minus the reference: `value`, `low`, `high`, `p`, `n`).
    """
    return _rows(group, [Setting([run]) for run in group.runs])


def differences_of_settings(group: Group) -> list[dict[str, Any]]:
    """Return the difference of each setting with several seeds from the best such setting.

    A setting has the mean over its seeds. Rows are as in `differences_within`.
    """
    return _rows(group, group.of_seeds)


def differences_across(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the differences between the first runs of the tasks, in the metrics they share.

    A first run that has other seeds is replaced by the mean over them.

    Args:
        groups: the tasks of one test set.

    Returns:
        Rows as in `differences_within`.
    """
    firsts = [
        Setting(trained_seeds(group.settings("seed")[0].runs) or group.runs[:1]) for group in groups
    ]
    rows = (
        _row(reference, setting, metric)
        for metric in ACROSS_TASKS
        for reference, setting in combinations(firsts, 2)
    )
    return [row for row in rows if row is not None]


def _rows(group: Group, settings: Sequence[Setting]) -> list[dict[str, Any]]:
    """Return the difference of each setting from the first, in the first metric that they have."""
    rows: list[dict[str, Any]] = []
    metrics = dict.fromkeys((group.sort, *DEFAULT_SORT))
    for setting in settings[1:]:
        candidates = (_row(settings[0], setting, metric) for metric in metrics)
        rows += islice(filter(None, candidates), 1)  # no more are computed
    return rows


def _row(reference: Setting, setting: Setting, metric: str) -> dict[str, Any] | None:
    difference = difference_of(reference.runs, setting.runs, metric)
    if difference is None:
        return None
    return {
        "setting": setting,
        "reference": reference,
        "metric": metric,
        "difference": difference,
    }


def difference_of(
    first: Sequence[FinishedRun], second: Sequence[FinishedRun], metric: str
) -> Result | None:
    """Return second minus first in one metric; None if a run lacks the predictions for it.

    Where a share that the metric is, or is the mean of, is exactly 0 or 1, no draw of radiographs
    says how uncertain it is: the interval is widened by its exact one, and there is no p.

    Args:
        first: a run, or several that differ in the seed: the metric is the mean over them, and
            interval and p include the spread of the seeds (`with_seeds`).
        second: likewise.
        metric: such as `age/mae_months`.
    """
    ids = first[0].predictions["id"]
    runs = [*first, *second]
    if any(set(ids) != set(run.predictions["id"]) for run in runs):
        return None  # edited by hand: the hash is from the test
    group, _, name = metric.partition("/")
    tables = [run.predictions.set_index("id").loc[ids] for run in runs]
    pairs = [
        truth_and_prediction(table, run.stages, group)
        for table, run in zip(tables, runs, strict=True)
    ]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(runs):
        return None
    true, predicted = known[0][0], [pair[1] for pair in known]
    coded = (codes for table in tables if (codes := patient_codes(table)) is not None)
    patients = next(coded, None)
    metrics = AGE if group == "age" else stage_metrics(first[0].stages.names)
    scored = metrics.number(name).for_draws_of(true)
    if any(entry.among is not None for entry in scored.metrics) or name not in scored.by_name():
        return None

    def value(true: np.ndarray, *of_seeds: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.mean([scored.values(true, one)[name] for one in of_seeds], axis=0)
        return mean

    parts = (true, *predicted[: len(first)]), (true, *predicted[len(first) :])
    difference = paired_difference(value, *parts, patients)
    if len(runs) == 2:
        difference["p"] = exchange_test(value, *parts, patients)
    else:
        of_seeds = np.array([value(true, one) for one in predicted])
        difference = with_seeds(difference, of_seeds[: len(first)], of_seeds[len(first) :])
    shares = [_shares(metrics, name, true, one, patients) for one in predicted]
    widen_difference(difference, shares[: len(first)], shares[len(first) :])
    low, high = scored.by_name()[name].bounds
    return bounded(difference, high - low)


def exchange_test(
    metric: Callable[..., np.ndarray],
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    patients: np.ndarray | None = None,
    draws: int = DRAWS,
) -> float | None:
    """Return the two-sided p of a difference between two runs; None if it is undefined.

    It is the share of draws with a difference at least as large, the sample itself included, when
    the runs are exchanged in half of the radiographs (a paired permutation test, valid for any
    number of radiographs; Davison & Hinkley 1997, section 4.3). Radiographs of one patient are
    exchanged together.

    Args:
        metric: function of (..., n) arrays to (...) values.
        first: (n,) arguments of the metric for one run.
        second: those for the other, in the same order of radiographs.
        patients: (n,) numbers of the patients, if known.
        draws: random exchanges.
    """
    size = abs(metric(*second) - metric(*first))
    if not np.isfinite(size):
        return None
    n = len(first[0])
    codes = np.arange(n) if patients is None else np.unique(patients, return_inverse=True)[1]
    pairs = list(zip(first, second, strict=True))
    rng = np.random.default_rng(0)
    smaller = 0
    for chunk in np.array_split(np.arange(draws), max(1, draws * n // VALUES_IN_MEMORY)):
        chosen = rng.random((len(chunk), codes.max() + 1))[:, codes] < 0.5
        one, other = (
            metric(*(_exchanged(side, *pair) for pair in pairs)) for side in (chosen, ~chosen)
        )
        smaller += (np.abs(other - one) < size - ROUNDING).sum()
    return float(1 - smaller / (draws + 1))


def _exchanged(chosen: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (draws, n) values, of the first run where chosen; the truth of both is not copied."""
    if first is second:
        return np.broadcast_to(first, chosen.shape)
    return np.where(chosen, first, second)


def _shares(
    metrics: MetricSet,
    name: str,
    true: np.ndarray,
    predicted: np.ndarray,
    patients: np.ndarray | None,
) -> list[Result]:
    """Return the shares that a metric is, or is the mean of, with their intervals."""
    metric = metrics.by_name()[name]
    names = [name] if metric.share or metric.from_share else []
    if metric.mean_of is not None:
        names = [f"{metric.mean_of}_{stage}" for stage in metrics.classes]
    results = score("", metrics.number(names[0]), true, predicted, patients) if names else {}
    return [results[f"/{share}"] for share in names]


def with_seeds(difference: Result, first: np.ndarray, second: np.ndarray) -> Result:
    """Return a difference of means over seeds with an interval and a p for other seeds as well.

    The variance of the seeds of each setting (Welch, Biometrika 1947;34:28-35) is added to that of
    the radiographs (or patients); a single seed has the variance of the other setting. The t
    distribution has the degrees of freedom of Satterthwaite (Biometrics Bulletin 1946;2:110-114).

    Args:
        difference: of `paired_difference`, whose interval covers other radiographs only; it has
            one degree of freedom less than radiographs, or patients if known.
        first: (k,) the metric of each seed of a setting.
        second: (m,) that of the other; k + m > 2.
    """
    value, low, high = (difference[part] for part in ("value", "low", "high"))
    n = count_units(difference)
    if value is None or low is None or high is None or n < 2:
        return difference | {"p": None}
    bootstrap_error = (high - low) / (2 * NORMAL_LIMIT * widening(n))
    of_radiographs = bootstrap_error**2 * n / (n - 1)
    parts = [(of_radiographs, n - 1)]  # variances with their degrees of freedom
    if min(len(first), len(second)) > 1:
        parts += [(seeds.var(ddof=1) / len(seeds), len(seeds) - 1) for seeds in (first, second)]
    else:
        several = max(first, second, key=len)
        of_seeds = several.var(ddof=1) * (1 / len(first) + 1 / len(second))
        parts.append((of_seeds, len(several) - 1))
    total = sum(variance for variance, _ in parts)
    if not total > 0:
        return difference | {"p": None}
    error = np.sqrt(total)
    of_t = t(total**2 / sum(variance**2 / freedom for variance, freedom in parts))
    half = of_t.ppf(0.975) * error
    p = 2 * of_t.sf(abs(value) / error)
    return difference | {"low": value - half, "high": value + half, "p": float(p)}
