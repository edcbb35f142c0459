"""Measure a checkpoint's maps: where they lie, whether its weights and their pixels matter."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.atomic import write_file
from boneage.data.decode import Preprocessing
from boneage.data.sampler import evenly
from boneage.errors import plural
from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.intervals import Results
from boneage.evaluation.numbers import FEW, number, with_limits
from boneage.evaluation.reference import first_reference
from boneage.explain.attention import measure_model, write_attention
from boneage.explain.localisation import Sample
from boneage.explain.methods import Method
from boneage.explain.regions import read_regions
from boneage.explain.sanity import deletion, mean_distances, randomisation, sanity_figure
from boneage.models.inference import predictor
from boneage.run.checkpoint import stages_of
from boneage.run.explain import Explained
from boneage.run_files import CHECKS

Masks = dict[str, dict[str, np.ndarray]]  # by id and region


def localise(
    models: Sequence[Explained], regions: Path, out: Path, method: Method, annotator: str | None
) -> list[str]:
    """Measure the maps of one or several models; several trainings of one setting show the spread.

    Args:
        models: checkpoints with their held-out radiographs.
        regions: table of boxes, or folder of a phantom's masks, as for `models`.
        out: folder for the files of `write_attention`.
        method: of the maps.
        annotator: as for `Explained`.

    Returns:
        The sentences of `claims.txt`.
    """
    masks: dict[Preprocessing, Masks] = {}
    summaries = []
    for seed, explained in enumerate(models):  # the seed is of the random weights
        cached = masks.setdefault(explained.preprocessing, {})  # usually the same for all models
        pairs = zip(explained.table["id"], explained.files, strict=True)
        new = {id_: file for id_, file in pairs if id_ not in cached}
        cached |= read_regions(regions, new, explained.preprocessing, annotator)
        stages = stages_of(explained.checkpoint["boneage"])
        sample = Sample.of(explained.table, explained.images, cached, stages)
        summaries.append(measure_model(explained.model, sample, method, seed))
    reference = first_reference(explained.checkpoint["boneage"] for explained in models)
    return write_attention(summaries, out, reference)


def check_maps(explained: Explained, out: Path, method: Method, sample: int) -> list[str]:
    """Check maps by randomising layers and by deleting and inserting pixels.

    Writes `randomisation_<task>.csv`, `deletion_<task>.csv`, `sanity_<task>.png` and `checks.txt`.

    Args:
        explained: a checkpoint and radiographs.
        out: folder.
        method: of the maps.
        sample: maximum number of radiographs, evenly over their order.

    Returns:
        One sentence per task and check.
    """
    rows = evenly(len(explained.table), sample)
    explained = explained.subset(rows)
    sentences = []
    if len(rows) < FEW:
        sentences.append(
            f"Only {plural(len(rows), 'radiograph')} checked, too few for a conclusion: give {FEW} "
            f"or more, and --check {FEW} or more."
        )
    for task in explained.model.tasks:
        draw = partial(explained.maps, task, method)
        randomised = randomisation(explained.model, task, draw, explained.images, explained.sex)
        predict, unit = predictor(explained.model, explained.images, explained.sex, task)
        curves = deletion(explained.images, draw(), predict)
        write_file(out / f"randomisation_{task}.csv", randomised.to_csv(index=False))
        write_file(out / f"deletion_{task}.csv", curves.to_csv(index=False))
        with styled():
            figure = sanity_figure(randomised, curves, unit)
            write_file(out / f"sanity_{task}.png", to_png(figure))
        distances = mean_distances(curves, explained.patients)
        sentences += _sentences(task, unit, randomised, distances)
    write_file(out / CHECKS, "".join(f"{sentence}\n" for sentence in sentences))
    return sentences


def _sentences(task: str, unit: str, randomised: pd.DataFrame, distances: Results) -> list[str]:
    last = randomised[randomised["layers"] == randomised["layers"].max()]
    n = last["image"].nunique()
    spearman = last["spearman"].median()
    deleted, inserted = (with_limits(distances[k], unit) for k in ("deletion", "insertion"))
    return [
        f"{task}: with all layers randomised, the similarity to the trained maps is Spearman "
        f"{number(spearman)} and SSIM {number(last['ssim'].median())} (median of n = {n:,}; 1 is "
        "no change).",
        f"{task}: deleting marked pixels moves the prediction {deleted} {unit} "
        "further from that of the whole radiograph than deleting random ones. With marked pixels "
        f"inserted it is {inserted} {unit} further away than with random ones. If "
        "the prediction depends on the marked pixels, the first value is above 0 and the second "
        "below 0.",
    ]
