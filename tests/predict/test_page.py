"""What many predictions say together, by hand and by SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest

from boneage.data.dicom.header import header_of
from boneage.predict.answer import Answer
from boneage.predict.page import Share, card_of, summarise, write_pages


def answers():
    ages = [2.5, 7.0, 7.9, 12.0, 16.0]
    sexes = ["female", "female", "male", "unknown", "male"]
    some = [
        Answer(f"{i}.png", f"{i}", sex=sex, age_years=age, stage="child" if age < 10 else "older")
        for i, (age, sex) in enumerate(zip(ages, sexes, strict=True))
    ]
    odd = Answer("5.png", "5", status="withheld", flags=["lying down: corrected", "dark (3 %)"])
    lost = Answer("6.png", "6", status="error", reason="damaged")
    return [*some, odd, lost]


@pytest.mark.parametrize(("count", "n"), [(0, 12), (3, 40), (12, 12)])
def test_the_interval_is_that_of_scipy(count, n):
    exact = binomtest(count, n).proportion_ci(method="wilson")
    assert Share("flagged", count, n).limits == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_a_summary_by_hand():
    found = summarise(answers())
    shares = {share.label: (share.count, share.n) for share in found.shares}
    assert shares == {
        "not readable": (1, 7), "flagged": (1, 7), "lying down": (1, 7), "dark": (1, 7),
    }  # fmt: skip
    assert [(ages.sex, ages.n) for ages in found.ages] == [
        ("all", 5), ("female", 2), ("male", 2), ("unknown", 1),
    ]  # fmt: skip
    assert found.ages[0].quantiles[1:4] == [7.0, 7.9, 12.0]
    assert found.years == [0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert found.stages == [("child", 3), ("older", 2)]


def test_a_kind_of_flag_is_counted_whatever_value_it_names():
    sexes = ("O", "a'b", 'a"b', "' is", "1: 2", "x (3)")
    ages = ("15", "-3", "000D", "000Y", "", "")
    found = [
        header_of({"PatientSex": sex, "PatientAge": age})
        for sex, age in zip(sexes, ages, strict=True)
    ]
    flags = [[*filter(None, (h.sex_flag, h.age_flag))] for h in found]
    flags[0].append("SD score +12.5: is the chronological age right, and its unit?")
    flags[1].append("SD score -9.1: is the chronological age right, and its unit?")
    flags[2].append("the file's dates contradict its PatientAge")
    shares = summarise([Answer("a", "a", flags=own) for own in flags]).shares
    assert {share.label: share.count for share in shares[2:]} == {
        "the file's PatientSex is not recognised": 6,
        "the file's PatientAge is not recognised": 2,
        "the file's PatientAge may be a placeholder": 2,
        "the file's dates contradict its PatientAge": 1,
        "SD score": 2,
    }


def test_only_the_first_page_of_many_has_it(tmp_path):
    many = answers() * 60
    first, second, third = write_pages(many, {"checkpoints": ["model.onnx"]}, tmp_path)
    assert "All radiographs" in first.read_text()
    assert "Predicted bone ages (years)" in first.read_text()
    assert "All radiographs" not in second.read_text()
    assert 'Page 1 of 3 (<a href="report_2.html">next</a>), from' in first.read_text()
    assert (
        'Page 2 of 3 (<a href="report.html">previous</a>, <a href="report_3.html">next</a>), '
        "from radiograph 201 on" in second.read_text()
    )
    assert 'Page 3 of 3 (<a href="report_2.html">previous</a>), from' in third.read_text()


def test_an_age_gone_wrong_does_not_fill_the_page(tmp_path):
    ages = [3.0, 25.0, 1e9]
    assert summarise([Answer("a", "a", age_years=age) for age in ages]).years[3::22] == [1, 2]
    many = [Answer("a", "a", age_years=age) for age in ages * 4]
    (page,) = write_pages(many, {"checkpoints": ["model.onnx"]}, tmp_path)
    assert 'title="25+ years: 8"' in page.read_text()


def test_stages_are_counted_without_ages_too(tmp_path):
    answers = [Answer(f"{i}.png", f"{i}", stage="adult" if i else "child") for i in range(12)]
    (page,) = write_pages(answers, {"checkpoints": ["model.onnx"]}, tmp_path)
    assert "Stages: adult 11, child 1. These are predictions" in page.read_text()
    assert "Predicted bone ages" not in page.read_text()
    assert "90 % interval" not in page.read_text()


def test_nothing_predicted_has_no_ages():
    found = summarise([Answer("a", "a", status="error"), Answer("b", "b", status="error")])
    assert (found.ages, found.years, found.stages) == ([], [], [])
    assert np.isclose(found.shares[0].value, 1)


def test_the_place_of_a_prediction_on_its_scale(tmp_path):
    """The scale ends at 19 years, and an interval is cut there."""
    answer = Answer(
        "a.png", "a", age_years=4.75, interval_low_years=0.0, interval_high_years=20.0
    )  # fmt: skip
    card = card_of(answer, tmp_path, "a")
    assert (card["low"], card["at"], card["high"]) == (0, 25, 100)
    card = card_of(Answer("a.png", "a", age_years=9.5), tmp_path, "a")
    assert (card["low"], card["at"], card["high"], card["image"]) == (None, 50, None, None)


def test_cards_of_one_id_have_the_names_of_their_files(tmp_path):
    files = ("a/hand.png", "b/hand.png", "c/foot.png")
    cards = [Answer(file, file[2:6], age_years=9.0) for file in files]
    (page,) = write_pages(cards, {"checkpoints": ["model.onnx"]}, tmp_path)
    text = page.read_text()
    assert [file in text for file in files] == [True, True, False]
    assert "foot" in text


def test_a_correction_and_a_score_that_round_to_zero_have_no_minus_sign(tmp_path):
    answer = Answer(
        "a.png", "a", age_years=9.5, site_correction_years=-0.001,
        chronological_age_years=9.5, sd_score=-0.01,
    )  # fmt: skip
    (page,) = write_pages([answer], {"checkpoints": ["model.onnx"]}, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "by +0.00 years" in text
    assert "SD score +0.0" in text
