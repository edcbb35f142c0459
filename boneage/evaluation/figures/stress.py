"""Figure of predictions under changes of the picture."""

import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLUE, GREY, ORANGE

PANELS = (
    ("mae_months", "MAE (months)", BLUE),
    ("change_months", "mean absolute change (months)", ORANGE),
    ("accuracy", "accuracy of the stage", BLUE),
    ("stage_changed", "share of changed stages", ORANGE),
)


def stress_figure(measured: pd.DataFrame) -> Figure:
    """Draw each change's metrics with their 95 % intervals, beside the unchanged radiographs.

    Args:
        measured: `change`, `metric`, `value`, `low`, `high`, `n`.
    """
    panels = [panel for panel in PANELS if (measured["metric"] == panel[0]).any()]
    names = list(measured["change"].unique())
    figure = Figure(
        figsize=(1.8 + 2.9 * len(panels), 0.7 + 0.26 * len(names)), layout="constrained"
    )
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (metric, label, color) in zip(all_axes, panels, strict=True):
        rows = measured[measured["metric"] == metric].set_index("change").loc[names]
        y = range(len(names))
        axes.hlines(y, rows["low"].astype(float), rows["high"].astype(float), color=color)
        axes.plot(rows["value"], y, "o", color=color, markersize=4)
        axes.axvline(rows["value"].iloc[0], color=GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel=label, xlim=(0, None))
    counts = measured.groupby("change")["n"].first()
    labels = [f"{name} (n = {counts[name]:,})" for name in names]
    all_axes[0].set_yticks(range(len(names)), labels)
    all_axes[0].invert_yaxis()
    return figure
