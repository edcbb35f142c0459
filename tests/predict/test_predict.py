"""Predicting new radiographs: inputs of every kind, answers, flags, and what goes wrong."""

import base64
import dataclasses
import json
import os
import re
import shutil
import signal
import struct
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_files import written
from helpers import TINY, compose_config
from PIL import Image
from rich.cells import cell_len
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.hand import detect
from boneage.data.phantom import expose, write_phantom
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.errors import UserError
from boneage.explain.film import square_film
from boneage.predict.answer import Answer, lines_of, terminal_table, years_and_months
from boneage.predict.answer_files import PREDICTIONS_SCHEMA, AnswerFiles, open_answers
from boneage.predict.answering import answer_all, sd_score
from boneage.predict.ensemble import Ensemble
from boneage.predict.patients import Patient, patients_of, read_patients
from boneage.predict.predict import answers_twice
from boneage.predict.predict import predict as predict_files
from boneage.predict.predictor import Predictor
from boneage.predict.radiograph import CORRECTIONS, Radiograph, correction_needed, load, see
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.stages import Stages
from boneage.uncertainty.calibration import Intervals


@pytest.fixture(scope="module")
def phantom_root(tmp_path_factory):
    """Enough radiographs for intervals: 12 in the validation fold."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), n=120, size=64, seed=0)


@pytest.fixture(scope="module")
def runs(phantom_root, tmp_path_factory):
    """Finished runs by name: two seeds of a joint one, and one of the stages alone."""
    folder = tmp_path_factory.mktemp("runs")
    common = (*TINY, "data=rsna", f"data.root={phantom_root}", "sex=embedding")
    for name, overrides in {
        "one": ["task=multitask", "precision=bf16-mixed"],
        "two": ["task=multitask", "seed=2"],
        "stages": ["task=classification"],
    }.items():
        (folder / name).mkdir()
        train(compose_config(*common, *overrides, f"run_dir={folder / name}"))
    return folder


@pytest.fixture
def films(phantom_root, tmp_path):
    """Four phantom radiographs in a folder."""
    folder = tmp_path / "films"
    folder.mkdir()
    for file in sorted(phantom_root.rglob("boneage-training-dataset/*.png"))[:4]:
        shutil.copy(file, folder)
    return folder


def run(*words):
    return CliRunner().invoke(app, ["predict", *map(str, words)], catch_exceptions=False)


def predict(*words, out):
    """Run the command; return its table by id, and its document."""
    run(*words, "--out", out)
    table = pd.read_csv(out / "predictions.csv", dtype={"id": str}, keep_default_na=False)
    return table.set_index("id"), json.loads((out / "predictions.json").read_text())


@pytest.mark.slow
def test_a_folder(runs, films, tmp_path):
    (films / "notes.txt").write_text("no radiograph")
    table, document = predict(films, "--checkpoint", runs / "one", out=tmp_path / "out")
    assert sorted(table.index) == sorted(file.stem for file in films.glob("*.png"))
    assert (table["status"] == "ok").all()
    assert (table["sex"] == "unknown").all()
    assert document["schema"] == PREDICTIONS_SCHEMA
    assert document["checkpoints"] == [str(runs / "one/checkpoints/best.ckpt")]
    for row in document["predictions"]:
        assert sum(row["stage_probabilities"].values()) == pytest.approx(1)
        assert row["stage"] == max(row["stage_probabilities"], key=row["stage_probabilities"].get)
        assert row["interval_low_years"] <= row["age_years"] <= row["interval_high_years"]
        assert row["age_text"] == years_and_months(row["age_years"])
        assert table.loc[row["id"], "age_years"] == pytest.approx(row["age_years"])


def test_predictions_are_those_of_the_run(runs, phantom_root, tmp_path):
    # the test radiographs of the run, with the sex of its table, as the run itself predicted them
    tested = pd.read_csv(runs / "one/predictions.csv", dtype={"id": str}).set_index("id")
    files = [
        next(phantom_root.rglob(f"boneage-training-dataset/{id_}.png")) for id_ in tested.index
    ]
    tested["sex"].to_csv(tmp_path / "patients.csv")
    table, _ = predict(
        *files, "--checkpoint", runs / "one", "--table", tmp_path / "patients.csv",
        out=tmp_path / "out",
    )  # fmt: skip
    for column in ("age_years", "stage_probability_child"):
        of_run = tested["age_years_predicted" if column == "age_years" else column]
        assert table[column].to_dict() == pytest.approx(of_run.to_dict(), abs=1e-5)


def test_where_the_sex_comes_from(runs, films, tmp_path, caplog):
    ids = sorted(file.stem for file in films.glob("*.png"))
    patients = tmp_path / "patients.csv"
    patients.write_text(
        f"id,sex,chronological_age_years\n{ids[0]},F,7.5\n{ids[1]},,\n{ids[2]},M,99\nother,M,3\n"
    )
    words = (films, "--checkpoint", runs / "one", "--table", patients)
    with pytest.raises(UserError, match=r"row 4, column 'chronological_age_years': '99' is not"):
        run(*words, "--out", tmp_path / "out")
    patients.write_text(patients.read_text().replace("99", "6"))
    written(films / "film.dcm", np.full((64, 48), 99, np.uint8), PatientSex="M", PatientAge="030M")
    table, _ = predict(*words, out=tmp_path / "out")
    assert table[["sex", "sex_from"]].apply(tuple, axis=1).to_dict() == {
        ids[0]: ("female", "table"), ids[1]: ("unknown", ""), ids[2]: ("male", "table"),
        ids[3]: ("unknown", ""), "film": ("male", "header"),
    }  # fmt: skip
    age = table["chronological_age_years"]
    assert (float(age[ids[0]]), age[ids[1]], float(age["film"])) == (7.5, "", 2.5)
    expected = sd_score(table.loc[ids[0], "age_years"], 7.5, "female")
    assert float(table.loc[ids[0], "sd_score"]) == pytest.approx(expected)
    assert "contradicts" not in caplog.text
    table, _ = predict(*words, "--sex", "female", out=tmp_path / "again")
    assert set(table["sex"]) == {"female"}
    assert set(table["sex_from"]) == {"option"}
    assert "1 radiograph: the file's PatientSex contradicts the given sex: film" in caplog.text


def test_the_same_radiograph_as_dicom(runs, films, tmp_path):
    file = sorted(films.glob("*.png"))[0]
    grey = read_radiograph(file)[0]
    deep = np.rint(grey / 255 * 4095).astype(np.uint16)
    (tmp_path / "dicom").mkdir()
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    written(tmp_path / "dicom/plain.dcm", grey)
    written(tmp_path / "dicom/deep.dcm", deep, 12)
    written(tmp_path / "dicom/inverted.dcm", 4095 - deep, 12, **inverted)
    written(tmp_path / "dicom/signed.dcm", deep.astype(np.int16) - 2048, 12)
    table, _ = predict(file, tmp_path / "dicom", "--checkpoint", runs / "one", out=tmp_path / "out")
    assert len(table) == 5
    assert table["age_years"].max() - table["age_years"].min() < 0.05


def test_nothing_in_a_folder_stops_it(runs, films, tmp_path):
    strange = "a,b;'\"<b>\n$(touch hit).png"
    shutil.copy(next(films.glob("*.png")), films / strange)
    (films / "damaged.png").write_bytes(b"no image")
    (films / "empty.jpg").write_bytes(b"")
    (films / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM")
    table, document = predict(films, "--checkpoint", runs / "one", "--report", out=tmp_path / "out")
    assert len(document["predictions"]) == 8
    assert (table["status"] == "error").sum() == 3
    assert "not a readable" in table.loc["damaged", "reason"]
    assert table.loc["damaged", "age_years"] == ""
    assert table.loc[strange.removesuffix(".png"), "status"] == "ok"
    page = (tmp_path / "out/report.html").read_text()
    assert "<b>\n$" not in page
    assert "&lt;b&gt;" in page
    assert "not a medical device" in page
    assert page.count('class="card"') == 8
    assert page.count("data:image/jpeg") == 5


def test_one_radiograph_is_answered_in_the_terminal(runs, films):
    file = next(films.glob("*.png"))
    said = run(file, "--checkpoint", runs / "one", "--sex", "female").output
    assert "bone age" in said
    assert re.search(r"interval   .* years \(90 %\)", said)
    assert "female (option)" in said
    assert "not a medical device" in said
    with pytest.raises(UserError, match="--out"):
        run(file, "--checkpoint", runs / "one", "--report")


def test_several_radiographs_are_a_table_in_the_terminal(runs, films, tmp_path):
    ages = predict(films, "--checkpoint", runs / "one", out=tmp_path / "out")[0]
    lines = run(films, "--checkpoint", runs / "one").output.splitlines()
    assert " ".join(lines[0].split()) == "radiograph bone age 90 % interval stage sex"
    for row in ages.itertuples():
        at = next(i for i, line in enumerate(lines) if line.startswith(Path(row.file).name))
        assert row.age_text in lines[at] if row.status == "ok" else row.status in lines[at]
        assert row.flags.split("; ")[0] in lines[at + 1]
    assert "not a medical device" in lines[-1]


@pytest.mark.parametrize("width", [80, 20])
def test_a_table_is_legible_in_a_narrow_terminal(width):
    long, flag = (
        "1.2.840.113619.2.55.3.604688119.969.1268071029.320.dcm",
        "the chronological age is odd",
    )
    answers = [
        Answer("a/b.png", "b", age_text="9 y 1 m", interval_low_years=8, interval_high_years=10.25,
               stage="adolescent", sex="male", sd_score=-1.25, flags=[flag] * 3),
        Answer(long, long, age_text="12 y 10 m", stage="child", sex="unknown"),
        Answer("[red]\x1b\u624b.png", "c", "error", reason="gone"),
    ]  # fmt: skip
    lines = terminal_table(answers, width)
    said = " ".join(" ".join(lines).split())
    assert max(map(cell_len, lines)) <= max(width, 60)  # which the row itself takes
    assert "; ".join([flag] * 3) in said  # no word is cut
    assert "12 y 10 m child unknown" in said.split(long)[1]
    assert said.endswith("[red]?\u624b.png error gone")
    if width == 80:
        first = lines[1].index("9 y 1 m") + len("9 y 1 m")
        assert " ".join(lines[1].split()) == "b.png 9 y 1 m 8.0 to 10.2 y adolescent -1.2 male"
        assert lines[lines.index(long) + 1][:first].endswith(" 12 y 10 m")


@pytest.mark.parametrize(
    ("sex", "said"),
    [
        ("unknown", "SD score   none without the sex (chronological age 17.5 years)"),
        ("female", "SD score   none at this age (chronological age 17.5 years)"),
    ],
)
def test_a_chronological_age_without_an_sd_score_is_said(sex, said):
    answer = Answer("a.png", "a", age_years=17, age_text="17 y 0 m", sex=sex)
    assert "SD score" not in " ".join(lines_of(answer))
    assert said in lines_of(replace(answer, chronological_age_years=17.5))


def test_files_of_one_name_are_told_apart_in_the_terminal():
    answers = [Answer(file, "film", age_text="9 y 1 m") for file in ("a/film.png", "b/film.png")]
    lines = terminal_table([*answers, Answer("b/other.png", "other", age_text="9 y 1 m")], 80)
    assert [line.split()[0] for line in lines[1:]] == ["a/film.png", "b/film.png", "other.png"]


def test_an_ensemble_is_the_mean(runs, films, tmp_path):
    one, two = runs / "one", runs / "two"
    tables = [
        predict(films, *(w for c in models for w in ("--checkpoint", c)), out=tmp_path / name)[0]
        for name, models in (("a", [one]), ("b", [two]), ("ab", [one, two]))
    ]
    ages = [table["age_years"].to_numpy(float) for table in tables]
    same = ~np.any([t["flags"].str.contains("corrected") for t in tables], axis=0)
    assert same.sum() >= 2
    np.testing.assert_allclose(ages[2][same], (ages[0] + ages[1])[same] / 2, atol=1e-5)
    spread = tables[2]["ensemble_sd_years"].to_numpy(float)
    of_both = np.std(ages[:2], axis=0, ddof=1)
    np.testing.assert_allclose(spread[same], of_both[same], atol=1e-5)
    far = spread > 1
    said = tables[2]["flags"].str.contains("the models disagree").to_numpy()
    assert (said == far).all()
    with pytest.raises(UserError, match="differ in their task"):
        predict(films, "--checkpoint", one, "--checkpoint", runs / "stages", out=tmp_path / "c")
    shutil.copytree(one, tmp_path / "copy")
    for again in (one, tmp_path / "copy"):
        with pytest.raises(UserError, match=f"a checkpoint is given twice: {again}"):
            predict(films, "--checkpoint", one, "--checkpoint", again, out=tmp_path / "d")


def test_one_model_in_two_files_is_told(runs, tmp_path, caplog):
    best = runs / "one/checkpoints/best.ckpt"
    Ensemble([best, runs / "two"])
    assert "seem to be one model" not in caplog.text
    content = torch.load(best, weights_only=True)
    torch.save(content | {"note": "without another change"}, tmp_path / "again.ckpt")
    Ensemble([best, tmp_path / "again.ckpt"])
    said = f"{best} and {tmp_path}/again.ckpt have the same intervals, so they seem to be one"
    assert said in caplog.text


def test_tta_is_the_mean_with_the_mirror_image(runs, films, tmp_path):
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    for file in films.glob("*.png"):
        cv2.imwrite(
            str(mirrored / file.name), np.ascontiguousarray(read_radiograph(file)[0][:, ::-1])
        )
    words = ("--checkpoint", runs / "one")
    ages = [
        predict(folder, *words, *extra, out=tmp_path / name)[0]["age_years"].astype(float)
        for name, folder, extra in (
            ("plain", films, []), ("other", mirrored, []), ("both", films, ["--mirror"])
        )
    ]  # fmt: skip
    np.testing.assert_allclose(ages[2], (ages[0] + ages[1]) / 2, atol=1e-4)


def test_the_gate(runs, films, tmp_path):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(films / "noise.png"), rng.integers(0, 256, (64, 64), np.uint8))
    cv2.imwrite(str(films / "empty.png"), np.full((64, 64), 7, np.uint8))
    colour = np.dstack([np.full((64, 64), grey, np.uint8) for grey in (20, 90, 200)])
    colour[16:48, 16:48] = 255 - colour[16:48, 16:48]
    cv2.imwrite(str(films / "photo.png"), colour)
    table, _ = predict(films, "--checkpoint", runs / "one", out=tmp_path / "out")
    assert "nearly empty" in table.loc["empty", "flags"]
    assert "colour image" in table.loc["photo", "flags"]
    assert "unlike the training radiographs" in table.loc["noise", "flags"]
    assert (table["age_years"] != "").all()  # flags never hide the number
    strict, _ = predict(
        films, "--checkpoint", runs / "one", "--gate", "strict", out=tmp_path / "strict"
    )
    withheld = strict["status"] == "withheld"
    assert (withheld == (table["flags"] != "")).all()
    assert (strict["age_years"][withheld] == "").all()
    assert (strict["age_years"][~withheld] != "").all()


def test_stages_alone_have_no_age(runs, films, tmp_path):
    table, document = predict(films, "--checkpoint", runs / "stages", out=tmp_path / "out")
    assert (table["age_years"] == "").all()
    assert set(table["stage"]) <= {"child", "adolescent", "adult"}
    assert document["predictions"][0]["interval_low_years"] is None


def test_a_checkpoint_without_calibration_has_no_interval(runs, films, tmp_path, caplog):
    checkpoint = torch.load(runs / "one/checkpoints/best.ckpt", weights_only=True)
    del checkpoint["boneage"]["calibration"]
    torch.save(checkpoint, tmp_path / "older.ckpt")
    run(films, "--checkpoint", tmp_path / "older.ckpt", "--out", tmp_path / "out")
    assert "older.ckpt has no calibration: it gives no intervals" in caplog.text
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert table["interval_low_years"].isna().all()
    assert table["novelty"].isna().all()
    assert table["age_years"].notna().all()


def test_a_stopped_call_goes_on(runs, films, tmp_path, monkeypatch):
    import boneage.predict.predict as module

    calls = []
    answer_all = module.answer_all

    def stopped(part, *args):
        calls.append(len(part))
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return answer_all(part, *args)

    monkeypatch.setattr(module, "RADIOGRAPHS_IN_MEMORY", 1)
    monkeypatch.setattr(module, "answer_all", stopped)
    words = (films, "--checkpoint", runs / "one")
    said = CliRunner().invoke(app, ["predict", *map(str, words), "--out", str(tmp_path / "out")])
    assert "continue with --resume" in str(said.exception) + said.output
    assert not (tmp_path / "out/predictions.csv").exists()
    with pytest.raises(UserError, match="--resume"):
        run(*words, "--out", tmp_path / "out")
    with pytest.raises(UserError, match=r"other checkpoints or options \(sex\): "):
        run(*words, "--resume", "--sex", "male", "--out", tmp_path / "out")
    calls[:] = [0] * 3
    resumed, _ = predict(*words, "--resume", out=tmp_path / "out")
    assert len(calls) == 3 + 2  # two of four were there
    whole, _ = predict(*words, out=tmp_path / "whole")
    pd.testing.assert_frame_equal(resumed, whole)


def test_a_finished_call_is_added_to(runs, films, tmp_path):
    out, words = tmp_path / "out", (films, "--checkpoint", runs / "one", "--resume")
    first, _ = predict(*words, out=out)
    age = json.loads((out / "predictions.json").read_text())
    age["predictions"][0]["age_years"] = 3.25  # to tell an answer that is kept from a new one
    (out / "predictions.json").write_text(json.dumps(age))
    kept = sorted(films.glob("*.png"))[0]
    shutil.copy(kept, films / "zz.png")
    table, _ = predict(*words, out=out)
    assert list(table.index) == [*first.index, "zz"]
    assert float(table.loc[kept.stem, "age_years"]) == 3.25
    again, before = float(table.loc["zz", "age_years"]), float(first.loc[kept.stem, "age_years"])
    assert again == pytest.approx(before, rel=1e-6)  # alone, not in a batch
    for other in (["--sex", "male"], ["--report"]):
        with pytest.raises(UserError, match="other checkpoints or options"):
            run(*words, *other, "--out", out)


def test_radiographs_that_are_added_keep_all_answers_and_pictures(runs, films, tmp_path):
    for name, film in zip("abc", sorted(films.iterdir()), strict=False):
        (tmp_path / name).mkdir()
        shutil.copy(film, tmp_path / name / "1.png")
    out, ok = tmp_path / "out", ("--checkpoint", runs / "one", "--report", "--resume")
    predict(tmp_path / "b", tmp_path / "c", *ok, out=out)
    _, document = predict(tmp_path / "a", *ok, out=out)
    rows = document["predictions"]
    assert [row["file"] for row in rows] == [str(tmp_path / f"{name}/1.png") for name in "bca"]
    for row in rows:  # each has the picture that it has alone
        alone = tmp_path / f"alone_{row['file'][-7]}"
        predict(row["file"], *ok, out=alone)
        pair = [cv2.imread(str(file)) for file in (out / row["picture"], alone / "pictures/1.jpg")]
        np.testing.assert_array_equal(pair[0][:, :470], pair[1][:, :470])
        np.testing.assert_allclose(pair[0].astype(float), pair[1], atol=9)  # the map, by rounding
    assert (out / "report.html").read_text().count("data:image/jpeg") == 3


def test_a_radiograph_that_was_replaced_is_predicted_again(runs, films, tmp_path):
    words = (films, "--checkpoint", runs / "one", "--resume")
    before, _ = predict(*words, out=tmp_path / "out")
    first, other = sorted(films.glob("*.png"))[:2]
    first.write_bytes(other.read_bytes())
    os.utime(first, (10**9, 10**9))  # a copy can be older than what it replaces
    after, _ = predict(*words, out=tmp_path / "out")
    ages = after.loc[first.stem, "age_years"], before.loc[other.stem, "age_years"]
    assert ages[0] == pytest.approx(ages[1], abs=1e-4)  # other radiographs were in the batch
    assert after.loc[first.stem, "age_years"] != before.loc[first.stem, "age_years"]


def test_a_table_of_another_program_is_not_overwritten(tmp_path):
    table = tmp_path / "predictions.csv"
    table.write_text("of another program")
    with pytest.raises(UserError, match=r"csv exists without predictions\.json, which --resume n"):
        AnswerFiles(tmp_path, {"pictures": False}, resume=True)
    assert table.read_text() == "of another program"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("predictions.json", "contains predictions already"),
        ("predictions.part", "contains predictions already"),
        ("report.html", r"report\.html exists without its predictions: choose another --out"),
    ],
)
def test_a_file_of_another_program_is_not_overwritten(tmp_path, name, said):
    (tmp_path / name).write_text("of another program")
    with pytest.raises(UserError, match=said):
        AnswerFiles(tmp_path, {"pictures": True}, resume=False)
    assert (tmp_path / name).read_text() == "of another program"
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_file_that_failed_or_has_changed_is_read_again(tmp_path):
    good, bad, new = (tmp_path / f"{name}.png" for name in ("good", "bad", "new"))
    good.write_bytes(b"1")
    bad.touch()
    out, about = tmp_path / "out", {"pictures": False}
    with open_answers(out, about, resume=False) as first:
        first.add([Answer(str(good), "good"), Answer(str(bad), "bad", "error")])
    with open_answers(out, about, resume=True) as resumed:
        assert [resumed.lacks(file) for file in (good, bad, new)] == [False, True, True]
        os.utime(good, (10**9, 10**9))  # another file of the same size
        assert resumed.lacks(good)


def test_a_folder_holds_one_prediction_at_a_time(tmp_path):
    """Each would replace the answers of the other at its end."""
    folder, about = tmp_path / "out", {"pictures": False}
    with open_answers(folder, about, resume=False) as first:
        second = open_answers(folder, about, resume=True)
        with pytest.raises(UserError, match=f"^another prediction is writing into {folder}: wait"):
            second.__enter__()
        first.add([Answer("a.png", "a")])
    with open_answers(folder, about, resume=True) as later:
        later.add([Answer("b.png", "b")])
        later.write(["b.png"])
    assert list(pd.read_csv(folder / "predictions.csv")["id"]) == ["a", "b"]
    assert not (folder / ".lock").exists()


def test_earlier_answers_whose_files_are_gone_are_named(tmp_path, caplog):
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "dangling.png")]
    for file in files[:2]:
        Path(file).touch()
    about = {"pictures": False}
    with open_answers(tmp_path / "out", about, resume=False) as first:
        first.add(Answer(file, Path(file).stem) for file in files)
        first.write(files)
    assert not caplog.text  # what could not be read in this call has a row of its own
    Path(files[0]).unlink()
    AnswerFiles(tmp_path / "out", about, resume=True).write(files[1:])
    assert f"1 answer of earlier calls for files that no longer exist: {files[0]}" in caplog.text


@pytest.mark.parametrize("first", ['{"pictures": fal', "[]", "5"])
def test_a_log_without_what_made_its_answers_is_not_replaced(tmp_path, first):
    (tmp_path / "predictions.part").write_text(f"{first}\n5\n")
    with pytest.raises(UserError, match=r"predictions\.part is damaged: choose another --out"):
        AnswerFiles(tmp_path, {"pictures": False}, resume=True)
    assert (tmp_path / "predictions.part").read_text() == f"{first}\n5\n"


def test_a_log_from_before_an_option_existed_is_resumed_without_it(tmp_path):
    (tmp_path / "predictions.part").write_text('{"pictures": false}\n')
    AnswerFiles(tmp_path, {"pictures": False, "columns": None}, resume=True)
    with pytest.raises(UserError, match="other checkpoints or options"):
        AnswerFiles(tmp_path, {"pictures": False, "columns": {"id": "film"}}, resume=True)


def test_lines_of_a_log_that_are_no_answers_are_skipped(tmp_path):
    about, answer = {"pictures": False}, Answer("a.png", "a")
    lines = [about, 5, "x", [], dataclasses.asdict(answer)]
    (tmp_path / "predictions.part").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert list(AnswerFiles(tmp_path, about, resume=True).done.values()) == [answer]


def test_few_radiographs_are_read_before_the_model_needs_them(monkeypatch, tmp_path):
    """However fast the other processes are: here they are done before the first is used."""
    read, used = [], []

    def pool(calls, **options):
        results = [function(*given) for function, given, _ in calls]
        read.extend(results)
        assert len(read) - len(used) <= 20
        for result in results:
            used.append(result)
            yield result

    monkeypatch.setattr("boneage.data.pool.run_pool", pool)
    monkeypatch.setattr("boneage.predict.predict.FILES_AHEAD", 20)
    files = [tmp_path / f"{number}.png" for number in range(70)]  # missing: quickly answered
    answers, *_ = answers_twice(files, ["unknown"] * 70, Ensemble())
    assert [answer.file for answer in answers] == [str(file) for file in files]
    assert len(used) == 70
    assert len(read) == 70


@pytest.mark.parametrize(
    "call",
    [
        lambda files, out: answers_twice(files, ["unknown"] * len(files), Ensemble()),
        lambda files, out: predict_files(files, Ensemble(), out),
    ],
)
def test_a_failure_leaves_no_progress_bar(films, tmp_path, monkeypatch, call):
    """The garbage collector would close it in the thread of another one, which then never ends."""

    def fail(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr("boneage.predict.predict.answer_all", fail)
    monkeypatch.setattr("boneage.predict.predict.RADIOGRAPHS_IN_MEMORY", 2)
    with pytest.raises(RuntimeError, match="a fault") as fault:
        call(sorted(films.iterdir()), tmp_path / "out")
    assert fault.tb is not None  # it keeps what was running
    assert "rich.progress" not in {type(thread).__module__ for thread in threading.enumerate()}


def test_a_folder_may_be_named_otherwise_when_a_call_is_resumed(runs, films, tmp_path, monkeypatch):
    words = ("--checkpoint", runs / "one", "--resume")
    first, _ = predict(films, *words, out=tmp_path / "out")
    monkeypatch.chdir(films)
    again, document = predict(".", *words, out=tmp_path / "out")
    assert list(again.index) == list(first.index)
    assert len(document["predictions"]) == len(first)
    np.testing.assert_array_equal(again["age_years"], first["age_years"])


@pytest.mark.parametrize("stopped", [False, True])
def test_a_call_is_resumed_from_another_working_folder(runs, films, tmp_path, monkeypatch, stopped):
    """All files have other names there: radiographs, checkpoint and table."""
    (tmp_path / "sexes.csv").write_text(
        "id,sex\n" + "".join(f"{f.stem},F\n" for f in films.iterdir())
    )
    out = tmp_path / "out"

    def resume():
        names = [os.path.relpath(path) for path in (films, runs / "one", tmp_path / "sexes.csv")]
        return predict(names[0], "--checkpoint", names[1], "--table", names[2], "--resume", out=out)

    monkeypatch.chdir(films.parent)
    first, document = resume()
    assert not Path(document["checkpoints"][0]).is_absolute()
    if stopped:  # as if it had been, just before its end
        about = {key: value for key, value in document.items() if key not in ("schema", "states")}
        rows = [
            row | {"state": document["states"][os.path.abspath(row["file"])]}
            for row in about.pop("predictions")
        ]
        lines = "".join(json.dumps(line) + "\n" for line in (about, *rows))
        (out / "predictions.part").write_text(lines)
        (out / "predictions.json").unlink()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.setattr("boneage.predict.predict.answer_all", None)  # nothing is left to do
    again, document = resume()
    assert len(document["predictions"]) == len(first)
    np.testing.assert_array_equal(again["age_years"], first["age_years"])


def test_the_results_of_a_run_are_not_taken_for_predictions(runs, films, tmp_path):
    before = (runs / "one/predictions.csv").read_bytes()
    for more in ([], ["--resume"]):
        with pytest.raises(UserError, match="contains a training or a test: choose another --out"):
            run(films, "--checkpoint", runs / "one", *more, "--out", runs / "one")
    assert (runs / "one/predictions.csv").read_bytes() == before
    predict(films, "--checkpoint", runs / "one", out=tmp_path / "out")
    with pytest.raises(UserError, match="contains a run or predictions already"):
        ensemble([runs / "one"], tmp_path / "out")


def test_cards_of_another_call_are_no_radiographs(runs, films, tmp_path):
    words = (films, "--checkpoint", runs / "one", "--overlays")
    first, _ = predict(*words, out=films / "out")
    other, _ = predict(*words, out=tmp_path / "other")
    assert list(other.index) == list(first.index)


def test_pictures_are_neither_predicted_nor_overwritten(runs, films, tmp_path):
    words = (films, "--checkpoint", runs / "one", "--overlays")
    first, _ = predict(*words, out=films / "out")
    again, _ = predict(*words, "--resume", out=films / "out")
    assert list(again.index) == list(first.index)
    printed = run(films, "--checkpoint", runs / "one").stdout  # without a folder for results
    assert [printed.count(f"{id_}.png") for id_ in first.index] == [1] * len(first)
    assert ".jpg" not in printed
    drawn = next((films / "out/pictures").iterdir())
    asked, _ = predict(drawn, "--checkpoint", runs / "one", out=tmp_path / "asked")
    assert list(asked["file"]) == [str(drawn)]
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="exists without its predictions"):
        run(*words, "--out", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "Image_ID;Gender;Chronological_Age_Years\n1378.png;f;7,5\n9.0;MALE;\n",
        "ID,Is_Male,chronological_age_months\n1378,0.0,90\n0009,1.0,\n",
    ],
)
def test_a_table_of_patients_may_write_ids_sexes_and_numbers_otherwise(tmp_path, text, caplog):
    (tmp_path / "patients.csv").write_text(text)
    files = Path("a/01378.png"), Path("9.png")
    known = patients_of(files, tmp_path / "patients.csv")
    expected = Patient("female", "table", 7.5, "table"), Patient("male", "table")
    assert known == dict(zip(files, expected, strict=True))
    assert "matched ignoring folder" in caplog.text


FILMS = [Path("x/a/film.png"), Path("x/b/film.png")]


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path):
    (tmp_path / "patients.csv").write_text("id,sex\na/film,F\nb/film.png,M\n")
    known = patients_of(FILMS, tmp_path / "patients.csv")
    assert [known[file].sex for file in FILMS] == ["female", "male"]


@pytest.mark.parametrize(("months", "said"), [("95.9", False), ("96", True), ("72", True)])
def test_two_ages_that_differ_by_a_year_are_said(tmp_path, caplog, months, said):
    table = tmp_path / "p.csv"
    header = "id,chronological_age_years,chronological_age_months"
    table.write_text(f"{header}\na,7.0,{months}\nb,,30\n")
    patients = read_patients(table)
    assert (patients["a"].age_years, patients["b"].age_years) == (7.0, 2.5)
    assert ("differ by a year or more in 1 row, first in row 2" in caplog.text) == said


def test_rows_without_a_radiograph_are_counted(tmp_path, caplog):
    table = tmp_path / "patients.csv"
    table.write_text("id,sex\na/film,F\nb/film,M\n")
    patients_of(FILMS, table)
    assert not caplog.text
    table.write_text("id,sex\na/film,F\nb/film,M\n7,M\nfilm2,F\n")
    patients_of(FILMS, table)
    assert f"{table}: 2 rows without a radiograph here: 7, film2" in caplog.text
    caplog.clear()
    patients_of([Path("film2.png")], table)  # one of many is asked for
    assert not caplog.text


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "patients.csv has a header but no rows"),
        ("film,M", "id film has 2 images: .*a/film.png, .*b/film.png; .*folders: a/film, b/f"),
        ("a/film,M\na/film.png,F", "ids a/film and a/film.png name one radiograph, with differen"),
    ],
)
def test_a_row_is_of_one_radiograph(tmp_path, rows, said):
    (tmp_path / "patients.csv").write_text(f"id,sex\n{rows}\n")
    with pytest.raises(UserError, match=said):
        patients_of(FILMS, tmp_path / "patients.csv")


@pytest.mark.parametrize(
    ("name", "cell", "example"),
    [("years", "12y 3m", "10.5"), ("years", "120.0", "10.5"), ("months", "8y 2m", "126")],
)
def test_a_cell_that_is_no_age_is_refused_with_an_example(tmp_path, name, cell, example):
    table = tmp_path / "patients.csv"
    table.write_text(f"id,chronological_age_{name}\n7,\n8,{cell}\n")
    said = f"row 3, column 'chronological_age_{name}': '{cell}' is not an age from 0 to 25 years: "
    with pytest.raises(UserError, match=re.escape(said + f"write a number such as {example},")):
        read_patients(table)
    table.write_text(f"id,chronological_age_{name}\n7,\n8,{example}\n")
    assert read_patients(table)["8"].age_years == pytest.approx(10.5)


# as a DICOM disc names them: the folder next to the file is the same for all
DISC = [Path(f"disc/PT{i}/ST0/SE0/IM0") for i in range(3)]


def test_the_advised_ids_tell_files_of_one_name_apart(tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("id,sex\nIM0,M\n")
    with pytest.raises(UserError) as refused:
        patients_of(DISC, table)
    ids = str(refused.value).rpartition("with folders: ")[2].split(", ")
    table.write_text("id,sex\n" + "".join(f"{i},{s}\n" for i, s in zip(ids, "MFM", strict=True)))
    known = patients_of(DISC, table)
    assert [known[file].sex for file in DISC] == ["male", "female", "male"]


def test_radiographs_of_one_name_are_said_with_their_folders(tmp_path, caplog):
    (tmp_path / "patients.csv").write_text("id,sex\nPT0,M\n")
    with pytest.raises(UserError, match="none of these radiographs: PT0/ST0/SE0/IM0, PT1/ST0/SE"):
        patients_of(DISC, tmp_path / "patients.csv")
    (tmp_path / "patients.csv").write_text("id,sex\nPT0/ST0/SE0/IM0,M\nPT1/ST0/SE0/IM0,M\n")
    patients_of(DISC, tmp_path / "patients.csv")
    assert "has no row for 1 of 3 radiographs" in caplog.text
    assert "of 3 radiographs: PT2/ST0/SE0/IM0" in caplog.text


def test_radiographs_of_one_name_in_one_folder_cannot_be_told_apart_by_it(tmp_path):
    (tmp_path / "patients.csv").write_text("id,sex\n7,M\n")
    with pytest.raises(UserError, match=r"id 7 has 2 images: a/7.png, a/7.jpg; keep one of them$"):
        patients_of([Path("a/7.png"), Path("a/7.jpg")], tmp_path / "patients.csv")
    (tmp_path / "patients.csv").write_text("id,sex\n7,M\n8,M\n")
    files = [Path(f"a/{name}") for name in ("7.png", "7.jpg", "8.png", "8.jpg", "9.png")]
    with pytest.raises(UserError, match=r"7.jpg \(2 such ids\); keep one of them$"):
        patients_of(files, tmp_path / "patients.csv")


def test_a_table_of_accession_numbers_is_refused_with_what_an_id_is(tmp_path):
    (tmp_path / "patients.csv").write_text("id,sex\n770001,M\n")
    with pytest.raises(UserError, match=r"its ids are 770001; an id is the name of the file"):
        patients_of([Path("a/1.2.840.7")], tmp_path / "patients.csv")


def test_two_rows_of_a_radiograph_do_not_contradict_each_other(tmp_path):
    (tmp_path / "patients.csv").write_text("id,sex\n1380,M\n1380.png,F\n")
    with pytest.raises(UserError, match=r"ids 1380 and 1380\.png name one radiograph"):
        patients_of([Path("1380.png")], tmp_path / "patients.csv")


def test_sexes_that_a_table_of_patients_holds_in_vain_are_said(tmp_path, caplog):
    (tmp_path / "patients.csv").write_text("id,Sesso\n9,f\n")
    file = Path("9.png")
    assert patients_of([file], tmp_path / "patients.csv") == {file: Patient()}
    assert "the sex of the only row is unknown; not used" in caplog.text


def test_own_columns_are_named_and_are_part_of_the_call(runs, films, tmp_path):
    ids = sorted(file.stem for file in films.glob("*.png"))
    patients, own = tmp_path / "patients.csv", ("--column", "id=Film", "--column", "sex=Who")
    patients.write_text("Film,id,Who,sex\n" + "".join(f"{id_},x{id_},F,M\n" for id_ in ids))
    words = (films, "--checkpoint", runs / "one", "--table", patients)
    table, document = predict(*words, *own, out=tmp_path / "out")
    assert set(table["sex"]) == {"female"}
    assert document["columns"] == {"id": "Film", "sex": "Who"}
    predict(*words, *own, "--resume", out=tmp_path / "out")
    with pytest.raises(UserError, match="contains predictions of other checkpoints or options"):
        run(*words, *own[:2], "--resume", "--out", tmp_path / "out")
    for wrong, said in {
        ("--column", "sex=Sexe"): "no column 'Sexe' (it has Film, id, Who, sex); name the right",
        ("--column", "age=Age"): "--column age=Age: predict reads no bone age; call the column of",
    }.items():
        with pytest.raises(UserError, match=re.escape(said)):
            run(*words, *wrong)
    with pytest.raises(UserError, match=r"id=Film names a column of a table: give --table"):
        run(films, *own)


def test_a_table_that_was_changed_is_another(runs, films, tmp_path):
    ids = [file.stem for file in films.glob("*.png")]
    patients = tmp_path / "patients.csv"
    patients.write_text("id,sex\n" + "".join(f"{id_},F\n" for id_ in ids))
    words = (films, "--checkpoint", runs / "one", "--table", patients, "--resume")
    predict(*words, out=tmp_path / "out")
    patients.write_text(patients.read_text().replace("F", "M"))
    with pytest.raises(UserError, match=r"options \(checkpoint or table\): "):
        run(*words, "--out", tmp_path / "out")


def test_odd_names(runs, films, tmp_path):
    first, second, third, fourth = sorted(films.glob("*.png"))
    (films / "below").mkdir()
    shutil.move(first, films / "a.png")
    shutil.move(second, films / "below/a.png")
    shutil.move(third, films / "a_2.png")
    fourth.unlink()
    coloured = np.dstack([np.full((64, 48), grey, np.uint8) for grey in (20, 90, 200)])
    with open(os.fsencode(films) + b"/caf\xe9.png", "wb") as file:  # not UTF-8
        Image.fromarray(coloured).save(file, "PNG")
    os.mkfifo(films / "pipe.png")
    out = tmp_path / "out"
    table, document = predict(films, "--checkpoint", runs / "one", "--report", out=out)
    assert (table["status"] == "error").sum() == 1
    assert "is not a radiograph file" in table.loc["pipe", "reason"]
    assert len(document["predictions"]) == 5
    assert table["flags"].str.contains("colour image").sum() == 1
    shown = {cv2.imread(str(file))[:, :350].tobytes() for file in out.glob("pictures/*.jpg")}
    assert len(shown) == 4  # each has its own
    page = (out / "report.html").read_text(encoding="utf-8")
    assert str(films / "below/a.png") in page  # two have one id: the file tells which
    pictures = re.findall(r"base64,([^\"]+)\"[^>]*>\s*<div[^>]*><b>([^<]*)", page)
    assert len({picture for picture, _ in pictures}) == 4
    shown = {name: base64.b64decode(picture) for picture, name in pictures}
    assert shown["a_2"] == (out / "pictures/a_2.jpg").read_bytes()
    run(films, "--checkpoint", runs / "one", "--out", tmp_path / "plain")
    assert "caf" in (tmp_path / "plain/predictions.csv").read_text(encoding="utf-8")


def test_what_a_table_leaves_open_is_said(runs, films, tmp_path, caplog):
    ids = sorted(file.stem for file in films.glob("*.png"))
    patients = tmp_path / "patients.csv"
    patients.write_text(f"ID,Chronological_Age_Months\n{ids[0]},96\n{ids[1]},96\n{ids[2]},96\n")
    words = (films, "--checkpoint", runs / "one", "--table", patients)
    table, _ = predict(*words, out=tmp_path / "out")
    assert float(table.loc[ids[0], "chronological_age_years"]) == 8.0
    both = "id,chronological_age_years,chronological_age_months\n"
    patients.write_text(f"{both}{ids[0]},7,96\n{ids[1]},,96\n")
    table, _ = predict(*words, out=tmp_path / "both")
    assert list(table["chronological_age_years"])[:3] == ["7.0", "8.0", ""]
    assert f"{patients} has no row for 1 of 4 radiographs: {ids[3]}" in caplog.text
    assert "differ by a year or more in 1 row, first in row 2: the first" in caplog.text
    patients.write_text(f"id,sex,chronological_age_years\n{ids[0]},M,NA\n{ids[1]},F,n/a\n")
    table, _ = predict(*words, out=tmp_path / "none")
    assert set(table["chronological_age_years"]) == {""}
    patients.write_text(f"id,Age\n{ids[0]},96\n")
    predict(*words, out=tmp_path / "again")
    assert "column 'Age' is not used: call a chronological age" in caplog.text


def test_spaces_and_signs_in_the_name_of_an_age_do_not_count(tmp_path):
    for column in ("Chronological age (years)", '"chronological age\n years"'):
        (tmp_path / "patients.csv").write_text(f"id,{column}\n1,9.5\n")
        assert read_patients(tmp_path / "patients.csv") == {
            "1": Patient(age_years=9.5, age_from="table")
        }


@pytest.mark.parametrize(
    "column",
    ["alter", "Date of birth", "Edad (años)", "年龄", "PatientAge", "patientage", "chron_age",
     "AgeYears", "Lebensalter", "âge", "Yaş", "Takvim yaşı", "Doğum tarihi", "CA", "CA_years"],
)  # fmt: skip
def test_a_column_that_may_be_an_age_is_named(tmp_path, caplog, column):
    (tmp_path / "patients.csv").write_text(f"Image ID,{column}\n1,9\n", encoding="utf-8")
    read_patients(tmp_path / "patients.csv")
    assert f"column {column!r} is not used: call a chronological age" in caplog.text


@pytest.mark.parametrize(
    "column",
    [
        "stage",
        "image_path",
        "Dosage",
        "agent",
        "enfermedad",
        "unidade",
        "alternative",
        "age_unit",
        "Bone age unit",
        "bone_age_months",
        "BoneAge_Ann",
        "bone_age_2",
        "Knochenalter",
        "âge osseux",
        "Kemik yaşı",
        "case",
    ],
)
def test_a_column_that_only_contains_age_is_not_named(tmp_path, caplog, column):
    (tmp_path / "patients.csv").write_text(f"Image ID,sex,{column}\n1,F,9\n", encoding="utf-8")
    read_patients(tmp_path / "patients.csv")
    assert not caplog.text


def test_a_column_that_is_used_is_no_unused_age(tmp_path, caplog):
    (tmp_path / "patients.csv").write_text("Image ID,sex\n1,F\n2,M\n")
    read_patients(tmp_path / "patients.csv")
    assert not caplog.text


def test_a_site_is_fitted_with_the_sexes_of_its_headers(runs, films, tmp_path, caplog):
    pixels = cv2.imread(str(sorted(films.glob("*.png"))[0]), cv2.IMREAD_GRAYSCALE)
    written(tmp_path / "boy.dcm", pixels, PatientSex="M")
    paths, sexes = [tmp_path / "boy.dcm"] * 2, ["unknown", "female"]
    without, with_sex, _ = answers_twice(paths, sexes, Ensemble([runs / "one"]))
    assert "contradicts the DICOM header of 1 radiograph: boy; the table's is used" in caplog.text
    assert [answer.sex for answer in without] == ["unknown", "unknown"]
    assert [answer.sex for answer in with_sex] == ["male", "female"]  # the table's, if it has one


def test_dicom_files_of_a_folder_need_no_suffix(runs, tmp_path):
    (tmp_path / "export").mkdir()
    for name in ("IM000001", "IM.2"):
        written(tmp_path / "export" / name, np.full((64, 48), 99, np.uint8), PatientSex="F")
    (tmp_path / "export/DICOMDIR.txt").write_text("no radiograph")
    table, _ = predict(tmp_path / "export", "--checkpoint", runs / "one", out=tmp_path / "out")
    assert table["sex_from"].to_dict() == {"IM.2": "header", "IM000001": "header"}


def turn_of(image):
    return correction_needed(detect(np.ascontiguousarray(image)))


def test_the_turn_that_a_radiograph_needs(phantom_root):
    images = [
        read_radiograph(file)[0]
        for file in sorted(phantom_root.rglob("boneage-training-dataset/*.png"))[:30]
    ]
    assert sum(turn_of(image) == "" for image in images) >= 29
    assert sum(turn_of(255 - image) == "inverted" for image in images) >= 28
    assert sum(turn_of(np.rot90(image)) == "turned by 270 degrees" for image in images) >= 28
    upside_down = [turn_of(255 - np.rot90(image, 2)) for image in images]
    assert upside_down.count("inverted and turned by 180 degrees") >= 28
    for name, turn in CORRECTIONS.items():  # what is needed after one turn undoes it
        needed = [turn_of(turn(image)) for image in images]
        undone = [
            needed[i] != "" and np.array_equal(CORRECTIONS[needed[i]](turn(image)), image)
            for i, image in enumerate(images)
        ]
        assert sum(undone) >= 28, name


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_an_inversion_stays_within_the_depth_of_the_file(bits):
    """A model without contrast stretching would see a correction of 65535 - value as white."""
    drawn = expose(10, "female", 256, np.random.default_rng(0)).image
    image = np.rint(drawn / 255 * (2**bits - 1)).astype(np.uint16)
    image[:9, :9] = 2**bits - 1  # both ends are used, as marks do
    image[-9:, :9] = 0
    inverted = (2**bits - 1 - image.astype(int)).astype(np.uint16)
    corrected = CORRECTIONS["inverted"](inverted)
    assert corrected.dtype == np.uint16
    np.testing.assert_array_equal(corrected, image)


def test_an_odd_tag_of_a_picture_does_not_reach_the_terminal(tmp_path, recwarn, capfd):
    drawn = expose(10, "female", 256, np.random.default_rng(0)).image
    Image.fromarray(np.dstack([drawn] * 3)).save(tmp_path / "a.tif", tiffinfo={270: "x" * 50})
    content = bytearray((tmp_path / "a.tif").read_bytes())
    at = content.index(struct.pack("<HH", 270, 2))
    content[at + 4 : at + 8] = struct.pack("<I", 10**6)  # longer than the file
    (tmp_path / "a.tif").write_bytes(content)
    radiograph = load(tmp_path / "a.tif", (Preprocessing(64),))
    assert (radiograph.error, radiograph.flags) == ("", [])
    assert [str(each.message) for each in recwarn] == []
    assert capfd.readouterr().err == ""


class Usual(Ensemble):
    """A ensemble whose novelty is told by the upper left pixel of its one square."""

    def __init__(self, told):
        self.told = told
        self.preprocessings = (Preprocessing(8, "squash", "none", "none"),)
        self.intervals, self.stages = {True: None, False: None}, Stages()

    def predict(self, squares, sex):
        return [
            {PREDICTED_AGE: float(square[-1, -1]) / 10, "novelty": self.told[int(square[0, 0])]}
            for square in squares[0]
        ]

    def novelty(self, squares):
        return np.array([self.told[int(square[0, 0])] for square in squares[0]])


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ({10: 0.4, 245: 0.2}, ["inverted: corrected"]),
        ({10: 0.4, 245: 0.6}, []),
        ({10: 3.0, 245: 1.5}, ["unlike the training radiographs"]),
    ],
)
def test_an_inverted_hand_is_corrected_where_that_is_more_usual(told, flags, tmp_path):
    image = 255 - expose(10, "female", 256, np.random.default_rng(0)).image
    image[:40, :40] = 10
    cv2.imwrite(str(tmp_path / "film.png"), image)
    ensemble = Usual(told)
    radiograph = load(tmp_path / "film.png", ensemble.preprocessings)
    assert radiograph.turn == "inverted"
    (answer,), _ = answer_all([(tmp_path / "film.png", radiograph)], [Patient()], ensemble)
    assert answer.flags == flags
    two = replace(radiograph, flags=["two hands"])
    (answer,), _ = answer_all([(tmp_path / "film.png", two)], [Patient()], ensemble)
    assert not any("corrected" in flag for flag in answer.flags)


@pytest.mark.parametrize("turn", CORRECTIONS)
def test_without_novelty_the_hand_finder_decides_alone(turn, tmp_path):
    nan = float("nan")
    ensemble = Usual(dict.fromkeys(range(256), nan))
    upright = expose(10, "female", 256, np.random.default_rng(0)).image
    turned = next(
        image
        for image in (np.ascontiguousarray(change(upright)) for change in CORRECTIONS.values())
        if np.array_equal(CORRECTIONS[turn](image), upright)
    )
    (answer, same), seen = answer_all(
        [
            (image, see(image, ensemble.preprocessings, with_film=False))
            for image in (turned, upright)
        ],
        [Patient()] * 2,
        ensemble,
    )
    assert (answer.flags, same.flags) == ([f"{turn}: corrected"], [])
    assert answer.age_years == same.age_years
    np.testing.assert_array_equal(seen[0].squares, seen[1].squares)
    two = see(np.hstack([turned, turned]), ensemble.preprocessings, with_film=False)
    assert two.flags == ["two hands"]
    (answer,), _ = answer_all([(turned, two)], [Patient()], ensemble)
    assert answer.flags == ["two hands"]


def test_a_correction_keeps_what_is_odd_about_the_file(tmp_path):
    """Colour and transparency stay; a hand that was not found may be found after it."""
    image = 255 - expose(10, "female", 256, np.random.default_rng(0)).image
    image[:40, :40] = 10
    rgba = np.dstack([image, image, np.minimum(image, 99), np.zeros_like(image)])
    cv2.imwrite(str(tmp_path / "film.png"), rgba)
    ensemble = Usual(dict.fromkeys(range(128), 3.0) | dict.fromkeys(range(128, 256), 0.2))
    radiograph = load(tmp_path / "film.png", ensemble.preprocessings)
    assert radiograph.flags == ["colour image", "fully transparent: read as opaque"]
    part = [(tmp_path / "film.png", replace(radiograph, flags=["nearly empty", *radiograph.flags]))]
    (answer,), _ = answer_all(part, [Patient()], ensemble)
    assert answer.flags == [*radiograph.flags, "inverted: corrected"]


def test_a_small_image_is_flagged_once():
    image = 255 - expose(10, "female", 256, np.random.default_rng(0)).image
    image[:40, :40] = 10
    small = cv2.resize(image, (127, 127), interpolation=cv2.INTER_AREA)
    ensemble = Usual(dict.fromkeys(range(128), 3.0) | dict.fromkeys(range(128, 256), 0.2))
    part = [(film, see(film, ensemble.preprocessings, with_film=False)) for film in (image, small)]
    answers, _ = answer_all(part, [Patient()] * 2, ensemble)
    flags = [answer.flags for answer in answers]
    assert flags == [["inverted: corrected"], ["small image", "inverted: corrected"]]


def test_an_odd_header_is_flagged_and_withholds_nothing(tmp_path):
    image = expose(10, "female", 256, np.random.default_rng(0)).image
    image[:40, :40] = 10
    cv2.imwrite(str(tmp_path / "film.png"), image)
    predictor = Usual({10: 0.4})
    part = [(tmp_path / "film.png", load(tmp_path / "film.png", predictor.preprocessings))]
    (answer,), _ = answer_all(part, [Patient(flags=("odd",))], predictor, strict=True)
    assert (answer.status, answer.flags) == ("ok", ["odd"])
    unusual = Usual({10: 3.0})
    (answer,), _ = answer_all(part, [Patient(flags=("odd",))], unusual, strict=True)
    assert (answer.status, answer.flags[-1]) == ("withheld", "odd")
    assert answer.reason == "unlike the training radiographs"


def test_mistakes_are_one_line(runs, films, tmp_path):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "ids.csv").write_text("id,sex\nunknown1,F\n")
    (tmp_path / "noid.csv").write_text("name,sex\na,F\n")
    (tmp_path / "twice.csv").write_text("id,sex,sex\na,F,M\n")
    film = next(films.iterdir())
    ok = ("--checkpoint", runs / "one", "--out", tmp_path / "out")
    for words, said in (
        ((tmp_path / "nothing", *ok), "no radiograph in"),
        ((tmp_path / "gone", *ok), "No such file"),
        ((tmp_path / ("a" * 300), *ok), "File name too long"),
        ((films, *ok, "--table", tmp_path / "ids.csv"), "contains none of these radiographs"),
        ((film, *ok[:2], "--table", tmp_path / "ids.csv"), "contains none of these radiographs"),
        ((films, *ok, "--table", tmp_path / "twice.csv"), "several columns called 'sex'"),
        ((films, "--checkpoint", film, *ok[2:]), "is not a boneage checkpoint: it is an image"),
        ((films, *ok, "--table", tmp_path / "noid.csv"), "has no id column"),
        (
            (films, "--checkpoint", tmp_path / "gone.ckpt", "--out", tmp_path / "x"),
            "cannot be loaded",
        ),
    ):
        with pytest.raises(UserError, match=said) as caught:
            run(*words)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/predictions.csv").exists()


@pytest.mark.parametrize(
    ("years", "text"), [(12.27, "12 y 3 m"), (0, "0 y 0 m"), (11.99, "12 y 0 m"), (-0.3, "0 y 0 m")]
)
def test_ages_as_people_say_them(years, text):
    assert years_and_months(years) == text


def test_the_table_has_the_line_ends_of_the_system_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    answers = AnswerFiles(tmp_path, {"pictures": False}, resume=False)
    answers.add([Answer("a.png", "a")])
    answers.write(["a.png"])
    content = (tmp_path / "predictions.csv").read_bytes()
    assert content.count(b"\r") == content.count(b"\r\n") == content.count(b"\n") == 2


def test_an_answer_by_hand():
    """6 months of bone age; boys of 1 year have 12.74 months (SD 1.97) in the Brush study."""
    predicted = {"age_years_predicted": 0.5, "novelty": 0.3}
    models = SimpleNamespace(
        predict=lambda squares, sexes: [dict(predicted) for _ in sexes],
        stages=Stages(),
        intervals={True: Intervals((1.0,) * 6), False: Intervals((2.0,) * 6)},
    )
    one = Path("one.png"), Radiograph((np.zeros((8, 8), np.uint8),))
    boy = Patient("male", "option", 1.0, "option")
    (known, unknown), _ = answer_all([one, one], [boy, Patient()], models)
    assert (known.age_text, known.stage, known.flags) == ("0 y 6 m", "child", [])
    assert known.interval_years == (0.0, 1.5)  # of a known sex; no age is below 0
    assert unknown.interval_years == (0.0, 2.5)
    assert known.sd_score == pytest.approx((6 - 12.74) / 1.97)
    assert unknown.sd_score is None
    predicted["novelty"] = 1.01
    assert answer_all([one], [boy], models)[0][0].flags == ["unlike the training radiographs"]


class BySex(Usual):
    """An ensemble whose ages depend on the sex alone."""

    def predict(self, squares, sexes):
        rows = super().predict(squares, sexes)
        age = {"female": 5.0, "male": 7.0, "unknown": 6.0}
        return [row | {PREDICTED_AGE: age[sex]} for row, sex in zip(rows, sexes, strict=True)]


def test_a_corrected_radiograph_has_the_sex_of_its_own_patient():
    upright = expose(10, "female", 256, np.random.default_rng(0)).image
    ensemble = BySex(dict.fromkeys(range(256), float("nan")))
    part = [(each, see(each, ensemble.preprocessings, with_film=False)) for each in (
        upright, 255 - upright, 255 - upright,
    )]  # fmt: skip
    broken = part[0][0], replace(part[0][1], error="damaged")
    sexes = ["female", "female", "male", "unknown"]
    answers, _ = answer_all([broken, *part], [Patient(sex) for sex in sexes], ensemble)
    assert [answer.age_years for answer in answers] == [None, 5, 7, 6]
    assert [len(answer.flags) for answer in answers] == [0, 0, 1, 1]


def test_each_of_many_radiographs_has_its_own_sex_and_age(monkeypatch):
    monkeypatch.setattr("boneage.predict.predictor.see", lambda *_, **__: Radiograph())
    monkeypatch.setattr(
        "boneage.predict.predictor.answer_all",
        lambda part, patients, ensemble: ([(one.sex, one.age_years) for one in patients], {}),
    )
    predictor = object.__new__(Predictor)
    predictor.ensemble = SimpleNamespace(preprocessings=())
    sexes, ages = ["female"] * 40 + ["male"] * 30, [number / 4 for number in range(70)]
    answers = predictor([np.zeros((4, 4), np.uint8)] * 70, sex=sexes, age_years=ages)
    assert answers == list(zip(sexes, ages, strict=True))


def test_a_map_has_the_sex_of_its_own_radiograph(monkeypatch, tmp_path):
    """Of three files the first cannot be read."""
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file in files:
        file.touch()
    (tmp_path / "sexes.csv").write_text("id,sex\na,F\nb,M\nc,F\n")
    square = np.zeros((8, 8), np.uint8)
    one = Radiograph((square,), film=square_film(square))
    read, asked = [Radiograph(error="damaged"), one, one], []

    def answered(part, patients, ensemble, strict):
        answers = [
            Answer(str(file), file.stem, sex=patient.sex)
            for (file, _), patient in zip(part, patients, strict=True)
        ]
        return answers, {1: one, 2: one}

    monkeypatch.setattr("boneage.predict.predict._load", lambda *_: (each for each in read))
    monkeypatch.setattr("boneage.predict.predict.answer_all", answered)
    models = SimpleNamespace(
        files=[], models=[], maps=lambda squares, sexes: asked.append((len(squares), sexes))
    )
    answers = predict_files(files, models, tmp_path / "out", tmp_path / "sexes.csv", pictures=True)
    assert asked == [(2, ["male", "female"])]
    assert [Path(answer.picture).stem for answer in answers] == ["", "b", "c"]
