"""Predict files and folders of radiographs."""

import logging
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import track

from boneage.data.atomic import unwritable
from boneage.data.radiographs import find_radiographs, radiograph_id
from boneage.data.tables.columns import DEFAULT_COLUMNS, Columns
from boneage.data.tables.sexes import warn_of_headers
from boneage.errors import UserError, join_first, plural
from boneage.predict.answer import Answer
from boneage.predict.answer_files import open_answers
from boneage.predict.answering import RADIOGRAPHS_IN_MEMORY, answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.page import PictureNames, write_pages, write_pictures
from boneage.predict.patients import (
    AGE_CONTRADICTED,
    SEX_CONTRADICTED,
    UNKNOWN_PATIENT,
    Patient,
    patient_of,
    patients_of,
)
from boneage.predict.radiograph import Radiograph, load
from boneage.weights import sha256

log = logging.getLogger(__name__)
Item = TypeVar("Item")

OUT_OF_MEMORY = re.compile("allocat|out of memory")  # of OpenCV, onnxruntime and torch
SERIAL_FILES = 16  # fewer are read faster without a pool
FILES_AHEAD = 1000  # up to about 0.5 MB each, in temporary files


def predict(
    images: Sequence[Path],
    ensemble: Ensemble,
    out: Path,
    table: Path | None = None,
    given: Patient = UNKNOWN_PATIENT,
    strict: bool = False,
    resume: bool = False,
    pictures: bool = False,
    pages: bool = False,
    columns: Columns = DEFAULT_COLUMNS,
) -> list[Answer]:
    """Predict radiographs, and write `predictions.csv` and `predictions.json`.

    Args:
        images: radiograph files or folders.
        ensemble: the models.
        out: folder to write.
        table: csv or xlsx with `id`, `sex`, and optionally a chronological age.
        given: sex and chronological age that apply to all of them.
        strict: withhold the prediction if there are flags of the image or of the models.
        resume: resume a call that was stopped.
        pictures: write an image of each, with its Grad-CAM map.
        pages: write `report.html`, which shows the images.
        columns: of the table.

    Raises:
        UserError: if there is no radiograph, the table is invalid, or `out` cannot be written.
    """
    files = find_radiographs(images)
    patients = patients_of(files, table, columns)
    inputs = [*ensemble.files, *([table] if table is not None else [])]
    about = {
        "checkpoints": [str(file) for file in ensemble.files],
        "mirror": [model.mirror for model in ensemble.models],
        "sex": given.sex if given.sex_from else None, "chronological_age_years": given.age_years,
        "table": str(table) if table else None, "strict": strict, "pictures": pictures,
        "columns": {meaning: own for meaning, own in columns.single().items() if own} or None,
        "sha256": {str(file): sha256(file) for file in inputs},
    }  # fmt: skip
    with open_answers(out, about, resume) as answers, _resumable(out):
        names = PictureNames(answer.picture for answer in answers.done.values())
        left = [file for file in files if answers.lacks(file)]
        with (
            closing(_load(left, ensemble, pictures)) as radiographs,
            closing(_batches(zip(left, radiographs, strict=True), len(left))) as parts,
        ):
            for part in parts:
                owners = [
                    patient_of(given, radiograph.header, patients[file])
                    for file, radiograph in part
                ]
                batch, shown = answer_all(part, owners, ensemble, strict)
                if pictures and shown:
                    drawn_as = {i: names.new(batch[i].id) for i in shown}
                    squares = np.stack([radiograph.squares[0] for radiograph in shown.values()])
                    maps = ensemble.maps(squares, [owners[i].sex for i in shown])
                    write_pictures(list(drawn_as.values()), list(shown.values()), maps, out)
                    batch = [replace(a, picture=drawn_as.get(i, "")) for i, a in enumerate(batch)]
                answers.add(batch)
        all_answers = answers.write([str(file) for file in files])
        _warn_of_headers(all_answers)
        if pages:
            write_pages(all_answers, about, out)
    return all_answers


def _warn_of_headers(answers: Sequence[Answer]) -> None:
    """Warn of given sexes and ages that contradict the DICOM headers."""
    for flag in (SEX_CONTRADICTED, AGE_CONTRADICTED):
        if ids := [answer.id for answer in answers if flag in answer.flags]:
            log.warning("%s: %s: %s", plural(len(ids), "radiograph"), flag, join_first(ids))


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    """Raise UserError, with the way to resume, if the disk is full or memory runs out."""
    finished = f"finished predictions are in {out}: continue with --resume"
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; {finished}") from error
    except Exception as error:
        if isinstance(error, OSError):
            raise UserError(f"{unwritable(error, out)}; {finished}") from error
        if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
            raise UserError(f"memory ran out; {finished}") from error
        raise


def answers_of(
    files: Sequence[Path],
    ensemble: Ensemble,
    table: Path | None,
    given: Patient,
    strict: bool,
    columns: Columns,
) -> list[Answer]:
    """Return the answers for a few files, in order.

    Raises:
        UserError: if the table is invalid.
    """
    patients = patients_of(files, table, columns)
    pairs = list(zip(files, _load(files, ensemble, with_films=False), strict=True))
    owners = [patient_of(given, radiograph.header, patients[file]) for file, radiograph in pairs]
    return answer_all(pairs, owners, ensemble, strict)[0]


def answers_twice(
    files: Sequence[Path], sexes: Sequence[str], ensemble: Ensemble
) -> tuple[list[Answer], list[Answer], list[str]]:
    """Return the answers without and with the given sexes, and the PatientIDs of DICOM headers.

    Each file is read once. A sex that is given as unknown is that of the file's header, if it has
    one. A PatientID is "" if there is none.
    """
    results: tuple[list[Answer], list[Answer]] = ([], [])
    of_headers: list[str] = []
    patient_ids: list[str] = []
    with (
        closing(_load(files, ensemble, with_films=False)) as loaded,
        closing(_batches(zip(files, sexes, loaded, strict=True), len(files))) as parts,
    ):
        for part in parts:
            radiographs = [(file, radiograph) for file, _, radiograph in part]
            own = [r.header.sex if r.header else "unknown" for _, r in radiographs]
            patient_ids += [r.header.patient if r.header else "" for _, r in radiographs]
            given = [sex for _, sex, _ in part]
            known = [o if sex == "unknown" else sex for sex, o in zip(given, own, strict=True)]
            of_headers += own
            inputs = (["unknown"] * len(part), known)
            for answers, part_sexes in zip(results, inputs, strict=True):
                patients = [Patient(sex) for sex in part_sexes]
                answers += answer_all(radiographs, patients, ensemble)[0]
    warn_of_headers(map(radiograph_id, files), sexes, of_headers)
    return *results, patient_ids


def _load(
    files: Sequence[Path], ensemble: Ensemble, with_films: bool
) -> Generator[Radiograph, None, None]:
    """Yield radiographs in order; all cores read ahead, up to `FILES_AHEAD`.

    Without this limit, those that wait for a slow model would fill the disk. To be closed, as
    `run_pool`.
    """
    if len(files) < SERIAL_FILES:
        yield from (load(file, ensemble.preprocessings, with_films) for file in files)
        return
    from joblib import delayed

    from boneage.data.pool import run_pool

    for start in range(0, len(files), FILES_AHEAD):
        part = files[start : start + FILES_AHEAD]
        calls = (delayed(load)(file, ensemble.preprocessings, with_films) for file in part)
        yield from run_pool(calls, n_jobs=-1, pre_dispatch="16*n_jobs")  # which it closes too


def _batches(items: Iterable[Item], n: int) -> Generator[list[Item], None, None]:
    """Yield n items in lists of at most `RADIOGRAPHS_IN_MEMORY`, and show progress.

    To be closed: the garbage collector may close it in the thread of another progress bar, which
    then waits for ever.
    """
    iterator = iter(track(items, "Predicting", n))
    while part := list(islice(iterator, RADIOGRAPHS_IN_MEMORY)):
        yield part
