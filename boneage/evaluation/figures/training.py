"""Figures of a training: the network, the folds, the images and the learning curves."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator, MultipleLocator

from boneage.data.splits import FOLDS
from boneage.evaluation.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    SEX_COLORS,
    SKY,
    VERMILION,
    end_of_axis,
)
from boneage.evaluation.metrics import group_label, is_curve, metric_label

WIDTH, HEIGHT, GAP = 2.2, 0.42, 0.16  # inches, of a block; 42 characters fit
Block = tuple[str, str, str]  # label, shape and parameters, colour


def fold_distribution(table: pd.DataFrame) -> Figure:
    """Draw age and sex of each fold that has radiographs.

    Args:
        table: one row per radiograph: `fold` (train, val, test), `age_years`, `sex`.
    """
    folds = [item for item in FOLDS.items() if (table["fold"] == item[0]).any()]
    figure = Figure(figsize=(2.4 * len(folds), 2.6), layout="constrained")
    bins = np.arange(0, end_of_axis(table["age_years"].to_numpy(float)) + 1)
    present = [sex for sex in SEX_COLORS if (table["sex"] == sex).any()]
    grid = figure.subplots(1, len(folds), squeeze=False).flat
    for axes, (fold, name) in zip(grid, folds, strict=True):
        rows = table[table["fold"] == fold]
        ages = [rows["age_years"][rows["sex"] == sex] for sex in present]
        colors = [SEX_COLORS[sex] for sex in present]
        axes.hist(ages, bins, stacked=True, color=colors, label=present, rwidth=0.9)
        counts = ", ".join(f"{len(a):,} {sex}" for a, sex in zip(ages, present, strict=True))
        axes.set_title(f"{name}, n = {len(rows):,}\n{counts}", fontsize=8)
        axes.xaxis.set_major_locator(MultipleLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.axes[0].set_ylabel("radiographs")
    figure.axes[len(folds) // 2].set_xlabel("bone age (years)")
    figure.axes[0].legend(loc="upper left")
    return figure


def learning_curves(history: pd.DataFrame) -> Figure:
    """Draw the losses, the metrics of the validation fold and the learning rate by epoch.

    Args:
        history: `epoch`, `learning_rate`, `train/<task>/loss`, `val/<task>/loss` and validation
            metrics, if logged.
    """
    columns = [str(column) for column in history]
    losses = sorted({c.split("/", 1)[1] for c in columns if c.count("/") == 2 and "loss" in c})
    validated = [column.removeprefix("val/") for column in columns if column.startswith("val/")]
    metrics = [name for name in validated if "loss" not in name and is_curve(name)]
    panels = len(losses) + len(metrics) + 1
    rows = -(-panels // 3)
    figure = Figure(figsize=(7.2, 2.3 * rows), layout="constrained")
    epoch = history["epoch"] + 1
    grid = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.set_visible(False)
    for axes, name in zip(grid, [*losses, *metrics], strict=False):
        for fold, color, style in (("train", GREY, "--"), ("val", BLUE, "-")):
            if f"{fold}/{name}" in history:
                values = history[f"{fold}/{name}"].dropna()  # an epoch may have no validation
                epochs = epoch[values.index]
                axes.plot(epochs, values, style, marker=".", color=color, label=FOLDS[fold])
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_title(f"{group_label(name)}: {metric_label(name)}")
    axes = grid[panels - 1]
    axes.plot(epoch, history["learning_rate"], marker=".", color=VERMILION)
    axes.set_title("Learning rate")
    for axes in grid[:panels]:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    grid[0].legend()
    return figure


def image_sheet(images: np.ndarray) -> Figure:
    """Draw training radiographs, unchanged in the first row and augmented below.

    Args:
        images: (rows, columns, H, W) uint8.
    """
    rows, columns = images.shape[:2]
    figure = Figure(figsize=(0.95 * columns + 0.6, 0.98 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for i, line in enumerate(grid):
        for j, axes in enumerate(line):
            axes.imshow(images[i, j], cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel("plain" if i == 0 else f"draw {i}")
    return figure


def architecture(described: dict[str, Any]) -> Figure:
    """Draw one model: the backbone, the sex input, and the heads side by side.

    Args:
        described: `input`, `backbone`, `sex` and `heads` as plain containers; a block is `label`,
            `shape` (of the output for one image) and `parameters`.
    """
    heads = described["heads"]
    sex = _column(described["sex"], PURPLE)
    trunk = [("radiograph", _shape(described["input"]), GREY)]
    trunk += _column(described["backbone"], BLUE)
    branches = {name: _column(blocks, ORANGE) for name, blocks in heads.items()}
    longest = max(len(blocks) for blocks in branches.values()) + 1
    columns = max(len(branches), 1 + bool(sex))
    step = HEIGHT + GAP
    height = (len(trunk) + longest + 1) * step
    width = columns * (WIDTH + 3 * GAP) + GAP
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    middle = width / 2 if not sex else WIDTH / 2 + 2 * GAP
    bottom = _draw_column(axes, middle, height, trunk)
    if sex:
        at = middle + WIDTH + 3 * GAP
        top = bottom + (len(sex) + 1) * step
        _draw_column(axes, at, top, [("sex", "female, male, unknown", GREY), *sex])
        axes.plot([at, at, middle], [bottom, bottom - GAP, bottom - GAP], color=GREY, linewidth=1)
    axes.plot([middle, middle], [bottom, bottom - GAP], color=GREY, linewidth=1)
    bottom -= GAP
    spread = WIDTH + 3 * GAP
    start = width / 2 - spread * (len(branches) - 1) / 2
    for i, (name, blocks) in enumerate(branches.items()):
        x = start + i * spread
        title = group_label(name)
        axes.plot([middle, x], [bottom, bottom], color=GREY, linewidth=1)
        _arrow(axes, (x, bottom), (x, bottom - GAP))
        _draw_column(axes, x, bottom, [(title, "head", SKY), *blocks])
    return figure


def _column(blocks: list[dict[str, Any]], color: str) -> list[Block]:
    return [
        (
            block["label"],
            _shape(block["shape"])
            + (f", {block['parameters']:,} parameters" if block["parameters"] else ""),
            color,
        )
        for block in blocks
    ]


def _draw_column(axes: Axes, x: float, top: float, blocks: list[Block]) -> float:
    """Draw blocks downward from `top`, joined by arrows; return the lower end of the last one."""
    for i, (label, below, color) in enumerate(blocks):
        y = top - GAP - HEIGHT
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.05",
                facecolor=color,
                alpha=0.18,
                edgecolor="none",
            )
        )
        if i:
            _arrow(axes, (x, top), (x, top - GAP))
        label = textwrap.shorten(label, 42, placeholder=" ...")
        axes.text(x, y + 0.62 * HEIGHT, label, ha="center", va="center", fontsize=6.5)
        axes.text(x, y + 0.27 * HEIGHT, below, ha="center", va="center", fontsize=5.8, color=GREY)
        top = y
    return top


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8})


def _shape(shape: list[int]) -> str:
    """Return the shape C x H x W, or a width, as text."""
    if len(shape) == 3 and shape[1:] == [1, 1]:
        shape = shape[:1]
    return " x ".join(str(side) for side in shape)
