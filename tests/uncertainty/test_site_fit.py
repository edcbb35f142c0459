"""Fitting a model to a site, on simulated ones."""

from dataclasses import replace

import numpy as np
import pytest

from boneage.errors import UserError
from boneage.predict.answer import Answer, corrections_line, lines_of
from boneage.predict.site import _fit_lines
from boneage.uncertainty.calibration import Correction, Intervals, Line
from boneage.uncertainty.site_fit import (
    SiteFit,
    _choose,
    _cross_validated,
    _deal,
    _fit,
    _line,
    fit_site,
)

NOISE = 0.75  # years, of a prediction


def site(n, seed, offset=0.0, slope=0.0, boys=0.0):
    """Return predictions, readings and sexes where the model errs as it is told to."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(4, 16, n)
    sexes = rng.choice(["female", "male"], n)
    wrong = offset + slope * (predicted - 10) + boys * (sexes == "male")
    return predicted, predicted + wrong + rng.normal(0, NOISE, n), sexes


def test_a_planted_offset_is_found():
    predicted, true, sexes = site(150, seed=1, offset=0.8)
    found = fit_site(predicted, true, sexes)
    assert found.mae["value"] == pytest.approx(12 * np.abs(true - predicted).mean())
    assert found.correction.form == "offset"
    assert found.correction.lines["female"].offset == pytest.approx(0.8, abs=0.15)
    assert found.difference["high"] < 0
    oracle = 12 * NOISE * np.sqrt(2 / np.pi)  # of a normal error, months
    assert found.mae_corrected["value"] == pytest.approx(oracle, rel=0.12)


def test_a_planted_slope_is_found():
    found = fit_site(*site(200, seed=2, offset=0.3, slope=0.15))
    assert found.correction.form.startswith("line")
    years = np.array([5.0, 10.0, 15.0])
    expected = years + 0.3 + 0.15 * (years - 10)
    assert np.allclose(found.correction.correct(years, np.array(["male"] * 3)), expected, atol=0.25)


def test_an_offset_of_one_sex_is_found():
    found = fit_site(*site(300, seed=3, boys=1.0))
    lines = found.correction.lines
    assert found.correction.form.endswith("by sex")
    assert lines["male"].correct(np.array([10.0])) == pytest.approx(11, abs=0.2)
    assert lines["female"].correct(np.array([10.0])) == pytest.approx(10, abs=0.2)
    unknown = found.correction.correct(np.array([10.0]), np.array(["unknown"]))
    assert unknown == pytest.approx(10.5, abs=0.2)  # half of the radiographs are boys'


@pytest.mark.slow
def test_a_site_without_an_offset_is_left_alone():
    """The chance of a correction that does not help is 2.5 %: of 60, four or more are rare."""
    applied = [fit_site(*site(60, seed)).correction.form != "none" for seed in range(60)]
    assert sum(applied) <= 3


def test_what_40_radiographs_cannot_show_is_left_alone():
    found = fit_site(*site(40, seed=11, offset=0.3))
    assert found.tried == "offset"
    assert found.difference["low"] < 0 <= found.difference["high"]
    assert found.correction == Correction()


def test_sexes_are_corrected_apart_only_where_that_is_shown_to_pay():
    """The one-standard-error rule is wrong in about one site of six; never in most."""
    forms = [fit_site(*site(120, seed, offset=1.0)).correction.form for seed in range(20)]
    assert forms.count("offset") >= 15


def test_too_few_are_refused():
    with pytest.raises(UserError, match=r"^5 radiographs .* at least 20"):
        fit_site(*site(5, seed=5))


def test_radiographs_of_one_patient_are_refused():
    with pytest.raises(UserError, match="of 1 patient, too few to fit"):
        fit_site(*site(60, seed=5), patients=np.zeros(60, int))


def test_intervals_hold_on_new_radiographs_of_the_site():
    shares = []
    for seed in range(20):
        found = fit_site(*site(100, seed, offset=0.6, slope=0.05), Intervals((0.9,) * 6))
        assert found.intervals is not None
        predicted, true, sexes = site(2000, seed + 100, offset=0.6, slope=0.05)
        ages = found.correction.correct(predicted, sexes)
        shares.append((np.abs(ages - true) <= found.intervals.width_of(ages)).mean())
    assert np.mean(shares) == pytest.approx(0.9, abs=0.02)


def test_intervals_that_hold_stay_and_narrow_ones_are_replaced():
    right = Intervals((1.645 * NOISE,) * 6)
    narrow = Intervals((0.3,) * 6)
    assert fit_site(*site(80, seed=6), right).intervals is None
    replaced = fit_site(*site(80, seed=6), narrow)
    assert replaced.correction == Correction()
    assert replaced.covered["high"] < 0.9
    assert replaced.intervals.widths[2] == pytest.approx(1.645 * NOISE, rel=0.3)


def test_radiographs_of_a_patient_are_held_out_together():
    """Copies of 12 radiographs are no more evidence than these, however large the offset looks."""
    predicted, true, sexes = site(12, seed=7, offset=0.25)
    many = [np.repeat(column, 10) for column in (predicted, true, sexes)]
    patients = np.repeat(np.arange(12), 10)
    own = Intervals((1.0,) * 6)
    apart, together = fit_site(*many, own), fit_site(*many, own, patients=patients)
    width = [found.difference["high"] - found.difference["low"] for found in (apart, together)]
    assert width[1] > 2 * width[0]
    for result in (together.difference, together.mae, together.mae_corrected, together.covered):
        assert result["patients"] == 12


def test_intervals_are_those_of_errors_that_the_correction_was_not_fitted_to():
    """Offsets of 2.5 and 1.5 years by fold: without its fold, each is off by 0.5 * 20 / 18."""
    predicted = 1 + 1.1 * np.arange(20)
    offset = np.tile([2.5, 1.5, 1.5, 2.5, 2.5, 1.5, 1.5, 2.5, 2.5, 1.5], 2)  # dealt in turn by age
    found = fit_site(predicted, predicted + offset, np.repeat("female", 20))
    assert found.correction.lines["female"].offset == pytest.approx(2)
    assert found.intervals.widths == pytest.approx((0.5 * 20 / 18,) * 6)


def test_patients_are_dealt_in_turn_by_their_mean_age():
    ages = np.arange(1.0, 21.0)
    films = np.where(np.arange(20) % 3, 1, 8)  # the sum of eight ages would come late
    folds = _deal(np.repeat(ages, films), np.repeat(np.arange(20)[::-1], films))
    assert folds.tolist() == np.repeat(np.arange(20) % 10, films).tolist()


@pytest.mark.parametrize(("boys", "own"), [(9, False), (10, True)])
def test_ten_radiographs_of_a_sex_have_a_correction_of_their_own(boys, own):
    sexes = np.repeat(["male", "female"], [boys, 20])
    predicted = np.linspace(5, 15, len(sexes))
    lines = _fit("offset by sex", predicted, predicted + (sexes == "male"), sexes).lines
    pooled = boys / len(sexes)
    assert lines["male"].offset == pytest.approx(1 if own else pooled)
    assert (lines["female"].offset, lines["unknown"].offset) == pytest.approx((0, pooled))


@pytest.mark.parametrize(("boys", "form"), [(19, "offset"), (20, "offset by sex")])
def test_twenty_radiographs_of_each_sex_are_needed_to_correct_them_apart(boys, form):
    sexes = np.repeat(["male", "female"], [boys, 30])
    predicted = np.random.default_rng(0).uniform(5, 15, len(sexes))
    true = predicted + 2.0 * (sexes == "male")
    assert _choose(predicted, true, sexes, np.arange(len(sexes))) == form


def test_a_correction_has_intervals_of_its_own_also_where_the_model_s_were_right():
    predicted, true, sexes = site(100, seed=1, offset=1.5)
    own = Intervals((float(np.quantile(np.abs(true - predicted), 0.9)),) * 6)
    found = fit_site(predicted, true, sexes, own)
    assert found.covered["low"] < 0.9 < found.covered["high"]
    assert found.correction.lines
    assert found.intervals.widths[2] < 0.7 * own.widths[2]


def test_the_form_is_chosen_without_the_patients_that_it_is_tested_on():
    groups, chosen_on = np.repeat(np.arange(15), 2), []

    def choose(predicted, true, sexes, groups):
        chosen_on.append(set(groups))
        return "offset"

    _cross_validated(choose, *site(30, seed=8), groups)
    left_out = [patient for used in chosen_on for patient in {*range(15)} - used]
    assert sorted(left_out) == list(range(15))


def test_equal_predictions_have_no_slope():
    """The mean of 30 equal ages differs from them by a rounding error: the slope was 5e14."""
    predicted = np.full(30, 121 / 12)
    assert _line("line", predicted, np.full(30, 11.0)).slope == 0


def test_beyond_the_ages_seen_the_correction_does_not_grow():
    line = Line(offset=0.5, slope=0.1, middle=10, low=8, high=12)
    assert line.correct(np.array([12.0, 18.0])) == pytest.approx([12.7, 18.7])
    assert line.correct(np.array([2.0, 0.0])) == pytest.approx([2.3, 0.3])
    assert Line(offset=-0.5).correct(np.array([0.3, 1.0])) == pytest.approx([0.0, 0.5])


def test_a_correction_of_zero_has_no_minus_sign():
    result = {"value": 1.0, "low": 0.5, "high": 1.5, "n": 20}
    line = Line(offset=-0.004, slope=-0.0004, middle=9.3)
    fit = SiteFit(Correction("line", {"male": line}), "line", *[result] * 4, None)
    lines = _fit_lines(replace(fit, intervals=Intervals((1.0,))), True)
    assert "  male: +0.00 years at 9.3 years, +0.000 per year above it" in lines
    assert lines[-1].endswith("of the readings: refitted to the corrected ages")
    answer = Answer("a.png", "a", site_correction_years=-0.004, sd_score=-0.04, age_years=9.3)
    assert corrections_line([answer])[0].endswith("1 age, by +0.00 years")
    shown = lines_of(answer)
    assert "site       the age is corrected by +0.00 y" in shown
    assert any("+0.0 at" in said for said in shown if said.startswith("SD score"))
