"""Check on a sample whether a model's maps can be believed."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.evaluation.bootstrap import Result
from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.numbers import interval, number
from boneage.explain.inference import predictor
from boneage.explain.methods import Method
from boneage.explain.sanity import areas, deletion, randomisation
from boneage.explain.sanity_figure import sanity_figure
from boneage.run.explain import Explained

CHECKS = "checks.txt"


def check_maps(explained: Explained, out: Path, method: Method, sample: int) -> list[str]:
    """Re-draw layers, remove and restore pixels, and say what came of it.

    Writes `randomisation_<task>.csv`, `deletion_<task>.csv`, `sanity_<task>.png` and `checks.txt`.

    Args:
        explained: a checkpoint and radiographs.
        out: folder.
        method: of the maps.
        sample: at most how many radiographs, evenly over their order.

    Returns:
        A sentence per task and check.
    """
    n = len(explained.table)
    rows = np.unique(np.linspace(0, n - 1, min(sample, n)).round().astype(int))
    explained = explained.subset(rows)
    sentences = []
    for task in explained.model.tasks:
        draw = partial(explained.maps, task, method)
        randomised = randomisation(explained.model, task, draw)
        predict, unit = predictor(explained.model, explained.images, explained.sex, task)
        curves = deletion(explained.images, draw(), predict)
        randomised.to_csv(out / f"randomisation_{task}.csv", index=False)
        curves.to_csv(out / f"deletion_{task}.csv", index=False)
        with styled():
            figure = sanity_figure(randomised, curves, unit)
            (out / f"sanity_{task}.png").write_bytes(to_png(figure))
        sentences += _sentences(task, unit, randomised, curves)
    (out / CHECKS).write_text("".join(f"{sentence}\n" for sentence in sentences))
    return sentences


def _sentences(task: str, unit: str, randomised: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    last = randomised[randomised["layers"] == randomised["layers"].max()]
    area = areas(curves)
    n = curves["image"].nunique()
    like, moved, left = last["spearman"].median(), area["deletion"], area["insertion"]
    return [
        f"{task}: with every layer re-drawn, maps are like the trained ones by Spearman "
        f"{number(like)} and SSIM {number(last['ssim'].median())} (median of n = {n}; 1 is "
        "no change).",
        f"{task}: with marked pixels removed the prediction is {_said(moved)} {unit} further from "
        f"that of the whole radiograph than with random ones removed; with marked pixels put back "
        f"it is {_said(left)} {unit} further than with random ones put back. A map that marks what "
        f"the prediction rests on gives a first value above 0 and a second below.",
    ]


def _said(result: Result) -> str:
    limits = interval(result)
    return f"{number(result['value'])} ({limits})" if limits else number(result["value"])
