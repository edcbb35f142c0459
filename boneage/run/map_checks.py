"""Check a checkpoint's maps: do they depend on its weights, and do their pixels matter?"""

from functools import partial
from pathlib import Path

import pandas as pd

from boneage.data.atomic import write_file
from boneage.data.sampler import evenly
from boneage.errors import plural
from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.intervals import Results
from boneage.evaluation.numbers import FEW, number, with_limits
from boneage.explain.methods import Method
from boneage.explain.sanity import deletion, mean_distances, randomisation, sanity_figure
from boneage.models.inference import predictor
from boneage.run.explain import Explained
from boneage.run_files import CHECKS


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
    deleted, inserted = distances["deletion"], distances["insertion"]
    return [
        f"{task}: with all layers randomised, the similarity to the trained maps is Spearman "
        f"{number(spearman)} and SSIM {number(last['ssim'].median())} (median of n = {n}; 1 is "
        "no change).",
        f"{task}: deleting marked pixels moves the prediction {with_limits(deleted)} {unit} "
        "further from that of the whole radiograph than deleting random ones. With marked pixels "
        f"inserted it is {with_limits(inserted)} {unit} further away than with random ones. If "
        "the prediction depends on the marked pixels, the first value is above 0 and the second "
        "below 0.",
    ]
