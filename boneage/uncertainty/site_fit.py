"""Fit a model to a site: test a correction of its ages, and refit its intervals."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.tables.ids import count_patients, patient_codes
from boneage.data.tables.sexes import SEXES
from boneage.errors import UserError, join_first, plural
from boneage.evaluation.intervals import Result, paired_difference, with_interval
from boneage.stages import ALL
from boneage.uncertainty.calibration import (
    COVERAGE,
    Correction,
    Intervals,
    Line,
    coverage,
    fit_intervals,
)

log = logging.getLogger(__name__)
MIN_RADIOGRAPHS = 20  # radiographs for a correction, in total or of a sex
CROSS_VALIDATION_FOLDS = 10
FORMS = ("offset", "line", "offset by sex", "line by sex")  # of a correction, simplest first
NEAR_YEARS = 3.0  # between a reading and the prediction
MIXED = 3  # readings of another unit; fewer may be errors of the model
IMPLAUSIBLE_YEARS = 3.0  # median difference, too large to come from the readers of a site
WIDE_YEARS = 1.5  # SD of ages that a model can tell apart
FAR_YEARS = 5.0  # of one error from the median; that of the built-in model is at most 3 in 300
MIN_RELATIVE_SPREAD = 0.25  # of predictions to readings, SDs: a line would stretch noise


@dataclass(frozen=True)
class SiteFit:
    """The fit of a model to a site's radiographs of known bone age.

    Args:
        correction: to apply; its form is "none" if no gain is shown.
        tried: the form of correction that was tested.
        mae: `mae_months` with interval, without correction.
        mae_corrected: the same with the correction, cross-validated.
        difference: paired, in months; below 0 the correction helps.
        covered: share of the readings in the model's own intervals; None if it has none.
        intervals: refitted; None if the model's own are used.
    """

    correction: Correction
    tried: str
    mae: Result
    mae_corrected: Result
    difference: Result
    covered: Result | None
    intervals: Intervals | None


def fit_site(
    predicted: np.ndarray,
    true: np.ndarray,
    sexes: np.ndarray,
    intervals: Intervals | None = None,
    patients: np.ndarray | None = None,
) -> SiteFit:
    """Estimate a correction and intervals from a site's radiographs.

    The form of the correction is chosen by cross-validation. Its gain is estimated by an outer
    cross-validation that repeats the choice. The correction is applied only if the 95 % interval of
    the gain excludes 0. Intervals are refitted to the cross-validated errors if a correction is
    applied, or if the coverage of the model's own differs from 90 % with confidence.

    Args:
        predicted: (n,) predicted ages, years.
        true: (n,) readings, years.
        sexes: (n,) names of `SEXES`, as given to the model.
        intervals: the model's own.
        patients: (n,) numbers, as for `with_interval`.

    Raises:
        UserError: if there are fewer than `MIN_RADIOGRAPHS` radiographs.
    """
    if len(true) < MIN_RADIOGRAPHS:
        raise UserError(
            f"{len(true)} radiographs of known bone age are too few to fit a model to a site: "
            f"give at least {MIN_RADIOGRAPHS}, better 100 or more"
        )
    groups = np.arange(len(true)) if patients is None else patients
    if (n := len(np.unique(groups))) < CROSS_VALIDATION_FOLDS:
        raise UserError(
            f"the radiographs are of {plural(n, 'patient')}, too few to fit a model to a site: "
            f"give those of at least {CROSS_VALIDATION_FOLDS}, or name the column of patients"
        )
    held_out = _cross_validated(_choose, predicted, true, sexes, groups)
    error, held_out_error = np.abs(predicted - true), np.abs(held_out - true)
    difference = paired_difference(_mean_months, (error,), (held_out_error,), patients)
    tried = _choose(predicted, true, sexes, groups)
    high = difference["high"]
    helps = high is not None and high < 0
    covered = None
    if intervals is not None and intervals.known:
        width = intervals.width_of(predicted)
        covered = coverage(true, predicted, width, patients)[ALL]["covered"]
    final = held_out if helps else predicted
    refit = helps or covered is None or not _contains(covered, COVERAGE)
    return SiteFit(
        correction=_fit(tried, predicted, true, sexes) if helps else Correction(),
        tried=tried,
        mae=_mae(error, patients),
        mae_corrected=_mae(held_out_error, patients),
        difference=difference,
        covered=covered,
        intervals=fit_intervals(true, final) if refit else None,
    )


def why_too_few(table: pd.DataFrame) -> str:
    """Return why radiographs are too few for `fit_site`; empty if they are not.

    Args:
        table: the radiographs, with `patient` where it is known.
    """
    if len(table) < MIN_RADIOGRAPHS:
        return f"fewer than {MIN_RADIOGRAPHS} radiographs"
    patients = count_patients(table)
    few = patients is not None and patients < CROSS_VALIDATION_FOLDS
    return f"radiographs of fewer than {CROSS_VALIDATION_FOLDS} patients" if few else ""


def check_readings(labels: pd.DataFrame, table: Path) -> None:
    """Raise UserError if the readings or the sexes cannot be those of these radiographs.

    Warns of readings that are far from the prediction, if the predictions hardly vary, and of a sex
    with hardly any radiograph.

    Args:
        labels: `age_years` read, `predicted_years` without the sex, `predicted_years_by_sex`, and
            `sex`.
        table: of the readings, for messages.
    """
    true, predicted, by_sex = (
        labels[name].to_numpy(float)
        for name in ("age_years", "predicted_years", "predicted_years_by_sex")
    )
    difference = float(np.median(np.abs(predicted - true)))
    if difference > IMPLAUSIBLE_YEARS:
        raise UserError(
            f"{table}: half of the readings differ from the predicted ages by more than "
            f"{difference:.1f} years: check that they are bone ages of these radiographs, and "
            "check --age-unit"
        )
    in_years = (np.abs(12 * true - predicted) < NEAR_YEARS) & (predicted > true + NEAR_YEARS)
    if in_years.sum() >= MIXED:
        first = labels[in_years].iloc[0]
        raise UserError(
            f"{table}: {in_years.sum():,} readings seem to be years in a column of months, such as "
            f"{12 * first['age_years']:g} for {first['id']}, predicted as "
            f"{first['predicted_years']:.1f} years: write all in one unit"
        )
    _warn_of_far_readings(labels, table)
    if len(labels) < MIN_RADIOGRAPHS:
        return  # too few to judge; `fit_site` refuses them
    if true.std() > WIDE_YEARS and predicted.std() < MIN_RELATIVE_SPREAD * true.std():
        log.warning(
            "%s: the predicted ages hardly vary (SD %.2f years, that of the readings %.2f): check "
            "with boneage predict --report whether the model can read these radiographs",
            table, predicted.std(), true.std(),
        )  # fmt: skip
    if min(predicted.std(), true.std()) > WIDE_YEARS:
        r = float(np.corrcoef(predicted, true)[0, 1])
        if r < np.tanh(1.96 / sqrt(len(true) - 3)):  # Fisher's z
            raise UserError(
                f"{table}: the readings do not rise with the predicted ages (correlation {r:.2f}, "
                f"n = {len(true):,}): check that each is the bone age of its own radiograph"
            )
    known = (labels["sex"] != "unknown").to_numpy()
    if known.sum() >= MIN_RADIOGRAPHS:
        _warn_of_one_sex(labels["sex"][known], table)
        spread, with_sex = (_from_median((ages - true)[known]) for ages in (predicted, by_sex))
        patients = patient_codes(labels[known])
        harm = paired_difference(_mean_months, (spread,), (with_sex,), patients)
        if harm["low"] is not None and harm["low"] > 0:
            raise UserError(
                f"{table}: the errors vary more with the sexes of the table (by "
                f"{_mean_months(with_sex):.1f} months around their median) than without "
                f"({_mean_months(spread):.1f}): check whether the sex column is inverted"
            )


def _warn_of_far_readings(labels: pd.DataFrame, table: Path) -> None:
    """Warn of single readings that may be typing errors, or of another radiograph."""
    errors = labels["predicted_years_by_sex"].to_numpy(float) - labels["age_years"]
    far = labels[_from_median(errors) > FAR_YEARS]
    if len(far):
        rows = zip(far["id"], far["age_years"], far["predicted_years_by_sex"], strict=True)
        log.warning(
            "%s: check %s far from the predicted age: %s",
            table, plural(len(far), "reading"),
            join_first([f"{i} (read {age:.1f}, predicted {p:.1f} years)" for i, age, p in rows]),
        )  # fmt: skip


def _warn_of_one_sex(sexes: pd.Series, table: Path) -> None:
    """Warn if a fit can hardly tell of one sex, given the known sexes of the radiographs."""
    for sex in ("female", "male"):
        if (n := int((sexes == sex).sum())) < MIN_RADIOGRAPHS // 2:
            log.warning(
                "%s: too few radiographs are %s (%d of %s of known sex): the fit is not tested for "
                "this sex, nor for unknown sex where children of both sexes are examined",
                table, sex, n, f"{len(sexes):,}",
            )  # fmt: skip


def _from_median(errors: np.ndarray) -> np.ndarray:
    distance: np.ndarray = np.abs(errors - np.median(errors))
    return distance


def _mean_months(years: np.ndarray) -> np.ndarray:
    months: np.ndarray = 12 * years.mean(axis=-1)
    return months


def _fit(form: str, predicted: np.ndarray, true: np.ndarray, sexes: np.ndarray) -> Correction:
    """Return the least-squares correction of the given form."""
    pooled = _line(form, predicted, true)
    lines = dict.fromkeys(SEXES, pooled)
    if form.endswith("by sex"):
        for sex in SEXES:
            if (own := sexes == sex).sum() >= MIN_RADIOGRAPHS // 2:
                lines[sex] = _line(form, predicted[own], true[own])
    return Correction(form, lines)


def _line(form: str, predicted: np.ndarray, true: np.ndarray) -> Line:
    error, middle = true - predicted, float(predicted.mean())
    low, high = float(predicted.min()), float(predicted.max())
    slope = 0.0
    if form.startswith("line") and high > low:  # the computed spread of equal ages may exceed 0
        spread = float(((predicted - middle) ** 2).sum())
        slope = float(((predicted - middle) * error).sum()) / spread
    return Line(float(error.mean()), slope, middle, low, high)


def _choose(predicted: np.ndarray, true: np.ndarray, sexes: np.ndarray, groups: np.ndarray) -> str:
    """Choose the form by cross-validation, from the simplest upwards.

    A later form is chosen only if it is better by more than a standard error (the
    one-standard-error rule, Breiman et al. 1984).
    """
    by_sex = min((sexes == sex).sum() for sex in ("female", "male")) >= MIN_RADIOGRAPHS
    chosen, least = FORMS[0], np.full(len(true), np.inf)
    for form in FORMS if by_sex else FORMS[:2]:
        held_out = _cross_validated(lambda *_, form=form: form, predicted, true, sexes, groups)
        error = np.abs(true - held_out)
        gain = least - error
        if form == FORMS[0] or gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            chosen, least = form, error
    return chosen


def _cross_validated(
    choose: Callable[..., str],
    predicted: np.ndarray,
    true: np.ndarray,
    sexes: np.ndarray,
    groups: np.ndarray,
) -> np.ndarray:
    """Return (n,) ages, each part corrected by a fit to the others, in the form they `choose`."""
    parts = _deal(true, groups)
    corrected = np.empty(len(true))
    for part in range(CROSS_VALIDATION_FOLDS):
        these = parts == part
        others = [column[~these] for column in (predicted, true, sexes, groups)]
        correction = _fit(choose(*others), *others[:3])
        corrected[these] = correction.correct(predicted[these], sexes[these])
    return corrected


def _deal(true: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the (n,) fold of each radiograph; patients, sorted by age, are dealt in turn."""
    patients, codes = np.unique(groups, return_inverse=True)
    age = np.bincount(codes, true) / np.bincount(codes)
    part = np.empty(len(patients), int)
    part[np.argsort(age, kind="stable")] = np.arange(len(patients)) % CROSS_VALIDATION_FOLDS
    return part[codes]


def _mae(errors: np.ndarray, patients: np.ndarray | None) -> Result:
    return with_interval(lambda e: {"mae": _mean_months(e)}, errors, patients=patients)["mae"]


def _contains(result: Result, value: float) -> bool:
    low, high = result["low"], result["high"]
    return low is None or high is None or low <= value <= high
