"""Several readers from the label table to the page of a run: simulated, with planted errors."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers import TINY, Page, compose_config
from hydra.utils import instantiate
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.evaluation.report.page import write_report
from boneage.run.ensemble import ensemble
from boneage.run.results import print_results

READERS = ["ann", "ben", "cem", "dan"]  # dan reads five radiographs
COLUMNS = [f"reader_{name}_years" for name in READERS]
BIAS, SD = np.array([0.0, 12.0, 0.0]), 3.0  # months


@pytest.fixture(scope="module")
def options(phantom_root, tmp_path_factory):
    """The phantom with readings in place of its ages, 16 test radiographs."""
    root = tmp_path_factory.mktemp("read") / "radiographs"
    shutil.copytree(phantom_root, root)
    (file,) = root.glob("*.csv")
    labels = pd.read_csv(file, dtype={"id": str})
    age = 30 + labels.pop("boneage").to_numpy(float)  # no reading is negative
    errors = np.random.default_rng(0).normal(BIAS, SD, (len(age), 3))
    labels[READERS[:3]] = (age[:, None] + errors).round(2)
    labels["dan"] = pd.Series(age[:5])
    labels.to_csv(file, index=False)
    fold = ["test"] * 16 + ["val"] * 2 + ["train"] * (len(labels) - 18)
    split = root.parent / "split.csv"
    pd.DataFrame({"id": labels["id"], "fold": fold}).to_csv(split, index=False)
    columns = f"data.columns.readers=[{','.join(READERS)}]"
    return f"data.root={root}", f"data.split_file={split}", columns, "readers_margin=2"


@pytest.fixture(scope="module")
def run(options, trained):
    return trained(*options)


@pytest.fixture(scope="module")
def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def test_the_mean_of_the_readings_is_what_is_tested_on(run):
    table = pd.read_csv(run / "predictions.csv")
    assert len(table) == 16
    np.testing.assert_allclose(table["age_years"], table[COLUMNS].mean(axis=1))
    assert table["reader_dan_years"].notna().sum() == 5


def test_few_readings_are_said_when_data_are_read(options, caplog):
    data = instantiate(compose_config(*TINY, "data=rsna", *options).data)
    data.setup("fit")
    assert "Reader dan shares 5 radiographs of the test fold" in caplog.text


def test_planted_errors_are_found(metrics):
    report = metrics["readers_report"]
    assert metrics["readers"] == READERS
    assert report["names"] == READERS[:3]
    assert report["left_out"] == {"dan": 5}
    assert report["margin_months"] == 2
    found = report["agreement"]
    for name, expected in (("ann", -6.0), ("ben", 12.0), ("cem", -6.0)):
        bias = found[f"readers/bias_months_{name}"]
        assert bias["value"] == pytest.approx(expected, abs=4 * SD * np.sqrt(1.5 / 16))
    # within radiographs: the variance of the errors and that of the readers' biases
    expected = np.sqrt(SD**2 + BIAS.var(ddof=1))
    sd = report["sd_months"]
    assert sd["low"] < expected < sd["high"]
    perfect = report["perfect_mae_months"]["one_reading"]
    assert perfect["value"] == pytest.approx(sd["value"] * np.sqrt(2 / np.pi))
    assert report["icc"]["n"] == 16


def test_a_model_of_one_epoch_is_worse_than_readers(run, metrics):
    table = pd.read_csv(run / "predictions.csv")
    first = metrics["readers_report"]["comparisons"][0]
    others = table[["reader_ben_years", "reader_cem_years"]].mean(axis=1)
    by_hand = [
        12 * (table[column] - others).abs().mean()
        for column in ("reader_ann_years", "age_years_predicted")
    ]
    assert first["reader_mae"]["value"] == pytest.approx(by_hand[0])
    assert first["model_mae"]["value"] == pytest.approx(by_hand[1], abs=1e-4)
    assert first["inferior"] is True
    text = Page(write_report(run).read_text()).text
    assert "The model is worse than reader ann by more than 2 months: difference" in text
    assert "Reader dan is left out: 5 radiographs shared with the remaining readers." in text


def test_the_closing_table_names_the_limit(run, metrics, capsys):
    print_results(metrics, run)
    one, mean = (
        value["value"] for value in metrics["readers_report"]["perfect_mae_months"].values()
    )
    said = " ".join(capsys.readouterr().out.split())
    assert f"a perfect model has an MAE of {one:.2f} (" in said
    assert f"and of {mean:.2f} (" in said


def test_the_closing_table_names_the_folder_as_it_is(metrics, tmp_path, capsys):
    folder = tmp_path / "a [b] [/c]" / ("long" * 30)
    print_results(metrics, folder)
    assert f"Results are in {os.path.relpath(folder)}" in capsys.readouterr().out.splitlines()


def test_the_closing_table_names_the_page(metrics, tmp_path, capsys):
    (tmp_path / "report.html").touch()
    print_results(metrics, tmp_path)
    where = f"Results are in {os.path.relpath(tmp_path)}, page: report.html"
    assert where in capsys.readouterr().out.splitlines()


def rounded(report):
    """Return a JSON value without the last digits, which the mean of a single age may change."""
    return json.loads(json.dumps(report), parse_float=lambda digits: f"{float(digits):.9g}")


def test_an_ensemble_keeps_the_readers(run, metrics, tmp_path):
    averaged = ensemble([run], tmp_path / "one")
    kept, own = (rounded(each["readers_report"]) for each in (averaged, metrics))
    assert kept == own
    table, own = (pd.read_csv(d / "predictions.csv") for d in (tmp_path / "one", run))
    pd.testing.assert_frame_equal(table[["id", *COLUMNS]], own[["id", *COLUMNS]])
    done = CliRunner().invoke(app, ["report", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    assert "Readers" in Page((tmp_path / "one/report.html").read_text()).text
