"""Predict files and folders of radiographs."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.progress import track

from boneage.data.radiographs import find_radiographs
from boneage.predict.answer import Answer
from boneage.predict.answering import answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.kept import Answers, sha256
from boneage.predict.page import FOLDER, PictureNames, write_pages, write_pictures
from boneage.predict.patients import Patient, patient_of, patients_of
from boneage.predict.radiograph import Radiograph, load

Item = TypeVar("Item")

BATCH = 32  # radiographs
NOTHING = Patient()  # is said of the patients
FEW = 16  # files that are read before a pool has started


def predict(
    images: Sequence[Path],
    ensemble: Ensemble,
    out: Path,
    table: Path | None = None,
    given: Patient = NOTHING,
    strict: bool = False,
    resume: bool = False,
    pictures: bool = False,
    pages: bool = False,
) -> list[Answer]:
    """Predict radiographs, and write `predictions.csv` and `predictions.json`.

    Args:
        images: files, or folders with some below them.
        ensemble: the models.
        out: folder to write.
        table: csv or xlsx with `id`, `sex`, and optionally a chronological age.
        given: what is said of the patients of all of them.
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
    rests_on = [*ensemble.files, *([table] if table is not None else [])]
    about = {
        "checkpoints": [str(file) for file in ensemble.files],
        "mirror": [model.mirror for model in ensemble.models],
        "sex": given.sex if given.sex_from else None, "chronological_age_years": given.age_years,
        "table": str(table) if table else None, "strict": strict, "pictures": pictures,
        "sha256": {str(file): sha256(file) for file in rests_on},
    }  # fmt: skip
    answers = Answers(out, about, resume)
    names = PictureNames(answer.picture for answer in answers.done.values())
    left = [file for file in files if answers.lacks(file)]
    pairs = zip(left, track(_load(left, ensemble, pictures), "Predicting", len(left)), strict=True)
    for part in _batches(pairs):
        known = [patient_of(file, given, patients, radiograph.header) for file, radiograph in part]
        found, seen = answer_all(part, known, ensemble, strict)
        if pictures and seen:
            shown = {i: names.new(found[i].id) for i in seen}
            squares = np.stack([radiograph.squares[0] for radiograph in seen.values()])
            maps = ensemble.maps(squares, [known[i].sex for i in seen])
            write_pictures(list(shown.values()), list(seen.values()), maps, out)
            found = [replace(a, picture=shown.get(i, "")) for i, a in enumerate(found)]
        answers.add(found)
    whole = answers.write([str(file) for file in files])
    if pages:
        write_pages(whole, about, out)
    return whole


def answers_of(
    files: Sequence[Path], ensemble: Ensemble, table: Path | None, given: Patient, strict: bool
) -> list[Answer]:
    """Return the answers for a few files, in order.

    Raises:
        UserError: when the table is wrong.
    """
    patients = patients_of(files, table)
    pairs = list(zip(files, _load(files, ensemble, with_films=False), strict=True))
    known = [patient_of(file, given, patients, radiograph.header) for file, radiograph in pairs]
    return answer_all(pairs, known, ensemble, strict)[0]


def answer_files(
    files: Sequence[Path], sexes: Sequence[str], ensemble: Ensemble
) -> tuple[list[Answer], list[Answer]]:
    """Return the answers for files read once: without sex, and with the sexes that are given."""
    found: tuple[list[Answer], list[Answer]] = ([], [])
    pairs = zip(files, sexes, _load(files, ensemble, with_films=False), strict=True)
    for part in _batches(track(pairs, "Predicting", len(files))):
        read = [(file, radiograph) for file, _, radiograph in part]
        told_by_call = (["unknown"] * len(part), [sex for _, sex, _ in part])
        for answers, told in zip(found, told_by_call, strict=True):
            patients = [Patient(sex) for sex in told]
            answers += answer_all(read, patients, ensemble)[0]
    return found


def _load(files: Sequence[Path], ensemble: Ensemble, with_films: bool) -> Iterator[Radiograph]:
    """Yield radiographs in order, a few ahead, read by all cores."""
    if len(files) < FEW:
        yield from (load(file, ensemble.preprocessings, with_films) for file in files)
        return
    from joblib import Parallel, delayed

    run = Parallel(n_jobs=-1, return_as="generator", pre_dispatch="16*n_jobs")
    yield from run(delayed(load)(file, ensemble.preprocessings, with_films) for file in files)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield the items, a few at a time."""
    left = iter(items)
    while part := list(islice(left, BATCH)):
        yield part
