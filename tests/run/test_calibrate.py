"""boneage calibrate: a model fitted to a simulated hospital."""

import json
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from dicom_files import written
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.data.phantom import write_phantom
from boneage.data.tables.columns import PREDICTED_AGE, Columns
from boneage.data.tables.labels import read_labels
from boneage.data.tables.sexes import SEXES
from boneage.errors import UserError
from boneage.predict.answer import Answer
from boneage.predict.ensemble import Ensemble
from boneage.predict.export import export
from boneage.predict.onnx_bytes import with_metadata
from boneage.predict.predict import answers_twice
from boneage.predict.predictor import Predictor
from boneage.predict.radiograph import Radiograph
from boneage.predict.site import _site, calibrate, matched_films
from boneage.run.checkpoint import read_checkpoint
from boneage.run.experiment import train
from boneage.run.explain import Explained
from boneage.run.stress import held_out, stress
from boneage.uncertainty.calibration import Correction, Intervals, Line, Site
from boneage.uncertainty.site_fit import SiteFit, check_readings

HANDS = 60


@pytest.fixture(scope="module")
def hospital(exported, tmp_path_factory):
    """Hands with ids of their own, and what the model says of them."""
    root = write_phantom(tmp_path_factory.mktemp("site") / "phantom", n=HANDS, size=256, seed=9)
    films = root.parent / "films"
    films.mkdir()
    for file in sorted(root.rglob("*.png")):
        shutil.copy(file, films / f"site-{file.name}")
    files = sorted(films.iterdir())
    sexes = ["female", "male"] * (HANDS // 2)
    answers = Predictor(exported / "model.onnx")(files, sex=sexes)
    table = pd.DataFrame({"id": [answer.id for answer in answers], "sex": sexes})
    return films, table.assign(predicted=[answer.age_years for answer in answers])


def call(*words):
    return CliRunner().invoke(app, ["calibrate", *map(str, words)])


def readings(table, tmp_path, offset, noise=0.4):
    """Write what the site's readers say: the model errs by an offset, and by chance."""
    rng = np.random.default_rng(3)
    years = table["predicted"] + offset + rng.normal(0, noise, len(table))
    path = tmp_path / "readings.csv"
    table.assign(bone_age_years=years.clip(lower=0.1))[["id", "sex", "bone_age_years"]].to_csv(
        path, index=False
    )
    return path


@pytest.mark.slow
def test_a_planted_offset_is_found_and_applied(exported, hospital, tmp_path):
    films, table = hospital
    path, out = readings(table, tmp_path, offset=1.0), tmp_path / "site.onnx"
    said = call(films, "--table", path, "--out", out, "--checkpoint", exported / "model.onnx")
    assert said.exit_code == 0, said.exception
    assert "the ages are corrected" in said.output
    files = sorted(films.iterdir())
    before = Predictor(exported / "model.onnx")(files, sex=list(table["sex"]))
    after = Predictor(out)(files, sex=list(table["sex"]))
    moved = [b.age_years - a.age_years for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) == pytest.approx(1.0, abs=0.15)
    assert all(answer.interval_years is not None for answer in after)


def test_rows_and_images_without_a_counterpart_are_named(hospital, tmp_path, caplog):
    films, table = hospital
    path = readings(table, tmp_path, offset=1.0)
    rows = path.read_text().splitlines()
    path.write_text("\n".join([*rows[:-1], "gone,female,9.5"]) + "\n")
    labels, files = matched_films([films], path, Columns(age_unit="years"))
    assert len(labels) == len(files) == HANDS - 1
    last = table["id"].iloc[-1]
    said = f"{path}: left out: 1 id without an image: gone; 1 image without a row: {last}"
    assert said in caplog.text


def test_patients_are_the_same_as_in_training(hospital, tmp_path, caplog):
    films, table = hospital
    path = readings(table, tmp_path, offset=1.0)
    header, *rows = path.read_text().splitlines()
    names = [f"{['P', 'p'][n % 2]}{n // 2}" for n in range(len(rows))]  # P0, p0, P1, p1, ...
    lines = [f"{header},patient", *(f"{row},{name}" for row, name in zip(rows, names, strict=True))]
    path.write_text("\n".join(lines) + "\n")
    labels, _ = matched_films([films], path, Columns(age_unit="years"))
    assert labels["patient"].nunique() == -(-len(rows) // 2)
    assert "only letter case, spaces or leading zeros differ: p0 = P0" in caplog.text
    assert "radiographs of both sexes" in caplog.text


@pytest.mark.slow
def test_a_radiograph_twice_under_two_ids_is_named(exported, hospital, tmp_path, caplog):
    films, table = hospital
    path, copies = readings(table, tmp_path, offset=1.0), tmp_path / "films"
    shutil.copytree(films, copies)
    first = sorted(copies.iterdir())[0]
    shutil.copy(first, copies / "copy.png")
    row = path.read_text().splitlines()[1].split(",", 1)
    assert row[0] == first.stem
    path.write_text(path.read_text() + f"copy,{row[1]}\n")
    said = call(copies, "--table", path, "--out", tmp_path / "site.onnx", "--checkpoint",
                exported / "model.onnx")  # fmt: skip
    assert said.exit_code == 0, said.exception
    assert f"{path}: 1 radiograph under different ids: {first.stem} = copy." in caplog.text


@pytest.fixture
def shifted(exported, tmp_path):
    """The model with a correction of 1.5 years, also where the sex is unknown."""
    site = Site(Correction("offset", dict.fromkeys(SEXES, Line(1.5))), {True: None, False: None})
    file = tmp_path / "shifted.onnx"
    text = json.dumps(site.plain())
    file.write_bytes(with_metadata((exported / "model.onnx").read_bytes(), "boneage.site", text))
    return file


def predict(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)], catch_exceptions=False)


def test_an_age_says_that_it_is_corrected(exported, hospital, shifted, tmp_path):
    files = sorted(hospital[0].iterdir())[:3]
    said = predict(files[0], "--checkpoint", shifted).output
    assert "site       the age is corrected by +1.50 y\n" in said
    line = "Corrected for the model's site: 3 ages, by +1.50 years\n"
    assert line in predict(*files, "--checkpoint", shifted).output
    out = tmp_path / "out"
    assert line in predict(*files, "--checkpoint", shifted, "--report", "--out", out).output
    rows = json.loads((out / "predictions.json").read_text())["predictions"]
    assert [row["site_correction_years"] for row in rows] == pytest.approx([1.5] * 3)
    assert "corrected for the model's site by +1.50 years" in (out / "report.html").read_text()
    both = Predictor([shifted, exported / "model.onnx"])(files[0])
    assert both.site_correction_years == pytest.approx(0.75)  # of the mean of both
    own = Predictor(exported / "model.onnx")(files[0])
    assert own.site_correction_years is None
    assert both.age_years == pytest.approx(own.age_years + 0.75)
    assert "site" not in predict(files[0], "--checkpoint", exported / "model.onnx").output


def test_stress_and_explain_use_the_ages_of_the_site(
    exported, phantom_root, shifted, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("boneage.run.stress.STRESSES", {})
    caplog.set_level(logging.INFO)
    maes = []
    for file in (exported / "model.onnx", shifted):
        assert "corrected for the model's site" not in caplog.text
        measured = stress(file, tmp_path / file.stem, phantom_root).set_index("metric")
        maes.append(measured["value"]["mae_months"])
    assert "corrected for the model's site" in caplog.text
    record = read_checkpoint(exported / "model.onnx")["boneage"]
    truth = held_out(record, phantom_root)
    answers = Predictor(shifted)([Path(p) for p in truth["path"]], sex=list(truth["sex"]))
    errors = [abs(a.age_years - age) for a, age in zip(answers, truth["age_years"], strict=True)]
    assert maes[1] == pytest.approx(12 * np.mean(errors), abs=0.05)
    assert abs(maes[0] - maes[1]) > 1
    files = [Path(path) for path in truth["path"]]
    ages = []
    for model in (exported / "model.onnx", shifted):
        caplog.clear()
        ages.append(Explained(model, files).table[PREDICTED_AGE])
        assert ("corrected for the model's site" in caplog.text) == (model == shifted)
    assert (ages[1] - ages[0]).to_numpy() == pytest.approx(1.5)


def test_intervals_that_do_not_exist_are_not_spoken_of(exported, hospital, tmp_path, caplog):
    films, table = hospital
    path, out = readings(table, tmp_path, offset=0.0), tmp_path / "site.onnx"
    said = call(films, "--table", path, "--out", out, "--checkpoint", exported / "model.onnx")
    assert "the model's 90 % intervals" not in said.output  # its validation fold has 2 radiographs
    assert "the model has no 90 % intervals: they are fitted to these radiographs" in said.output
    why = "no 90 % interval is given: the validation fold has 2 radiographs, and at least 9"
    assert caplog.text.count(why) == 1
    Predictor(exported / "run")
    assert caplog.text.count(why) == 2
    caplog.clear()
    assert Predictor(out)(next(films.iterdir())).interval_years is not None
    assert why not in caplog.text


def test_training_says_why_there_is_no_interval(configure, caplog):
    train(configure())
    assert "the validation fold has 2 radiographs, and at least 9 are needed" in caplog.text


@pytest.mark.slow
def test_a_checkpoint_becomes_a_checkpoint_that_answers_alike(
    exported, hospital, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("boneage.run.stress.STRESSES", {})
    films, table = hospital
    path = readings(table, tmp_path, offset=-0.8)
    outs = [tmp_path / "site.ckpt", tmp_path / "site.onnx"]
    for source, out in zip((exported / "run", exported / "model.onnx"), outs, strict=True):
        done = call(films, "--table", path, "--out", out, "--checkpoint", source)
        assert done.exit_code == 0, done.exception
    one, two = (Predictor(out)(sorted(films.iterdir())[:4], sex="male") for out in outs)
    assert [a.age_years for a in one] == pytest.approx([a.age_years for a in two], abs=1e-3)
    export(tmp_path / "site.ckpt", tmp_path / "again.onnx", "onnx")
    export(tmp_path / "site.ckpt", tmp_path / "program.pt2", "torch_export")
    for place in ("metadata boneage.site", "extra file site.json"):
        assert re.search(f"site.ckpt is fitted to a site: .* in its {place}", caplog.text)
    stored = {"site.json": ""}
    torch.export.load(tmp_path / "program.pt2", extra_files=stored)
    record = read_checkpoint(tmp_path / "site.ckpt")["boneage"]
    assert json.loads(stored["site.json"]) == record["calibration"]["site"]
    again = Predictor(tmp_path / "again.onnx")(sorted(films.iterdir())[:4], sex="male")
    assert [a.age_years for a in again] == pytest.approx([a.age_years for a in two], abs=1e-3)
    assert_stress_warns(tmp_path / "again.onnx", films, path, tmp_path, caplog)


def assert_stress_warns(model, films, path, tmp_path, caplog):
    """Test a fitted model on radiographs of which three have the ids of its readings, or none."""
    root = tmp_path / "tested"
    root.mkdir()
    labels = pd.read_csv(path)
    for fitted in (3, 0):
        chosen = labels.tail(10).copy()
        for number, (row, id_) in enumerate(chosen["id"].items()):
            chosen.loc[row, "id"] = id_ if number < fitted else f"new-{id_}"
            shutil.copy(films / f"{id_}.png", root / f"{chosen.loc[row, 'id']}.png")
        chosen.to_csv(root / "labels.csv", index=False)
        caplog.clear()
        stress(model, tmp_path / f"out{fitted}", root)
        assert ("with the ids of 3 radiographs tested here: site" in caplog.text) == bool(fitted)


def test_stress_warns_of_radiographs_that_the_correction_was_fitted_to(
    exported, hospital, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("boneage.run.stress.STRESSES", {})
    films, table = hospital
    path, out = readings(table, tmp_path, offset=1.5), tmp_path / "site.onnx"
    said = call(films, "--table", path, "--out", out, "--checkpoint", exported / "model.onnx")
    assert said.exit_code == 0, said.exception
    assert_stress_warns(out, films, path, tmp_path, caplog)


def test_without_an_offset_the_ages_stay(exported, hospital, tmp_path):
    films, table = hospital
    path, out = readings(table, tmp_path, offset=0.0), tmp_path / "site.onnx"
    said = call(films, "--table", path, "--out", out, "--checkpoint", exported / "model.onnx")
    assert f"no gain shown with n = {HANDS}" in said.output
    film = next(films.iterdir())
    ages = [Predictor(m)(film, sex="male").age_years for m in (exported / "model.onnx", out)]
    assert ages[0] == ages[1]


def test_patients_are_those_of_the_table_or_else_of_the_headers(hospital, exported, tmp_path):
    """Two radiographs of each; the intervals of the fit are those of as many patients."""
    films, table = hospital
    path = readings(table, tmp_path, offset=1.0)
    as_dicom = tmp_path / "dicom"
    as_dicom.mkdir()
    for i, film in enumerate(sorted(films.iterdir())):
        pixels = cv2.imread(str(film), cv2.IMREAD_GRAYSCALE)
        written(as_dicom / f"{film.stem}.dcm", pixels, PatientID=f"p{i // 2}", PatientSex="")
    labels = pd.read_csv(path)
    labels.assign(patient=[f"p{i // 2}" for i in range(HANDS)]).to_csv(path, index=False)
    ckpt = ("--checkpoint", exported / "model.onnx")
    of_table = call(as_dicom, "--table", path, "--out", tmp_path / "a.onnx", *ckpt)
    labels.to_csv(path, index=False)
    of_headers = call(as_dicom, "--table", path, "--out", tmp_path / "b.onnx", *ckpt)
    assert of_headers.exit_code == 0, of_headers.exception
    first, second = (done.output.partition("Radiographs:")[2] for done in (of_table, of_headers))
    assert f"of {HANDS // 2} patients" in first
    assert second.replace("b.onnx", "a.onnx") == first


def test_few_patients_of_known_sex_leave_the_model_for_known_sex(hospital, exported, tmp_path):
    """Of 30 radiographs with a sex, from 5 patients, and 30 others, only the latter are fitted."""
    films, table = hospital
    path = readings(table, tmp_path, offset=1.5)
    labels, half = pd.read_csv(path), HANDS // 2
    labels["sex"] = labels["sex"].where(labels.index < half, "")
    labels["patient"] = [f"p{i % 5 if i < half else i}" for i in range(HANDS)]
    labels.to_csv(path, index=False)
    out = tmp_path / "site.onnx"
    said = call(films, "--table", path, "--out", out, "--checkpoint", exported / "model.onnx")
    assert said.exit_code == 0, said.exception
    assert "sex known: radiographs of fewer than 10 patients: the model is not changed" in (
        said.output
    )
    film = next(films.iterdir())
    before, after = Predictor(exported / "model.onnx"), Predictor(out)
    assert after(film, sex="male").age_years == before(film, sex="male").age_years
    assert after(film).age_years > before(film).age_years + 1


def test_mistakes_are_one_line(exported, hospital, tmp_path):
    films, table = hospital
    path, ckpt = readings(table, tmp_path, 0.0), ("--checkpoint", exported / "model.onnx")
    few = tmp_path / "few.csv"
    pd.read_csv(path).head(5).to_csv(few, index=False)
    named = tmp_path / "named.csv"
    pd.read_csv(path).rename(columns={"bone_age_years": "reading"}).to_csv(named, index=False)
    stranger = tmp_path / "strangers.csv"
    pd.read_csv(path).assign(id=lambda t: "x" + t["id"]).to_csv(stranger, index=False)
    site = tmp_path / "done.onnx"
    site.write_bytes(
        with_metadata((exported / "model.onnx").read_bytes(), "boneage.site",
                      '{"form": "none", "lines": {}, "half_widths_years": {}}')
    )  # fmt: skip
    for words, message in (
        ((films, "--table", few, "--out", tmp_path / "a.onnx", *ckpt), "5 radiographs .* too few"),
        (
            (films, "--table", named, "--out", tmp_path / "a.onnx", *ckpt),
            r"no age column \(it has id, sex, reading\); known names are boneage, bone age \(m",
        ),
        ((films, "--table", stranger, "--out", tmp_path / "a.onnx", *ckpt), "contains none of the"),
        ((films, "--table", path, "--out", site, *ckpt), "exists already"),
        (
            (films, "--table", path, "--out", few / "a.onnx", *ckpt),
            r"few\.csv cannot be written \((File|Not a).*choose another --out$",
        ),
        ((films, "--table", path, "--out", tmp_path / "a.ckpt", *ckpt), r"name it a\.onnx"),
        (
            (films, "--table", path, "--out", tmp_path / "a.onnx", *ckpt, "--age-unit", "months"),
            "check --age-unit",
        ),
        (
            (films, "--table", path, "--out", tmp_path / "b.onnx", "--checkpoint", site),
            "fitted to a site already",
        ),
    ):
        done = call(*words)
        assert done.exit_code == 1
        pd.testing.assert_series_equal(
            pd.Series([str(done.exception)]).str.contains(message), pd.Series([True])
        )
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize("task", ["classification", "sex"])
def test_a_model_without_ages_is_refused_before_it_predicts(
    trained, hospital, tmp_path, monkeypatch, task
):
    monkeypatch.setattr("boneage.predict.site.answers_twice", None)
    models = {"ckpt": trained(f"task={task}")}
    if task == "classification":  # an exported file lists its outputs, whatever else they are
        models["onnx"] = tmp_path / "model.onnx"
        export(models["ckpt"], models["onnx"], "onnx")
    path = readings(hospital[1], tmp_path, 0.0)
    for suffix, model in models.items():
        out = tmp_path / f"site.{suffix}"
        done = call(hospital[0], "--table", path, "--out", out, "--checkpoint", model)
        assert "predicts no bone age" in str(done.exception)
        assert not out.exists()


def test_a_table_without_usable_radiographs_names_why(tmp_path):
    films, path = tmp_path / "films", tmp_path / "readings.csv"
    films.mkdir()
    for name in "ab":
        cv2.imwrite(str(films / f"{name}.png"), np.full((300, 200), 40, np.uint8))
    path.write_text("id,sex,bone_age_years\na,F,5.5\nb,M,7.25\n")
    done = call(films, "--table", path, "--out", tmp_path / "site.onnx")
    assert str(done.exception) == (
        f"{path}: 0 radiographs can be used, and at least 20 are needed; left out: a (nearly "
        "empty), b (nearly empty)"
    )


def test_columns_of_any_name(hospital, exported, tmp_path):
    """They give the result of the known names; a misspelt meaning is refused."""
    films, table = hospital
    path, ckpt = readings(table, tmp_path, offset=1), ("--checkpoint", exported / "model.onnx")
    renamed = tmp_path / "renamed.csv"
    names = {"id": "film", "sex": "geschlecht", "bone_age_years": "lesung"}
    pd.read_csv(path).rename(columns=names).to_csv(renamed, index=False)
    first = call(films, "--table", path, "--out", tmp_path / "a.onnx", *ckpt)
    given = ("--column", "id=film", "--column", "age=lesung", "--column", "sex=geschlecht")
    second = call(
        films, "--table", renamed, "--out", tmp_path / "b.onnx", *ckpt, *given,
        "--age-unit", "years",
    )  # fmt: skip
    assert first.exit_code == 0, first.output
    said, again = (done.output.partition("Radiographs:")[2] for done in (first, second))
    assert again.replace("b.onnx", "a.onnx") == said != ""
    for wrong in ("age", "Age=lesung", "readers=lesung"):
        done = call(films, "--table", renamed, "--out", tmp_path / "c.onnx", "--column", wrong)
        assert str(done.exception).startswith(f"--column {wrong}: write MEANING=NAME")


def table_of_a_site(n=60, seed=0):
    """Radiographs that the model reads with errors of 8 months, or of 14 without the sex."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(6, 13, n)
    sexes = np.where(rng.random(n) < 0.5, "female", "male")
    error = rng.normal(0, 10 / 12, n)
    shift = np.where(sexes == "female", 1.0, -1.0)
    return pd.DataFrame({
        "id": np.arange(n).astype(str),
        "sex": sexes, "age_years": true, "predicted_years_by_sex": true + error,
        "predicted_years": true + error + shift,
    })  # fmt: skip


def test_readings_and_sexes_of_other_radiographs_are_refused(tmp_path):
    site = table_of_a_site()
    check_readings(site, tmp_path)
    ages = 10 + np.random.default_rng(1).normal(0, 0.6, len(site))
    same_age = site.assign(age_years=10.0, predicted_years=ages, predicted_years_by_sex=ages)
    check_readings(same_age, tmp_path)  # too narrow to judge
    offset = site.assign(predicted_years_by_sex=site["predicted_years_by_sex"] + 2)
    check_readings(offset, tmp_path)  # a site that reads other ages has no wrong sexes
    errors = np.random.default_rng(3).permutation(
        site["predicted_years_by_sex"] - site["age_years"]
    )
    alike = site.assign(predicted_years=site["age_years"] + 0.97 * errors)
    check_readings(alike, tmp_path)  # a little more error with the sex may be chance
    shuffled = np.random.default_rng(2).permutation(site["age_years"])
    with pytest.raises(UserError, match="do not rise with the predicted ages"):
        check_readings(site.assign(age_years=shuffled), tmp_path)
    inverted = 2 * site["predicted_years"] - site["predicted_years_by_sex"]
    with pytest.raises(UserError, match="errors vary more with the sexes of the table"):
        check_readings(site.assign(predicted_years_by_sex=inverted), tmp_path)


def test_hardly_any_shuffled_readings_are_accepted(tmp_path):
    """By chance a correlation is above the limit in 2.5 % of the shuffles, above 0 in half."""
    site = table_of_a_site()

    def is_refused(seed):
        ages = np.random.default_rng(seed).permutation(site["age_years"])
        try:
            check_readings(site.assign(age_years=ages), tmp_path)
        except UserError as error:
            return "do not rise with the predicted ages" in str(error)
        return False

    assert sum(map(is_refused, range(40))) >= 36


def test_single_readings_that_may_be_typing_errors_are_named(tmp_path, caplog):
    site = table_of_a_site()
    site.loc[7, ["age_years", "predicted_years", "predicted_years_by_sex"]] = 1.1, 12.9, 12.9
    check_readings(site, tmp_path)
    assert "check 1 reading far from the predicted age: 7 (read 1.1, predicted 12.9 years)" in (
        caplog.text
    )
    caplog.clear()
    elsewhere = table_of_a_site().assign(age_years=lambda t: t["age_years"] + 2.5)  # readers differ
    elsewhere.loc[3, "predicted_years_by_sex"] = elsewhere.loc[3, "age_years"] - 5.4  # 2.9 more
    check_readings(elsewhere, tmp_path)
    assert not caplog.records


@pytest.mark.parametrize(("others", "said"), [(0, True), (9, True), (10, False)])
def test_a_sex_with_hardly_any_radiograph_is_named(tmp_path, caplog, others, said):
    site = table_of_a_site()
    site["sex"] = np.where(np.arange(len(site)) < others, "female", "male")
    site["predicted_years"] = site["predicted_years_by_sex"]
    check_readings(site, tmp_path)
    warned = f"too few radiographs are female ({others} of 60 of known sex)" in caplog.text
    assert warned == said
    caplog.clear()
    check_readings(site.assign(sex="unknown"), tmp_path)
    assert not caplog.records


def test_predictions_that_hardly_vary_are_named(tmp_path, caplog):
    site = table_of_a_site()
    check_readings(site, tmp_path)
    assert not caplog.records
    flat = 9.5 + (site["age_years"] - 9.5) / 500  # a correction would add 499 years per year
    check_readings(site.assign(predicted_years=flat, predicted_years_by_sex=flat), tmp_path)
    assert "the predicted ages hardly vary (SD 0.00 years, that of the readings 2." in caplog.text
    near = 10 + 0.001 * site["age_years"]  # nor do the readings
    caplog.clear()
    check_readings(
        site.assign(age_years=near, predicted_years=10.0, predicted_years_by_sex=10.0), tmp_path
    )
    assert not caplog.records


def test_messages_of_the_table_name_the_option_of_calibrate(tmp_path, caplog):
    table = tmp_path / "readings.csv"
    for text in (
        "id,boneage\n1,301\n",
        "id,boneage,patient,patient_id\n1,100,a,b\n",
        "id,boneage,patient\n1,100,\n",
        "id,boneage,child\n" + "".join(f"{i},100,{i % 5}\n" for i in range(10)),
        "id,boneage,gender of child\n1,100,M\n2,90,F\n",
    ):
        caplog.clear()
        table.write_text(text)
        try:
            read_labels(table)
            said = caplog.text
        except UserError as error:
            said = str(error)
        assert "data." in said, text
        assert "--age-unit" in said or "--column" in said, said


def test_years_among_months_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    years = rng.uniform(4, 17, 60)
    labels = pd.DataFrame({"id": [f"h{i}" for i in range(60)], "age_years": years, "sex": "male"})
    for column in ("predicted_years", "predicted_years_by_sex"):
        labels[column] = years + rng.normal(0, 0.7, 60)
    check_readings(labels, tmp_path)
    infants = labels[:9].assign(age_years=0.2, predicted_years=0.5, predicted_years_by_sex=0.5)
    check_readings(pd.concat([labels, infants], ignore_index=True), tmp_path)  # 2.4 months is right
    labels.loc[40:41, "age_years"] /= 12
    check_readings(labels, tmp_path)  # two may be errors of the model
    labels.loc[42, "age_years"] /= 12
    with pytest.raises(UserError, match=r"3 readings seem to be years .* for h40, predicted as"):
        check_readings(labels, tmp_path)


def test_films_of_two_folders_with_one_name_are_refused(exported, hospital, tmp_path):
    films, table = hospital
    for folder in ("a", "b"):
        shutil.copytree(films, tmp_path / "both" / folder)
    done = call(
        tmp_path / "both", "--table", readings(table, tmp_path, 0.0), "--out", tmp_path / "a.onnx",
        "--checkpoint", exported / "model.onnx",
    )  # fmt: skip
    message = str(done.exception)
    assert re.search(r"id (site-100001) has 2 images.* folders: a/\1, b/\1$", message)


@pytest.mark.parametrize("spelling", ["{}", "{}.png", "films/{}", "000{}"])
def test_radiographs_that_the_model_was_trained_on_are_refused(
    exported, phantom_root, tmp_path, spelling
):
    labels = pd.read_csv(next(phantom_root.rglob("*training*.csv")))
    table = tmp_path / "readings.csv"
    labels.assign(id=labels["id"].map(spelling.format)).to_csv(table, index=False)
    done = call(
        phantom_root, "--table", table, "--out", tmp_path / "a.onnx",
        "--checkpoint", exported / "model.onnx",
    )  # fmt: skip
    assert "are also those of the model's training radiographs" in str(done.exception)


def test_what_is_added_to_a_file_is_what_onnx_reads(exported):
    text = "x" * 300 + "é"
    content = with_metadata((exported / "model.onnx").read_bytes(), "boneage.site", text)
    import onnx

    entries = {item.key: item.value for item in onnx.load_from_string(content).metadata_props}
    session = onnxruntime.InferenceSession(content)
    assert entries["boneage.site"] == text
    assert session.get_modelmeta().custom_metadata_map["boneage.site"] == text
    assert set(entries) == {"boneage", "boneage.site"}


def test_a_site_is_kept_as_it_is():
    widths = Intervals((1.0, float("inf"), 2.0, 1.5, 1.25, 1.0))
    site = Site(
        Correction("line", {"male": Line(0.5, 0.1, 10, 4, 16)}), {True: widths, False: None}, ("a",)
    )
    assert Site.of(site.plain()) == site
    older = {key: value for key, value in site.plain().items() if key != "ids"}
    assert Site.of(older) == replace(site, ids=())


def test_a_correction_of_unknown_sex_alone_has_its_form():
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "n": 20}
    line = Correction("line", {"unknown": Line(1.0, 0.1), "male": Line(1.0, 0.1)})
    unknown, known = (
        SiteFit(correction, "line", nothing, nothing, nothing, None, None)
        for correction in (line, Correction())
    )
    for site in (_site(None, unknown), _site(known, unknown)):
        assert site.correction == Correction("line", {"unknown": Line(1.0, 0.1)})


def test_known_and_unknown_sex_are_fitted_apart(tmp_path, monkeypatch):
    """With the sex the model is 2 years too low, without it 1 year too high."""
    rng = np.random.default_rng(0)
    true, sexes = rng.uniform(5, 15, HANDS), ["female", "male"] * (HANDS // 2)
    low, high = (true + shift + rng.normal(0, sd, HANDS) for shift, sd in ((-2, 0.2), (1, 0.6)))
    films = tmp_path / "films"
    films.mkdir()
    ids = [f"film-{i:02}" for i in range(HANDS)]
    for id_ in ids:
        (films / f"{id_}.png").touch()
    labels = pd.DataFrame({"id": ids, "sex": sexes, "bone_age_years": true})
    labels.to_csv(tmp_path / "readings.csv", index=False)

    def answered(files, sexes, ensemble):
        without = [Answer(f.name, f.stem, age_years=high[ids.index(f.stem)]) for f in files]
        with_sex = [
            Answer(f.name, f.stem, sex=sex, age_years=low[ids.index(f.stem)])
            for f, sex in zip(files, sexes, strict=True)
        ]
        return without, with_sex, [""] * len(files)

    monkeypatch.setattr("boneage.predict.site.answers_twice", answered)
    (tmp_path / "m.onnx").touch()
    model = SimpleNamespace(
        predicts_age=True, file=tmp_path / "m.onnx", site=None, seen=frozenset()
    )
    own = {True: Intervals((9.0,) * 6), False: Intervals((0.01,) * 6)}
    ensemble = SimpleNamespace(models=[model], intervals=own)
    fitted = calibrate([films], tmp_path / "readings.csv", ensemble, tmp_path / "site.onnx")
    for fit, predicted in ((fitted.known, low), (fitted.unknown, high)):
        assert fit.mae["value"] == pytest.approx(12 * np.abs(predicted - true).mean())
    assert (fitted.known.covered["value"], fitted.unknown.covered["value"]) == pytest.approx(
        (1, 0), abs=0.05
    )
    offsets = {sex: line.offset for sex, line in fitted.site.correction.lines.items()}
    assert offsets == pytest.approx({"female": 2, "male": 2, "unknown": -1}, abs=0.2)
    widths = {known: each.widths[2] for known, each in fitted.site.intervals.items()}
    assert widths == pytest.approx({True: 1.645 * 0.2, False: 1.645 * 0.6}, rel=0.3)


def test_the_sex_of_the_table_is_used_and_that_of_the_header_where_it_has_none(monkeypatch):
    headers = [SimpleNamespace(sex="male", patient=f"p{i}") for i in range(2)]
    radiographs = [Radiograph(header=header) for header in (*headers, None)]
    monkeypatch.setattr("boneage.predict.predict._load", lambda *_, **__: (r for r in radiographs))
    monkeypatch.setattr(
        "boneage.predict.predict.answer_all",
        lambda part, patients, ensemble: ([patient.sex for patient in patients], {}),
    )
    files = [Path("a.dcm"), Path("b.dcm"), Path("c.png")]
    without, with_sex, patients = answers_twice(files, ["female", "unknown", "unknown"], None)
    assert without == ["unknown"] * 3
    assert with_sex == ["female", "male", "unknown"]
    assert patients == ["p0", "p1", ""]


@pytest.mark.parametrize("text", ["{", "{}", '{"lines": 5}'])
def test_a_damaged_site_is_one_line(exported, tmp_path, text):
    file = tmp_path / "s.onnx"
    file.write_bytes(with_metadata((exported / "model.onnx").read_bytes(), "boneage.site", text))
    with pytest.raises(UserError, match="cannot be used"):
        read_checkpoint(file)


def test_an_ensemble_has_the_intervals_of_the_site(exported, tmp_path):
    site = Site(Correction(), {True: Intervals((9.0,) * 6), False: None})
    model, fitted = exported / "model.onnx", tmp_path / "s.onnx"
    text = json.dumps(site.plain())
    fitted.write_bytes(with_metadata(model.read_bytes(), "boneage.site", text))
    ensemble, own = Ensemble([fitted]), Ensemble([model])
    assert ensemble.intervals[True] == Intervals((9.0,) * 6)
    assert ensemble.intervals[False] == own.intervals[False]
