"""What the tasks other than age and stage predict is in every kind of answer."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from boneage.predict.answer import Answer, lines_of, table_of, terminal_table
from boneage.predict.answering import _answer
from boneage.predict.page import write_pages
from boneage.predict.patients import Patient
from boneage.stages import Stages

OTHER = {"carpals_predicted": 3.25, "male_probability": 0.875}


@pytest.fixture
def answer():
    """The answer of a model that predicts neither age nor stage."""
    row = {**OTHER, "novelty": np.nan}
    models = SimpleNamespace(stages=Stages(), intervals={True: None, False: None})
    return _answer(Path("a.png"), Patient("male"), row, [], models, strict=False)


def test_one_answer(answer):
    assert answer.outputs == OTHER
    lines = lines_of(answer)
    assert lines[:2] == ["carpals_predicted 3.25", "male_probability 0.875"]
    aged = replace(answer, age_years=9.0, age_text="9 y 0 m")
    assert lines_of(aged)[1:3] == lines[:2]


def test_a_table(answer):
    lost = Answer("b.png", "b", "error", reason="damaged")
    lines = terminal_table([answer, lost], 80)
    assert lines[0].split() == ["radiograph", *OTHER, "sex"]
    assert lines[1].split() == ["a.png", "3.25", "0.875", "male"]
    assert lines[2].split() == ["b.png", "error", "-"]
    csv = table_of([answer, lost])
    assert csv.loc[0, list(OTHER)].to_dict() == OTHER
    assert csv.loc[1, list(OTHER)].isna().all()
    assert "outputs" not in csv


def test_a_card_writes_numbers_as_the_terminal_does(answer, tmp_path):
    long = replace(answer, outputs={"height_cm": 151.256, "male_probability": 0.98765})
    (page,) = write_pages([long], {"checkpoints": ["model.onnx"]}, tmp_path)
    texts = [" ".join(line.split()) for line in lines_of(long)[:2]]
    assert texts == ["height_cm 151.26", "male_probability 0.988"]
    assert "<br>".join(texts) in page.read_text()


def test_a_table_of_stages_alone():
    child = Answer("a.png", "a", sex="male", stage="child", stage_probabilities={"child": 0.9})
    lines = terminal_table([child, Answer("b.png", "b", "error", reason="damaged")], 80)
    assert lines[0].split() == ["radiograph", "stage", "sex"]
    assert lines[1].split() == ["a.png", "child", "male"]
    assert lines[2].split() == ["b.png", "error"]
