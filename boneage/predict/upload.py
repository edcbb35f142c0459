"""The answer for one uploaded radiograph, which is kept in memory only."""

import tempfile
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd

from boneage.data.labels import MAX_AGE_YEARS, read_numbers
from boneage.errors import UserError
from boneage.evaluation.report.environment import render
from boneage.predict.answer import Answer
from boneage.predict.answering import answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.page import OLDEST_YEARS, card_of
from boneage.predict.patients import patient_given, patient_of
from boneage.predict.pictures import PictureNames, write_pictures
from boneage.predict.radiograph import Radiograph, load

Upload = tuple[str, bytes]  # name and content


def take(file: str | None) -> Upload | None:
    """Read an uploaded file into memory, and remove it."""
    if file is None:
        return None
    path = Path(file)
    try:
        return path.name, path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def read_age(text: str | None) -> float | None:
    """Return the chronological age that was typed, in years; None where none was.

    Raises:
        UserError: when it is no age.
    """
    text = (text or "").strip()
    if not text:
        return None
    age = float(read_numbers(pd.Series([text]))[0])
    if not 0 <= age <= MAX_AGE_YEARS:
        raise UserError(
            f"{text!r} is not a chronological age: type years from 0 to {MAX_AGE_YEARS}, for "
            "example 10.5, or leave the field empty."
        )
    return age


def answer_page(upload: Upload | None, sex: str, age: str | None, ensemble: Ensemble) -> str:
    """Return the answer for an uploaded radiograph as HTML.

    Args:
        upload: name and content of the file.
        sex: as chosen.
        age: chronological age in years, as typed; else the one in the DICOM header counts.
        ensemble: the models.
    """
    if upload is None:
        return "<p>Choose a radiograph first.</p>"
    try:
        age_years = read_age(age)
    except UserError as error:
        return f"<p>{escape(str(error))}</p>"
    name, content = upload
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        radiograph = load(path, ensemble.preprocessings, with_film=True)
        given = patient_given(None if sex == "unknown" else sex, age_years)
        patient = patient_of(path, given, {}, radiograph.header)
        (answer,), seen = answer_all([(path, radiograph)], [patient], ensemble)
    if answer.sex_from == "option":
        answer = replace(answer, sex_from="chosen")
    if answer.chronological_age_from == "option":
        answer = replace(answer, chronological_age_from="typed")
    reason = answer.reason.replace(str(path), name)
    return _card(replace(answer, reason=reason), seen.get(0), ensemble)


def _card(answer: Answer, seen: Radiograph | None, ensemble: Ensemble) -> str:
    with tempfile.TemporaryDirectory() as folder:
        if seen is not None:
            answer = replace(answer, picture=PictureNames().new("radiograph"))
            maps = ensemble.maps(seen.squares[0][None], [answer.sex])
            write_pictures([answer.picture], [seen], maps, Path(folder))
        card = card_of(answer, Path(folder), answer.id)
    return render("answer.html.j2", card=card, oldest=OLDEST_YEARS)
