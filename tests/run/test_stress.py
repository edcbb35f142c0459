"""Changes of a radiograph by independent computations, and what they do to a run."""

import io
import json
import logging
import re
from unittest.mock import Mock

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from dicom_files import written
from PIL import Image
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.phantom import expose, write_phantom
from boneage.data.tables.columns import Columns
from boneage.errors import UserError
from boneage.evaluation.numbers import fixed
from boneage.explain.regions import HAND, MARKER
from boneage.predict.predictor import Predictor
from boneage.run.changes import STRESSES, UNCHANGED, changed_square
from boneage.run.checkpoint import read_checkpoint
from boneage.run.experiment import train
from boneage.run.stress import OF_STAGES, _predict, held_out, stress, stress_metrics


@pytest.fixture(scope="module")
def image():
    return expose(9, "male", 256, np.random.default_rng(4)).image


def test_grey_values(image):
    less = STRESSES["contrast x 0.3"](image)
    assert less.mean() == pytest.approx(image.mean(), abs=0.6)
    assert less.std() == pytest.approx(0.3 * image.std(), rel=0.02)
    assert STRESSES["gamma 2"](np.array([[0, 128, 255]], np.uint8)).tolist() == [[0, 64, 255]]
    assert STRESSES["gamma 0.5"](np.array([[0, 64, 255]], np.uint8)).tolist() == [[0, 128, 255]]
    grey = np.full((200, 200), 100, np.uint8)
    noisy = STRESSES["noise, 8 grey levels"](grey)
    assert noisy.std() == pytest.approx(8, rel=0.05)
    assert (noisy == STRESSES["noise, 8 grey levels"](grey)).all()
    other = STRESSES["noise, 8 grey levels"](grey + np.uint8(1)) - 1.0
    assert abs(np.corrcoef(noisy.ravel(), other.ravel())[0, 1]) < 0.05  # each image has its own
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=30)
    compressed = STRESSES["JPEG quality 30"](image).astype(int)
    assert np.abs(compressed - np.asarray(Image.open(encoded))).mean() < 0.5


def test_geometry(image):
    height, width = image.shape
    for name, grey in (("black border 20 %", 0), ("bright border 20 %", 255)):
        framed = STRESSES[name](image)
        y, x = round(0.2 * height), round(0.2 * width)
        assert framed.shape == (height + 2 * y, width + 2 * x)
        assert (framed[y:-y, x:-x] == image).all()
        assert framed.sum() - image.sum(dtype=int) == grey * (framed.size - image.size)
    assert (STRESSES["mirrored"](image) == image[:, ::-1]).all()
    half = STRESSES["half the resolution"](image)
    expected = image[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2)
    np.testing.assert_allclose(half, expected.mean((1, 3)), atol=1)
    inner = np.s_[height // 3 : -height // 3, width // 3 : -width // 3]
    for degrees in (10, 20):
        turned = np.asarray(STRESSES[f"rotated {degrees} degrees"](image), int)
        expected = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))
        assert np.abs(turned - expected)[inner].mean() < 1
        assert np.abs(turned - image)[inner].mean() > 5


def with_letter(image):
    framed = np.pad(image, 60)
    cv2.putText(framed, "L", (12, 45), cv2.FONT_HERSHEY_SIMPLEX, 1.3, 250, 4)
    return framed


def test_marker(image):
    marked = with_letter(image)
    corner = np.s_[10:55, 5:50]
    assert marked[corner].max() == 250
    erased = STRESSES["marker erased"](marked)
    assert erased[corner].max() < 100
    assert (erased != marked).sum() < 0.05 * marked.size
    moved = STRESSES["marker in another corner"](marked)
    assert moved[corner].max() < 100
    white = [cv2.boundingRect((film[:60] > 200).astype(np.uint8)) for film in (marked, moved)]
    before, after = (  # the letter itself, not its mirror image
        film[y : y + height, x : x + width]
        for film, (x, y, width, height) in zip((marked, moved), white, strict=True)
    )
    assert (after == before).all()
    assert STRESSES["marker erased"](np.zeros((64, 64), np.uint8)) is None
    assert STRESSES["marker in another corner"](np.zeros((64, 64), np.uint8)) is None


def test_a_marker_is_not_moved_onto_the_hand(monkeypatch):
    image, hand = np.zeros((40, 50), np.uint8), np.zeros((40, 50), bool)
    image[2:6, 3:9] = np.arange(201, 225).reshape(4, 6)
    hand[:, 25:] = True
    masks = {MARKER: image > 0, HAND: hand}
    monkeypatch.setattr("boneage.run.changes.background_masks", lambda image: masks)
    expected = np.zeros_like(image)
    expected[34:38, 3:9] = image[2:6, 3:9]  # both corners at the right are occupied
    assert (STRESSES["marker in another corner"](image) == expected).all()


@pytest.mark.parametrize("contrast", ["none", "stretch"])
def test_reducing_16_bits_changes_no_brightness(image, tmp_path, monkeypatch, contrast):
    """Of a radiograph that does not use its whole range, as most do."""
    monkeypatch.setitem(STRESSES, "nothing", lambda image: image)
    cv2.imwrite(str(tmp_path / "a.png"), image.astype(np.uint16) * 10)  # up to 2550 of 4095
    squares = [
        changed_square(str(tmp_path / "a.png"), Preprocessing(64, contrast=contrast), change)
        for change in (UNCHANGED, "nothing")
    ]
    unchanged, changed = (square.astype(float) for square, *_ in squares)
    np.testing.assert_allclose(changed, unchanged, atol=2)


def test_metrics_by_hand():
    truth = pd.DataFrame({"age_years": [5.0, 10.0, 15.0], "stage": ["child", "adult", "adult"]})
    clean = pd.DataFrame(
        {"age_years_predicted": [6.0, 10.0, 15.0], "stage_predicted": ["child", "child", "adult"]}
    )
    changed = clean.assign(age_years_predicted=[5.0, 12.0, 15.5], stage_predicted="child").iloc[:2]
    found = stress_metrics(truth, clean, changed).set_index("metric")["value"]
    assert found["mae_months"] == pytest.approx(12 * (0 + 2) / 2)
    assert found["mae_months_difference"] == pytest.approx(12 * (2 - 1) / 2)
    assert found["change_months"] == pytest.approx(12 * (1 + 2) / 2)
    assert found["accuracy"] == 0.5
    assert found["accuracy_difference"] == 0
    assert found["stage_changed"] == 0
    worse = clean.assign(stage_predicted=["adult", "child", "adult"])
    found = stress_metrics(truth, clean, worse).set_index("metric")["value"]
    assert found["accuracy_difference"] == pytest.approx(1 / 3 - 2 / 3)
    assert found["stage_changed"] == pytest.approx(1 / 3)
    assert not {"flagged", "mae_months_not_flagged"} & {*found.index}
    measured = stress_metrics(truth, clean, changed.assign(flagged=[False, True]))
    found = measured.set_index("metric")["value"]
    assert found["flagged"] == 0.5
    assert found["mae_months_not_flagged"] == 0
    n = measured.set_index("metric")["n"]
    assert (n["flagged"], n["mae_months_not_flagged"]) == (2, 1)
    measured = stress_metrics(truth, clean, changed.assign(flagged=True))
    found = measured.set_index("metric")["value"]
    assert found["flagged"] == 1
    assert found.isna()["mae_months_not_flagged"]
    rows = measured.set_index("metric")
    assert rows["n"]["mae_months_not_flagged"] == 0
    exact = 0.025 ** (1 / 2)  # Clopper & Pearson, 2 of 2
    assert rows.loc["flagged", ["low", "high"]].tolist() == pytest.approx([exact, 1])
    assert rows.loc["stage_changed", ["low", "high"]].tolist() == pytest.approx([0, 1 - exact])
    itself = stress_metrics(truth, clean, clean).set_index("metric")
    assert itself.loc["stage_changed", ["low", "high"]].isna().all()  # no stage can change


def test_copies_of_a_patient_s_radiographs_are_no_more_evidence():
    """Intervals of 12 radiographs, and of ten copies of each that have the patient's name."""
    rng = np.random.default_rng(0)
    truth = pd.DataFrame({"age_years": rng.uniform(2, 18, 12), "patient": list("abcdefghijkl")})
    clean = pd.DataFrame({"age_years_predicted": truth["age_years"] + rng.normal(0, 1, 12)})
    changed = clean + rng.normal(0, 1, (12, 1))
    changed["flagged"] = [False, True] * 6
    few = stress_metrics(truth, clean, changed).set_index("metric")
    tables = (pd.concat([table] * 10, ignore_index=True) for table in (truth, clean, changed))
    many = stress_metrics(*tables).set_index("metric")
    for name in few.index:
        assert many.loc[name, "value"] == pytest.approx(few.loc[name, "value"])
        width = [table.loc[name, "high"] - table.loc[name, "low"] for table in (few, many)]
        assert width[1] > 0.7 * width[0], name


def test_a_radiograph_that_cannot_be_changed_is_left_out_with_its_own_sex(monkeypatch):
    table = pd.DataFrame({"path": ["a", "b", "c"], "sex": ["female", "male", "unknown"]})
    squares = [None, *((np.full((8, 8), grey), "female", grey == 2) for grey in (1, 2))]
    monkeypatch.setattr("boneage.run.stress.run_pool", lambda calls, n_jobs: squares)

    def predictions(squares, sexes):
        return pd.DataFrame({"seen": squares[:, 0, 0], "sex": list(sexes)})

    rows = list(_predict(predictions, table, Preprocessing(8), ["turned"]))
    assert rows == [
        ("turned", None),
        ("turned", {"seen": 1, "sex": "male", "row": 1, "flagged": False}),
        ("turned", {"seen": 2, "sex": "female", "row": 2, "flagged": True}),  # sex of the header
    ]


def test_every_part_of_the_radiographs_is_predicted(monkeypatch):
    table = pd.DataFrame({"path": list("abcde"), "sex": "male"}, index=[7, 3, 5, 1, 9])
    monkeypatch.setattr("boneage.run.stress.PART", 2)
    monkeypatch.setattr(
        "boneage.run.stress.run_pool",
        lambda calls, n_jobs: [([path], "unknown", False) for _, (path, *_), _ in calls],
    )

    def predictions(squares, sexes):
        return pd.DataFrame({"seen": squares[:, 0]})

    rows = list(_predict(predictions, table, Preprocessing(8), ["turned", "mirrored"]))
    assert [(change, row["seen"], row["row"]) for change, row in rows] == [
        (change, path, row)
        for change in ("turned", "mirrored")
        for path, row in zip("abcde", [7, 3, 5, 1, 9], strict=True)
    ]


@pytest.mark.slow
@pytest.mark.drawn
def test_stress_of_a_run(copied, tmp_path, monkeypatch, caplog):
    run = copied("task=multitask")
    monkeypatch.setattr("boneage.data.parallel.QUIET_SECONDS", 0)
    with caplog.at_level(logging.INFO):
        done = CliRunner().invoke(app, ["stress", "--checkpoint", str(run)])
    assert done.exit_code == 0, done.output
    measured = pd.read_csv(run / "stress.csv")
    pictures = measured["n"].max() * (1 + len(STRESSES))
    said = re.findall(rf"Images tested: (\d+) of {pictures}", caplog.text)
    assert [int(done) * 10 // pictures for done in said] == list(range(1, 10))
    assert {"unchanged", "mirrored", "contrast x 0.3", "gamma 2"} <= set(measured["change"])
    clean = measured[measured["change"] == "unchanged"].set_index("metric")
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert clean["value"]["mae_months"] == pytest.approx(test["age/mae_months"]["value"], rel=1e-4)
    assert clean["value"]["accuracy"] == pytest.approx(test["stage/accuracy"]["value"])
    assert clean["value"]["change_months"] == 0
    tested = held_out(read_checkpoint(run)["boneage"])
    answers = Predictor(run)([*tested["path"]], sex=[*tested["sex"]])
    reasons = {"noisy", "strongly compressed", "unlike the training radiographs"}
    assert clean["value"]["flagged"] == np.mean([bool(reasons & {*a.flags}) for a in answers])
    assert (run / "stress.png").stat().st_size > 10_000
    assert "…" not in done.output  # two tables of 80 columns
    lines = [line.split() for line in done.output.splitlines() if line.strip()]
    shown = {words[0]: words for words in reversed(lines)}  # in the first table
    of_mirrored = measured[measured["change"] == "mirrored"].set_index("metric")["value"]
    stages = [f"{of_mirrored[name]:.3f}" for name in OF_STAGES]
    assert [words[2:] for words in lines if words[0] == "mirrored"][1] == stages
    few = measured["n"].max() < 20
    assert ("† fewer than 20" in done.output) == ("†" in shown["mirrored"][1]) == few
    assert "0.00" in shown["unchanged"]  # decimals as on a page, not 0 or 5.2e-07
    one = tmp_path / "moved.ckpt"
    one.write_bytes((run / "checkpoints/best.ckpt").read_bytes())
    for words in ([run / "checkpoints/best.ckpt", "--out", tmp_path / "out"], [one]):
        given = ["stress", "--checkpoint", *map(str, words), "--n", "3"]
        done = CliRunner().invoke(app, given, env={"COLUMNS": "50"})
        assert done.exit_code == 0, done.output
        assert len(pd.read_csv(tmp_path / "out/stress.csv")) > 10
    assert (tmp_path / "stress.png").is_file()  # beside the checkpoint that is in no run
    narrow = [line for line in done.output.splitlines() if line.split()[:1] == ["mirrored"]]
    assert max(map(len, narrow)) <= 50
    values = pd.read_csv(tmp_path / "stress.csv").query("change == 'mirrored'")
    pairs = zip(values["metric"], values["value"], strict=True)
    cells = [fixed(value, 2 if "months" in metric else 3) for metric, value in pairs]
    found = [cell for line in narrow for cell in line.split()[2:]]
    assert sorted(found) == sorted(cells)  # no number is broken
    assert len(pd.read_csv(run / "stress.csv")) == len(measured)
    (tmp_path / "file").touch()
    done = CliRunner().invoke(
        app, ["stress", "--checkpoint", str(run), "--out", str(tmp_path / "file/out")]
    )
    assert "choose another --out" in str(done.exception)


def test_radiographs_that_have_moved(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(
        app, ["stress", "--checkpoint", str(trained()), "--root", f"{tmp_path}/empty"]
    )
    assert "empty" in str(done.exception)
    done = CliRunner().invoke(app, ["stress", "--checkpoint", str(tmp_path / "nowhere")])
    assert "cannot be loaded" in str(done.exception)


@pytest.mark.slow
def test_an_interrupted_test_leaves_no_folder(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("boneage.run.stress._predict", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stress(trained(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_from_the_folder_of_a_run(configure, phantom_root, tmp_path, monkeypatch):
    """Its name is in the title, the folder of the training is missed, and no MAE is a dash."""
    monkeypatch.setattr("boneage.run.stress.STRESSES", {})
    monkeypatch.setattr("boneage.run.stress.UNUSUAL", -1.0)  # all are flagged
    monkeypatch.chdir(phantom_root.parent)
    train(configure(f"data.root={phantom_root.name}"))
    (tmp_path / "run").rename(tmp_path / "[bold]")  # no markup
    monkeypatch.chdir(tmp_path / "[bold]")
    done = CliRunner().invoke(app, ["stress", "--checkpoint", "."])
    assert str(done.exception) == (
        f"data.root={phantom_root.name}: no such folder (in boneage stress: --root)"
    )
    done = CliRunner().invoke(app, ["stress", "--checkpoint", ".", "--root", str(phantom_root)])
    assert "Test fold of [bold], with image changes" in done.output
    (row,) = (line for line in done.output.splitlines() if line.strip().startswith("unchanged"))
    assert row.split()[-1] == "-"


@pytest.mark.slow
def test_an_exported_model_is_tested_on_what_it_has_not_seen(exported, phantom_root, tmp_path):
    model = exported / "model.onnx"
    words = ["--checkpoint", str(model), "--out", str(tmp_path / "out")]
    root = ["--root", str(phantom_root)]
    for given, name, asked in (
        (words, "model.onnx", ["--root"]),
        (words[:2], "model.onnx", ["--root", "--out"]),
        ([], "the built-in model", ["--root", "--out"]),
        ([*words[:2], *root], "model.onnx", ["--out"]),
    ):
        done = CliRunner().invoke(app, ["stress", *given])
        assert f"{name} lists no test radiographs" in str(done.exception)
        assert re.findall("--[a-z]+", str(done.exception)) == asked
    done = CliRunner().invoke(app, ["stress", *words, *root])
    assert done.exit_code == 0, done.exception
    title = f"Radiographs of {phantom_root} that {model} was not trained on"
    assert title.replace(" ", "") in "".join(done.output.split())
    assert "Test fold" not in done.output
    ids = held_out(read_checkpoint(model)["boneage"], phantom_root)["id"]
    split = pd.read_csv(exported / "run/split.csv", dtype=str)
    assert set(ids) == set(split["id"][split["fold"] == "test"])
    record = read_checkpoint(model)["boneage"]
    record["split"]["id"] = [f"0{id_}" for id_ in record["split"]["id"]]  # another spelling
    assert set(held_out(record, phantom_root)["id"]) == set(ids)


def test_a_table_with_other_column_names(exported, phantom_root, tmp_path, monkeypatch):
    """The same labels in months under known names, and in years under other ones."""
    monkeypatch.setattr("boneage.run.stress.STRESSES", {"mirrored": STRESSES["mirrored"]})
    labels = pd.read_csv(phantom_root / "boneage-training-dataset.csv").tail(12)
    known = labels.assign(id=[f"other{id_}" for id_ in labels["id"]])
    other = known.rename(columns={"id": "film", "boneage": "reading", "male": "who"})
    other = other.assign(reading=other["reading"] / 12, who=np.where(other["who"], "M", "F"))
    measured = []
    for table, words in (
        (known, []),
        (other, ["--column", "id=film", "--column", "age=reading", "--column", "sex=who"]),
    ):
        root = tmp_path / f"{len(words)}"
        root.mkdir()
        table.to_csv(root / "labels.csv", index=False)
        for id_ in labels["id"]:
            image = phantom_root / f"boneage-training-dataset/{id_}.png"
            (root / f"other{id_}.png").write_bytes(image.read_bytes())
        unit = ["--age-unit", "years"] if words else []
        given = ["--checkpoint", str(exported / "model.onnx"), "--root", str(root)]
        words = ["stress", *given, "--out", str(root / "out"), *words, *unit]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.exception
        assert "12†" in done.output
        measured.append(pd.read_csv(root / "out/stress.csv"))
    pd.testing.assert_frame_equal(*measured)


def test_the_header_gives_the_sex_that_the_table_lacks(
    exported, phantom_root, tmp_path, monkeypatch
):
    """The same films with the sex in the table, in the headers, or nowhere."""
    monkeypatch.setattr("boneage.run.stress.STRESSES", {"mirrored": STRESSES["mirrored"]})
    labels = pd.read_csv(phantom_root / "boneage-training-dataset.csv").tail(12)
    measured = {}
    for place in ("table", "header", "nowhere"):
        root = tmp_path / place
        root.mkdir()
        table = labels.assign(id=[f"other{id_}" for id_ in labels["id"]])
        table["sex"] = np.where(labels["male"], "M", "F")
        for id_, sex in zip(labels["id"], table["sex"], strict=True):
            image, _ = read_radiograph(phantom_root / f"boneage-training-dataset/{id_}.png")
            header = {"PatientSex": sex} if place == "header" else {}
            written(root / f"other{id_}.dcm", image, **header)
        table = table[["id", "boneage", "sex"][: 3 if place == "table" else 2]]
        table.to_csv(root / "labels.csv", index=False)
        found = stress(exported / "model.onnx", tmp_path / f"out_{place}", root)
        assert set(found["change"]) == {"unchanged", "mirrored"}
        measured[place] = found["value"].to_numpy()
    np.testing.assert_array_equal(measured["header"], measured["table"])
    assert not np.allclose(measured["nowhere"], measured["table"])


@pytest.mark.slow
def test_other_data_and_other_tasks_are_one_line(trained, copied, tmp_path):
    done = CliRunner().invoke(app, ["stress", "--checkpoint", str(trained("task=sex"))])
    assert "predicts neither age nor stage" in str(done.exception)
    copied()
    other = write_phantom(tmp_path / "other", n=24, size=64, seed=5)  # with the same ids
    words = ["stress", "--checkpoint", str(tmp_path / "run"), "--root", str(other)]
    done = CliRunner().invoke(app, words)
    assert "has other bone ages for" in str(done.exception)
    last = tmp_path / "run/checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    folds = checkpoint["boneage"]["split"]["fold"]
    rows = [row for row, fold in enumerate(folds) if fold != "test"]  # as older versions wrote it
    split = {k: [v[row] for row in rows] for k, v in checkpoint["boneage"]["split"].items()}
    checkpoint["boneage"]["split"] = split
    torch.save(checkpoint, last)
    done = CliRunner().invoke(app, ["stress", "--checkpoint", str(last)])
    assert "lists no test radiographs: export it" in str(done.exception)


def test_what_is_not_given_of_columns_is_as_in_the_run(monkeypatch):
    def read(root, columns, **_):
        raise UserError(str(columns))

    monkeypatch.setattr("boneage.run.stress.read_source", read)
    data = dict.fromkeys(("table", "val_table", "test_table")) | {"root": "x"}
    data |= {"columns": {"age": "own"}, "age_unit": "years", "separator": "semicolon"}
    record = {"config_text": yaml.safe_dump({"data": data})}
    with pytest.raises(UserError, match=r"age='mean', .*age_unit='years', separator='semicolon'"):
        held_out(record, columns=Columns(age="mean"))
    with pytest.raises(UserError, match=r"age='own', .*age_unit='months', separator='semicolon'"):
        held_out(record, columns=Columns(age_unit="months"))


def test_a_checkpoint_does_not_choose_where_a_phantom_is_written(tmp_path, monkeypatch):
    """Its config is a stranger's text: the phantom goes to the cache, and damage is one line."""
    monkeypatch.setenv("BONEAGE_CACHE", str(tmp_path / "cache"))
    root = {"folder": str(tmp_path / "elsewhere"), "n": 6, "size": 64, "seed": 3}
    names = {"table": None, "val_table": None, "test_table": None, "age_unit": "months"}
    data = {"root": root, "columns": {}, **names}
    table = pd.read_csv(write_phantom(None, 6, 64, 3) / "boneage-training-dataset.csv")
    split = {"id": table["id"].astype(str).tolist(), "age_months": table["boneage"].tolist()}
    split |= {"sex": ["female"] * 6, "fold": ["train"] * 3 + ["test"] * 3}
    record = {"split": split, "config": {"stages": {"names": ["young", "old"], "edges": [10]}}}
    tested = held_out(record | {"config_text": yaml.safe_dump({"data": data})})
    assert tested["id"].tolist() == split["id"][3:]
    assert not (tmp_path / "elsewhere").exists()
    for damaged in ("data: [1,\n  x: {", "model: 1", "data: 3"):
        with pytest.raises(UserError, match="data options are damaged: export it"):
            held_out(record | {"config_text": damaged})
