"""Figures of predicted stages, from arrays."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    draw_estimate,
    one_axes,
    wrapped,
)
from boneage.evaluation.numbers import FEW, is_few, span
from boneage.evaluation.stage import errors_by_edge_distance, reliability
from boneage.stages import Stages

STAGE_COLORS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)
STAGE_LINES = ("-", "--", "-.", ":")
MANY_STAGES = 8  # stages


def confusion_matrix(counts: np.ndarray, names: tuple[str, ...], few: np.ndarray) -> Figure:
    """Draw counts and percent of the row.

    Args:
        counts: (K, K) radiographs, true stage by row.
        names: the K stage names.
        few: (K,) bool, small stages, which are marked.
    """
    n = counts.sum(axis=1)
    marks = ["†" if small else "" for small in few]
    rows = [
        f"{wrapped(name, 24)}\nn = {k:,}{mark}"
        for name, k, mark in zip(names, n, marks, strict=True)
    ]
    columns = [wrapped(name, 14) for name in names]
    crowded = len(names) > MANY_STAGES
    side = 0.6 if crowded else 1.0  # inches, of a cell
    longest = max(len(line) for row in rows for line in row.splitlines())
    lines = max(column.count("\n") for column in columns)
    figure, axes = one_axes(
        0.9 + 0.07 * max(10, longest) + side * len(names),
        1 + 0.14 * lines + 0.9 * side * len(names),
    )
    share = counts / np.where(n > 0, n, 1)[:, None]
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            percent = f"\n{100 * share[i, j]:.0f} %" if n[i] else ""
            color = "white" if share[i, j] > 0.55 else "black"
            text = f"{count:,}{percent}"
            size = 6 if crowded else 9
            axes.text(j, i, text, ha="center", va="center", color=color, fontsize=size)
    axes.set_yticks(range(len(names)), rows)
    axes.set_xticks(range(len(names)), columns, fontsize=6 if crowded else 8)
    axes.set(xlabel="predicted stage", ylabel="true stage")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    return figure


def reliability_diagram(probability: np.ndarray, true: np.ndarray) -> Figure:
    """Draw the share of correct stages against the confidence of the model, in 15 bins.

    Args:
        probability: (n, K) predicted probabilities.
        true: (n,) true stage indices.
    """
    hit = probability.argmax(axis=1) == true
    confidence, hits, n = reliability(probability.max(axis=1), hit)
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=BLACK, linewidth=1, label="perfect calibration")
    filled, small = n > 0, (n > 0) & (n < FEW)
    style = {"color": BLUE, "clip_on": False}  # points at 0 and 1 are not cut
    upper.plot(confidence[filled], hits[filled], "o-", label="this model", **style)
    if small.any():  # an empty line that is not clipped would break the layout
        upper.plot(confidence[small], hits[small], "o", markerfacecolor="white", **style)
    upper.set(ylabel="share of correct stages", xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    width = 1 / len(n)
    lower.bar((np.arange(len(n)) + 0.5) * width, n, width=0.9 * width, color=SKY)
    lower.set(xlabel="confidence (probability of the predicted stage)", ylabel="radiographs")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    return figure


def precision_recall(probability: np.ndarray, true: np.ndarray, names: tuple[str, ...]) -> Figure:
    """Draw precision against recall of each stage, one against the rest.

    Args:
        probability: (n, K) predicted probabilities.
        true: (n,) true stage indices.
        names: the K stage names.
    """
    figure, axes = one_axes()
    for i, name in enumerate(names):
        color, line = STAGE_COLORS[i % len(STAGE_COLORS)], STAGE_LINES[i % len(STAGE_LINES)]
        n = int((true == i).sum())
        if n == 0:
            label = wrapped(f"{name} (n = 0)", 55)
            axes.plot([], [], color=color, linestyle=line, label=label)
            continue
        recall, precision = precision_recall_curve(probability[:, i], true == i)
        average = float(np.sum(np.diff(recall, prepend=0) * precision))
        label = f"{name} (n = {n:,}, average precision {average:.2f})"
        curve = np.append(0, recall), np.append(precision[0], precision)  # of this area
        axes.step(*curve, where="pre", color=color, linestyle=line, label=wrapped(label, 55))
        axes.axhline(n / len(true), color=color, linewidth=0.6, linestyle=(0, (1, 4)))
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    labels = axes.get_legend_handles_labels()[1]
    figure.set_figheight(3.3 + 0.17 * sum(label.count("\n") + 1 for label in labels))
    figure.legend(loc="outside lower center", title="dotted: precision by chance")
    return figure


def precision_recall_curve(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return recall and precision at every distinct threshold, from the highest down.

    Args:
        score: (n,) scores.
        positive: (n,) bool, at least one of them True.
    """
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.diff(score[order]) != 0, True)  # of equal scores
    return hits[last] / positive.sum(), hits[last] / (np.flatnonzero(last) + 1)


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
                share = [100 * row[key] for key in ("rate", "low", "high")]
                few = is_few(row)
                draw_estimate(axes, i, share, BLUE, few=few, upright=True, clip_on=False)
        axes.axvline(len(rows) / 2 - 0.5, color=GREY, linewidth=0.8)
        axes.set_xticks(range(len(rows)), [f"{span(row)}\n{row['n']:,}" for row in rows])
        title = wrapped(f"{pair[0]} to {pair[1]}: {edge:g} years", 80)
        axes.set(title=title, ylabel="wrong stage (%)")
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.tick_params(axis="x", labelsize=7)
    panels[-1].set_xlabel("true bone age minus the edge (years), n below")
    panels[-1].set_ylim(bottom=0)
    return figure
