"""Where a model's maps lie, measured on one model and written down for several."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from boneage.evaluation.figures.style import styled, to_png
from boneage.explain.claim import claims
from boneage.explain.enrichment import enrichment_by_age
from boneage.explain.inference import maps_of, predictor
from boneage.explain.localisation import blob, edges, measure, summarise
from boneage.explain.marker import marker_effect
from boneage.explain.methods import Method
from boneage.models.module import BoneAgeModule
from boneage.stages import Stages

TABLE, CLAIMS = "localisation.csv", "claims.txt"


def measure_model(
    model: BoneAgeModule,
    images: np.ndarray,
    sex: Tensor,
    age_years: np.ndarray,
    masks: Sequence[Mapping[str, np.ndarray]],
    stages: Stages,
    method: Method = "gradcam",
) -> pd.DataFrame:
    """Return how much of a model's maps lies in each region, beside the controls.

    Where a marker was found, also by how much predictions move when it is painted over.

    Args:
        model: the model.
        images: (n, H, W) uint8 radiographs that it was not trained on.
        sex: (n,) int64, index into `SEXES`.
        age_years: (n,) true ages; NaN where unknown.
        masks: n times, per region, (H, W) bool.
        stages: the stages.
        method: of the maps.

    Returns:
        Rows of `summarise` and of `marker_effect`, with `task`, and `unit` where there is one.
    """
    random = with_random_weights(model)
    results = []
    for task in model.tasks:
        sources = {
            "model": maps_of(model, images, sex, task, method),
            "random_weights": maps_of(random, images, sex, task, method),
            "blob": np.broadcast_to(blob(images.shape[-1]), images.shape),
            "edges": edges(images),
        }
        measured = pd.concat(
            [measure(maps, masks).assign(source=name) for name, maps in sources.items()]
        )
        predict, unit = predictor(model, images, sex, task)
        moved = marker_effect(images, masks, predict, age_years, stages)
        found = [summarise(measured, age_years, stages), moved.assign(unit=unit)]
        results.append(pd.concat(found).assign(task=task))
    return pd.concat(results)


def write_attention(summaries: Sequence[pd.DataFrame], folder: Path) -> list[str]:
    """Write `localisation.csv`, a figure per task, and the answers to the report's claim.

    Args:
        summaries: from `measure_model`, one a training of the same setting.
        folder: where to.

    Returns:
        The sentences of `claims.txt`.
    """
    numbered = [s.assign(checkpoint=number) for number, s in enumerate(summaries, start=1)]
    summary = pd.concat(numbered)
    front = ["checkpoint", "task"]
    summary = summary[[*front, *(column for column in summary if column not in front)]]
    summary.to_csv(folder / TABLE, index=False)
    for task, rows in summary.groupby("task"):
        with styled():
            (folder / f"localisation_{task}.png").write_bytes(to_png(enrichment_by_age(rows)))
    sentences = claims(summary)
    (folder / CLAIMS).write_text("".join(f"{sentence}\n" for sentence in sentences))
    return sentences


def with_random_weights(model: BoneAgeModule, seed: int = 0) -> BoneAgeModule:
    """Return a copy of a model with the weights of an untrained one."""
    with torch.inference_mode(mode=False), torch.random.fork_rng(devices=[]):
        random = copy.deepcopy(model)
        torch.manual_seed(seed)
        for layer in random.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
    return random
