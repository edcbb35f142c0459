"""Fit a model to a site: from radiographs of known bone age to a copy of the model."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from boneage.data.atomic import make_writable, require_writable, write_file, writing
from boneage.data.file_facts import fill_patients, warn_of_copies
from boneage.data.radiographs import find_radiographs, single_files
from boneage.data.tables.columns import DEFAULT_COLUMNS, Columns
from boneage.data.tables.ids import count_patients, patient_codes, rows_alike, unify_patients
from boneage.data.tables.labels import read_labels
from boneage.data.tables.matching import IDS_ARE_NAMES, ids_among, pair
from boneage.errors import UserError, framework, join_first, plural
from boneage.evaluation.numbers import with_limits
from boneage.predict.answer import Answer
from boneage.predict.ensemble import Ensemble
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.predict import answers_twice
from boneage.predict.radiograph import NO_SINGLE_HAND
from boneage.uncertainty.calibration import Correction, Site
from boneage.uncertainty.site_fit import (
    MIN_RADIOGRAPHS,
    SiteFit,
    check_readings,
    fit_site,
    why_too_few,
)
from boneage.weights import SITE_KEY, is_exported, name_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """The result of `calibrate`.

    Args:
        table: the radiographs used: `id`, `sex`, `age_years`, `predicted_years` without sex, and
            `patient` if the table or the DICOM headers have it.
        left_out: why a radiograph of the table was not used, by id.
        known: fit to the radiographs of known sex; None if they, or their patients, are too few.
        unknown: fit to all, predicted without sex.
        site: correction and intervals stored in the new model.
    """

    table: pd.DataFrame
    left_out: dict[str, str]
    known: SiteFit | None
    unknown: SiteFit
    site: Site


def calibrate(
    images: Sequence[Path],
    table: Path,
    ensemble: Ensemble,
    out: Path,
    columns: Columns = DEFAULT_COLUMNS,
) -> Calibrated:
    """Fit a model to a site, and write a copy with the site's correction and intervals.

    Args:
        images: radiograph files or folders.
        table: csv or xlsx with `id`, bone age and optionally `sex` and `patient`.
        ensemble: an ensemble of one model.
        out: the copy, in the format of the model's file.
        columns: of the table.

    Raises:
        UserError: if a file is invalid, there are too few radiographs, or the model was trained on
            some of them, or it predicts no age.
    """
    model = ensemble.models[0]
    if not model.predicts_age:
        raise UserError(
            f"{model.file} predicts no bone age, which is fitted to a site: give a model that does"
        )
    if out.suffix != model.file.suffix:
        raise UserError(
            f"--out {out}: the copy has the format of {name_of(model.file)}: name it "
            f"{out.stem}{model.file.suffix}"
        )
    if out.exists():
        raise UserError(f"{out} exists already: choose another --out, or remove it")
    if model.site is not None:
        raise UserError(f"{model.file} is fitted to a site already: use the original model")
    labels, films = matched_films(images, table, columns)
    _require_unseen(labels, model.seen)
    require_writable(out.parent)
    warn_of_copies(dict(zip(labels["id"], films, strict=True)), table)
    without_sex, with_sex, patient_ids = answers_twice(films, list(labels["sex"]), ensemble)
    labels = fill_patients(labels, rows_alike({i: p for i, p in enumerate(patient_ids) if p}))
    reasons = [_left_out(answer) for answer in without_sex]
    usable = np.array([reason == "" for reason in reasons])
    left_out = {i: reason for i, reason in zip(labels["id"], reasons, strict=True) if reason}
    labels = labels.assign(age_years=labels["age_months"] / 12)
    labels["sex"] = [answer.sex for answer in with_sex]
    labels["predicted_years"] = [answer.age_years for answer in without_sex]
    labels["predicted_years_by_sex"] = [answer.age_years for answer in with_sex]
    labels = labels[usable].reset_index(drop=True)
    if left_out and len(labels) < MIN_RADIOGRAPHS:
        raise UserError(
            f"{table}: {plural(len(labels), 'radiograph')} can be used, and at least "
            f"{MIN_RADIOGRAPHS} are needed; left out: {_join_reasons(left_out)}"
        )
    check_readings(labels, table)
    unknown = _fit(labels.assign(sex="unknown"), "predicted_years", ensemble)
    of_known_sex = labels[labels["sex"] != "unknown"]
    known = None
    if not why_too_few(of_known_sex):
        known = _fit(of_known_sex, "predicted_years_by_sex", ensemble)
    site = replace(_site(known, unknown), ids=tuple(labels["id"]))
    _write(model.file, out, site)
    return Calibrated(labels, left_out, known, unknown, site)


def matched_films(
    images: Sequence[Path], table: Path, columns: Columns
) -> tuple[pd.DataFrame, list[Path]]:
    """Return the rows of the table that have a radiograph, and the n files of these.

    Warns of rows without a radiograph, and of radiographs without a row.

    Raises:
        UserError: when no row has a radiograph, an id has several, or a file is invalid.
    """
    labels = read_labels(table, columns)
    ids = list(labels["id"])
    pairs = pair(ids, find_radiographs(images), table)
    labels = labels[labels["id"].isin(pairs.files)].reset_index(drop=True)
    if labels.empty:
        raise UserError(
            f"{table} contains none of the radiographs: its ids are {join_first(ids)}; the files "
            f"have the ids {join_first(pairs.without_row)}; {IDS_ARE_NAMES}"
        )
    if clauses := pairs.missing():
        log.warning("%s: left out: %s", table, "; ".join(clauses))
    if "patient" in labels:
        labels = unify_patients(labels)
    files = single_files(pairs.files)
    return labels, [files[id_] for id_ in labels["id"]]


def _require_unseen(labels: pd.DataFrame, trained_ids: Iterable[str]) -> None:
    if seen := ids_among(labels["id"], trained_ids):
        raise UserError(
            f"the ids of {plural(len(seen), 'radiograph')} are also those of the model's training "
            f"radiographs: {join_first(seen)}; fit it to other radiographs, or, if only the ids "
            "agree, rename yours, for example with a prefix"
        )


def sentences(result: Calibrated) -> list[str]:
    """Return the result as lines for the terminal."""
    table = result.table
    patients = count_patients(table)
    by_sex = ", ".join(f"{n:,} {sex}" for sex, n in table["sex"].value_counts().items())
    lines = [
        f"Radiographs: {len(table):,} ({by_sex})"
        + ("" if patients is None else f" of {plural(patients, 'patient')}")
    ]
    if result.left_out:
        lines.append(f"Left out: {len(result.left_out):,}: {_join_reasons(result.left_out)}")
    for what, fit in (("sex known", result.known), ("sex unknown", result.unknown)):
        if fit is None:
            why = why_too_few(table[table["sex"] != "unknown"])
            lines.append(f"{what}: {why}: the model is not changed")
        else:
            lines += [f"{what}: {text}" for text in _fit_lines(fit, what == "sex known")]
    return lines


def _join_reasons(left_out: Mapping[str, str]) -> str:
    return join_first([f"{id_} ({reason})" for id_, reason in left_out.items()])


def _fit_lines(fit: SiteFit, sex_known: bool) -> list[str]:
    mae, corrected, difference = (
        with_limits(result, "months") for result in (fit.mae, fit.mae_corrected, fit.difference)
    )
    lines = [
        f"MAE {mae} months without correction, {corrected} with a correction ({fit.tried}), "
        "cross-validated"
    ]
    if fit.correction.lines:
        lines.append(f"difference {difference} months: the ages are corrected")
        lines += [
            f"  {sex}: {line.offset:+z.2f} years at {line.middle:.1f} years"
            + (f", {line.slope:+z.3f} per year above it" if line.slope else "")
            for sex, line in fit.correction.lines.items()
            if (sex != "unknown") == sex_known
        ]
    else:
        lines.append(
            f"difference {difference} months: no gain shown with n = {fit.difference['n']}, so the "
            "ages are not corrected"
        )
    if fit.covered is None:
        lines.append("the model has no 90 % intervals: they are fitted to these radiographs")
    else:
        share = with_limits(fit.covered)
        ages = " to the corrected ages" if fit.correction.lines else ""
        action = "not changed" if fit.intervals is None else f"refitted{ages}"
        lines.append(f"the model's 90 % intervals contain {share} of the readings: {action}")
    return lines


def _left_out(answer: Answer) -> str:
    """Return why a radiograph is left out of the fit; empty if it is used."""
    if answer.age_years is None:
        return answer.reason or "no age is predicted"
    return "; ".join(flag for flag in answer.flags if flag in NO_SINGLE_HAND)


def _fit(table: pd.DataFrame, column: str, ensemble: Ensemble) -> SiteFit:
    sexes = table["sex"].to_numpy(str)
    return fit_site(
        table[column].to_numpy(float),
        table["age_years"].to_numpy(float),
        sexes,
        ensemble.intervals[bool(sexes[0] != "unknown")],
        patient_codes(table),
    )


def _site(known: SiteFit | None, unknown: SiteFit) -> Site:
    """Return correction and intervals for known and unknown sex."""
    lines = {s: line for s, line in unknown.correction.lines.items() if s == "unknown"}
    form = unknown.correction.form
    if known is not None and known.correction.lines:
        form = known.correction.form
        lines |= {s: line for s, line in known.correction.lines.items() if s != "unknown"}
    intervals = {True: known.intervals if known else None, False: unknown.intervals}
    return Site(Correction(form, lines), intervals)


def _write(file: Path, out: Path, site: Site) -> None:
    """Write a copy of a model's file with the site's correction and intervals."""
    make_writable(out.parent)
    with writing(out):
        if is_exported(file):
            content = json.dumps(site.plain())
            write_file(out, with_metadata(file.read_bytes(), SITE_KEY, content))
        else:
            with framework():
                from boneage.run.calibrate import add_calibration
            add_calibration(file, out, {"site": site.plain()})
