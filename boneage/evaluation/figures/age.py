"""Figures of predicted against true bone age, from arrays in years."""

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator

from boneage.evaluation.age import LIMITS_OF_AGREEMENT
from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    end_of_axis,
    one_axes,
    wrapped,
)
from boneage.stages import Stages

LONGEST_NAME = 40  # characters of the name of a stage
DOTS = " ..."
NAME_WIDTH = 0.36  # years that a character of it covers
LABEL_SPACING = 0.1  # between labels of two lines, as a share of the height of the axes


def scatter(true: np.ndarray, predicted: np.ndarray, stages: Stages) -> Figure:
    """Draw predicted against true age, coloured by density, over the stages.

    Args:
        true: (n,) true ages in years.
        predicted: (n,) predicted ages in years.
        stages: shown as shaded bands.
    """
    end = end_of_axis(true)
    names = list(map(_shortened, stages.names))
    bands = list(pairwise(min(edge, end) for edge in (0, *stages.edges, end)))
    fit = all(
        len(name) * NAME_WIDTH <= high - low for name, (low, high) in zip(names, bands, strict=True)
    )
    taller = 0.0 if fit else 0.045 * max(map(len, names))  # upright names
    figure, axes = one_axes(4.8, 4.2 + taller)
    low = min(0.0, float(np.floor(predicted.min(initial=0))))
    high = max(end, end_of_axis(predicted))
    style: dict[str, Any] = {"rotation": 0 if fit else 90, "ha": "center", "va": "bottom"}
    for i, (name, band) in enumerate(zip(names, bands, strict=True)):
        axes.axvspan(*band, color=GREY, alpha=0.05 + 0.08 * (i % 2), linewidth=0)
        size = min(7, 200 / len(names))
        axes.text(sum(band) / 2, high, name, color=GREY, fontsize=size, **style)
    density = _density(true, predicted)
    order = np.argsort(density)
    points = axes.scatter(
        true[order], predicted[order], c=density[order], s=9, cmap="viridis", linewidths=0,
        clip_on=False,
    )  # fmt: skip
    axes.plot([0, end], [0, end], color=BLACK, linewidth=1, label="identity")
    axes.set(
        xlim=(0, end),
        ylim=(low, high),
        xlabel="true bone age (years)",
        ylabel="predicted bone age (years)",
        box_aspect=1,  # square, with equal scales unless a prediction is beyond the oldest age
    )
    axes.xaxis.set_major_locator(MultipleLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 10]))
    axes.legend(loc="lower right")
    figure.colorbar(points, label="radiographs per squared year", shrink=0.8)
    return figure


def bland_altman(true: np.ndarray, predicted: np.ndarray) -> Figure:
    """Draw the difference of predicted and true age against their mean (Bland & Altman 1986).

    Args:
        true: (n,) true ages in years.
        predicted: (n,) predicted ages in years.
    """
    figure, axes = one_axes()
    mean, difference = (true + predicted) / 2, 12 * (predicted - true)
    bias = difference.mean()
    lines = [(bias, "bias", "-")]
    if len(difference) > 1:
        spread = LIMITS_OF_AGREEMENT * difference.std(ddof=1)
        limit = f"{LIMITS_OF_AGREEMENT} SD"
        lines += [(bias + spread, f"+{limit}", "--"), (bias - spread, f"-{limit}", "--")]
    axes.scatter(mean, difference, s=8, color=BLUE, alpha=0.5, linewidths=0)
    for value, _, style in lines:
        axes.axhline(value, color=BLACK, linewidth=1, linestyle=style)
    low, high = axes.set_ylim(axes.get_ylim())
    for (value, label, _), side in zip(lines, (0, 1, -1)[: len(lines)], strict=True):
        apart = max(abs(value - bias) / (high - low), LABEL_SPACING)  # limits close to the bias
        axes.annotate(
            f"{label}\n{value:+z.1f}",
            (1, (bias - low) / (high - low) + side * apart),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set(
        xlabel="mean of true and predicted bone age (years)",
        ylabel="predicted - true (months)",
        xlim=(min(0, np.floor(mean.min())), end_of_axis(mean)),
    )
    axes.xaxis.set_major_locator(MultipleLocator(4))
    return figure


def _shortened(name: str) -> str:
    """Return a name of at most 40 characters, with dots in place of the rest."""
    if len(name) <= LONGEST_NAME:
        return name
    return wrapped(name, LONGEST_NAME - len(DOTS)).splitlines()[0] + DOTS


def _density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (n,) density around each point, per squared year, from a smoothed histogram."""
    i, j = (np.floor(2 * values - np.floor(2 * values.min())).astype(int) for values in (x, y))
    count = np.zeros((i.max() + 1, j.max() + 1))  # cells of half a year
    np.add.at(count, (i, j), 1)
    for axis in (0, 1):
        padded = np.pad(count, [(1, 1) if a == axis else (0, 0) for a in (0, 1)])
        own = np.arange(count.shape[axis])
        parts = [np.take(padded, k + own, axis=axis) for k in range(3)]
        count = parts[0] / 4 + parts[1] / 2 + parts[2] / 4
    density: np.ndarray = 4 * count[i, j]
    return density
