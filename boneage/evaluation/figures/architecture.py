"""The layers of a model as blocks, with output shape and parameters."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from boneage.evaluation.figures.style import BLUE, GREY, ORANGE, PURPLE, SKY
from boneage.evaluation.metrics import group_label

WIDTH, HEIGHT, GAP = 2.2, 0.42, 0.16  # inches; 42 characters fit
Block = tuple[str, str, str]  # label, shape and parameters, colour


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
