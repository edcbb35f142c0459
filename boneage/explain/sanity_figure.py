"""Figure of the checks of maps: re-drawn layers, and removed pixels."""

import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLUE, GREY, ORANGE


def sanity_figure(randomised: pd.DataFrame, curves: pd.DataFrame, unit: str) -> Figure:
    """Draw how maps change with re-drawn layers, and predictions with removed pixels.

    Args:
        randomised: from `randomisation`.
        curves: from `deletion`.
        unit: of the prediction.
    """
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    by_layer = randomised.groupby("layers")[["spearman", "ssim"]].median()
    for name, label, color in (("spearman", "Spearman", BLUE), ("ssim", "SSIM", ORANGE)):
        left.plot(by_layer.index, by_layer[name], marker=".", color=color, label=label)
    left.set(
        xlabel="layers re-drawn, from the head down", ylabel="likeness to the trained map (median)"
    )
    left.legend()
    for axes, what, title in (
        (middle, "deletion", "pixels removed"),
        (right, "insertion", "pixels put back"),
    ):
        for order, color, style in (("marked", BLUE, "-"), ("random", GREY, "--")):
            mean = curves[curves["order"] == order].groupby("share")[what].mean()
            axes.plot(100 * mean.index, mean, style, color=color, label=f"{order} first")
        axes.set(xlabel=f"{title} (%)", ylabel=f"change of the prediction ({unit})")
    middle.legend()
    return figure
