"""Explain a checkpoint's predictions on radiograph files."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.crop import find_crop
from boneage.data.dataset import sex_indices
from boneage.data.decode import Preprocessing, to_square
from boneage.data.radiographs import find_radiographs, radiograph_id, read_radiograph
from boneage.errors import UserError
from boneage.evaluation.figures.style import styled, to_png
from boneage.explain.cases import captions
from boneage.explain.geometry import Geometry
from boneage.explain.inference import maps_of, predictions_of
from boneage.explain.methods import Method
from boneage.explain.overlay import overlay_sheet
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import load_model, read_checkpoint

SHEET = 24  # radiographs in a picture


class Explained:
    """A checkpoint and some radiographs, with what it predicts for them.

    Args:
        checkpoint: a checkpoint, or the folder of a run.
        images: radiograph files, or folders with some below them.
        sex: of all of them; None takes what the checkpoint knows of an id, else what a DICOM
            header says, else unknown.

    Raises:
        UserError: when one of them cannot be read.
    """

    def __init__(self, checkpoint: Path, images: Sequence[Path], sex: str | None = None) -> None:
        self.checkpoint = read_checkpoint(checkpoint)
        record = self.checkpoint["boneage"]
        self.model = load_model(self.checkpoint).eval()
        self.preprocessing = Preprocessing(**record["preprocessing"])
        self.files = find_radiographs(images)
        _require_names_of_their_own(self.files)
        known = pd.DataFrame(record["split"]).set_index("id")
        self.table = pd.DataFrame({"id": [radiograph_id(file) for file in self.files]})
        self.table = self.table.join(known, on="id")
        self.table["age_years"] = self.table.pop("age_months") / 12
        self.images, self.geometries, sexes = self._decode()
        self.table["sex"] = sex or self.table["sex"].fillna(sexes)
        self.table = self.table.join(predictions_of(self.model, self.images, self.sex)[0])

    def subset(self, rows: np.ndarray) -> "Explained":
        """Return the same checkpoint with some of the radiographs."""
        some = copy.copy(self)
        some.files = [self.files[row] for row in rows]
        some.table = self.table.iloc[rows].reset_index(drop=True)
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

    def _decode(self) -> tuple[np.ndarray, list[Geometry], pd.Series]:
        """Return (n, size, size) squares, how the files lie in them, and the headers' sexes."""
        squares, geometries, sexes = [], [], []
        for file in self.files:
            image, header = read_radiograph(file)
            height, width = image.shape
            crop = find_crop(image, self.preprocessing.crop)
            squares.append(to_square(image, self.preprocessing, crop))
            geometries.append(Geometry(height, width, self.preprocessing, crop))
            sexes.append(header.sex if header is not None else "unknown")
        return np.stack(squares), geometries, pd.Series(sexes)


def explain(
    checkpoint: Path, images: Sequence[Path], out: Path, method: Method, sex: str | None
) -> Explained:
    """Draw the maps of every task for radiographs, and keep them as arrays.

    Writes `<task>_<part>.png`, and per radiograph and task `<id>_<task>.npy`, float32 in the
    geometry of the file.

    Raises:
        UserError: when something cannot be read, or `out` cannot be written.
    """
    explained = Explained(checkpoint, images, sex)
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
                with styled():
                    figure = overlay_sheet(explained.images[shown], maps[shown], texts)
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
