"""Forest plot: a metric of several runs with its intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLUE, GREY


def forest(
    runs: Sequence[str],
    panels: dict[str, np.ndarray],
    hollow: dict[str, np.ndarray],
    reference: dict[str, float],
) -> Figure:
    """Draw one panel a metric, one row a run, the first run on top.

    Args:
        runs: K names.
        panels: per metric (with its unit) (K, 3) value and interval; NaN where unknown.
        hollow: per metric (K,) whether the n is small.
        reference: per metric a published value, drawn as a dotted line.
    """
    rows = np.arange(len(runs))
    width = 2.2 * len(panels) + 0.09 * max(len(name) for name in runs)
    figure = Figure(figsize=(width, 0.9 + 0.28 * len(runs)), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        for row in rows[~np.isnan(values[:, 0])]:
            value, low, high = values[row]
            axes.hlines(row, low, high, color=BLUE, linewidth=2)
            face = "white" if hollow[name][row] else BLUE
            axes.plot(value, row, "o", color=BLUE, markerfacecolor=face, markersize=5)
        if name in reference:
            axes.axvline(reference[name], color=GREY, linestyle=":", linewidth=1.2)
        axes.set_xlabel(name)
        axes.set_ylim(len(runs) - 0.5, -0.5)
    grid[0].set_yticks(rows, runs)
    return figure
