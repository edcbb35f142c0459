"""Check on a sample whether a model's maps can be believed."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from boneage.evaluation.figures.style import styled, to_png
from boneage.evaluation.numbers import interval, number
from boneage.explain.methods import Method
from boneage.explain.sanity import Predict, areas, deletion, randomisation
from boneage.explain.sanity_figure import sanity_figure
from boneage.run.explain import Explained


def check_maps(explained: Explained, out: Path, method: Method, sample: int) -> list[str]:
    """Re-draw layers, remove and restore pixels, and say what came of it.

    Writes `randomisation_<task>.csv`, `deletion_<task>.csv` and `sanity_<task>.png`.

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
        curves = deletion(explained.images, draw(), _predictor(explained, task))
        randomised.to_csv(out / f"randomisation_{task}.csv", index=False)
        curves.to_csv(out / f"deletion_{task}.csv", index=False)
        ages = "age_years_predicted" in explained.table and task == "age"
        with styled():
            figure = sanity_figure(randomised, curves, "years" if ages else "probability")
            (out / f"sanity_{task}.png").write_bytes(to_png(figure))
        sentences += _sentences(task, randomised, curves)
    return sentences


def _predictor(explained: Explained, task: str) -> Predict:
    """Return the prediction of a task: an age, or the probability of the stage first predicted."""
    model, head = explained.model, explained.model.tasks[task]
    sex = explained.sex

    def decoded(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = model(torch.from_numpy(images)[:, None], sex)[task]
            predicted: np.ndarray = head.decode(output).double().numpy()
            return predicted

    first = decoded(explained.images)
    if first.ndim == 1:
        return decoded
    return lambda images: decoded(images)[np.arange(len(images)), first.argmax(axis=1)]


def _sentences(task: str, randomised: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    last = randomised[randomised["layers"] == randomised["layers"].max()]
    area = areas(curves)
    n = curves["image"].nunique()
    like, moved, left = last["spearman"].median(), area["deletion"], area["insertion"]
    return [
        f"{task}: with every layer re-drawn, maps are like the trained ones by Spearman "
        f"{number(like)} and SSIM {number(last['ssim'].median())} (median of n = {n}; 1 is "
        "no change).",
        f"{task}: removing marked pixels moves the prediction by {number(moved['value'])} "
        f"({interval(moved)}) more than removing random ones; after restoring them the difference "
        f"that is left is {number(left['value'])} ({interval(left)}) from that after random ones.",
    ]
