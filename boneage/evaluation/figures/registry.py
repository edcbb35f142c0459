"""All figures of a run, one entry each, in the order of the page."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
from matplotlib.figure import Figure

from boneage.evaluation.figures.age import (
    RUNNING_MIN,
    bland_altman,
    error_by_band,
    residuals,
    scatter,
)
from boneage.evaluation.figures.comparison import readers_and_model
from boneage.evaluation.figures.material import AbsentError, Material
from boneage.evaluation.figures.stage import (
    confusion_matrix,
    error_near_edge,
    precision_recall,
    reliability_diagram,
)
from boneage.evaluation.figures.style import styled
from boneage.evaluation.figures.training import (
    architecture,
    fold_distribution,
    image_sheet,
    learning_curves,
)
from boneage.evaluation.numbers import FEW, FEWER
from boneage.evaluation.run_folder import FinishedRun
from boneage.evaluation.stage import CALIBRATION_BINS
from boneage.stages import Stages

Section = Literal["results", "agreement", "readers", "failures", "edges", "training"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class FigureEntry:
    """A figure, as used on the page of a run, in TensorBoard and in file names.

    Args:
        name: name in files and on pages.
        section: section of the page.
        draw: draws it; raises AbsentError if its data does not exist.
        caption: caption on the page.
        dashboard: whether TensorBoard shows it during training.
    """

    name: str
    section: Section
    draw: Callable[[Material], Figure]
    caption: str
    dashboard: bool = False


FIGURES = (
    FigureEntry(
        "scatter", "results", lambda data: scatter(data.true, data.predicted, data.stages),
        "Predicted against true bone age. Colour: density of radiographs. Line: perfect agreement. "
        "Shaded bands: stages.",
        dashboard=True,
    ),
    FigureEntry(
        "confusion", "results",
        lambda data: confusion_matrix(data.confusion, data.stages.names, data.small_stages),
        "True stage by row, predicted stage by column: radiographs, and percent of the row. "
        f"†: a stage with {FEWER}.",
        dashboard=True,
    ),
    FigureEntry(
        "bland_altman", "agreement", lambda data: bland_altman(data.true, data.predicted),
        "Bland-Altman plot. If differences are normal, 95 % lie between the dashed limits of "
        "agreement.",
    ),
    FigureEntry(
        "residuals", "agreement", lambda data: residuals(data.true, data.predicted, data.sex),
        "Error against true age by sex. Lines: mean error of radiographs within one year (at least "
        f"{RUNNING_MIN}). A line that falls from left to right is regression to the mean.",
        dashboard=True,
    ),
    FigureEntry(
        "reliability", "agreement",
        lambda data: reliability_diagram(data.probability, data.true_stage),
        "Reliability: share of correct stages against the predicted probability, and number of "
        f"radiographs in each of {CALIBRATION_BINS} bins. Hollow: fewer than {FEW}.",
    ),
    FigureEntry(
        "precision_recall", "agreement",
        lambda data: precision_recall(data.probability, data.true_stage, data.stages.names),
        "Precision and recall of each stage against the others over all thresholds. Dotted: "
        "precision of guessing.",
    ),
    FigureEntry(
        "readers", "readers", lambda data: readers_and_model(data.readers_report),
        "Mean absolute error against the mean of the other readers, with 95 % intervals: of each "
        "reader and, where it predicts ages, of the model on the same radiographs. "
        f"Hollow: {FEWER}.",
    ),
    FigureEntry(
        "error_by_band", "failures", lambda data: error_by_band(data.subgroups),
        f"Mean absolute error and bias by age band with 95 % intervals. Hollow: {FEWER}.",
    ),
    FigureEntry(
        "error_near_edge", "edges",
        lambda data: error_near_edge(data.true, data.hit, data.edged_stages, data.patients),
        "Share of wrong stages by signed distance of the true age from each edge between stages, "
        f"with exact 95 % intervals. Hollow: {FEWER}.",
    ),
    FigureEntry(
        "folds", "training", lambda data: fold_distribution(data.split),
        "Bone age and sex of the radiographs in each fold.",
    ),
    FigureEntry(
        "learning_curves", "training", lambda data: learning_curves(data.history),
        "Loss and validation metrics by epoch.",
    ),
    FigureEntry(
        "augmented", "training", lambda data: image_sheet(data.augmented),
        "Training radiographs from the youngest to the oldest as the network reads them, plain and "
        "in three draws of augmentation.",
    ),
    FigureEntry(
        "architecture", "training", lambda data: architecture(data.architecture),
        "The model: each block with the shape of its output for one radiograph (channels x height "
        "x width) and its parameters.",
    ),
)  # fmt: skip
ON_DASHBOARD = tuple(entry for entry in FIGURES if entry.dashboard)


def draw_figures(
    predictions: pd.DataFrame,
    stages: Stages,
    run: FinishedRun | None = None,
    entries: Sequence[FigureEntry] = FIGURES,
) -> dict[str, Figure]:
    """Return the figures whose data exists, by name.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.
        run: the finished run; None during training.
        entries: the figures to draw.
    """
    material = Material(predictions, stages, run)
    figures: dict[str, Figure] = {}
    with styled():
        for entry in entries:
            with suppress(AbsentError):
                figures[entry.name] = entry.draw(material)
    return figures
