"""Figure of the error by the size of the training fold."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from boneage.evaluation.figures.style import BLUE, GREY, one_axes

APART = 1.03  # factor between the places of two runs of one size
CROWDED = 6  # sizes


def error_by_size(
    n: np.ndarray, mae: np.ndarray, curve: Callable[[np.ndarray], np.ndarray] | None
) -> Figure:
    """Draw the MAE of runs against the number of their training radiographs, on a log axis.

    Args:
        n: (K,) training radiographs, ascending.
        mae: (K, 3) MAE with its 95 % interval, months.
        curve: from radiographs to months, drawn up to twice the largest n: dashed beyond the
            largest. None draws no curve.
    """
    figure, axes = one_axes(4.8, 3.4)
    sizes, counts = np.unique(n, return_counts=True)
    rank = np.concatenate([np.arange(count) - (count - 1) / 2 for count in counts])
    place = n * APART**rank  # runs of one size side by side
    below_above = np.abs(mae[:, 1:] - mae[:, :1]).T
    axes.errorbar(
        place, mae[:, 0], below_above, fmt="o", color=BLUE, markersize=4, elinewidth=1.2,
        label="run, 95 % interval",
    )  # fmt: skip
    if curve is not None:
        for start, end, style in ((sizes[0], sizes[-1], "-"), (sizes[-1], 2 * sizes[-1], "--")):
            x = np.geomspace(start, end, 100)
            label = "fitted power law" if style == "-" else "beyond the data"
            axes.plot(x, curve(x), style, color=GREY, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if len(sizes) > CROWDED:
        axes.tick_params(axis="x", rotation=45)
    axes.set_xlabel("training radiographs (log scale)")
    axes.set_ylabel("MAE on the test fold (months)")
    axes.legend()
    return figure
