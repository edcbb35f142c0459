"""Measure how much of a checkpoint's maps lies in regions of the hand, beside controls."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.decode import Preprocessing
from boneage.errors import UserError, first_five
from boneage.explain.attention import measure_model, write_attention
from boneage.explain.boxes import read_regions
from boneage.explain.methods import Method
from boneage.run.explain import Explained
from boneage.stages import Stages

log = logging.getLogger(__name__)

Masks = Mapping[str, Mapping[str, np.ndarray]]  # by id and region


def localise(
    models: Sequence[Explained], regions: Path, out: Path, method: Method, annotator: str | None
) -> list[str]:
    """Measure the maps of one or several models; several trainings of one setting show the spread.

    Radiographs that a checkpoint was trained on, or chosen by, do not count.

    Args:
        models: checkpoints with the same radiographs.
        regions: table of boxes, or folder of a phantom's masks.
        out: folder for what `write_attention` writes.
        method: of the maps.
        annotator: whose boxes; None is everybody's.

    Returns:
        A sentence on each half of the report's claim.

    Raises:
        UserError: when no radiograph is left.
    """
    masks: dict[Preprocessing, Masks] = {}
    summaries = []
    for explained in models:
        if explained.preprocessing not in masks:  # the same for all trainings of a setting
            files = dict(zip(explained.table["id"], explained.files, strict=True))
            found = read_regions(regions, files, explained.preprocessing, annotator)
            masks[explained.preprocessing] = found
        summaries.append(_measure(explained, regions, masks[explained.preprocessing], method))
    return write_attention(summaries, out)


def _measure(explained: Explained, regions: Path, of_id: Masks, method: Method) -> pd.DataFrame:
    """Return the summary of every task of one checkpoint."""
    if not of_id:
        raise UserError(f"{regions}: none of the {len(explained.table)} radiographs has a region")
    seen = explained.table["fold"].isin(["train", "val"])
    explained = explained.subset(np.flatnonzero(explained.table["id"].isin(of_id) & ~seen))
    if not len(explained.table):
        raise UserError(
            f"{regions}: the checkpoint was trained on all {len(of_id)} radiographs with regions "
            f"({first_five(sorted(of_id))}): train one that holds them out, with data.hold_out="
        )
    log.info("Regions on %d radiographs that the model was not trained on", len(explained.table))
    stages = explained.checkpoint["boneage"]["config"]["stages"]
    return measure_model(
        explained.model,
        explained.images,
        explained.sex,
        explained.table["age_years"].to_numpy(float),
        [of_id[id_] for id_ in explained.table["id"]],
        Stages(stages["names"], stages["edges"]),
        method,
    )
