"""The mean of several runs' predictions, by hand, of one test fold and of several."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import TINY, Page, compose_config, write_finished_run
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.errors import UserError
from boneage.evaluation.report.page import write_report
from boneage.run.ensemble import _mean_predictions as mean_predictions
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train


@pytest.fixture(scope="module")
def runs(phantom_root, tmp_path_factory):
    """Two seeds of fold 0 and one of fold 1."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed, fold in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        (folder / name).mkdir()
        train(
            compose_config(
                *TINY, "data=rsna", f"data.root={phantom_root}", f"run_dir={folder / name}",
                "task=multitask", f"seed={seed}", f"data.fold={fold}",
            )
        )  # fmt: skip
    return folder


def predictions(run):
    return pd.read_csv(run / "predictions.csv", dtype={"id": str}).set_index("id")


def test_an_ensemble_by_hand(runs, tmp_path):
    metrics = ensemble([runs / "a", runs / "b"], tmp_path / "both")
    assert metrics["images_per_second"] is None  # not that of the first run
    a, b, both = (predictions(run) for run in (runs / "a", runs / "b", tmp_path / "both"))
    expected = (a["age_years_predicted"] + b["age_years_predicted"]) / 2
    np.testing.assert_allclose(both["age_years_predicted"], expected)
    error = 12 * np.abs(expected - a["age_years"]).mean()
    assert metrics["test"]["age/mae_months"]["value"] == pytest.approx(error)
    names = ["child", "adolescent", "adult"]
    chances = [f"stage_probability_{name}" for name in names]
    best = (a[chances] + b[chances]).to_numpy().argmax(1)
    assert both["stage_predicted"].tolist() == [names[k] for k in best]
    assert metrics["ensemble"] == [str(runs / "a"), str(runs / "b")]
    own = [json.loads((runs / name / "metrics.json").read_text()) for name in "ab"]
    for name in ("parameters", "seconds"):
        assert metrics[name] == own[0][name] + own[1][name]
    assert metrics["differing"] == ["seed"]


def test_labels_stay_as_they_are_and_must_agree():
    """The mean of three times 0.1 is not 0.1."""
    table = pd.DataFrame(
        {"id": ["1", "2"], "sex": "male", "age_years": [5.0, 6.0], "stage": "child"}
    )
    table = table.assign(age_years_predicted=[4.0, 6.0], label_height=[0.1, np.nan])
    runs = [SimpleNamespace(predictions=table.copy()) for _ in range(3)]
    mean = mean_predictions(runs, [], [])["label_height"]
    pd.testing.assert_series_equal(mean, table["label_height"], check_exact=True)
    runs[2].predictions["label_height"] += 1
    with pytest.raises(UserError, match="the runs have different labels for 1"):
        mean_predictions(runs, [], [])


def test_a_trial_makes_the_mean_a_trial_and_means_are_not_averaged(runs, tmp_path):
    shutil.copytree(runs / "b", tmp_path / "trial")
    metrics = json.loads((runs / "b/metrics.json").read_text())
    trial = metrics | {"partial": ["trainer.limit_test_batches=1"]}
    (tmp_path / "trial/metrics.json").write_text(json.dumps(trial))
    metrics = ensemble([runs / "a", tmp_path / "trial"], tmp_path / "both")
    assert metrics["partial"] == ["trainer.limit_test_batches=1"]
    with pytest.raises(UserError, match="both is a mean of runs already: give these runs"):
        ensemble([tmp_path / "both", runs / "a"], tmp_path / "more")


def test_folds_are_pooled(runs, tmp_path, caplog):
    metrics = ensemble([runs / "a", runs / "c"], tmp_path / "pooled")
    assert "2 of 10 folds are pooled; absent: 2, 3, 4, 5, 6, ..." in caplog.text
    a, c, pooled = (predictions(run) for run in (runs / "a", runs / "c", tmp_path / "pooled"))
    assert not set(a.index) & set(c.index)
    assert metrics["n"]["test"] == len(a) + len(c)
    pd.testing.assert_frame_equal(pooled, pd.concat([a, c])[pooled.columns])
    age, stage = "age/mae_months", "stage/accuracy"
    for guess, name in (("constant", age), ("median_by_sex", age), ("majority_class", stage)):
        files = [json.loads((runs / run / "metrics.json").read_text()) for run in "ac"]
        own = [file["baselines"][guess][name]["value"] for file in files]  # of its training fold
        expected = np.average(own, weights=[len(a), len(c)])
        assert metrics["baselines"][guess][name]["value"] == pytest.approx(expected), guess


def test_an_ensemble_names_its_runs_for_any_working_folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs)
    metrics = ensemble([Path("a"), Path("b")], tmp_path / "both")
    assert metrics["ensemble"] == [str(runs / "a"), str(runs / "b")]


def test_the_page_of_an_ensemble_does_not_describe_its_first_run_only(runs, tmp_path):
    metrics = ensemble([runs / "a", runs / "c"], tmp_path / "pooled")
    command = {"command": "python train.py seed=1"}  # that of its first run, if from a terminal
    (tmp_path / "pooled/metrics.json").write_text(json.dumps(metrics | command))
    page = Page(write_report(tmp_path / "pooled").read_text())
    assert (
        f"2 models with {metrics['parameters']:,} parameters together were tested on " in page.text
    )
    assert "used only for this test" not in page.text
    assert "The training fold is that of the first model tested on each radiograph." in page.text
    assert "between seeds and splits" in page.text  # there is no single seed
    assert "Repeat the first run with: python train.py seed=1" in page.text
    assert "coverage" in json.loads((runs / "a/metrics.json").read_text())
    assert "Coverage of the intervals" not in page.text


def test_the_same_run_twice_is_refused(runs, tmp_path):
    (tmp_path / "link").symlink_to(runs / "a")
    shutil.copytree(runs / "a", tmp_path / "copy")
    links = tmp_path / "link", tmp_path / "copy"
    for again in (runs / "a", runs / "a/checkpoints/best.ckpt", *links):
        with pytest.raises(UserError, match=r"a run is given more than once: .*/a$"):
            ensemble([runs / "a", runs / "b", again], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_writes_what_compare_and_report_read(runs, tmp_path):
    out = tmp_path / "both"
    done = CliRunner().invoke(app, ["ensemble", f"{runs}/a", f"{runs}/b", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert (out / "report.html").is_file()
    done = CliRunner().invoke(
        app, ["compare", str(out), f"{runs}/a", "--out", str(tmp_path / "comparison")]
    )
    assert done.exit_code == 0, done.output
    assert json.loads((out / "metrics.json").read_text())["task"] == "multitask"


def test_a_comparison_does_not_show_an_ensemble_with_the_seed_of_its_first_run(runs, tmp_path):
    ensemble([runs / "a", runs / "b"], tmp_path / "both")
    folders = [str(runs / "a"), str(runs / "b"), str(tmp_path / "both")]
    done = CliRunner().invoke(app, ["compare", *folders, "--out", str(tmp_path / "comparison")])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "comparison/comparison.csv", dtype=str).set_index("run")
    for column in ("seed", "option/seed"):
        assert table.loc[folders, column].tolist() == ["1", "2", "several"]


def test_a_test_of_an_exported_model_which_lists_no_tasks_is_averaged(tmp_path):
    ages = pd.DataFrame({"id": ["1", "2"], "sex": "male", "age_years": [6.0, 12.0]})
    options = {"train": False, "readers_margin": 1.0}
    for name, predicted, own in (
        ("exported", [7.0, 11.0], {}),
        ("checkpoint", [6.0, 13.0], {"tasks.age._target_": "boneage.tasks.AgeRegression"}),
    ):
        table = ages.assign(age_years_predicted=predicted)
        write_finished_run(tmp_path / name, table, external=True, options=options | own)
        pd.DataFrame(columns=["id", "fold", "age_years", "sex"]).to_csv(
            tmp_path / name / "split.csv", index=False
        )
    ensemble([tmp_path / "exported", tmp_path / "checkpoint"], tmp_path / "both")
    assert predictions(tmp_path / "both")["age_years_predicted"].tolist() == [6.5, 12.0]


def test_three_runs_have_their_mean_and_the_baselines_of_the_training_fold(tmp_path):
    tested = pd.DataFrame({"id": ["1", "2"], "sex": "male", "age_years": [6.0, 12.0]})
    split = pd.DataFrame(
        {"id": list("abcd12"), "fold": [*["train"] * 3, "val", "test", "test"], "sex": "male"}
    ).assign(age_years=[1.0, 1.5, 2.0, 19.0, 6.0, 12.0])
    runs = [tmp_path / name for name in ("one", "two", "three")]
    for run, predicted in zip(runs, ([7.0, 11.0], [6.0, 13.0], [6.2, 15.0]), strict=True):
        write_finished_run(run, tested.assign(age_years_predicted=predicted))
        split.to_csv(run / "split.csv", index=False)
    metrics = ensemble(runs, tmp_path / "mean")
    mean = predictions(tmp_path / "mean")["age_years_predicted"]
    assert mean.tolist() == pytest.approx([6.4, 13.0])
    constant = metrics["baselines"]["constant"]["age/mae_months"]["value"]
    assert constant == pytest.approx(12 * (4.5 + 10.5) / 2)  # of the mean training age, 1.5 years


def test_a_diverged_run_is_not_averaged(tmp_path):
    ages = pd.DataFrame({"id": ["1", "2"], "sex": "male", "age_years": [6.0, 12.0]})
    for name, predicted in (("a", [6.5, 11.0]), ("b", [float("nan"), 12.0])):
        write_finished_run(tmp_path / name, ages.assign(age_years_predicted=predicted))
    with pytest.raises(
        UserError, match=r"b has no finite prediction for 1 test radiograph, .* leave this run out"
    ):
        ensemble([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_mistakes(runs, tmp_path):
    ensemble([runs / "a"], tmp_path / "one")
    with pytest.raises(UserError, match="contains a run or predictions already"):
        ensemble([runs / "a"], tmp_path / "one")
    with pytest.raises(UserError, match="none: no such folder"):
        ensemble([runs / "a", tmp_path / "none"], tmp_path / "two")
    other = tmp_path / "other"
    other.mkdir()
    for file in ("metrics.json", "predictions.csv", "split.csv"):
        (other / file).write_text((runs / "a" / file).read_text())
    content = json.loads((other / "metrics.json").read_text())
    (other / "metrics.json").write_text(json.dumps(content | {"task": "regression"}))
    with pytest.raises(UserError, match="differ in task:"):
        ensemble([runs / "a", other], tmp_path / "two")
    scored = {k: v for k, v in content["test"].items() if not k.startswith("heads/")}
    (other / "metrics.json").write_text(json.dumps(content | {"test": scored}))
    with pytest.raises(UserError, match="differ in tasks:"):  # of ~tasks.stage
        ensemble([runs / "a", other], tmp_path / "two")
    assert not (tmp_path / "two").exists()
