"""Figure of several readers and the model, each compared with the mean of the other readers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLUE, VERMILION, one_axes, wrapped
from boneage.evaluation.intervals import Result
from boneage.evaluation.numbers import is_few

OFFSET = 0.14  # of reader and model from the middle of their row


def readers_and_model(report: Mapping[str, Any]) -> Figure:
    """Draw the MAE of each reader, and of the model, against the mean of the other readers.

    Args:
        report: `readers_report` of `metrics.json`.
    """
    names: list[str] = report["names"]
    of_model = {found["reader"]: found["model_mae"] for found in report.get("comparisons", [])}
    maes: list[Result] = [report["agreement"][f"readers/mae_months_{name}"] for name in names]
    ticks = [wrapped(f"{name} (n = {mae['n']:,})") for name, mae in zip(names, maes, strict=True)]
    lines = max(tick.count("\n") + 1 for tick in ticks)
    figure, axes = one_axes(6.4, 1.1 + max(0.45, 0.2 * lines) * len(names))
    for row, (name, mae) in enumerate(zip(names, maes, strict=True)):
        marks = [("reader", mae, BLUE, "o", -OFFSET)]
        if name in of_model:
            marks.append(("model", of_model[name], VERMILION, "s", OFFSET))
        for label, result, color, marker, offset in marks:
            value, low, high = (result[key] for key in ("value", "low", "high"))
            if low is not None and high is not None:
                axes.hlines(row + offset, low, high, color=color, linewidth=2)
            axes.plot(
                np.nan if value is None else value,
                row + offset,
                marker,
                color=color,
                markerfacecolor="white" if is_few(result) else color,
                linestyle="none",
                label=None if row else label,
            )
    axes.set_yticks(range(len(names)), ticks)
    axes.set(xlabel="MAE against the other readers (months)")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure
