"""All figures of a run, one entry each, in the order of the page."""

from collections.abc import Callable, Sequence
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
        function: draws it.
        arguments: arguments of the function, as attributes of `Material`.
        caption: caption on the page.
        dashboard: whether TensorBoard shows it during training.
    """

    name: str
    section: Section
    function: Callable[..., Figure]
    arguments: tuple[str, ...]
    caption: str
    dashboard: bool = False


FIGURES = (
    FigureEntry(
        "scatter",
        "results",
        scatter,
        ("true", "predicted", "stages"),
        "Predicted against true bone age. Colour: density of radiographs. Line: perfect agreement. "
        "Shaded bands: stages.",
        dashboard=True,
    ),
    FigureEntry(
        "confusion",
        "results",
        confusion_matrix,
        ("confusion", "names", "small_stages"),
        "True stage by row, predicted stage by column: radiographs, and percent of the row. "
        f"†: a stage with {FEWER}.",
        dashboard=True,
    ),
    FigureEntry(
        "bland_altman",
        "agreement",
        bland_altman,
        ("true", "predicted"),
        "Bland-Altman plot. If differences are normal, 95 % lie between the dashed limits of "
        "agreement.",
    ),
    FigureEntry(
        "residuals",
        "agreement",
        residuals,
        ("true", "predicted", "sex"),
        "Error against true age by sex. Lines: mean error of radiographs within one year (at least "
        f"{RUNNING_MIN}). A line that falls from left to right is regression to the mean.",
        dashboard=True,
    ),
    FigureEntry(
        "reliability",
        "agreement",
        reliability_diagram,
        ("probability", "true_stage"),
        "Reliability: share of correct stages against the predicted probability, and number of "
        f"radiographs in each of {CALIBRATION_BINS} bins. Hollow: fewer than {FEW}.",
    ),
    FigureEntry(
        "precision_recall",
        "agreement",
        precision_recall,
        ("probability", "true_stage", "names"),
        "Precision and recall of each stage against the others over all thresholds. Dotted: "
        "precision of guessing.",
    ),
    FigureEntry(
        "readers",
        "readers",
        readers_and_model,
        ("readers_report",),
        "Mean absolute error against the mean of the other readers, with 95 % intervals: of each "
        "reader and, where it predicts ages, of the model on the same radiographs. "
        f"Hollow: {FEWER}.",
    ),
    FigureEntry(
        "error_by_band",
        "failures",
        error_by_band,
        ("subgroups",),
        f"Mean absolute error and bias by age band with 95 % intervals. Hollow: {FEWER}.",
    ),
    FigureEntry(
        "error_near_edge",
        "edges",
        error_near_edge,
        ("true", "hit", "edged_stages", "patients"),
        "Share of wrong stages by signed distance of the true age from each edge between stages, "
        f"with exact 95 % intervals. Hollow: {FEWER}.",
    ),
    FigureEntry(
        "folds",
        "training",
        fold_distribution,
        ("split",),
        "Bone age and sex of the radiographs in each fold.",
    ),
    FigureEntry(
        "learning_curves",
        "training",
        learning_curves,
        ("history",),
        "Loss and validation metrics by epoch.",
    ),
    FigureEntry(
        "augmented",
        "training",
        image_sheet,
        ("augmented",),
        "Training radiographs from the youngest to the oldest as the network reads them, plain and "
        "in three draws of augmentation.",
    ),
    FigureEntry(
        "architecture",
        "training",
        architecture,
        ("architecture",),
        "The model: each block with the shape of its output for one radiograph (channels x height "
        "x width) and its parameters.",
    ),
)
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
            try:
                arguments = [getattr(material, name) for name in entry.arguments]
            except AbsentError:
                continue
            figures[entry.name] = entry.function(*arguments)
    return figures
