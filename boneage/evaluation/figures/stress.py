"""Figure of the metrics of a model under changes of the image."""

import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLUE, GREY, ORANGE, wrapped
from boneage.evaluation.numbers import FEW_NOTE, is_few

PANELS = (
    ("mae_months", "MAE (months)", BLUE),
    ("change_months", "mean absolute change (months)", ORANGE),
    ("accuracy", "accuracy of the stage", BLUE),
    ("stage_changed", "share of changed stages", ORANGE),
    ("flagged", "share flagged as unlike\nthe training radiographs", BLUE),
)


def stress_figure(measured: pd.DataFrame) -> Figure:
    """Draw the metrics of each change with 95 % intervals, next to the unchanged radiographs.

    Args:
        measured: `change`, `metric`, `value`, `low`, `high`, `n` (and `patients`).
    """
    panels = [panel for panel in PANELS if (measured["metric"] == panel[0]).any()]
    changes = measured.drop_duplicates("change").to_dict("records")
    names = [row["change"] for row in changes]
    size = (1.8 + 2.9 * len(panels), 1.0 + 0.26 * len(names))
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (metric, label, color) in zip(all_axes, panels, strict=True):
        rows = measured[measured["metric"] == metric].set_index("change").loc[names]
        y = range(len(names))
        axes.hlines(y, rows["low"].astype(float), rows["high"].astype(float), color=color)
        axes.plot(rows["value"], y, "o", color=color, markersize=4, clip_on=False)
        axes.axvline(rows["value"].iloc[0], color=GREY, linestyle="--", linewidth=0.8)
        axes.set(xlabel=label, xlim=(0, None), ylim=(len(names) - 0.5, -0.5))
        axes.locator_params(axis="x", nbins=5)
    ticks = [f"{row['change']} (n = {row['n']:,}{'†' * is_few(row)})" for row in changes]
    all_axes[0].set_yticks(range(len(names)), ticks)
    few = f" {FEW_NOTE}." if any(map(is_few, changes)) else ""
    note = f"Lines: 95 % intervals. Dashed: unchanged.{few}"
    figure.supxlabel(wrapped(note, round(14 * size[0])), fontsize=8)
    return figure
