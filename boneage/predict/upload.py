"""The answer for one uploaded radiograph, which is kept in memory only."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.evaluation.report.environment import render
from boneage.predict.answer import Answer
from boneage.predict.answering import answer_all
from boneage.predict.model import Predictor
from boneage.predict.page import OLDEST_YEARS, card_of
from boneage.predict.patients import patient_of
from boneage.predict.pictures import PictureNames, write_pictures
from boneage.predict.radiograph import load

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


def answer_page(upload: Upload | None, sex: str, predictor: Predictor) -> str:
    """Return the answer for an uploaded radiograph as HTML."""
    if upload is None:
        return "<p>Choose a radiograph first.</p>"
    name, content = upload
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        radiograph = load(path, predictor.preprocessings)
        option = None if sex == "unknown" else sex
        patient = patient_of(path, option, {}, radiograph.header)
        (answer,), seen = answer_all([(path, radiograph)], [patient], predictor)
    sex_from = "chosen" if answer.sex_from == "option" else answer.sex_from
    reason = answer.reason.replace(str(path), name)
    return _card(replace(answer, sex_from=sex_from, reason=reason), seen.get(0), predictor)


def _card(answer: Answer, square: np.ndarray | None, predictor: Predictor) -> str:
    with tempfile.TemporaryDirectory() as folder:
        if square is not None:
            answer = replace(answer, picture=PictureNames().new("radiograph"))
            write_pictures([answer.picture], square[None], [answer.sex], predictor, Path(folder))
        card = card_of(answer, Path(folder), answer.id)
    return render("answer.html.j2", card=card, oldest=OLDEST_YEARS)
