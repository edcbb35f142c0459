"""Give every row of the label tables its image file."""

import logging
from pathlib import Path

import pandas as pd

from boneage.data.folder import Folder
from boneage.data.labels import read_ids
from boneage.errors import UserError, first_five

log = logging.getLogger(__name__)


def match_images(root: Path, folder: Folder, rows: pd.DataFrame, missing: str) -> pd.DataFrame:
    """Give every row its image; complain about, or drop, what has no counterpart."""
    known = set(rows["id"]).union(*(read_ids(t.path, t.columns) for t in folder.tables))
    without_image = [i for i in rows["id"] if i not in folder.images]
    without_row = [i for i in folder.images if i not in known]
    found = []
    if without_image:
        found.append(f"{len(without_image):,} ids without an image: {first_five(without_image)}")
    if without_row:
        found.append(f"{len(without_row):,} images without a row: {first_five(without_row)}")
    if found and missing == "error":
        raise UserError(f"{root}: {'; '.join(found)}; data.missing=drop leaves them out")
    if found:
        log.info("Left out below %s: %s", root, "; ".join(found))
    rows = rows[~rows["id"].isin(without_image)].reset_index(drop=True)
    if rows.empty:
        raise UserError(f"{root}: no id of the label tables has an image named <id>.png or alike")
    for i in rows["id"]:
        if len(folder.images[i]) > 1:
            raise UserError(
                f"id {i} has {len(folder.images[i])} images: {first_five(folder.images[i])}; "
                "leave one of them"
            )
    return rows.assign(path=[folder.images[i][0] for i in rows["id"]])
