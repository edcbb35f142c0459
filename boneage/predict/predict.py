"""Predict files and folders of radiographs."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rich.progress import track

from boneage.data.dataset import sex_indices
from boneage.data.hand import find_hand
from boneage.errors import UserError
from boneage.evaluation.standards import sd_score
from boneage.predict.answer import Answer, Answers, lines_of, years_and_months
from boneage.predict.model import CHANCE, Predictor, Row
from boneage.predict.page import write_pages
from boneage.predict.patients import Patient, find_files, patient_of, read_patients
from boneage.predict.pictures import write_pictures
from boneage.predict.radiograph import TURNS, Radiograph, load, read, squares_of
from boneage.run.calibrate import AGE

BATCH = 32  # radiographs
FEW = 16  # files that are read before a pool has started
UNUSUAL = 1.0  # novelty
DISAGREEMENT = 1.0  # years, standard deviation of an ensemble


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
    files = find_files(images)
    patients = read_patients(table) if table is not None else {}
    if table is not None and not {file.stem for file in files} & set(patients):
        raise UserError(f"{table} has none of the ids of these {len(files)} radiographs")
    about = {
        "checkpoints": [str(file) for file in predictor.files],
        "mirror": [model.mirror_test for model in predictor.models],
        "sex": sex, "table": str(table) if table else None, "strict": strict,
    }  # fmt: skip
    answers = Answers(out, about, resume)
    names = _names(files)
    left = [file for file in files if str(file) not in answers.done]
    pairs = zip(left, track(_load(left, predictor), "Predicting", len(left)), strict=True)
    while part := list(islice(pairs, BATCH)):
        known = [patient_of(file, sex, patients, radiograph.header) for file, radiograph in part]
        found = answer_all(part, known, predictor, strict)
        if pictures:
            seen = [(f, r, p.sex) for (f, r), p in zip(part, known, strict=True) if not r.error]
            if seen:
                squares = np.stack([radiograph.squares[0] for _, radiograph, _ in seen])
                sexes = [sex for _, _, sex in seen]
                write_pictures([names[f] for f, _, _ in seen], squares, sexes, predictor, out)
        answers.add(found)
    whole = answers.write([str(file) for file in files])
    if pages:
        write_pages(whole, [names[file] for file in files], about, out)
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
    patients = read_patients(table) if table is not None else {}
    patient = patient_of(file, sex, patients, radiograph.header)
    (answer,) = answer_all([(file, radiograph)], [patient], predictor, strict)
    return lines_of(answer)


def _names(files: Sequence[Path]) -> dict[Path, str]:
    """Return a name for the picture of each file: its id, numbered where several have the same."""
    seen: dict[str, int] = {}
    names = {}
    for file in files:
        seen[file.stem] = seen.get(file.stem, 0) + 1
        names[file] = file.stem if seen[file.stem] == 1 else f"{file.stem}_{seen[file.stem]}"
    return names


def answer_all(
    part: Sequence[tuple[Path, Radiograph]],
    patients: Sequence[Patient],
    predictor: Predictor,
    strict: bool = False,
) -> list[Answer]:
    """Return the answers for a few radiographs, in their order."""
    readable = [i for i, (_, radiograph) in enumerate(part) if not radiograph.error]
    answers = [
        Answer(str(file), file.stem, status="error", reason=radiograph.error)
        for file, radiograph in part
    ]
    if not readable:
        return answers
    squares = [np.stack(s) for s in zip(*(part[i][1].squares for i in readable), strict=True)]
    sexes = sex_indices(pd.Series([patients[i].sex for i in readable]))
    predicted = predictor.predict(squares, sexes)
    for row, i in enumerate(readable):
        file = part[i][0]
        flags = list(part[i][1].flags)
        if predicted[row]["novelty"] > UNUSUAL:
            turned = _turned(file, predictor)
            if turned is None:
                flags.append("unlike the training radiographs")
            else:
                flags.append(f"{turned[0]}: corrected")
                corrected = [square[None] for square in turned[1]]
                predicted[row] = predictor.predict(corrected, sexes[row : row + 1])[0]
        answers[i] = _answer(file, patients[i], predicted[row], flags, predictor, strict)
    return answers


def _answer(
    file: Path,
    patient: Patient,
    row: Row,
    flags: list[str],
    predictor: Predictor,
    strict: bool,
) -> Answer:
    """Put together what is known of one radiograph."""
    spread = float(row["spread"]) if "spread" in row else None
    if spread is not None and spread > DISAGREEMENT:
        flags = [*flags, "the models disagree"]
    answer = partial(
        Answer,
        file=str(file), id=file.stem, flags=flags, sex=patient.sex, sex_from=patient.sex_from,
        chronological_age_years=patient.age_years, chronological_age_from=patient.age_from,
        novelty=None if np.isnan(row["novelty"]) else float(row["novelty"]),
        ensemble_sd_years=spread,
    )  # fmt: skip
    if strict and flags:
        return answer(status="withheld", reason="; ".join(flags))
    chances = {c.removeprefix(CHANCE): float(row[c]) for c in row if c.startswith(CHANCE)}
    answer = partial(answer, stage_probabilities=chances, stage=row.get("stage_predicted", ""))
    if AGE not in row:
        return answer()
    age = float(row[AGE])
    answer = partial(answer, age_years=age, age_text=years_and_months(age))
    if not chances:
        answer = partial(
            answer, stage=predictor.stages.names[int(predictor.stages.of(np.array(age)))]
        )
    intervals = predictor.intervals[patient.sex != "unknown"]
    if intervals is not None and np.isfinite(width := float(intervals.width_of(np.array(age)))):
        low, high = max(0.0, age - width), age + width
        answer = partial(answer, interval_low_years=low, interval_high_years=high)
    if patient.age_years is not None:
        answer = partial(answer, sd_score=sd_score(age, patient.age_years, patient.sex))
    return answer()


def _turned(file: Path, predictor: Predictor) -> tuple[str, tuple[np.ndarray, ...]] | None:
    """Return how a radiograph becomes a usual one, and its squares then; None if it does not."""
    image, _ = read(file)
    best, found = UNUSUAL, None
    for name, turn in TURNS.items():
        turned = np.ascontiguousarray(turn(image))
        squares = squares_of(turned, find_hand(turned), predictor.preprocessings)
        novelty = float(predictor.novelty([square[None] for square in squares])[0])
        if novelty < best:
            best, found = novelty, (name, squares)
    return found


def _load(files: Sequence[Path], predictor: Predictor) -> Iterator[Radiograph]:
    """Yield radiographs in order, a few ahead, read by all cores."""
    run = Parallel(
        n_jobs=1 if len(files) < FEW else -1, return_as="generator", pre_dispatch="4*n_jobs"
    )
    found: Iterator[Radiograph] = run(delayed(load)(f, predictor.preprocessings) for f in files)
    return found
