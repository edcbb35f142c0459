"""Figures that compare runs, readers, or changes of the image, with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from boneage.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    draw_estimate,
    one_axes,
    wrapped,
)
from boneage.evaluation.intervals import Result
from boneage.evaluation.numbers import FEW_NOTE, is_few

Curve = Callable[[np.ndarray], np.ndarray]  # from radiographs to months
SIDE_BY_SIDE = 1.03  # factor between the places of two runs of one size
CROWDED = 6  # sizes
OFFSET = 0.14  # of reader and model from the middle of their row
STRESS_PANELS = (
    ("mae_months", "MAE (months)", BLUE),
    ("change_months", "mean absolute change (months)", ORANGE),
    ("accuracy", "accuracy of the stage", BLUE),
    ("stage_changed", "share of changed stages", ORANGE),
    ("flagged", "share flagged as noisy, compressed\nor unlike the training radiographs", BLUE),
)


def forest(
    runs: Sequence[str],
    panels: dict[str, np.ndarray],
    hollow: dict[str, np.ndarray],
    reference: dict[str, float],
) -> Figure:
    """Draw runs, the first on top, with one panel a metric.

    Args:
        runs: K names.
        panels: per metric (with its unit) (K, 3) value and interval; NaN if unknown.
        hollow: per metric (K,) whether the n is small.
        reference: per metric a published value, drawn as a dotted line.
    """
    rows = np.arange(len(runs))
    names = [wrapped(name) for name in runs]
    lines = [line for name in names for line in name.splitlines()]
    height = 0.15 + 0.13 * (max(name.count("\n") for name in names) + 1)
    width = 2.2 * len(panels) + 0.09 * max(map(len, lines))
    figure = Figure(figsize=(width, 0.9 + height * len(runs)), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(grid, panels.items(), strict=True):
        for row in rows[~np.isnan(values[:, 0])]:
            few = hollow[name][row]
            draw_estimate(axes, row, values[row], BLUE, few=few, markersize=5)
        if name in reference:
            axes.axvline(reference[name], color=GREY, linestyle=":", linewidth=1.2)
        axes.set_xlabel(name)
        axes.set_ylim(len(runs) - 0.5, -0.5)
    grid[0].set_yticks(rows, names)
    return figure


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
            estimate = np.array([result[key] for key in ("value", "low", "high")], float)
            legend = None if row else label
            draw_estimate(
                axes, row + offset, estimate, color, few=is_few(result), marker=marker, label=legend
            )
    axes.set_yticks(range(len(names)), ticks)
    axes.set(xlabel="MAE against the other readers (months)")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def stress_figure(measured: pd.DataFrame) -> Figure:
    """Draw the metrics of each change with 95 % intervals, next to the unchanged radiographs.

    Args:
        measured: `change`, `metric`, `value`, `low`, `high`, `n` (and `patients`).
    """
    panels = [panel for panel in STRESS_PANELS if (measured["metric"] == panel[0]).any()]
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
    label_sizes(axes, np.unique(n))
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


def label_sizes(axes: Axes, sizes: np.ndarray) -> None:
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
