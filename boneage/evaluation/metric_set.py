"""The definition of a metric, and the set of metrics of a task."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Literal

import numpy as np

from boneage.errors import FailedRun

Better = Literal["lower", "higher", "near zero", "near one", None]
Bounds = tuple[float, float]
ANY, NOT_NEGATIVE, SHARE, INDEX = (-inf, inf), (0.0, inf), (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True)
class Pairs:
    """True and predicted values, from which a metric is computed.

    Args:
        true: (..., n) true values.
        predicted: (..., n) predictions, or (..., n, K) if a prediction is K numbers.
    """

    true: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Metric:
    """A metric, as used in validation, test, intervals, pages and comparisons.

    Args:
        name: name in files, after that of the task.
        label: name on pages.
        meaning: a short explanation.
        function: from `Pairs`, or the `shared` object of its set, to (...) values, so that
            bootstrap draws are scored together. None if it is read from the folder of a run.
        unit: unit of the values; empty for a share or an index.
        better: the direction that is better.
        headline: whether it is in the short tables.
        compared: whether it is in the tables of a comparison.
        curve: whether its validation values are drawn by epoch.
        bounds: smallest and largest possible value.
        share: whether it is a share of radiographs; shares of 0 or 1 have an exact interval.
        from_share: from a share with which it rises; where it is 0 or 1, its interval is that of
            the share. With `of_class`, the share is of the radiographs that are, or are predicted
            as, the class.
        logged: whether it is logged in validation, and may be monitored.
        among: from (n,) true values to the (n,) bool radiographs to use; None uses all.
        of_class: the function returns (..., K), a number for each class, computed over the
            radiographs with that true (or predicted) class.
        mean_of: the metric of each class of which this is the mean.
    """

    name: str
    label: str
    meaning: str
    function: Callable[[Any], np.ndarray] | None = None
    unit: str = ""
    better: Better = "higher"
    headline: bool = False
    compared: bool = False
    curve: bool = False
    bounds: Bounds = ANY
    share: bool = False
    from_share: Callable[[float], float] | None = None
    logged: bool = False
    among: Callable[[np.ndarray], np.ndarray] | None = None
    of_class: Literal["true", "predicted"] | None = None
    mean_of: str | None = None


@dataclass(frozen=True)
class MetricSet:
    """The metrics of one task.

    Args:
        metrics: the metrics.
        shared: from true and predicted values to the argument of the metric functions: `Pairs`, or
            a similar object that caches terms of several metrics. With classes, it also takes
            `present`, the (K,) bool classes among the radiographs before resampling.
        classes: names of the K classes, for metrics of each class.
    """

    metrics: tuple[Metric, ...]
    shared: Callable[..., Any] = Pairs
    classes: tuple[str, ...] = ()

    def only(self, chosen: Callable[[Metric], bool]) -> "MetricSet":
        """Return the set with the chosen metrics only."""
        return replace(self, metrics=tuple(filter(chosen, self.metrics)))

    def number(self, name: str) -> "MetricSet":
        """Return the set with only the metric that gives this number; empty if none does."""
        return self.only(lambda metric: name in replace(self, metrics=(metric,)).by_name())

    def for_draws_of(self, true: np.ndarray) -> "MetricSet":
        """Return the set for bootstrap draws of radiographs with (n,) true values."""
        if not self.classes:
            return self
        present = np.isin(np.arange(len(self.classes)), true)
        return replace(self, shared=partial(self.shared, present=present))

    def parts(self, true: np.ndarray) -> Iterator[tuple["MetricSet", np.ndarray]]:
        """Yield the metrics that are of the same radiographs, and (n,) bool which these are."""
        for among in dict.fromkeys(metric.among for metric in self.metrics):
            chosen = np.full(len(true), True) if among is None else among(true)
            own = tuple(metric for metric in self.metrics if metric.among == among)
            yield replace(self, metrics=own), chosen

    def by_name(self) -> dict[str, Metric]:
        """Return the metric of each number, by its name."""
        metrics: dict[str, Metric] = {}
        for metric in self.metrics:
            if metric.of_class is None:
                metrics[metric.name] = metric
            else:
                metrics |= {f"{metric.name}_{c}": of_class(metric, c) for c in self.classes}
        return metrics

    def values(self, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Return arrays of shape (...) by name, NaN where undefined, of (..., n) values.

        Raises:
            FailedRun: when a function does not use the last axis.
        """
        if true.shape[-1] == 0:  # which functions of authors need not expect
            return {name: np.full(true.shape[:-1], np.nan) for name in self.by_name()}
        values: dict[str, np.ndarray] = {}
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # mean or spread of too few values
            shared = self.shared(true, predicted)
            for metric in self.metrics:
                assert metric.function is not None
                value = metric.function(shared)
                shape = true.shape[:-1] + (len(self.classes),) * (metric.of_class is not None)
                if np.shape(value) != shape:
                    raise FailedRun(
                        f"metric {metric.name}: its function gives shape {np.shape(value)} instead "
                        f"of {shape} for values of shape {true.shape}: use the last axis, as in "
                        "mean(axis=-1)"
                    )
                if metric.of_class is None:
                    values[metric.name] = value
                else:
                    each = enumerate(self.classes)
                    values |= {f"{metric.name}_{name}": value[..., i] for i, name in each}
        return values


def of_class(metric: Metric, name: str) -> Metric:
    """Return the metric of one class."""
    return replace(metric, name=f"{metric.name}_{name}", label=f"{metric.label}, {name}")
