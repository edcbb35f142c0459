"""Figure of how much maps favour a region, over age and beside the controls."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE
from boneage.evaluation.numbers import FEW
from boneage.stages import BANDS

STYLE = {
    "model": (BLUE, "o", "-"),
    "random_weights": (GREY, "s", "--"),
    "blob": (ORANGE, "^", ":"),
    "edges": (GREEN, "v", "-."),
}


def enrichment_by_age(summary: pd.DataFrame) -> Figure:
    """Draw one panel a region: enrichment by age band of each model, and of the controls.

    Args:
        summary: rows of `summarise` of one task, with `checkpoint`; controls are those of the
            first, other checkpoints are thinner lines.
    """
    rows = summary[(summary["metric"] == "enrichment") & summary["group"].isin(BANDS.names)]
    regions = list(dict.fromkeys(rows["region"]))
    columns = max(1, min(3, len(regions)))
    lines = max(1, -(-len(regions) // columns))
    figure = Figure(figsize=(2.6 * columns, 2.3 * lines + 0.5), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True).flat)
    checkpoints = list(dict.fromkeys(rows["checkpoint"]))
    for axes, region in zip(grid, regions, strict=False):
        axes.axhline(1, color=BLACK, linewidth=0.8)
        for checkpoint in checkpoints:
            of = rows[(rows["region"] == region) & (rows["checkpoint"] == checkpoint)]
            sources = STYLE if checkpoint == checkpoints[0] else {"model": STYLE["model"]}
            for source, (color, marker, line) in sources.items():
                own = of[of["source"] == source].set_index("group").reindex(list(BANDS.names))
                value, n = own["value"].to_numpy(float), own["n"].fillna(0).to_numpy(float)
                first = checkpoint == checkpoints[0]
                axes.plot(
                    value,
                    line,
                    marker=marker if first else None,
                    markersize=4,
                    color=color,
                    linewidth=1.4 if first else 0.7,
                    label=source.replace("_", " ") if first else None,
                )
                if source == "model" and first:
                    few = (n < FEW) & (n > 0)
                    place = np.arange(len(value))
                    axes.plot(place[few], value[few], "o", color=color, mfc="white", markersize=4)
                    axes.fill_between(
                        place,
                        own["low"].to_numpy(float),
                        own["high"].to_numpy(float),
                        color=BLUE,
                        alpha=0.15,
                        linewidth=0,
                    )
        axes.set_title(region)
        axes.set_xticks(range(len(BANDS)), BANDS.names, fontsize=7)
    for axes in grid[len(regions) :]:
        axes.set_visible(False)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.supxlabel("true bone age (years)", fontsize=9)
    figure.supylabel("enrichment (1 is chance)", fontsize=9)
    return figure
