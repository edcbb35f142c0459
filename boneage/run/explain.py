"""Explain a checkpoint's predictions on radiograph files."""

import copy
import io
import logging
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from boneage.data.atomic import atomic_file, make_writable, require_writable, write_file, writing
from boneage.data.dataset import sex_indices
from boneage.data.decode import Geometry, Preprocessing
from boneage.data.parallel import read_squares
from boneage.data.radiographs import by_id, find_radiographs, single_files, unused_name
from boneage.data.tables.ids import patient_codes
from boneage.data.tables.matching import match_ids
from boneage.data.tables.sexes import contradict
from boneage.errors import UserError, join_first, plural
from boneage.evaluation.figures.style import styled, to_png
from boneage.explain.cases import captions, overlay_sheet
from boneage.explain.film import read_film
from boneage.explain.methods import Method, maps_of
from boneage.explain.regions import find_regions
from boneage.models.module import BoneAgeModule
from boneage.run.calibrate import correcting_site, predictions_at
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.seen import find_seen, seen_by

log = logging.getLogger(__name__)
SHEET = 24  # radiographs per image


class Explained:
    """A checkpoint and its predictions for radiographs.

    Args:
        checkpoint: a checkpoint, or the folder of a run.
        images: radiograph files or folders.
        sex: of all of them; None uses the checkpoint's table by id, else the DICOM header, else
            unknown. A header of the other sex is that of another radiograph with the same id.
        regions: table of boxes, or folder of a phantom's masks: only radiographs with regions are
            read, without the training and validation radiographs of the checkpoint and of the
            model that it started from.
        annotator: use only the boxes of this one; None uses all.

    Raises:
        UserError: if no radiograph can be read, or none is left.
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
        split = pd.DataFrame(record["split"]).set_index("id")
        named = by_id(find_radiographs(images), split.index)
        file_of = single_files(named, apart="explain them one by one")
        self.files = list(file_of.values())
        self.table = pd.DataFrame({"id": list(file_of)})
        meant = match_ids(self.table["id"], split.index, "Radiographs of the checkpoint")
        split = split.reindex([meant.get(id_) for id_ in self.table["id"]])
        self.table = self.table.join(split.reset_index(drop=True))
        if regions is not None:
            self._select(self._held_out(regions, annotator))
        self.table["age_years"] = self.table.pop("age_months") / 12
        self.images, self.geometries, sexes = self._decode()
        self._drop_truth_of_others(sexes)
        self.table["sex"] = sex or self.table["sex"].replace("unknown", np.nan).fillna(sexes)
        unknown = int((self.table["sex"] == "unknown").sum())
        if sex is None and unknown and self.model.sex.out_features:
            said = plural(unknown, "radiograph")
            log.warning("Explained without a sex, which the model uses: %s; give --sex", said)
        site = correcting_site(record)
        predicted = predictions_at(site, self.model, self.images, self.table["sex"])
        self.table = self.table.join(predicted)

    def subset(self, rows: np.ndarray) -> "Explained":
        """Return the same checkpoint with the radiographs of some rows."""
        subset = copy.copy(self)
        subset._select(rows)
        subset.images = self.images[rows]
        subset.geometries = [self.geometries[row] for row in rows]
        return subset

    @property
    def sex(self) -> Tensor:
        """(n,) int64, index into `SEXES`."""
        return sex_indices(self.table["sex"])

    @property
    def patients(self) -> np.ndarray | None:
        """(n,) numbers, equal for radiographs of one patient; None if the checkpoint has none."""
        return patient_codes(self.table)

    def maps(self, task: str, method: Method, model: BoneAgeModule | None = None) -> np.ndarray:
        """Return (n, size, size) signed maps of a task; `model` replaces the checkpoint's own."""
        return maps_of(model or self.model, self.images, self.sex, task, method)

    def _select(self, rows: np.ndarray) -> None:
        self.files = [self.files[row] for row in rows]
        self.table = self.table.iloc[rows].reset_index(drop=True)

    def _held_out(self, regions: Path, annotator: str | None) -> np.ndarray:
        """Return the rows with regions, without training and validation radiographs."""
        files = dict(zip(self.table["id"], self.files, strict=True))
        drawn = list(find_regions(regions, files, annotator))
        if not drawn:
            raise UserError(f"{regions} has no region for any of the {len(files):,} radiographs")
        seen = chain(*find_seen(self.table, seen_by(self.checkpoint)))
        rows = np.flatnonzero(self.table["id"].isin(drawn) & ~self.table["id"].isin([*seen]))
        if not len(rows):
            raise UserError(
                f"{regions}: the checkpoint was trained on every radiograph with regions "
                f"({len(drawn):,}: {join_first(sorted(drawn))}): train one without them, with "
                "data.hold_out="
            )
        log.info(
            f"Radiographs with regions: {len(drawn):,} of {len(files):,}. Used, since the model "
            f"was not trained on them: {len(rows):,}"
        )
        return rows

    def _drop_truth_of_others(self, sexes: pd.Series) -> None:
        """Drop what the checkpoint's table has of an id if the file's header has the other sex."""
        pairs = zip(self.table["sex"].fillna("unknown"), sexes, strict=True)
        other = np.array([contradict(*pair) for pair in pairs])
        if other.any():
            files = [str(self.files[row]) for row in np.flatnonzero(other)]
            log.warning(
                "%s: the header has another sex than the checkpoint's table for the same id. The "
                "sex of the header is used, and the bone age of the table is not",
                join_first(files),
            )
            self.table.loc[other, self.table.columns != "id"] = np.nan

    def _decode(self) -> tuple[np.ndarray, list[Geometry], pd.Series]:
        """Return (n, size, size) squares, their geometries, and the sexes of the headers.

        A file that cannot be read is left out, with a warning, unless there is no other.
        """
        rows, squares, sexes = read_squares(self.files, self.preprocessing)
        self._select(rows)
        pixels = np.stack([square.pixels for square in squares])
        return pixels, [square.geometry for square in squares], pd.Series(sexes)


def check_out(out: Path) -> None:
    """Raise UserError if a folder contains maps of an earlier call, or cannot be written."""
    if any(out.glob("*.npy")):
        raise UserError(f"{out} contains maps already: remove them, or choose another --out")
    require_writable(out)


def explain(explained: Explained, out: Path, method: Method) -> None:
    """Draw the maps of every task for radiographs, and save them as arrays.

    Writes `<task>_<part>.png`, and per radiograph and task `<id>_<task>.npy`, float32 in the
    geometry of the file. Folders and drives in an id are written with `_`; ids that differ only in
    letter case get a number.

    Raises:
        UserError: if the folder cannot be written.
    """
    make_writable(out)
    taken: Counter[str] = Counter()
    with writing(out), ExitStack() as files:
        for task in explained.model.tasks:
            maps = explained.maps(task, method)
            for id_, geometry, square in zip(
                explained.table["id"], explained.geometries, maps, strict=True
            ):
                name = unused_name(re.sub(r"[\\/:]", "_", id_), f"_{task}.npy", taken)
                part = files.enter_context(atomic_file(out / name))
                in_file = geometry.square_to_image(square, geometry.height, geometry.width)
                np.save(array := io.BytesIO(), in_file)
                part.write_bytes(array.getvalue())
            for number, start in enumerate(range(0, len(maps), SHEET)):
                shown = slice(start, start + SHEET)
                texts = captions(explained.table.iloc[shown])
                films = [read_film(f, explained.preprocessing) for f in explained.files[shown]]
                with styled():
                    figure = overlay_sheet(films, maps[shown], texts)
                    write_file(out / f"{task}_{number:03d}.png", to_png(figure))
