"""Measure how much of a checkpoint's maps lies in regions of the hand, beside controls."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.decode import Preprocessing
from boneage.explain.attention import measure_model, write_attention
from boneage.explain.boxes import read_regions
from boneage.explain.methods import Method
from boneage.run.explain import Explained
from boneage.stages import Stages

Masks = dict[str, dict[str, np.ndarray]]  # by id and region


def localise(
    models: Sequence[Explained], regions: Path, out: Path, method: Method, annotator: str | None
) -> list[str]:
    """Measure the maps of one or several models; several trainings of one setting show the spread.

    Args:
        models: checkpoints with the radiographs that count for them.
        regions: table of boxes, or folder of a phantom's masks, as was given for these.
        out: folder for what `write_attention` writes.
        method: of the maps.
        annotator: whose boxes; None is everybody's.

    Returns:
        A sentence on each half of the report's claim.
    """
    masks: dict[Preprocessing, Masks] = {}
    summaries = []
    for explained in models:
        known = masks.setdefault(explained.preprocessing, {})  # mostly the same for all trainings
        pairs = zip(explained.table["id"], explained.files, strict=True)
        new = {id_: file for id_, file in pairs if id_ not in known}
        known |= read_regions(regions, new, explained.preprocessing, annotator)
        summaries.append(_measure(explained, known, method))
    return write_attention(summaries, out)


def _measure(explained: Explained, of_id: Masks, method: Method) -> pd.DataFrame:
    """Return the summary of every task of one checkpoint."""
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
