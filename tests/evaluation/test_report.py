"""The report page: whole, self-contained, honest, and safe."""

import base64
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import Page, reference_study, write_finished_run
from helpers import predictions as made_up

from boneage.data.decode import Preprocessing
from boneage.data.hand import LONGER_SIDE
from boneage.data.layouts import looks_official
from boneage.data.phantom import expose
from boneage.errors import UserError
from boneage.evaluation.figures.registry import FIGURES
from boneage.evaluation.report.page import _edges, films, write_report
from boneage.evaluation.report.tables import metric_rows
from boneage.evaluation.run_folder import FinishedRun, read_metrics, read_run, read_split
from boneage.run.experiment import train
from boneage.stages import Stages


def predictions(n=60):
    rng = np.random.default_rng(0)
    age = rng.uniform(0.5, 19, n)
    return pd.DataFrame(
        {
            "id": [f"hand{i}" for i in range(n)],
            "sex": rng.choice(["female", "male"], n),
            "age_years": age,
            "age_years_predicted": age + rng.normal(0, 1, n),
        }
    )


def test_films_of_one_name_are_found_in_the_folders_of_their_ids(tmp_path):
    preprocessing = Preprocessing(size=64)
    run = write_finished_run(tmp_path / "run", predictions())
    squares = {}
    for i in (1, 2):
        film = expose(4 * i, "male", 200, np.random.default_rng(i)).image
        (tmp_path / f"P{i}").mkdir()
        cv2.imwrite(str(tmp_path / f"P{i}/film.png"), film)
        squares[f"P{i}/film"] = preprocessing.square(film).pixels
    np.savez(run / "images.npz", ids=list(squares), cases=list(squares.values()))
    metrics = json.loads((run / "metrics.json").read_text())
    options = {"data.root": str(tmp_path)}
    options |= {f"data.{name}": value for name, value in asdict(preprocessing).items()}
    (run / "metrics.json").write_text(json.dumps(metrics | {"options": options}))
    shown = films(read_run(run))
    assert list(shown) == list(squares)
    for uri in shown.values():
        content = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
        assert max(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE).shape) == LONGER_SIDE


def page(folder):
    return Page(write_report(folder).read_text())


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    return page(write_finished_run(tmp_path_factory.mktemp("run"), predictions()))


def test_errors_near_an_edge_leave_out_predictions_that_are_not_finite(tmp_path):
    """Such an age would be of the last stage, and right for an adult."""
    table = predictions()
    diverged = table["age_years"] > 18
    assert diverged.sum() > 1
    table.loc[diverged, "age_years_predicted"] = np.nan
    for edge in _edges(read_run(write_finished_run(tmp_path, table))):
        counted = {row["from_years"]: row["n"] for row in edge["rows"]}
        assert sum(counted.values()) == len(table) - diverged.sum()
        assert not (edge["edge"] == 18 and counted[0])


@pytest.mark.slow
@pytest.mark.drawn
def test_page_of_a_real_run(configure, tmp_path):
    train(configure("task=multitask", "report=true"))
    run_dir = tmp_path / "run"
    file = run_dir / "report.html"
    found = Page(file.read_text())
    assert file.stat().st_size < 5_000_000
    entries = [entry for entry in FIGURES if entry.section != "readers"]  # of one reading each
    assert found.tags.count("img") == len(entries) + len(
        pd.read_csv(run_dir / "predictions.csv")
    ), "every figure, and every test radiograph of so few"
    for entry in entries:
        assert (run_dir / f"figures/{entry.name}.png").is_file()
        assert (run_dir / f"figures/{entry.name}.pdf").is_file()
        assert entry.caption.replace(" %", "\u00a0%") in file.read_text()
    assert "Synthetic data" in found.text
    for heading in ("Results", "Where it fails", "How it was trained", "cannot show"):
        assert heading in found.text


def test_report_can_be_turned_off(configure, tmp_path):
    train(configure("report=false"))
    assert not (tmp_path / "run/report.html").exists()
    assert (tmp_path / "run/metrics.json").is_file()


@pytest.mark.slow
def test_page_needs_no_network_and_runs_nothing(reported):
    assert reported.addresses
    assert all(address.startswith("data:image/png;base64,") for address in reported.addresses)
    assert not {"script", "link", "iframe"} & set(reported.tags)


@pytest.mark.slow
def test_numbers_are_those_of_the_metrics_file(tmp_path):
    folder = write_finished_run(tmp_path, predictions())
    test = json.loads((folder / "metrics.json").read_text())["test"]
    text = page(folder).text
    labels = {
        "age/rmse_years": "RMSE (years)",
        "age/bias_months": "Bias (months)",
        "age/ccc": "Concordance correlation",
    }
    for name, label in labels.items():
        decimals = 2 if "months" in name else 3
        value, low, high = (f"{test[name][k]:.{decimals}f}" for k in ("value", "low", "high"))
        assert f"{label} {value} {low} to {high} 60" in text


@pytest.mark.slow
def test_real_data_carry_no_banner_and_phantoms_do(reported, tmp_path):
    assert "Synthetic data" not in reported.text
    assert "same source" in reported.text
    synthetic = page(write_finished_run(tmp_path, predictions(), synthetic=True))
    assert "Synthetic data" in synthetic.text
    assert "nothing about patients" in synthetic.text


STUDY = ("reference study", "student report", "published", "1.235", "stories", "Infant gap")


@pytest.mark.slow
def test_published_values_are_shown_by_runs_that_name_a_study(reported, tmp_path):
    study = reference_study()
    named = page(write_finished_run(tmp_path / "named", predictions(), reference=study))
    assert "reference study published, another split of the RSNA data" in named.text
    assert "1.235" in named.text
    assert "measured on other radiographs" in named.text
    mine = {"label": "Our earlier model", "note": "clinic A", "published": {"age/r2": 0.8765}}
    own = read_run(write_finished_run(tmp_path / "own", predictions(), reference=mine))
    published = {row["name"]: row["published"] for row in metric_rows(own)}
    assert {name: value for name, value in published.items() if value} == mine["published"]
    assert "(Our earlier model)" in page(own.path).text.partition("cannot show")[2]
    changes = {"synthetic": True, "reference": study}
    phantom = page(write_finished_run(tmp_path / "phantom", predictions(), **changes))
    for other in (reported, phantom):
        assert [word for word in STUDY if word in other.text] == []
        assert "Youngest, oldest and worst radiographs" in other.text


def test_official_data_alone_show_no_published_values(tmp_path):
    run = read_run(write_finished_run(tmp_path, predictions(), official=True))  # of older versions
    assert not any(row["published"] for row in metric_rows(run))
    limits = page(run.path).text.partition("cannot show")[2]
    assert "label noise" in limits
    assert "published" not in limits


def test_a_damaged_study_is_one_line(tmp_path):
    folder = write_finished_run(tmp_path, predictions(), reference={"label": "x"})
    with pytest.raises(UserError, match=r"metrics\.json lacks reference\.note"):
        write_report(folder)


@pytest.mark.slow
def test_text_from_data_is_escaped(tmp_path):
    hostile = "<script>alert(1)</script>"
    table = predictions(8).assign(id=[f"{hostile}{i}" for i in range(8)])
    folder = write_finished_run(
        tmp_path,
        table,
        data=hostile,
        command=hostile,
        options={hostile: hostile, "data.size": 128},
        task=hostile,
    )
    found = page(folder)
    assert "script" not in found.tags
    assert hostile in found.text


@pytest.mark.slow
def test_small_numbers_are_marked(tmp_path):
    table = predictions(40).assign(age_years=[5.0] * 25 + [12.0] * 12 + [18.5] * 3)
    text = page(write_finished_run(tmp_path, table)).text
    assert re.search(r"Recall, adult [\d.]+ †", text)
    assert re.search(r"Recall, child [\d.]+ [\d.]+ to", text)
    assert "Only 3 test radiographs are of the stage adult" in text
    assert "Only 12 test radiographs are of the stage adolescent" in text
    assert "14-17 years (0)" in text


@pytest.mark.slow
def test_small_numbers_are_of_patients_where_these_are_known(tmp_path):
    """Radiographs of one patient, half of them wrong: all draws are equal, and no interval."""
    ages = [5.0] * 30 + [18.5] * 2 + [12.0] * 28
    patients = [f"p{i % 10}" for i in range(30)] + ["old"] * 2 + [f"q{i % 20}" for i in range(28)]
    table = predictions().assign(age_years=ages, age_years_predicted=ages, patient=patients)
    table.loc[30, "age_years_predicted"] = 12.0
    table.loc[:2, "sex"] = "unknown"
    text = page(write_finished_run(tmp_path, table)).text
    children = "Only 30 test radiographs of 10 patients are of the stage child: a recall of 1.000"
    adults = "Only 2 test radiographs of 1 patient are of the stage adult: a recall of 0.500"
    assert f"{children} is compatible with anything from" in text
    assert f"{adults} has no interval" in text
    assert "of the stage adolescent" not in text
    few = "0-2 years (0), 2-5 years (0), 5-10 years (10), 14-17 years (0), 17+ years (1)"
    assert f"Age bands whose test radiographs are of fewer than 20 patients: {few}." in text
    assert "5-10 all 30 †" in text  # the table marks what the sentence names
    assert "10-14 all 28 †" not in text
    assert "The sex of 3 test radiographs is unknown." in text


def test_one_radiograph_of_one_patient_is_in_the_singular(tmp_path):
    text = page(write_finished_run(tmp_path, predictions(1).assign(patient="p"))).text
    assert "The test fold has 1 radiograph of 1 patient." in text


@pytest.mark.parametrize("error_years", [0.0, -0.01, 0.01])
def test_an_error_that_rounds_to_zero_has_no_minus_sign(tmp_path, error_years):
    table = predictions(4).assign(age_years_predicted=lambda t: t["age_years"] + error_years)
    table.loc[0, ["age_years", "age_years_predicted"]] = [0.02, -0.01]
    text = page(write_finished_run(tmp_path, table)).text
    assert text.count("(+0 months)") == 4
    assert "predicted 0.0 y" in text
    assert not re.search(r"-0(\.0)? (y|months)", text)


@pytest.mark.slow
def test_one_radiograph_is_singular(tmp_path):
    n = {"train": 1, "val": 1, "test": 1}
    text = page(write_finished_run(tmp_path, predictions()[:1], n=n, epochs=1)).text
    assert "was trained on 1 radiograph for 1 epoch. The weights to test were chosen" in text
    assert (
        re.search(r"\b1 (test |further |external |hand )?(radiographs|others|patients)", text)
        is None
    )


@pytest.mark.slow
def test_a_diverged_model_is_reported_as_such(tmp_path):
    table = predictions().assign(age_years_predicted=lambda t: t["age_years"].where(t.index > 4))
    text = page(write_finished_run(tmp_path, table)).text
    assert "predictions (age_years_predicted) of 5 of 60 test radiographs are not finite" in text
    assert "training has diverged" in text


@pytest.mark.parametrize("columns", [[], ["stage_predicted"]])
def test_a_run_without_ages_has_a_page_too(tmp_path, columns):
    table = predictions().drop(columns="age_years_predicted")
    for name in columns:
        table[name] = "child"
    text = page(write_finished_run(tmp_path, table)).text
    assert "Results" in text
    assert "taken from the predicted age" not in text
    assert ("interval n majority class" in text) == bool(columns)  # the baselines of its metrics
    assert ("Majority class: the most" in text) == bool(columns)
    assert ("compared with predictors that see no radiograph" in text) == bool(columns)
    for absent in ("onstant", "edian by sex"):
        assert absent not in text


def test_each_metric_has_its_own_baselines_and_published_value(tmp_path):
    """In the order in which the baselines are named."""
    study = reference_study()
    result = {"low": 0.5, "high": 2.5, "n": 60}
    baselines = {
        name: {"age/mae_months": result | {"value": value}}
        for name, value in (("b", 2.0), ("a", 1.0))
    }
    run = read_run(
        write_finished_run(tmp_path, predictions(), baselines=baselines, reference=study)
    )
    rows = {row["name"]: row for row in metric_rows(run)}
    assert rows.keys() == run.metrics["test"].keys()
    for name, row in rows.items():
        assert row["result"] == run.metrics["test"][name]
        assert row["published"] == study["published"].get(name)
    assert any(row["published"] for row in rows.values())
    assert [other["value"] for other in rows["age/mae_months"]["baselines"]] == [2.0, 1.0]
    assert rows["age/bias_months"]["baselines"] == [None, None]


def test_a_run_of_the_sex_alone_tells_of_no_age(tmp_path):
    result = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 60}
    sex, age = {"sex/accuracy": result}, {"age/mae_years": result}
    table = predictions().drop(columns="age_years_predicted")
    text = page(
        write_finished_run(tmp_path / "s", table, test=sex, baselines={"constant": sex})
    ).text
    assert "n constant Sex Accuracy 0.700" in text
    assert "Constant: the share of boys in training. †" in text
    both = sex | age
    text = page(
        write_finished_run(tmp_path / "b", table, test=both, baselines={"constant": both})
    ).text
    said = "Constant: the mean training age; of the sex, the share of boys in training. †"
    assert said in text


def test_a_new_task_has_its_own_n_and_constant(tmp_path):
    few = {"value": 5.0, "low": 4.0, "high": 6.0, "n": 7}
    label = {"label": "MAE of the height", "meaning": "", "unit": "cm", "better": "lower"}
    label |= {"headline": True, "compared": False, "curve": False}
    age = {"age/mae_years": few | {"n": 60}}
    run = write_finished_run(
        tmp_path, predictions(), test=age | {"height/mae": few},
        described={"height/mae": label}, baselines={"constant": age | {"height/mae": few}},
    )  # fmt: skip
    groups = pd.read_csv(run / "subgroups.csv")
    own = groups[groups["metric"] == "age/mae_months"].assign(metric="height/mae", **few)
    pd.concat([groups, own]).to_csv(run / "subgroups.csv", index=False)
    text = page(run).text
    assert "4.000 to 6.000 (n = 7 † )" in text
    assert "Constant: the mean training age; of other tasks, a constant of their own. †" in text


class Widths(HTMLParser):
    """Collects the number of columns of every row, by table."""

    def __init__(self, html):
        super().__init__()
        self.tables = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append(0)
        elif tag in ("th", "td"):
            self.tables[-1][-1] += int(dict(attrs).get("colspan", 1))


@pytest.mark.slow
@pytest.mark.parametrize("study", [None, reference_study()], ids=["alone", "with a study"])
def test_all_rows_of_a_table_are_equally_wide(tmp_path, study):
    file = write_report(write_finished_run(tmp_path, predictions(), reference=study))
    tables = Widths(file.read_text("utf-8")).tables
    assert len(tables) > 3
    assert [table for table in tables if len(set(table)) != 1] == []


def test_the_sentence_on_a_tested_checkpoint_has_one_beginning(tmp_path):
    """An exported file does not say what its network is."""
    n = {"train": 10_202, "val": 1134, "test": 60}
    for name, network, model in (
        ("run", {"backbone": "slim_resnet"}, "slim_resnet with"),
        ("exported", {}, "A model of"),
    ):
        options = {"data.size": 128, "train": False} | network
        text = page(write_finished_run(tmp_path / name, predictions(), options=options, n=n)).text
        said = "1,234 parameters, on 128 x 128 pixels, trained earlier on 10,202 radiographs, was"
        assert re.search(rf"test set \w+ {model} {said} tested on 60 others", text)


def test_unfinished_and_damaged_runs_are_one_line(tmp_path):
    with pytest.raises(UserError, match="not a run: it contains no metrics"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "site.ckpt").touch()
    with pytest.raises(UserError, match=r"site\.ckpt: is a file, and in no run"):
        write_report(tmp_path / "site.ckpt")
    write_finished_run(tmp_path / "sweep/0", predictions())
    with pytest.raises(UserError, match=f"give runs in it: {tmp_path}/sweep/0$"):
        write_report(tmp_path / "sweep")
    (tmp_path / ".hydra").mkdir()
    with pytest.raises(UserError, match="has not finished"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text('{"task": ')
    with pytest.raises(UserError, match=r"metrics\.json is damaged"):
        write_report(tmp_path)
    (tmp_path / "metrics.json").write_text('{"task": "regression"}')
    with pytest.raises(UserError, match=r"lacks task|lacks data: not written by this version"):
        write_report(tmp_path)
    folder = write_finished_run(tmp_path / "other", predictions())
    (folder / "predictions.csv").write_text("id,sex,age_years\n1,male,abc\n")
    with pytest.raises(UserError, match=r"predictions\.csv is missing or damaged"):
        write_report(folder)
    (folder / "predictions.csv").unlink()
    with pytest.raises(UserError, match=r"predictions\.csv is missing or damaged"):
        write_report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", {"train": 3, "test": 80}),
        ("parameters", "1234"),
        ("seconds", None),
        ("started", 2026),
        ("versions", ["0"]),
        ("readers_report", {"names": ["a"]}),
        ("coverage", {"all": 0.9}),
        ("anomalies", {"lost": {}}),
        ("images_per_second", float("nan")),
        ("architecture", []),
        ("patients", None),
        ("partial", "data"),
        ("synthetic", None),
    ],
)
def test_a_damaged_key_of_metrics_is_named(tmp_path, key, value):
    file = write_finished_run(tmp_path, predictions()) / "metrics.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {key: value}))
    with pytest.raises(UserError, match=rf"metrics\.json (is damaged:|lacks) {key}\b.*; copy it"):
        read_metrics(file)


def test_official_data_are_known_by_their_ids():
    assert looks_official(pd.DataFrame({"id": [str(i) for i in range(1377, 2500)]}))
    assert not looks_official(pd.DataFrame({"id": [str(i) for i in range(100_001, 101_201)]}))
    assert not looks_official(pd.DataFrame({"id": [f"patient{i}" for i in range(2000)]}))
    assert not looks_official(pd.DataFrame({"id": ["1400", "1401"]}))


@pytest.mark.slow
def test_a_partial_run_says_so(tmp_path):
    partial = ["trainer.limit_train_batches=3"]
    text = page(write_finished_run(tmp_path, predictions(), partial=partial)).text
    assert "Partial data" in text
    assert "trainer.limit_train_batches=3" in text
    assert "pixels, was tried on a part of the radiographs." in text
    assert "were chosen" not in text


@pytest.mark.slow
def test_a_limit_of_steps_may_end_within_an_epoch(tmp_path):
    options = {"backbone": "slim_resnet", "data.size": 128, "train": True}
    limits = {"trainer.max_steps": 20}, {"trainer.max_steps": -1}, {}
    said = [
        "last epoch may be incomplete"
        in page(write_finished_run(tmp_path / str(i), predictions(), options=options | limit)).text
        for i, limit in enumerate(limits)
    ]
    assert said == [True, False, False]


def test_a_run_without_a_validation_had_no_best_epoch(tmp_path):
    for score in (None, 5.25):
        text = page(
            write_finished_run(tmp_path / str(score), predictions(), best_validation=score)
        ).text
        assert ("The weights to test were chosen on 1 other." in text) == (score is not None)
        assert ("the weights after the last step were tested." in text) == (score is None)
        assert "in the validation fold (5.250) were tested." in text or score is None
        assert "The checkpoint with the best" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "said"),
    [("builtin", "the built-in model"), ("outputs/mine/checkpoints/best.ckpt", None), (None, None)],
)
def test_the_page_says_what_training_started_from(tmp_path, start, said):
    options = {"backbone": "slim_resnet", "data.size": 128, "train": True, "start_from": start}
    text = page(write_finished_run(tmp_path, predictions(), options=options)).text
    sentence = f"Its training started from the weights of {said or start}"
    assert (sentence in text) == (start is not None)
    assert ("Its training started" in text) == (start is not None)


@pytest.mark.slow
def test_damaged_extras_leave_a_page_without_them(tmp_path, caplog):
    folder = write_finished_run(tmp_path, predictions())
    (folder / "history.csv").write_text('epoch,learning_rate\n1,"')
    (folder / "images.npz").write_bytes(b"PK\x03\x04")
    assert "Results" in page(folder).text
    assert "history.csv is missing or damaged" in caplog.text
    assert "images.npz is damaged" in caplog.text


def test_a_table_of_cases_puts_no_other_file_into_the_page(tmp_path):
    """A run may come from a stranger, and its page goes to others."""
    folder, secret = tmp_path / "run", tmp_path / "secret"
    write_finished_run(folder, predictions())
    secret.write_text("the secret")
    maps = folder / "gradcam/age_test"
    maps.mkdir(parents=True)
    cv2.imwrite(str(folder / "gradcam/age_test.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(maps / "own.jpg"), np.zeros((8, 8), np.uint8))
    (maps / "link.jpg").symlink_to(secret)
    names = ["own.jpg", "../../../secret", str(secret), "link.jpg", "absent.jpg", ""]
    table = pd.DataFrame({"picture": names, "caption": [f"case {n}" for n in range(len(names))]})
    table.to_csv(maps / "cases.csv", index=False)
    text = write_report(folder).read_text()
    assert base64.b64encode((maps / "own.jpg").read_bytes()).decode() in text
    assert base64.b64encode(b"the secret").decode() not in text
    assert re.findall(r"case \d", text) == ["case 0"] * text.count("case 0")
    assert "case 0" in text
    table[["caption"]].to_csv(maps / "cases.csv", index=False)
    assert "case 0" not in write_report(folder).read_text()


def test_the_newest_map_of_each_task_is_shown(tmp_path):
    folder = write_finished_run(tmp_path, predictions())
    (folder / "gradcam").mkdir()
    for name in ("age_epoch_995", "age_epoch_1000", "stage_epoch_005", "stage_epoch_010"):
        cv2.imwrite(str(folder / f"gradcam/{name}.png"), np.zeros((8, 8), np.uint8))
    text = page(folder).text
    form = r"(\w+ epoch \d+): validation radiographs"
    assert re.findall(form, text) == ["age epoch 1000", "stage epoch 010"]
    html = (folder / "report.html").read_text("utf-8")
    assert re.findall(f'alt="{form}', html) == ["age epoch 1000", "stage epoch 010"]
    assert "Orange raises the predicted age or makes the stage more likely, purple" in text


@pytest.mark.parametrize(
    ("name", "effect"),
    [("sex_test", "makes a boy more likely"), ("toy_test", "raises the output of the model")],
)
def test_the_meaning_of_a_map_is_that_of_its_task(tmp_path, name, effect):
    folder = write_finished_run(tmp_path, predictions())
    (folder / "gradcam").mkdir()
    cv2.imwrite(str(folder / f"gradcam/{name}.png"), np.zeros((8, 8), np.uint8))
    assert f"Orange {effect}, purple does the opposite." in page(folder).text


def test_other_predictions_than_those_scored_are_refused(tmp_path):
    folder = write_finished_run(tmp_path, predictions())
    table = pd.read_csv(folder / "predictions.csv").assign(age_years=lambda t: t["age_years"] + 1)
    table.to_csv(folder / "predictions.csv", index=False)
    with pytest.raises(UserError, match="does not contain the test radiographs"):
        write_report(folder)


def test_the_encoding_of_texts_is_not_that_of_the_locale(tmp_path):
    table = predictions()[["id", "age_years", "sex"]]  # no figure is drawn of a diverged output
    folder = write_finished_run(tmp_path / "run", table.assign(age_years_predicted=np.nan))
    (folder / "gradcam").mkdir()
    cv2.imwrite(str(folder / "gradcam/age_test.png"), np.zeros((8, 8), np.uint8))
    (folder / "gradcam/claims.txt").write_text("Knuckles: 60 % \N{PLUS-MINUS SIGN} 2.\n", "utf-8")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "boneage", "report", str(folder)]
    done = subprocess.run(
        command, env=os.environ | ascii_only, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    html = (folder / "report.html").read_text("utf-8")
    assert "Knuckles: 60 % \N{PLUS-MINUS SIGN} 2." in html


def one_sorted(table, column):
    """Return a table of which one column alone was sorted."""
    return table.assign(**{column: sorted(table[column])})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.to_csv(index=False, sep=";", decimal=","), "lacks the column id, sex"),
        (lambda t: one_sorted(t, "age_years_predicted").to_csv(index=False), "age/mae_months"),
        (lambda t: t.round({"age_years_predicted": 1}).to_csv(index=False), "age/mae_months"),
        (lambda t: t.drop(columns="age_years_predicted").to_csv(index=False), "age/mae_months"),
        (lambda t: one_sorted(t, "stage_predicted").to_csv(index=False), "stage/accuracy"),
        (lambda t: t.assign(stage_predicted="x").to_csv(index=False), "stage/accuracy"),
        (
            lambda t: t.assign(age_years="4,5").to_csv(index=False),
            "row 2, column age_years: '4,5' is no number",
        ),
    ],
)
def test_predictions_that_a_spreadsheet_program_changed_are_refused(tmp_path, change, said):
    whole = made_up(20).assign(id=[f"h{k}" for k in range(20)])
    folder = write_finished_run(tmp_path, whole)
    file = folder / "predictions.csv"
    file.write_text(change(pd.read_csv(file)))
    with pytest.raises(UserError, match=rf"predictions\.csv .*{said}.*; copy it again"):
        read_run(folder)


@pytest.mark.parametrize("name", ["subgroups.csv", "history.csv", "split.csv"])
def test_other_tables_that_a_spreadsheet_program_changed_are_skipped(tmp_path, name, caplog):
    run = FinishedRun(tmp_path, {}, pd.DataFrame(), Stages())
    (tmp_path / name).write_text("epoch;learning_rate\n0;0,001\n")
    assert run.table(name).empty
    assert f"{name} lacks the column" in caplog.text


def test_one_changed_stage_sex_or_fold_is_noticed(tmp_path):
    table = predictions(n=6).assign(id=list("abcdef"))
    run = write_finished_run(tmp_path, table, n={"train": 1, "val": 0, "test": 6})
    split = table.assign(fold="test")[["id", "fold", "age_years", "sex"]]
    split.to_csv(run / "split.csv", index=False)
    with pytest.raises(UserError, match=r"split\.csv was edited .* fold train as metrics\.json"):
        read_split(run, read_run(run).metrics)
    whole = pd.concat([split, split[:1].assign(id="t", fold="train")], ignore_index=True)
    whole.to_csv(run / "split.csv", index=False)
    assert len(read_split(run, read_run(run).metrics)) == 7
    trial = {"n": {"train": 1, "val": 0, "test": 4}, "partial": ["trainer.limit_test_batches=1"]}
    assert len(read_split(run, read_run(run).metrics | trial)) == 7
    folds = ["train", *["test"] * 6]  # those of a and t exchanged
    for changed in (whole.assign(fold=folds), whole.assign(sex="unknown")):
        changed.to_csv(run / "split.csv", index=False)
        with pytest.raises(UserError, match=r"predictions\.csv .* sex or fold of a differ from"):
            read_run(run)
    whole.to_csv(run / "split.csv", index=False)
    stored = pd.read_csv(run / "predictions.csv")
    stored.loc[2, "stage"] = "adult" if stored.loc[2, "stage"] == "child" else "child"
    stored.to_csv(run / "predictions.csv", index=False)
    with pytest.raises(UserError, match=r"row 4, column stage: '\w+' is not the stage of the age"):
        read_run(run)
