"""The mean of several models without training one, by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from boneage.data.decode import Preprocessing
from boneage.errors import UserError
from boneage.predict.ensemble import SITE, Ensemble
from boneage.predict.onnx_model import OnnxModel
from boneage.stages import Stages
from boneage.uncertainty.calibration import Correction, Intervals, Line, Site

NAN = float("nan")
CHILD, ADULT = "stage_probability_child", "stage_probability_adult"
WIDE, NARROW = Intervals((1.5,) * 6), Intervals((0.5,) * 6)


def model(name, ages=(), child=(), novelty=(NAN, NAN), **changes):
    columns = {"age_years_predicted": np.array(ages), CHILD: np.array(child)}
    columns[ADULT] = 1 - columns[CHILD]
    known = {
        "file": Path(name), "tasks": frozenset({"age", "stage"}), "stages": Stages(),
        "preprocessing": Preprocessing(8), "intervals": {True: None, False: None}, "site": None,
        "validated": 100, "calibrated": True,
        "predict": lambda squares, sexes: (dict(columns), np.array(novelty)),
    }  # fmt: skip
    return SimpleNamespace(**known | changes)


@pytest.fixture
def mean_of(monkeypatch):
    """The ensemble of some models."""

    def of(*models):
        by_name = {each.file.name: each for each in models}
        monkeypatch.setattr("boneage.predict.ensemble._read", lambda path, _: by_name[path.name])
        monkeypatch.setattr("boneage.predict.ensemble.require_distinct", lambda files: None)
        return Ensemble([each.file for each in models])

    return of


def test_a_mean_by_hand(mean_of):
    first = model("a.onnx", [2.0, 10.5], [0.9, 0.2], [0.4, NAN])
    second = model("b.onnx", [4.0, 9.1], [0.3, 0.6], [0.2, 3.0])
    child, adult = mean_of(first, second).predict([None, None], ["male", "female"])
    assert (child["age_years_predicted"], adult["age_years_predicted"]) == pytest.approx((3, 9.8))
    assert (child[CHILD], adult[CHILD]) == pytest.approx((0.6, 0.4))
    assert (child["stage_predicted"], adult["stage_predicted"]) == ("child", "adult")
    spreads = 2 / np.sqrt(2), 1.4 / np.sqrt(2)  # the standard deviation of two is |a - b| / sqrt 2
    assert (child["spread"], adult["spread"]) == pytest.approx(spreads)
    assert (child["novelty"], adult["novelty"]) == (0.2, 3.0)
    (alone, _) = mean_of(first).predict([None], ["male", "female"])
    assert not {"spread", SITE} & set(alone)


def test_a_site_corrects_one_model_of_two(mean_of):
    lines = {"male": Line(offset=1.0)}
    site = Site(Correction("offset by sex", lines), {True: NARROW, False: None})
    first = model("a.onnx", [8.0, 8.0], [0.5, 0.5], intervals={True: WIDE, False: WIDE}, site=site)
    second = model("b.onnx", [8.0, 8.0], [0.5, 0.5], intervals={True: WIDE, False: None})
    both = mean_of(first, second)
    boy, girl = both.predict([None, None], ["male", "female"])
    assert (boy["age_years_predicted"], boy[SITE]) == (8.5, 0.5)
    assert (girl["age_years_predicted"], girl[SITE]) == (8.0, 0.0)
    assert both.intervals == {True: Intervals((1.0,) * 6), False: None}


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"tasks": frozenset({"age"})}, "tasks"),
        ({"stages": Stages(["child", "adult"], [10])}, "stages"),
        ({"stages": Stages(edges=[11, 18])}, "stages"),
    ],
)
def test_models_of_other_labels_have_no_mean(mean_of, other, what):
    with pytest.raises(UserError, match=rf"a\.onnx and b\.onnx differ in their {what}: "):
        mean_of(model("a.onnx"), model("b.onnx", **other))


def test_a_model_that_seems_to_be_given_twice_is_said(mean_of, caplog):
    own = {True: WIDE, False: WIDE}
    mean_of(model("a.onnx", intervals=own), model("b.onnx", intervals={True: NARROW, False: WIDE}))
    assert caplog.text == ""
    mean_of(model("a.onnx", intervals=own), model("b.onnx", intervals=dict(own)))
    assert "a.onnx and b.onnx have the same intervals, so they seem to be one" in caplog.text


@pytest.mark.parametrize(
    ("mirror", "within", "age"),
    [(False, False, 3.0), (True, False, 4.0), (True, True, 3.0)],  # a graph with both has the mean
)
def test_an_exported_model_is_averaged_once_with_the_mirror_image(mirror, within, age):
    exported = object.__new__(OnnxModel)
    exported.columns, exported.outputs = {"age": ["age_years_predicted"]}, ["age", "novelty"]
    exported.mirror, exported.contract = mirror, {"mirror_test": within}
    exported._run = lambda names, squares, sexes: {
        "age": squares[:, 0, 0].astype(float), "novelty": squares[:, 0, -1] / 10,
    }  # fmt: skip
    square = np.array([[[3, 5], [7, 9]]], np.uint8)
    columns, novelty = exported.predict(square, ["male"])
    assert columns["age_years_predicted"].tolist() == [age]
    assert novelty.tolist() == [0.5]  # of the image itself
