"""Measure how much of a model's maps lies in regions of the hand, beside controls."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf

from boneage.data.decode import Preprocessing
from boneage.errors import UserError, first_five
from boneage.evaluation.figures.style import styled, to_png
from boneage.explain.boxes import read_boxes, read_masks, region_masks
from boneage.explain.claim import claims
from boneage.explain.enrichment import enrichment_by_age
from boneage.explain.localisation import blob, edges, measure, summarise
from boneage.explain.methods import Method
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import build_model
from boneage.run.explain import Explained
from boneage.stages import Stages

log = logging.getLogger(__name__)

CLAIMS = "claims.txt"  # beside a run's own maps, its report page shows them


def localise(
    models: Sequence[Explained], regions: Path, out: Path, method: Method, annotator: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Measure the maps of one or several models; several trainings of one setting show the spread.

    Radiographs that a checkpoint was trained on, or chosen by, do not count. Writes
    `localisation.csv`, `claims.txt` and, per task, `localisation_<task>.png`.

    Args:
        models: checkpoints with the same radiographs.
        regions: table of boxes, or folder of a phantom's masks (`<id>.npz`).
        out: folder.
        method: of the maps.
        annotator: whose boxes; None is everybody's.

    Returns:
        The rows of `summarise`, with `checkpoint` and `task`, and a sentence on each half of the
        report's claim.

    Raises:
        UserError: when no radiograph is left.
    """
    parts = [
        _measure_model(explained, regions, method, annotator).assign(checkpoint=number)
        for number, explained in enumerate(models, start=1)
    ]
    summary = pd.concat(parts)
    front = ["checkpoint", "task"]
    summary = summary[[*front, *(column for column in summary if column not in front)]]
    summary.to_csv(out / "localisation.csv", index=False)
    for task, rows in summary.groupby("task"):
        with styled():
            (out / f"localisation_{task}.png").write_bytes(to_png(enrichment_by_age(rows)))
    sentences = claims(summary)
    (out / CLAIMS).write_text("".join(f"{sentence}\n" for sentence in sentences))
    return summary, sentences


def _measure_model(
    explained: Explained, regions: Path, method: Method, annotator: str | None
) -> pd.DataFrame:
    """Return the summary of every task of one checkpoint."""
    of_id = _regions(regions, explained, annotator)
    ids = [id_ for id_ in explained.table["id"] if id_ in of_id]
    if not ids:
        raise UserError(
            f"--boxes {regions}: none of the {len(explained.table)} radiographs has any"
        )
    seen = explained.table["fold"].isin(["train", "val"])
    explained.keep(np.flatnonzero(explained.table["id"].isin(ids) & ~seen))
    if not len(explained.table):
        raise UserError(
            f"--boxes {regions}: the checkpoint was trained on all {len(ids)} radiographs with "
            f"regions ({first_five(ids)}): train one that holds them out, with data.split_file="
        )
    log.info("Regions on %d radiographs that the model was not trained on", len(explained.table))
    masks = [of_id[id_] for id_ in explained.table["id"]]
    images, side = explained.images, explained.preprocessing.size
    random = _random_weights(explained)
    stages = explained.checkpoint["boneage"]["config"]["stages"]
    results = []
    for task in explained.model.tasks:
        sources = {
            "model": explained.maps(task, method),
            "random_weights": explained.maps(task, method, random),
            "blob": np.broadcast_to(blob(side), images.shape),
            "edges": edges(images),
        }
        measured = pd.concat(
            [measure(maps, masks).assign(source=name) for name, maps in sources.items()]
        )
        age = explained.table["age_years"].to_numpy(float)
        summary = summarise(measured, age, Stages(stages["names"], stages["edges"]))
        results.append(summary.assign(task=task))
    return pd.concat(results)


def _regions(
    regions: Path, explained: Explained, annotator: str | None
) -> dict[str, dict[str, np.ndarray]]:
    """Return the masks of the regions by id, for the radiographs that have some."""
    preprocessing: Preprocessing = explained.preprocessing
    wanted = set(explained.table["id"])
    if regions.is_dir():
        files = {file.stem: file for file in regions.glob("*.npz") if file.stem in wanted}
        return {id_: read_masks(file, preprocessing) for id_, file in files.items()}
    boxes = read_boxes(regions, annotator)
    boxes = boxes[boxes["id"].isin(wanted)]
    return {str(id_): region_masks(rows, preprocessing) for id_, rows in boxes.groupby("id")}


def _random_weights(explained: Explained) -> BoneAgeModule:
    """Return a model of the same make with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        record = explained.checkpoint["boneage"]
        return build_model(OmegaConf.create(record["config"]), record).eval()
