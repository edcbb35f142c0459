"""Measure where the maps of a model lie, and write the results of several models."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from boneage.data.atomic import write_file
from boneage.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    styled,
    to_png,
    wrapped,
)
from boneage.evaluation.numbers import FEWER, is_few
from boneage.evaluation.reference import Reference
from boneage.explain.claim import sentences
from boneage.explain.localisation import Sample, blob, edges, marker_effect, measure, summarise
from boneage.explain.methods import Method, maps_of
from boneage.explain.sanity import with_random_weights
from boneage.models.inference import predictor
from boneage.models.module import BoneAgeModule
from boneage.run_files import CLAIMS
from boneage.stages import BANDS

STYLE = {
    "model": (BLUE, "o", "-"),
    "random_weights": (GREY, "s", "--"),
    "blob": (ORANGE, "^", ":"),
    "edges": (GREEN, "v", "-."),
}
RANDOM = 3  # networks with random weights whose mean is a control: one alone differs too much
LOCALISATION_TABLE = "localisation.csv"


def enrichment_by_age(summary: pd.DataFrame) -> Figure:
    """Draw one panel per region: enrichment by age band of each model, and of the controls.

    The summary has rows of `summarise` of one task, with `checkpoint`. Controls are drawn for the
    first checkpoint; the other checkpoints are thinner lines.
    """
    rows = summary[(summary["metric"] == "enrichment") & summary["group"].isin(BANDS.names)]
    regions = list(dict.fromkeys(rows["region"]))
    columns = max(1, min(3, len(regions)))
    lines = max(1, -(-len(regions) // columns))
    beside = 4 if columns == 3 else 2  # entries of the legend
    figure = Figure(figsize=(max(5.2, 2.6 * columns), 2.3 * lines), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True).flat)
    checkpoints = list(dict.fromkeys(rows["checkpoint"]))
    for axes, region in zip(grid, regions, strict=False):
        axes.axhline(1, color=BLACK, linewidth=0.8)
        of_region = rows[rows["region"] == region]
        for checkpoint in checkpoints:
            part = of_region[of_region["checkpoint"] == checkpoint]
            _draw_checkpoint(axes, part, first=checkpoint == checkpoints[0])
        axes.set_title(wrapped(region.replace("_", " "), 32))
        axes.set_xticks(range(len(BANDS)), BANDS.names, fontsize=7)
    for axes in grid[len(regions) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(regions) - columns) : len(regions)]:  # nothing is below them
        axes.tick_params(labelbottom=True)
    legend: dict[str, Artist] = {}  # one entry for all other models
    for axes in grid[: len(regions)]:
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    figure.legend(list(legend.values()), list(legend), loc="outside upper center", ncols=beside)
    figure.set_figheight(2.3 * lines + 0.3 + 0.17 * -(-len(legend) // beside))
    figure.supxlabel("true bone age (years)", fontsize=9)
    figure.supylabel("enrichment (1 is chance)", fontsize=9)
    return figure


def _draw_checkpoint(axes: Axes, rows: pd.DataFrame, first: bool) -> None:
    """Draw one checkpoint's enrichment by age band; if it is the first, also that of controls."""
    for source, (color, marker, line) in STYLE.items():
        if source != "model" and not first:
            continue
        own = rows[rows["source"] == source].set_index("group").reindex(list(BANDS.names))
        value = own["value"].to_numpy(float)
        if not first:
            axes.plot(value, line, color=color, linewidth=0.7, label="other models")
            continue
        label = source.replace("_", " ")
        axes.plot(value, line, marker=marker, markersize=4, color=color, linewidth=1.4, label=label)
        if source == "model":
            place = np.arange(len(value))
            few = np.array([is_few(row) for row in own.to_dict("records")])
            if few.any():
                axes.plot(
                    place[few], value[few], "o", color=color, mfc="white", markersize=4, label=FEWER
                )
            low, high = (own[end].to_numpy(float) for end in ("low", "high"))
            axes.fill_between(
                place, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % interval"
            )


def measure_model(
    model: BoneAgeModule, sample: Sample, method: Method = "gradcam", seed: int = 0
) -> pd.DataFrame:
    """Return the share of a model's maps in each region, compared with controls.

    For radiographs with a marker, also the change of the prediction when it is painted over. The
    random weights of each of several models have another seed.

    Returns:
        Rows of `summarise` and of `marker_effect`, with `task`, and `unit` if there is one.
    """
    images, sex, masks = sample.images, sample.sex, sample.masks
    seeds = range(seed * RANDOM, (seed + 1) * RANDOM)
    random = [with_random_weights(model, images, sex, own) for own in seeds]
    results = []
    for task in model.tasks:
        of_random = [measure(maps_of(one, images, sex, task, method), masks) for one in random]
        by_region = pd.concat(of_random).groupby(["image", "region"], sort=False, as_index=False)
        sources = {
            "model": measure(maps_of(model, images, sex, task, method), masks),
            "random_weights": by_region.mean(),
            "blob": measure(np.broadcast_to(blob(images.shape[-1]), images.shape), masks),
            "edges": measure(edges(images), masks),
        }
        measured = pd.concat([shares.assign(source=name) for name, shares in sources.items()])
        predict, unit = predictor(model, images, sex, task)
        moved = marker_effect(sample, predict)
        shares = summarise(measured, sample.groups, sample.patients)
        results.append(pd.concat([shares, moved.assign(unit=unit)]).assign(task=task))
    return pd.concat(results)


def write_attention(
    summaries: Sequence[pd.DataFrame], folder: Path, reference: Reference | None
) -> list[str]:
    """Write `localisation.csv`, one figure per task, and sentences on where the maps lie.

    Args:
        summaries: from `measure_model`, one per training of the same setting.
        folder: the folder to write to.
        reference: study that the runs name; its claims are tested too.

    Returns:
        The sentences of `claims.txt`.
    """
    numbered = [s.assign(checkpoint=number) for number, s in enumerate(summaries, start=1)]
    summary = pd.concat(numbered)
    front = ["checkpoint", "task"]
    summary = summary[[*front, *(column for column in summary if column not in front)]]
    write_file(folder / LOCALISATION_TABLE, summary.to_csv(index=False))
    for task, rows in summary.groupby("task"):
        with styled():
            write_file(folder / f"localisation_{task}.png", to_png(enrichment_by_age(rows)))
    lines = sentences(summary, reference.claims if reference else ())
    write_file(folder / CLAIMS, "".join(f"{line}\n" for line in lines))
    return lines
