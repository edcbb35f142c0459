"""From radiographs to answers: predict, correct the orientation, flag anomalies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boneage.data.formats import read_radiograph
from boneage.data.radiographs import radiograph_id
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.predict.answer import Answer, years_and_months
from boneage.predict.ensemble import SITE, Ensemble, Row
from boneage.predict.patients import Patient
from boneage.predict.radiograph import CORRECTIONS, NO_SINGLE_HAND, TWO_HANDS, Radiograph, see
from boneage.stages import PROBABILITY
from boneage.uncertainty.novelty import UNUSUAL

Source = Path | np.ndarray  # a file, or (H, W) uint8 or uint16
RADIOGRAPHS_IN_MEMORY = 32
EXTREME_SD = 8.0  # absolute SD score; an age in the wrong unit gives a higher one
FAR = "bone age far from the chronological age"  # as the flag says where there is no SD score
# columns with fields of their own
NAMED = (PREDICTED_AGE, SITE, "spread", "novelty", "stage_predicted")
DISAGREEMENT = 1.0  # years, standard deviation of an ensemble
# Brush Foundation Study (Greulich & Pyle 1959): chronological age in years; mean and standard
# deviation of bone age in months.
BOYS = (
    (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
     17),
    (3.01, 6.09, 9.56, 12.74, 19.36, 25.97, 32.40, 38.21, 43.89, 49.04, 56.00, 62.43, 75.46, 88.20,
     101.38, 113.90, 125.68, 137.32, 148.82, 158.39, 170.02, 182.72, 195.32, 206.21),
    (0.69, 1.13, 1.43, 1.97, 3.52, 3.92, 4.52, 5.08, 5.40, 6.66, 8.36, 8.79, 9.17, 8.91, 9.10, 9.00,
     9.79, 10.09, 10.38, 10.44, 10.72, 11.32, 12.86, 13.05),
)  # fmt: skip
GIRLS = (
    (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
    (3.02, 6.04, 9.05, 12.04, 18.22, 24.16, 30.96, 36.63, 43.50, 50.14, 60.06, 66.21, 78.50, 89.30,
     100.66, 113.86, 125.66, 137.86, 149.62, 162.28, 174.25, 183.62, 189.44),
    (0.72, 1.16, 1.36, 1.77, 3.49, 4.64, 5.37, 5.97, 7.48, 8.98, 10.73, 11.65, 10.23, 9.64, 10.23,
     10.74, 11.73, 11.94, 10.24, 10.67, 11.30, 9.23, 7.31),
)  # fmt: skip
BRUSH = {"male": BOYS, "female": GIRLS}


def answer_all(
    part: Sequence[tuple[Source, Radiograph]],
    patients: Sequence[Patient],
    ensemble: Ensemble,
    strict: bool = False,
) -> tuple[list[Answer], dict[int, Radiograph]]:
    """Predict a batch of radiographs.

    Args:
        part: files or arrays, each with its radiograph as read.
        patients: their patients, in the same order.
        ensemble: the models.
        strict: withhold the prediction if there are flags of the image or of the models.

    Returns:
        The answers, in order; and the readable radiographs by index, with the orientation
        corrected if the answer has that flag.
    """
    readable = [i for i, (_, radiograph) in enumerate(part) if not radiograph.error]
    answers = [
        Answer(**_identity(source, patient), status="error", reason=radiograph.error)
        for (source, radiograph), patient in zip(part, patients, strict=True)
    ]
    if not readable:
        return answers, {}
    squares = [np.stack(s) for s in zip(*(part[i][1].squares for i in readable), strict=True)]
    sexes = [patients[i].sex for i in readable]
    predicted = ensemble.predict(squares, sexes)
    seen = {i: part[i][1] for i in readable}
    for row, i in enumerate(readable):
        source, radiograph = part[i]
        flags, novelty = list(radiograph.flags), predicted[row]["novelty"]
        corrected = None
        if radiograph.turn and TWO_HANDS not in flags:
            corrected = _correct_orientation(source, radiograph, ensemble)
            squares = [square[None] for square in corrected.squares]
            repeated = ensemble.predict(squares, sexes[row : row + 1])[0]
        if corrected is not None and _is_more_usual(repeated["novelty"], novelty):
            seen[i], predicted[row] = corrected, repeated
            of_file = [flag for flag in flags if flag not in NO_SINGLE_HAND]
            flags = [*dict.fromkeys(of_file + corrected.flags), f"{radiograph.turn}: corrected"]
        elif novelty > UNUSUAL:
            flags.append("unlike the training radiographs")
        answers[i] = _answer(source, patients[i], predicted[row], flags, ensemble, strict)
    return answers, seen


def _identity(source: Source, patient: Patient) -> dict[str, Any]:
    """Return the fields that describe radiograph and patient; an array has neither file nor id."""
    file = source if isinstance(source, Path) else None
    return {
        "file": str(file) if file else "", "id": radiograph_id(file) if file else "",
        "sex": patient.sex, "sex_from": patient.sex_from,
        "chronological_age_years": patient.age_years, "chronological_age_from": patient.age_from,
    }  # fmt: skip


def _answer(
    source: Source,
    patient: Patient,
    row: Row,
    flags: list[str],
    ensemble: Ensemble,
    strict: bool,
) -> Answer:
    """Return the answer for one radiograph."""
    spread = row.get("spread")
    if spread is not None and spread > DISAGREEMENT:
        flags = [*flags, "the models disagree"]
    answer = Answer(
        **_identity(source, patient),
        flags=[*flags, *patient.flags],
        novelty=None if np.isnan(row["novelty"]) else row["novelty"],
        ensemble_sd_years=spread,
    )
    if strict and flags:
        return replace(answer, status="withheld", reason="; ".join(flags))
    others = {name: value for name, value in row.items() if name not in NAMED}
    shares = {name: others.pop(name) for name in row if name.startswith(PROBABILITY)}
    answer = replace(
        answer,
        stage=row.get("stage_predicted", ""),
        stage_probabilities={name.removeprefix(PROBABILITY): p for name, p in shares.items()},
        outputs=others,
    )
    return _with_age(answer, row, ensemble) if PREDICTED_AGE in row else answer


def _with_age(answer: Answer, row: Row, ensemble: Ensemble) -> Answer:
    """Return an answer with the bone age, and with what follows from it."""
    age = max(0.0, row[PREDICTED_AGE])
    answer = replace(
        answer,
        age_years=age,
        age_text=years_and_months(age),
        site_correction_years=row.get(SITE),
        stage=answer.stage or ensemble.stages.names[int(ensemble.stages.index_of(np.array(age)))],
    )
    intervals = ensemble.intervals[answer.sex != "unknown"]
    if intervals is not None and np.isfinite(width := float(intervals.width_of(np.array(age)))):
        low, high = max(0.0, age - width), age + width
        answer = replace(answer, interval_low_years=low, interval_high_years=high)
    chronological_age = answer.chronological_age_years
    if chronological_age is None:
        return answer
    score = sd_score(age, chronological_age, answer.sex)
    flags = answer.flags
    if is_extreme(age, chronological_age, answer.sex):
        what = FAR if score is None else f"SD score {score:+z.1f}"
        flags = [*flags, f"{what}: is the chronological age right, and its unit?"]
    return replace(answer, sd_score=score, flags=flags)


def _correct_orientation(source: Source, radiograph: Radiograph, ensemble: Ensemble) -> Radiograph:
    """Return a radiograph with the rotation and inversion that it appears to need."""
    image = read_radiograph(source)[0] if isinstance(source, Path) else source
    corrected = np.ascontiguousarray(CORRECTIONS[radiograph.turn](image))
    return see(corrected, ensemble.preprocessings, with_film=radiograph.film is not None)


def _is_more_usual(corrected: float, novelty: float) -> bool:
    """Tell whether a radiograph looks more usual after the correction that its hand needs.

    Args:
        corrected: its novelty after the correction.
        novelty: its novelty before; NaN if no model measures it: the hand finder decides alone.
    """
    return bool(np.isnan(novelty)) or corrected < min(novelty, UNUSUAL)


def sd_score(bone_age_years: float, chronological_age_years: float, sex: str) -> float | None:
    """Return the number of standard deviations that a bone age is above the mean for the age.

    Mean and deviation are interpolated between the ages of the Brush Foundation's table.

    Args:
        bone_age_years: bone age.
        chronological_age_years: chronological age.
        sex: "female", "male" or "unknown".

    Returns:
        The score; None for an unknown sex, and outside the table (3 months to 17 years for boys, to
        16 years for girls).
    """
    if sex not in BRUSH:
        return None
    ages = BRUSH[sex][0]
    if not ages[0] <= chronological_age_years <= ages[-1]:
        return None
    return _score_at_nearest(bone_age_years, chronological_age_years, sex)


def is_extreme(bone_age_years: float, chronological_age_years: float, sex: str) -> bool:
    """Tell whether the SD score is beyond `EXTREME_SD`, also where `sd_score` gives none.

    Outside the Brush Foundation's table the mean and deviation at its nearest age count. Bone ages
    rise with age, so below 3 months a bone age that is too high for 3 months is too high, and above
    16 or 17 years one that is too low for that age is too low. For an unknown sex, the score of
    both sexes must be beyond.

    Args:
        bone_age_years: bone age.
        chronological_age_years: chronological age.
        sex: "female", "male" or "unknown".
    """
    possible = [sex] if sex in BRUSH else [*BRUSH]
    scores = [_score_at_nearest(bone_age_years, chronological_age_years, s) for s in possible]
    return min(map(abs, scores)) > EXTREME_SD


def _score_at_nearest(bone_age_years: float, chronological_age_years: float, sex: str) -> float:
    """Return the SD score; outside the table, that at its nearest age."""
    ages, means, deviations = BRUSH[sex]
    mean = np.interp(chronological_age_years, ages, means)
    deviation = np.interp(chronological_age_years, ages, deviations)
    return float((12 * bone_age_years - mean) / deviation)
