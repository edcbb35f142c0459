"""From radiographs to answers: predict, correct what lies on its side, flag what is odd."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.dataset import sex_indices
from boneage.data.hand import look, small
from boneage.data.radiographs import radiograph_id, read_radiograph
from boneage.evaluation.standards import sd_score
from boneage.predict.answer import Answer, years_and_months
from boneage.predict.model import CHANCE, Predictor, Row
from boneage.predict.patients import Patient
from boneage.predict.radiograph import TWO_HANDS, Radiograph, picture_flags, squares_of
from boneage.predict.turns import TURNS
from boneage.run.calibrate import AGE

UNUSUAL = 1.0  # novelty
DISAGREEMENT = 1.0  # years, standard deviation of an ensemble


def answer_all(
    part: Sequence[tuple[Path, Radiograph]],
    patients: Sequence[Patient],
    predictor: Predictor,
    strict: bool = False,
) -> tuple[list[Answer], dict[int, np.ndarray]]:
    """Answer for a few radiographs.

    Args:
        part: files, and what is in them.
        patients: whose they are.
        predictor: the checkpoints.
        strict: withhold the answer where there are flags.

    Returns:
        The answers, in order; and by place in that order what the first checkpoint saw of those
        that could be read: the (size, size) uint8 square, corrected where the answer says so.
    """
    readable = [i for i, (_, radiograph) in enumerate(part) if not radiograph.error]
    answers = [
        Answer(str(file), radiograph_id(file), status="error", reason=radiograph.error)
        for file, radiograph in part
    ]
    if not readable:
        return answers, {}
    squares = [np.stack(s) for s in zip(*(part[i][1].squares for i in readable), strict=True)]
    sexes = sex_indices(pd.Series([patients[i].sex for i in readable]))
    predicted = predictor.predict(squares, sexes)
    seen = dict(zip(readable, squares[0], strict=True))
    for row, i in enumerate(readable):
        file, radiograph = part[i]
        flags, novelty = list(radiograph.flags), predicted[row]["novelty"]
        turned = None
        if radiograph.turn and TWO_HANDS not in flags:
            turned = _turned(file, predictor, radiograph.turn, below=min(novelty, UNUSUAL))
        if turned is not None:
            squares_turned, flags = turned
            flags = [*flags, f"{radiograph.turn}: corrected"]
            corrected = [square[None] for square in squares_turned]
            predicted[row] = predictor.predict(corrected, sexes[row : row + 1])[0]
            seen[i] = squares_turned[0]
        elif novelty > UNUSUAL:
            flags.append("unlike the training radiographs")
        answers[i] = _answer(file, patients[i], predicted[row], flags, predictor, strict)
    return answers, seen


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
        file=str(file), id=radiograph_id(file), flags=[*flags, *patient.flags],
        sex=patient.sex, sex_from=patient.sex_from,
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
    age = max(0.0, float(row[AGE]))
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


def _turned(
    file: Path, predictor: Predictor, turn: str, below: float
) -> tuple[tuple[np.ndarray, ...], list[str]] | None:
    """Return what a radiograph is after a turn, if its novelty is then below a limit.

    Returns:
        The squares after it, and what is odd about the picture then.
    """
    image = np.ascontiguousarray(TURNS[turn](read_radiograph(file)[0]))
    picture = small(image)
    sighting = look(picture)
    squares = squares_of(image, sighting.hand, predictor.preprocessings)
    if not predictor.novelty([square[None] for square in squares])[0] < below:
        return None
    return squares, picture_flags(picture, sighting)
