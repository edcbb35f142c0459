"""Explain a checkpoint's predictions on radiograph files."""

import copy
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing
from boneage.data.in_parallel import in_parallel
from boneage.data.matching import match_ids
from boneage.data.radiographs import find_radiographs, radiograph_id
from boneage.errors import UserError, first_five
from boneage.evaluation.figures.style import styled, to_png
from boneage.explain.boxes import find_regions
from boneage.explain.cases import captions
from boneage.explain.film import read_film
from boneage.explain.geometry import Geometry, read_square
from boneage.explain.inference import maps_of, predictions_of
from boneage.explain.methods import Method
from boneage.explain.sheet import overlay_sheet
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import load_model, read_checkpoint

log = logging.getLogger(__name__)

SHEET = 24  # radiographs in a picture


class Explained:
    """A checkpoint and some radiographs, with what it predicts for them.

    Args:
        checkpoint: a checkpoint, or the folder of a run.
        images: radiograph files, or folders with some below them.
        sex: of all of them; None takes what the checkpoint knows of an id, else what a DICOM
            header says, else unknown.
        regions: table of boxes, or folder of a phantom's masks: only radiographs that have some
            are read, without those that the checkpoint was trained on or chosen by.
        annotator: whose boxes count; None is everybody's.

    Raises:
        UserError: when one of them cannot be read, or none is left.
    """

    def __init__(
        self,
        checkpoint: Path,
        images: Sequence[Path],
        sex: str | None = None,
        regions: Path | None = None,
        annotator: str | None = None,
    ) -> None:
        self.checkpoint = read_checkpoint(checkpoint)
        record = self.checkpoint["boneage"]
        self.model = load_model(self.checkpoint).eval()
        self.preprocessing = Preprocessing(**record["preprocessing"])
        self.files = find_radiographs(images)
        _require_names_of_their_own(self.files)
        known = pd.DataFrame(record["split"]).set_index("id")
        self.table = pd.DataFrame({"id": [radiograph_id(file) for file in self.files]})
        meant = match_ids(self.table["id"], known.index, "Radiographs of the checkpoint")
        known = known.reindex([meant.get(id_) for id_ in self.table["id"]])
        self.table = self.table.join(known.reset_index(drop=True))
        self.table["age_years"] = self.table.pop("age_months") / 12
        if regions is not None:
            self._keep(self._held_out(regions, annotator))
        self.images, self.geometries, sexes = self._decode()
        self.table["sex"] = sex or self.table["sex"].fillna(sexes)
        self.table = self.table.join(predictions_of(self.model, self.images, self.sex)[0])

    def subset(self, rows: np.ndarray) -> "Explained":
        """Return the same checkpoint with some of the radiographs."""
        some = copy.copy(self)
        some._keep(rows)
        some.images = self.images[rows]
        some.geometries = [self.geometries[row] for row in rows]
        return some

    @property
    def sex(self) -> Tensor:
        """(n,) int64, index into `SEXES`."""
        return sex_indices(self.table["sex"])

    def maps(self, task: str, method: Method, model: BoneAgeModule | None = None) -> np.ndarray:
        """Return (n, size, size) signed maps of a task, also of another model of the same make."""
        return maps_of(model or self.model, self.images, self.sex, task, method)

    def _keep(self, rows: np.ndarray) -> None:
        self.files = [self.files[row] for row in rows]
        self.table = self.table.iloc[rows].reset_index(drop=True)

    def _held_out(self, regions: Path, annotator: str | None) -> np.ndarray:
        """Return the rows with regions that the checkpoint was neither trained on nor chosen by."""
        files = dict(zip(self.table["id"], self.files, strict=True))
        drawn = list(find_regions(regions, files, annotator))
        if not drawn:
            raise UserError(f"{regions}: none of the {len(files)} radiographs has a region")
        seen = self.table["fold"].isin(["train", "val"])
        rows = np.flatnonzero(self.table["id"].isin(drawn) & ~seen)
        if not len(rows):
            raise UserError(
                f"{regions}: the checkpoint was trained on all {len(drawn)} radiographs with "
                f"regions ({first_five(sorted(drawn))}): train one that holds them out, with "
                "data.hold_out="
            )
        log.info(
            f"{len(drawn):,} of {len(files):,} radiographs have regions; the model was not trained "
            f"on {len(rows):,} of these, which are read"
        )
        return rows

    def _decode(self) -> tuple[np.ndarray, list[Geometry], pd.Series]:
        """Return (n, size, size) squares, how the files lie in them, and the headers' sexes."""
        read = partial(read_square, preprocessing=self.preprocessing)
        squares, geometries, sexes = zip(*in_parallel(read, self.files, "Decoding"), strict=True)
        return np.stack(squares), list(geometries), pd.Series(sexes)


def explain(
    checkpoint: Path,
    images: Sequence[Path],
    out: Path,
    method: Method,
    sex: str | None,
    regions: Path | None = None,
    annotator: str | None = None,
) -> Explained:
    """Draw the maps of every task for radiographs, and keep them as arrays.

    Writes `<task>_<part>.png`, and per radiograph and task `<id>_<task>.npy`, float32 in the
    geometry of the file.

    Raises:
        UserError: when something cannot be read, or `out` cannot be written.
    """
    explained = Explained(checkpoint, images, sex, regions, annotator)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for task in explained.model.tasks:
            maps = explained.maps(task, method)
            for id_, geometry, square in zip(
                explained.table["id"], explained.geometries, maps, strict=True
            ):
                np.save(out / f"{id_}_{task}.npy", geometry.to_file(square))
            for part, start in enumerate(range(0, len(maps), SHEET)):
                shown = slice(start, start + SHEET)
                texts = captions(explained.table.iloc[shown])
                films = [read_film(f, explained.preprocessing) for f in explained.files[shown]]
                with styled():
                    figure = overlay_sheet(films, maps[shown], texts)
                    (out / f"{task}_{part:03d}.png").write_bytes(to_png(figure))
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror}): choose another --out"
        ) from error
    return explained


def _require_names_of_their_own(files: Sequence[Path]) -> None:
    """Raise UserError when two files would be written under one id."""
    by_id: dict[str, Path] = {}
    for file in files:
        if (other := by_id.setdefault(radiograph_id(file), file)) != file:
            raise UserError(f"{other} and {file} have the same name: explain them one by one")
