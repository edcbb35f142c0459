"""Figures of predicted bone age, from arrays in years."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from boneage.evaluation.age import LIMITS_OF_AGREEMENT
from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    MARKER_OF_SEX,
    OF_SEX,
    VERMILION,
    one_axes,
)
from boneage.stages import Stages

OLDEST_YEARS = 20
RUNNING_WINDOW_YEARS = 2.0
RUNNING_MIN = 5  # radiographs in the window


def scatter(true: np.ndarray, predicted: np.ndarray, stages: Stages) -> Figure:
    """Draw predicted against true age, coloured by density, over the stages.

    Args:
        true: (n,) true ages in years.
        predicted: (n,) predicted ages in years.
        stages: their bands are shaded.
    """
    figure, axes = one_axes(4.8, 4.2)
    low = min(0.0, float(predicted.min(initial=0)))
    high = max(OLDEST_YEARS, float(predicted.max(initial=0)))
    edges = [0, *stages.edges, OLDEST_YEARS]
    for i, name in enumerate(stages.names):
        start, end = edges[i], max(edges[i], edges[i + 1])
        axes.axvspan(start, end, color=GREY, alpha=0.05 + 0.08 * (i % 2), linewidth=0)
        axes.text((start + end) / 2, high, name, ha="center", va="bottom", fontsize=7, color=GREY)
    density = _density(true, predicted)
    order = np.argsort(density)
    points = axes.scatter(
        true[order], predicted[order], c=density[order], s=9, cmap="viridis", linewidths=0
    )
    axes.plot([0, OLDEST_YEARS], [0, OLDEST_YEARS], color=BLACK, linewidth=1, label="identity")
    axes.set(
        xlim=(0, OLDEST_YEARS),
        ylim=(low, high),
        xlabel="true bone age (years)",
        ylabel="predicted bone age (years)",
        aspect="equal",
    )
    axes.xaxis.set_major_locator(MultipleLocator(4))
    axes.yaxis.set_major_locator(MultipleLocator(4))
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
    difference = 12 * (predicted - true)
    bias = difference.mean()
    lines = [(bias, "bias", "-")]
    if len(difference) > 1:
        spread = LIMITS_OF_AGREEMENT * difference.std(ddof=1)
        lines += [(bias + spread, "+1.96 SD", "--"), (bias - spread, "-1.96 SD", "--")]
    axes.scatter((true + predicted) / 2, difference, s=8, color=BLUE, alpha=0.5, linewidths=0)
    for value, label, style in lines:
        axes.axhline(value, color=BLACK, linewidth=1, linestyle=style)
        axes.annotate(
            f"{label}\n{value:+.1f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set(
        xlabel="mean of true and predicted bone age (years)",
        ylabel="predicted - true (months)",
        xlim=(0, OLDEST_YEARS),
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
    for name, color in OF_SEX.items():
        chosen = sex == name
        if not chosen.any():
            continue
        axes.scatter(
            true[chosen],
            error[chosen],
            s=9,
            color=color,
            marker=MARKER_OF_SEX[name],
            alpha=0.4,
            linewidths=0,
        )
        age, mean = running_mean(true[chosen], error[chosen])
        label = f"{name}, running mean (n = {chosen.sum():,})"
        axes.plot(age, mean, color=color, linewidth=2, label=label)
    axes.set(
        xlabel="true bone age (years)", ylabel="predicted - true (months)", xlim=(0, OLDEST_YEARS)
    )
    axes.xaxis.set_major_locator(MultipleLocator(4))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def running_mean(age: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ages on a half-year grid and the mean error within one year of each.

    The mean is NaN, a gap in the line, where fewer than five radiographs are so near.
    """
    grid = np.arange(0, OLDEST_YEARS + 0.25, 0.5)
    near = np.abs(grid[:, None] - age) <= RUNNING_WINDOW_YEARS / 2
    n = near.sum(axis=1)
    mean = np.full(len(grid), np.nan)
    enough = n >= RUNNING_MIN
    mean[enough] = (near @ error)[enough] / n[enough]
    return grid, mean


def error_by_band(
    bands: list[str], mae: np.ndarray, bias: np.ndarray, n: np.ndarray, few: int
) -> Figure:
    """Draw MAE and bias of each age band with their intervals; a hollow marker has a small n.

    Args:
        bands: K names, in years.
        mae: (K, 3) MAE in months with its interval; NaN in an empty band.
        bias: (K, 3) bias in months, likewise.
        n: (K,) radiographs.
        few: an n below this is small.
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    position = np.arange(len(bands))
    for axes, values, name, color in ((left, mae, "MAE", BLUE), (right, bias, "bias", VERMILION)):
        for i in position[~np.isnan(values[:, 0])]:
            value, low, high = values[i]
            axes.vlines(i, low, high, color=color, linewidth=2)
            face = "white" if n[i] < few else color
            axes.plot(i, value, "o", color=color, markerfacecolor=face, markersize=6)
        axes.set_xticks(position, [f"{b}\n{k:,}" for b, k in zip(bands, n, strict=True)])
        axes.set(xlabel="true bone age (years), n below", ylabel=f"{name} (months)")
        axes.set_xlim(-0.5, len(bands) - 0.5)
    left.set_ylim(bottom=0)
    right.axhline(0, color=BLACK, linewidth=0.8)
    return figure


def _density(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (n,) how many points there are per squared year around each, from a smoothed count."""
    size = 2 * OLDEST_YEARS  # cells of half a year
    i, j = (np.clip((2 * values).astype(int), 0, size - 1) for values in (x, y))
    count = np.zeros((size, size))
    np.add.at(count, (i, j), 1)
    for axis in (0, 1):
        padded = np.pad(count, [(1, 1) if a == axis else (0, 0) for a in (0, 1)])
        parts = [np.take(padded, np.arange(k, k + size), axis=axis) for k in range(3)]
        count = parts[0] / 4 + parts[1] / 2 + parts[2] / 4
    density: np.ndarray = 4 * count[i, j]
    return density
