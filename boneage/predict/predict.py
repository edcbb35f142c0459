"""Predict files and folders of radiographs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.progress import track

from boneage.data.radiographs import find_radiographs
from boneage.errors import UserError
from boneage.predict.answer import Answer, lines_of
from boneage.predict.answering import answer_all
from boneage.predict.kept import Answers, sha256
from boneage.predict.model import Predictor
from boneage.predict.page import write_pages
from boneage.predict.patients import patient_of, patients_of
from boneage.predict.pictures import FOLDER, PictureNames, write_pictures
from boneage.predict.radiograph import Radiograph, load

BATCH = 32  # radiographs
FEW = 16  # files that are read before a pool has started


def predict(
    images: Sequence[Path],
    predictor: Predictor,
    out: Path,
    table: Path | None = None,
    sex: str | None = None,
    strict: bool = False,
    resume: bool = False,
    pictures: bool = False,
    pages: bool = False,
) -> list[Answer]:
    """Predict radiographs, and write `predictions.csv` and `predictions.json`.

    Args:
        images: files, or folders with some below them.
        predictor: the checkpoints.
        out: folder to write.
        table: csv or xlsx with `id`, `sex`, and optionally a chronological age.
        sex: of all of them.
        strict: withhold the answer where there are flags.
        resume: go on where an earlier call was stopped.
        pictures: write a picture of each, with its Grad-CAM map.
        pages: write `report.html`, which shows the pictures.

    Raises:
        UserError: when nothing is there to predict, the table is wrong, or `out` cannot be written.
    """
    drawn = (out / FOLDER).resolve()  # by an earlier call, which this one goes on with
    files = [f for f in find_radiographs(images) if not (resume and drawn in f.resolve().parents)]
    patients = patients_of(files, table)
    rests_on = [*predictor.files, *([table] if table is not None else [])]
    about = {
        "checkpoints": [str(file) for file in predictor.files],
        "mirror": [model.mirror_test for model in predictor.models],
        "sex": sex, "table": str(table) if table else None, "strict": strict, "pictures": pictures,
        "sha256": {str(file): sha256(file) for file in rests_on},
    }  # fmt: skip
    answers = Answers(out, about, resume)
    names = PictureNames(answer.picture for answer in answers.done.values())
    left = [file for file in files if answers.lacks(file)]
    pairs = zip(left, track(_load(left, predictor, pictures), "Predicting", len(left)), strict=True)
    while part := list(islice(pairs, BATCH)):
        known = [patient_of(file, sex, patients, radiograph.header) for file, radiograph in part]
        found, seen = answer_all(part, known, predictor, strict)
        if pictures and seen:
            shown = {i: names.new(found[i].id) for i in seen}
            squares = np.stack([radiograph.squares[0] for radiograph in seen.values()])
            maps = predictor.maps(squares, [known[i].sex for i in seen])
            write_pictures(list(shown.values()), list(seen.values()), maps, out)
            found = [replace(a, picture=shown.get(i, "")) for i, a in enumerate(found)]
        answers.add(found)
    whole = answers.write([str(file) for file in files])
    if pages:
        write_pages(whole, about, out)
    return whole


def predict_one(
    file: Path, predictor: Predictor, table: Path | None, sex: str | None, strict: bool
) -> list[str]:
    """Return the answer for one radiograph as lines to read.

    Raises:
        UserError: when it cannot be read, or the table is wrong.
    """
    radiograph = load(file, predictor.preprocessings)
    if radiograph.error:
        raise UserError(radiograph.error)
    patient = patient_of(file, sex, patients_of([file], table), radiograph.header)
    (answer,), _ = answer_all([(file, radiograph)], [patient], predictor, strict)
    return lines_of(answer)


def _load(files: Sequence[Path], predictor: Predictor, with_films: bool) -> Iterator[Radiograph]:
    """Yield radiographs in order, a few ahead, read by all cores."""
    run = Parallel(
        n_jobs=1 if len(files) < FEW else -1, return_as="generator", pre_dispatch="16*n_jobs"
    )
    found: Iterator[Radiograph] = run(
        delayed(load)(file, predictor.preprocessings, with_films) for file in files
    )
    return found
