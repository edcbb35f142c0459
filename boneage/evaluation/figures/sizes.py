"""Figure of the error by the size of the training fold."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from boneage.evaluation.figures.style import BLUE, GREY, one_axes

Curve = Callable[[np.ndarray], np.ndarray]  # from radiographs to months
SIDE_BY_SIDE = 1.03  # factor between the places of two runs of one size
CROWDED = 6  # sizes


def error_by_size(n: np.ndarray, mae: np.ndarray, curve: Curve | None) -> Figure:
    """Draw the MAE of runs against the number of their training radiographs, on a log axis.

    Args:
        n: (K,) training radiographs, ascending.
        mae: (K, 3) MAE with its 95 % interval, months.
        curve: from radiographs to months; None draws no curve.
    """
    figure, axes = one_axes(4.8, 3.4)
    draw_errors(axes, n, mae, BLUE, "run, 95 % interval")
    if curve is not None:
        draw_curve(axes, n, curve, GREY, ("fitted power law", "beyond the data"))
    finish(axes, np.unique(n))
    return figure


def draw_errors(axes: Axes, n: np.ndarray, mae: np.ndarray, color: str, label: str) -> None:
    """Draw the (K, 3) MAE of runs with its interval at the (K,) sizes, those of one size apart."""
    counts = np.unique(n, return_counts=True)[1]
    rank = np.concatenate([np.arange(count) - (count - 1) / 2 for count in counts])
    below_above = np.abs(mae[:, 1:] - mae[:, :1]).T
    axes.errorbar(
        n * SIDE_BY_SIDE**rank, mae[:, 0], below_above, fmt="o", color=color, markersize=4,
        elinewidth=1.2, label=label,
    )  # fmt: skip


def draw_curve(
    axes: Axes, n: np.ndarray, curve: Curve, color: str, labels: tuple[str, str] = ("", "")
) -> None:
    """Draw a curve from the smallest of the sizes to twice the largest, dashed beyond it."""
    parts = ((n[0], n[-1], "-"), (n[-1], 2 * n[-1], "--"))
    for (start, end, style), label in zip(parts, labels, strict=True):
        x = np.geomspace(start, end, 100)
        axes.plot(x, curve(x), style, color=color, label=label)


def finish(axes: Axes, sizes: np.ndarray) -> None:
    """Label the axes, with a tick for each size, and add the legend."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(sizes) > CROWDED:
        axes.tick_params(axis="x", rotation=45)
    axes.set_xlabel("training radiographs (log scale)")
    axes.set_ylabel("MAE on the test fold (months)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2)  # above
