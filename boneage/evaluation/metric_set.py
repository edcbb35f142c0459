"""What a metric is, and the metrics of a task together."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Literal

import numpy as np

Better = Literal["lower", "higher", "near zero", "near one", None]
Bounds = tuple[float, float]
ANY, NOT_NEGATIVE, SHARE, INDEX = (-inf, inf), (0.0, inf), (0.0, 1.0), (-1.0, 1.0)


@dataclass(frozen=True)
class Pairs:
    """True and predicted values: what a metric is computed from.

    Args:
        true: (..., n) true values.
        predicted: (..., n) predictions, or (..., n, K) where a prediction is K numbers.
    """

    true: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Metric:
    """A metric; validation, test, intervals, pages and comparisons follow from it.

    Args:
        name: its name in files, after that of its task.
        label: its name in the field.
        meaning: what it says, in a few words.
        function: from `Pairs`, or what its set makes of them, to (...) values: bootstrap draws are
            scored together. None where the folder of a run describes it.
        unit: unit of its values; empty for a share or an index.
        better: which way is better.
        headline: whether it is in the short tables.
        bounds: the least and the greatest value that it can have.
        share: whether it is a share of radiographs: one of exactly 0 or 1 has an exact interval.
        logged: whether it is logged in validation, and may be monitored.
        among: from (n,) true values to the (n,) bool radiographs that it is of; None is all.
        of_class: the function returns (..., K), a number for each class: of the radiographs whose
            true, or predicted, class it is.
        mean_of: metric of each class that it is the mean of.
    """

    name: str
    label: str
    meaning: str
    function: Callable[[Any], np.ndarray] | None = None
    unit: str = ""
    better: Better = "higher"
    headline: bool = False
    bounds: Bounds = ANY
    share: bool = False
    logged: bool = False
    among: Callable[[np.ndarray], np.ndarray] | None = None
    of_class: Literal["true", "predicted"] | None = None
    mean_of: str | None = None


@dataclass(frozen=True)
class MetricSet:
    """The metrics of one task.

    Args:
        metrics: the metrics.
        shared: makes what the functions of the metrics take from true and predicted values: `Pairs`
            or an object like it, which keeps what several metrics need. Where there are classes, it
            takes `present` as well, the (K,) bool classes of the radiographs that draws are of.
        classes: names of the K classes, for metrics of each class.
    """

    metrics: tuple[Metric, ...]
    shared: Callable[..., Any] = Pairs
    classes: tuple[str, ...] = ()

    def only(self, chosen: Callable[[Metric], bool]) -> "MetricSet":
        """Return the set without the metrics that are not chosen."""
        return replace(self, metrics=tuple(filter(chosen, self.metrics)))

    def number(self, name: str) -> "MetricSet":
        """Return the set with the metric of one number alone, if it has it."""
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
            yield self.only(partial(_is_among, among)), chosen

    def by_name(self) -> dict[str, Metric]:
        """Return the metric of each number, by its name."""
        named: dict[str, Metric] = {}
        for metric in self.metrics:
            if metric.of_class is None:
                named[metric.name] = metric
            else:
                named |= {f"{metric.name}_{c}": of_class(metric, c) for c in self.classes}
        return named

    def values(self, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """Return arrays of shape (...) by name, NaN where undefined, of (..., n) values."""
        found: dict[str, np.ndarray] = {}
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a mean, or spread, of too few
            shared = self.shared(true, predicted)
            for metric in self.metrics:
                assert metric.function is not None
                value = metric.function(shared)
                if metric.of_class is None:
                    found[metric.name] = value
                else:
                    each = enumerate(self.classes)
                    found |= {f"{metric.name}_{name}": value[..., i] for i, name in each}
        return found


def _is_among(among: Callable[[np.ndarray], np.ndarray] | None, metric: Metric) -> bool:
    return metric.among == among


def of_class(metric: Metric, name: str) -> Metric:
    """Return the metric of one class."""
    return replace(metric, name=f"{metric.name}_{name}", label=f"{metric.label}, {name}")
