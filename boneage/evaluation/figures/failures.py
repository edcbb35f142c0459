"""Figures of errors: by age, sex and band, and near the edges between stages."""

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    SEX_COLORS,
    SEX_MARKERS,
    VERMILION,
    end_of_axis,
    one_axes,
    wrapped,
)
from boneage.evaluation.numbers import is_few, span
from boneage.evaluation.stage import errors_by_edge_distance
from boneage.stages import ALL, BANDS, Stages

RUNNING_WINDOW_YEARS = 2.0
RUNNING_MIN = 5  # radiographs in the window


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


def error_by_band(
    bands: list[str], mae: np.ndarray, bias: np.ndarray, n: np.ndarray, few: np.ndarray
) -> Figure:
    """Draw MAE and bias of each age band with their intervals.

    Args:
        bands: K names, in years.
        mae: (K, 3) MAE in months with its interval; NaN in an empty band.
        bias: (K, 3) bias in months, in the same form.
        n: (K,) radiographs.
        few: (K,) bool, small bands, drawn with a hollow marker.
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    position = np.arange(len(bands))
    for axes, values, name, color in ((left, mae, "MAE", BLUE), (right, bias, "bias", VERMILION)):
        for i in position[~np.isnan(values[:, 0])]:
            value, low, high = values[i]
            axes.vlines(i, low, high, color=color, linewidth=2)
            face = "white" if few[i] else color
            axes.plot(i, value, "o", color=color, markerfacecolor=face, markersize=6)
        axes.set_xticks(position, [f"{b}\n{k:,}" for b, k in zip(bands, n, strict=True)])
        axes.set(xlabel="true bone age (years), n below", ylabel=f"{name} (months)")
        axes.set_xlim(-0.5, len(bands) - 0.5)
    left.set_ylim(bottom=0)
    right.axhline(0, color=BLACK, linewidth=0.8)
    return figure


def bands_of_run(groups: pd.DataFrame) -> Figure:
    """Draw MAE and bias of each age band.

    Args:
        groups: `subgroups.csv` of a run.
    """
    of_all = groups[(groups["sex"] == ALL) & (groups["band"] != ALL)]
    values = {}
    for metric in ("mae", "bias"):
        rows = of_all[of_all["metric"] == f"age/{metric}_months"].set_index("band")
        rows = rows.reindex(list(BANDS.names))
        values[metric] = rows[["value", "low", "high"]].to_numpy(float)
    number = rows.filter(["n", "patients"]).fillna(0).astype(int)
    few = [is_few(dict(row)) for _, row in number.iterrows()]
    n = number["n"].to_numpy()
    return error_by_band(list(BANDS.names), values["mae"], values["bias"], n, np.array(few))


def error_near_edge(
    true_age: np.ndarray, hit: np.ndarray, stages: Stages, patients: np.ndarray | None = None
) -> Figure:
    """Draw the share of wrong stages by distance from each edge between two stages.

    Markers of few patients, or radiographs if these are unknown, are hollow.

    Args:
        true_age: (n,) true ages in years.
        hit: (n,) whether the predicted stage is correct.
        stages: two or more stages; one panel per edge.
        patients: (n,) patient numbers, if known.
    """
    edges = stages.edges
    figure = Figure(figsize=(6.4, 0.8 + 2.6 * len(edges)), layout="constrained")
    panels = figure.subplots(len(edges), 1, sharey=True, squeeze=False)[:, 0]
    for axes, edge, pair in zip(panels, edges, pairwise(stages.names), strict=True):
        rows = errors_by_edge_distance(true_age, hit, edge, patients)
        for i, row in enumerate(rows):
            if row["n"]:
                axes.vlines(i, 100 * row["low"], 100 * row["high"], color=BLUE, linewidth=2)
                face = "white" if is_few(row) else BLUE
                value = 100 * row["rate"]
                axes.plot(i, value, "o", color=BLUE, markerfacecolor=face, clip_on=False)
        axes.axvline(len(rows) / 2 - 0.5, color=GREY, linewidth=0.8)
        axes.set_xticks(range(len(rows)), [f"{span(row)}\n{row['n']:,}" for row in rows])
        title = wrapped(f"{pair[0]} to {pair[1]}: {edge:g} years", 80)
        axes.set(title=title, ylabel="wrong stage (%)")
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.tick_params(axis="x", labelsize=7)
    panels[-1].set_xlabel("true bone age minus the edge (years), n below")
    panels[-1].set_ylim(bottom=0)
    return figure
