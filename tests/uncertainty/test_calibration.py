"""Intervals on simulated errors, whose coverage is known."""

import numpy as np
import pandas as pd
import pytest

from boneage.run.calibrate import coverage_of, intervals_of
from boneage.stages import BANDS
from boneage.uncertainty.calibration import coverage, fit_intervals


def simulate(rng, n, spread):
    predicted = rng.uniform(0, 19, n)
    return predicted + rng.normal(0, 1, n) * spread(predicted), predicted


def test_width_by_hand():
    # of 9 errors 1 to 9 the ceil(0.9 * 10) = 9th is the width; of 8 there is none
    predicted = np.full(9, 12.0)
    assert fit_intervals(predicted + np.arange(1, 10), predicted).widths == (9.0,) * 6
    assert fit_intervals(predicted[1:] + np.arange(1, 9), predicted[1:]).widths == (np.inf,) * 6


def test_coverage_is_what_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        intervals = fit_intervals(*simulate(rng, 200, lambda age: 1 + 0 * age))
        true, predicted = simulate(rng, 200, lambda age: 1 + 0 * age)
        covered.append(
            coverage(true, predicted, intervals.width_of(predicted))["all"]["covered"]["value"]
        )
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_bands_have_widths_of_their_own():
    rng = np.random.default_rng(1)
    intervals = fit_intervals(*simulate(rng, 20_000, lambda age: 0.2 + (age > 10)))
    by_band = dict(zip(BANDS.names, intervals.widths, strict=True))
    assert by_band["2-5"] == pytest.approx(0.2 * 1.645, rel=0.1)
    assert by_band["10-14"] == pytest.approx(1.2 * 1.645, rel=0.1)
    true, predicted = simulate(rng, 20_000, lambda age: 0.2 + (age > 10))
    found = coverage(true, predicted, intervals.width_of(predicted))
    assert all(abs(found[band]["covered"]["value"] - 0.9) < 0.03 for band in BANDS.names)
    assert found["2-5"]["width_months"]["value"] == pytest.approx(12 * by_band["2-5"])


def test_a_band_with_few_takes_the_width_of_all():
    rng = np.random.default_rng(2)
    predicted = np.concatenate([rng.uniform(10, 14, 500), rng.uniform(0, 2, 20)])
    error = np.concatenate([rng.normal(0, 1, 500), np.full(20, 9.0)])
    intervals = fit_intervals(predicted + error, predicted)
    of_all, own = np.sort(np.abs(error))[468], np.sort(np.abs(error[:500]))[450]  # 0.9 (n + 1)
    assert intervals.widths == pytest.approx((of_all, of_all, of_all, own, of_all, of_all))


@pytest.mark.parametrize(("n", "width"), [(49, 1.0), (50, 9.0)])
def test_a_band_needs_50_radiographs_for_its_own_width(n, width):
    predicted, error = np.repeat([12.0, 1.0], [1000, n]), np.repeat([1.0, 9.0], [1000, n])
    assert fit_intervals(predicted + error, predicted).widths == (width, *5 * (1.0,))


def test_coverage_is_that_of_the_interval_that_a_prediction_of_this_sex_has():
    """Errors of 1 year where the sex is given, of 3 where not; half of the validation fold is."""
    ages = np.linspace(5, 15, 40)
    sex = np.where(np.arange(40) % 2, "female", "unknown")
    error = np.where(sex == "unknown", 3.0, 1.0)
    record = {
        "split": {
            "id": [str(i) for i in range(40)], "age_months": list(12 * ages), "sex": list(sex),
            "fold": ["val"] * 40,
        },
        "calibration": {
            "predicted_years": list(ages + error),
            "predicted_years_sex_unknown": list(ages + 3.0),
        },
    }  # fmt: skip
    assert intervals_of(record).widths == pytest.approx((1.0,) * 6)
    assert intervals_of(record, sex_known=False).widths == pytest.approx((3.0,) * 6)
    test = pd.DataFrame({"age_years": ages, "age_years_predicted": ages + error, "sex": sex})
    found = coverage_of(record, test)["all"]
    assert found["covered"]["value"] == 1.0
    assert found["width_months"]["value"] == pytest.approx(24.0)
    wrong = coverage_of(record, test.assign(sex="female"))["all"]
    assert wrong["covered"]["value"] == 0.5


@pytest.mark.parametrize(("known", "width"), [(8, 3.0), (9, 1.0)])
def test_too_few_of_known_sex_have_the_interval_of_all(known, width):
    """Of 40 radiographs; the errors are 1 year where the sex is known, else 3."""
    ages, given = np.linspace(5, 15, 40), np.arange(40) < known
    split = {
        "id": [str(i) for i in range(40)], "age_months": list(12 * ages), "fold": ["val"] * 40,
        "sex": list(np.where(given, "male", "unknown")),
    }  # fmt: skip
    predicted = list(ages + np.where(given, 1.0, 3.0))
    calibration = {"predicted_years": predicted, "predicted_years_sex_unknown": predicted}
    record = {"split": split, "calibration": calibration}
    assert intervals_of(record).widths == pytest.approx((width,) * 6)
    test = pd.DataFrame({"age_years": ages, "age_years_predicted": predicted, "sex": split["sex"]})
    covered = coverage_of(record, test)["all"]["covered"]
    exact = 0.025 ** (1 / 40)  # Clopper & Pearson, 40 of 40
    assert [covered[k] for k in ("value", "low", "high")] == pytest.approx([1, exact, 1])
    assert coverage_of(record, test.assign(age_years_predicted=np.nan)) == {}  # diverged


def test_copies_of_a_patient_s_radiographs_are_no_more_evidence_of_coverage():
    predicted, patients = np.full(200, 12.0), np.repeat(np.arange(20), 10)
    true = predicted + np.where(patients < 10, 0.5, 2.0)
    columns = true, predicted, np.ones(200)
    apart, together = (coverage(*columns, p)["all"]["covered"] for p in (None, patients))
    assert apart["value"] == together["value"] == 0.5
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])
