"""Figures of predicted bone ages and their errors."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from scipy.ndimage import correlate1d

from boneage.evaluation.age import LIMITS_OF_AGREEMENT
from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    SEX_COLORS,
    SEX_MARKERS,
    VERMILION,
    draw_estimate,
    end_of_axis,
    one_axes,
    wrapped,
)
from boneage.evaluation.numbers import is_few
from boneage.stages import ALL, BANDS, Stages

RUNNING_WINDOW_YEARS = 2.0
RUNNING_MIN = 5  # radiographs in the window
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
            f"{label}\n{value:+z.2f}",
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


def residuals(true: np.ndarray, predicted: np.ndarray, sex: np.ndarray) -> Figure:
    """Draw the error against true age by sex, with running means over two years.

    Args:
        true: (n,) true ages in years.
        predicted: (n,) predicted ages in years.
        sex: (n,) "female", "male" or "unknown".
    """
    figure, axes = one_axes()
    error = 12 * (predicted - true)
    axes.axhline(0, color=BLACK, linewidth=0.8)
    for name, color in SEX_COLORS.items():
        chosen = sex == name
        if not chosen.any():
            continue
        axes.scatter(
            true[chosen],
            error[chosen],
            s=9,
            color=color,
            marker=SEX_MARKERS[name],
            alpha=0.4,
            linewidths=0,
            label=f"{name} (n = {chosen.sum():,})",
        )
        axes.plot(*running_mean(true[chosen], error[chosen]), color=color, linewidth=2)
    axes.set(
        xlabel="true bone age (years)",
        ylabel="predicted - true (months)",
        xlim=(0, end_of_axis(true)),
    )
    axes.xaxis.set_major_locator(MultipleLocator(4))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def running_mean(age: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ages on a half-year grid and the mean error within one year of each.

    The mean is NaN, a gap in the line, for fewer than five radiographs.
    """
    grid = np.arange(0, end_of_axis(age) + 0.25, 0.5)
    near = np.abs(grid[:, None] - age) <= RUNNING_WINDOW_YEARS / 2
    n = near.sum(axis=1)
    mean = np.full(len(grid), np.nan)
    enough = n >= RUNNING_MIN
    mean[enough] = (near @ error)[enough] / n[enough]
    return grid, mean


def error_by_band(groups: pd.DataFrame) -> Figure:
    """Draw MAE and bias of each age band with their intervals.

    Args:
        groups: the rows of `subgroups.csv` by age band and sex.
    """
    of_all = groups[(groups["sex"] == ALL) & (groups["band"] != ALL)]
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, metric, name, color in (
        (left, "age/mae_months", "MAE", BLUE),
        (right, "age/bias_months", "bias", VERMILION),
    ):
        rows = of_all[of_all["metric"] == metric].set_index("band").reindex(list(BANDS.names))
        numbers = rows.filter(["n", "patients"]).fillna(0).astype(int).to_dict("records")
        estimates = rows[["value", "low", "high"]].to_numpy(float)
        for i, (estimate, number) in enumerate(zip(estimates, numbers, strict=True)):
            if not np.isnan(estimate[0]):
                few = is_few(number)
                draw_estimate(axes, i, estimate, color, few=few, upright=True, markersize=6)
        ticks = [f"{b}\n{k['n']:,}" for b, k in zip(BANDS.names, numbers, strict=True)]
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set(xlabel="true bone age (years), n below", ylabel=f"{name} (months)")
        axes.set_xlim(-0.5, len(ticks) - 0.5)
    left.set_ylim(bottom=0)
    right.axhline(0, color=BLACK, linewidth=0.8)
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
        count = correlate1d(count, [0.25, 0.5, 0.25], axis, mode="constant")
    density: np.ndarray = 4 * count[i, j]
    return density
