"""Fit a model to a site: from radiographs of known bone age to a copy of the model."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from boneage.data.atomic import atomic_file
from boneage.data.ids import count_patients, patient_codes
from boneage.data.labels import read_labels
from boneage.data.matching import match_ids
from boneage.data.radiographs import find_radiographs, radiograph_id
from boneage.errors import UserError, framework, join_first
from boneage.evaluation.intervals import Result
from boneage.predict.answer import Answer
from boneage.predict.ensemble import Ensemble
from boneage.predict.predict import answer_files
from boneage.predict.radiograph import NO_SINGLE_HAND
from boneage.uncertainty.site import LEAST, Correction, Site, SiteFit, fit_site
from boneage.weights import SITE_KEY, is_exported, name_of

IMPLAUSIBLE_YEARS = 3.0  # median difference that no hospital's reader explains


@dataclass(frozen=True)
class Calibrated:
    """What `calibrate` has found.

    Args:
        table: the radiographs fitted to: `id`, `sex`, `age_years`, `predicted_years` without sex,
            and `patient` where the table names it.
        left_out: why radiographs of the table were not fitted to, by id.
        known: of the radiographs of known sex; None where they are too few.
        unknown: of all, predicted without sex.
        site: what the new model was told.
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
    age_unit: Literal["months", "years"] | None = None,
) -> Calibrated:
    """Fit a model to a site, and write a copy of it that answers as is right there.

    Args:
        images: radiograph files, or folders with some below them.
        table: csv or xlsx with `id`, bone age and, as far as known, `sex` and `patient`.
        ensemble: one model.
        out: the copy, of the same kind as the model's file.
        age_unit: of the ages in the table; None is as for training.

    Raises:
        UserError: when a file is wrong, the radiographs are too few, or the model was trained on
            some of them.
    """
    model = ensemble.models[0]
    if out.suffix != model.file.suffix:
        raise UserError(
            f"--out {out}: the copy is of the same kind as {name_of(model.file)}: name it "
            f"{out.stem}{model.file.suffix}"
        )
    if out.exists():
        raise UserError(f"{out} exists already: choose another --out, or remove it")
    if not os.access(out.parent, os.W_OK):
        raise UserError(f"{out} cannot be written: there is no folder {out.parent} to write to")
    if model.site is not None:
        raise UserError(f"{model.file} is fitted to a site already: start from the model before it")
    files = {radiograph_id(file): file for file in find_radiographs(images)}
    labels = read_labels(table, age_unit=age_unit)
    meant = match_ids(labels["id"], files, table)
    labels = labels[labels["id"].isin(meant)].reset_index(drop=True)
    if labels.empty:
        raise UserError(
            f"{table} knows none of the radiographs: its ids are "
            f"{join_first(list(read_labels(table, age_unit=age_unit)['id']))}, those of the files "
            f"{join_first(list(files))}"
        )
    if seen := sorted(set(labels["id"]) & model.seen):
        raise UserError(
            f"{len(seen)} of the radiographs are named as ones this model was trained on: "
            f"{join_first(seen)}; fit it to others, or give others that are only named alike "
            "names of their own, such as a prefix"
        )
    chosen = [files[meant[id_]] for id_ in labels["id"]]
    without_sex, with_sex = answer_files(chosen, list(labels["sex"]), ensemble)
    reasons = [_left_out(answer) for answer in without_sex]
    kept = np.array([reason == "" for reason in reasons])
    left_out = {i: reason for i, reason in zip(labels["id"], reasons, strict=True) if reason}
    labels = labels.assign(age_years=labels["age_months"] / 12)
    labels["predicted_years"] = [answer.age_years for answer in without_sex]
    labels["predicted_years_by_sex"] = [answer.age_years for answer in with_sex]
    labels = labels[kept].reset_index(drop=True)
    apart = float((labels["predicted_years"] - labels["age_years"]).abs().median())
    if apart > IMPLAUSIBLE_YEARS:
        raise UserError(
            f"{table}: half of the readings differ from the predicted ages by more than "
            f"{apart:.1f} years: are they bone ages of these radiographs, and is --age-unit right?"
        )
    unknown = _fit(labels.assign(sex="unknown"), "predicted_years", ensemble)
    of_known_sex = labels[labels["sex"] != "unknown"]
    known = None
    if len(of_known_sex) >= LEAST:
        known = _fit(of_known_sex, "predicted_years_by_sex", ensemble)
    site = _site(known, unknown)
    _write(model.file, out, site)
    return Calibrated(labels, left_out, known, unknown, site)


def sentences(found: Calibrated) -> list[str]:
    """Return what was found, as lines to read."""
    table = found.table
    patients = count_patients(table)
    by_sex = ", ".join(f"{n} {sex}" for sex, n in table["sex"].value_counts().items())
    lines = [
        f"Radiographs: {len(table)} ({by_sex})"
        + ("" if patients is None else f" of {patients} patients")
    ]
    if found.left_out:
        texts = [f"{id_} ({reason})" for id_, reason in found.left_out.items()]
        lines.append(f"Left out: {len(texts)}: {join_first(texts)}")
    for what, fit in (("sex known", found.known), ("sex unknown", found.unknown)):
        if fit is None:
            lines.append(f"{what}: fewer than {LEAST} radiographs: the model is left as it is")
        else:
            lines += [f"{what}: {text}" for text in _told(fit, what == "sex known")]
    return lines


def _told(fit: SiteFit, sex_known: bool) -> list[str]:
    mae, corrected, difference = map(_with_interval, (fit.mae, fit.mae_corrected, fit.difference))
    told = [
        f"MAE {mae} months as the model is, {corrected} with a correction ({fit.tried}), "
        "cross-validated"
    ]
    if fit.correction.lines:
        told.append(f"difference {difference} months: the ages are corrected")
        told += [
            f"  {sex}: {line.offset:+.2f} years at {line.middle:.1f} years"
            + (f", {line.slope:+.3f} per year above it" if line.slope else "")
            for sex, line in fit.correction.lines.items()
            if (sex != "unknown") == sex_known
        ]
    else:
        told.append(
            f"difference {difference} months: none that n = {fit.difference['n']} could show, so "
            "the ages stay as they are"
        )
    if fit.covered is None:
        told.append("the model has no 90 % intervals: some are fitted to these radiographs")
    else:
        share = (
            f"{fit.covered['value']:.3f} ({fit.covered['low']:.3f} to {fit.covered['high']:.3f})"
        )
        what = "they stay" if fit.intervals is None else "they are fitted anew"
        told.append(f"the model's 90 % intervals contain {share} of the readings: {what}")
    return told


def _with_interval(result: Result) -> str:
    return f"{result['value']:.2f} ({result['low']:.2f} to {result['high']:.2f})"


def _left_out(answer: Answer) -> str:
    """Return why a radiograph is not fitted to; empty if it is."""
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
    """Put together what holds where the sex is known and where it is not."""
    lines = {s: line for s, line in unknown.correction.lines.items() if s == "unknown"}
    form = unknown.correction.form
    if known is not None:
        form = known.correction.form
        lines |= {s: line for s, line in known.correction.lines.items() if s != "unknown"}
    intervals = {True: known.intervals if known else None, False: unknown.intervals}
    return Site(Correction(form, lines), intervals)


def _write(file: Path, out: Path, site: Site) -> None:
    """Write a copy of a model's file that holds what it was told of the site."""
    try:
        with atomic_file(out) as part:
            if is_exported(file):
                told = json.dumps(site.plain())
                part.write_bytes(with_metadata(file.read_bytes(), SITE_KEY, told))
            else:
                with framework():
                    from boneage.run.calibrate import write_site
                write_site(file, part, site)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from error


def with_metadata(model: bytes, key: str, value: str) -> bytes:
    """Return an ONNX file with an entry more in its metadata.

    Protocol buffers may be extended at the end: a further element of the repeated field 14 of
    ModelProto, `metadata_props`, whose field 1 is the key and 2 the value (onnx.proto).
    """
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return model + _field(14, entry)


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes as protocol buffers encode it."""
    length, left = bytearray(), len(content)
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    return bytes([number << 3 | 2, *length, left]) + content
