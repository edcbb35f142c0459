"""Runs by the size of their training fold: a planted law, too few sizes, and who counts."""

import numpy as np
import pandas as pd
import pytest
from helpers import Page, write_finished_run
from typer.testing import CliRunner

from boneage.cli.main import app
from boneage.evaluation.comparison.group import find_runs, group_runs
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.comparison.sizes import curve_of, fit_learning_curve, size_studies
from boneage.evaluation.figures.comparison import error_by_size

SIZES = (250, 500, 1000, 2000, 4000)
LARGEST = 9000
FLOOR, SCALE, EXPONENT = 5.0, 200.0, 0.6  # months


def law(n):
    return FLOOR + SCALE * np.asarray(n, float) ** -EXPONENT


def finished(folder, size, error=None, test_n=100, **changes):
    """Write a run whose MAE is exactly an error in months, by default that of the law."""
    rng = np.random.default_rng(0)
    n = LARGEST if size == "all" else size
    age = rng.uniform(2, 17, test_n)
    spread = rng.exponential(1, test_n) * rng.choice([-1, 1], test_n)
    spread *= (law(n) if error is None else error) / 12 / np.abs(spread).mean()
    table = pd.DataFrame({"id": [f"h{i}" for i in range(test_n)], "age_years": age})
    table = table.assign(sex="male", age_years_predicted=age + spread)
    seed = changes.pop("seed", 1)
    options = {"data.train_films": size, "seed": seed} | changes.pop("options", {})
    counts = {"train": n, "val": 1000, "test": test_n}
    return write_finished_run(folder, table, n=counts, seed=seed, options=options, **changes)


def studies_of(folder):
    ((group,),) = group_runs(find_runs([folder])[0])
    return size_studies(group)


def test_a_planted_law_is_found_and_said(tmp_path):
    for size in (*SIZES, "all"):
        finished(tmp_path / f"{size}", size)
    (study,) = studies_of(tmp_path)
    assert study.n.tolist() == [*SIZES, LARGEST]  # all: as many as were trained on
    assert study.mae[:, 0] == pytest.approx(law(study.n))
    gain = law(LARGEST) - law(2 * LARGEST)
    assert study.curve.doubling == pytest.approx(gain, abs=0.02)
    low, high = study.curve.doubling_limits
    assert low < gain < high
    assert "18,000 instead of 9,000" in study.sentence
    assert f"{study.curve.doubling:.2f} months" in study.sentence
    assert f"{low:.2f} to {high:.2f}" in study.sentence


@pytest.mark.slow
def test_the_weights_are_those_of_the_bootstrap_intervals(tmp_path):
    for size in SIZES:
        finished(tmp_path / f"{size}", size, test_n=400)
    (study,) = studies_of(tmp_path)
    errors = np.abs(np.random.default_rng(0).exponential(1, 400))
    assert errors.std() == pytest.approx(errors.mean(), rel=0.2)  # so that se = mae / 20, nearly
    width = (study.mae[:, 2] - study.mae[:, 1]) / 3.92
    assert width == pytest.approx(study.mae[:, 0] / 20, rel=0.2)


def test_few_test_radiographs_cannot_say(tmp_path):
    for size, error in zip(SIZES, (10.5, 9.8, 9.3, 8.2, 8.0), strict=True):
        finished(tmp_path / f"{size}", size, error, test_n=25)
    (study,) = studies_of(tmp_path)
    assert not study.curve.is_conclusive
    assert study.sentence.startswith("The effect of twice as many")


@pytest.mark.slow
def test_a_flat_law_says_that_more_bring_little(tmp_path):
    for size in SIZES:
        finished(tmp_path / f"{size}", size, error=8.0, test_n=400)
    (study,) = studies_of(tmp_path)
    assert study.curve.doubling_limits[1] < 0.8
    assert "hardly falls: by 0.00 months (95 % interval 0.00 to " in study.sentence


def test_fewer_than_four_sizes_have_a_figure_and_the_reason(tmp_path):
    for size in SIZES[:3]:
        finished(tmp_path / "runs" / f"{size}", size)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "runs"), "--out", str(out)])
    page = Page((out / "comparison.html").read_text())
    for text in (result.stdout, page.text):
        assert "No curve is fitted: a learning curve needs 4 sizes" in " ".join(text.split())
        assert "and there are 3" in " ".join(text.split())
    assert "MAE by the number of training radiographs" in (out / "comparison.html").read_text()


@pytest.mark.slow
def test_page_and_terminal_say_the_sentence(tmp_path):
    for size in SIZES:
        finished(tmp_path / "runs" / f"{size}", size)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "runs"), "--out", str(out)])
    (study,) = studies_of(tmp_path / "runs")
    assert study.sentence in result.stdout
    page = (out / "comparison.html").read_text()
    assert study.sentence in Page(page).text
    assert page.count("MAE by the number of training radiographs") == 1


def test_runs_of_one_size_have_no_study(tmp_path):
    for seed in (1, 2):
        finished(tmp_path / f"{seed}", 500, seed=seed)
    assert studies_of(tmp_path) == []
    described, _ = write_comparison([tmp_path], tmp_path / "out")
    assert described[0]["groups"][0]["sizes"] == []


@pytest.mark.slow
def test_seeds_count_and_what_is_no_training_of_its_own_does_not(tmp_path):
    for size in SIZES:
        for seed in (1, 2):
            finished(tmp_path / f"{size} {seed}", size, seed=seed)
    finished(tmp_path / "again", 250, seed=2, started="2026-01-03T03:04:05+00:00")
    finished(tmp_path / "tested", 8000, options={"train": False})
    finished(tmp_path / "mean", 7000, ensemble=["a", "b"])
    finished(tmp_path / "partial", 6000, partial=["trainer.fast_dev_run=True"])
    (study,) = (s for s in studies_of(tmp_path) if not s.setting.endswith("False"))
    assert study.n.tolist() == [size for size in SIZES for _ in (1, 2)]


@pytest.mark.slow
def test_settings_have_studies_of_their_own(tmp_path):
    for size in SIZES:
        for backbone in ("slim_resnet", "resnet18"):
            finished(tmp_path / f"{size} {backbone}", size, options={"backbone": backbone})
    studies = studies_of(tmp_path)
    assert {study.setting for study in studies} == {"backbone=slim_resnet", "backbone=resnet18"}
    assert all(study.n.tolist() == list(SIZES) for study in studies)
    assert all(study.text.startswith(f"{study.setting}: ") for study in studies)


@pytest.mark.slow
def test_runs_without_an_age_have_no_study(tmp_path):
    for size in SIZES:
        folder = finished(tmp_path / f"{size}", size)
        table = pd.read_csv(folder / "predictions.csv").drop(columns="age_years_predicted")
        table = table.assign(stage_predicted="child").drop(columns="stage")
        counts = {"train": size, "val": 1, "test": len(table)}
        write_finished_run(folder, table, n=counts, options={"data.train_films": size})
    assert studies_of(tmp_path) == []


def test_the_figure(tmp_path):
    n = np.array([250, 250, 500, 1000])
    mae = np.array([[12, 11, 13.5], [12.5, 11, 14], [9, 8, 10], [8, 7.5, 9]])
    (axes,) = error_by_size(n, mae, law).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "training radiographs (log scale)"
    assert axes.get_ylabel() == "MAE on the test fold (months)"
    assert axes.get_xticks().tolist() == [250, 500, 1000]
    points, fitted, beyond = axes.get_lines()
    assert points.get_ydata().tolist() == mae[:, 0].tolist()
    first, second, *_ = points.get_xdata()
    assert first < 250 < second  # side by side
    bars = np.array([segment[:, 1] for segment in axes.collections[0].get_segments()])
    assert bars == pytest.approx(mae[:, 1:])
    assert fitted.get_xdata()[[0, -1]] == pytest.approx([250, 1000])
    assert beyond.get_xdata()[[0, -1]] == pytest.approx([1000, 2000])
    assert beyond.get_ydata() == pytest.approx(law(beyond.get_xdata()))
    assert len(error_by_size(n, mae, None).axes[0].get_lines()) == 1


def test_a_95_percent_interval_is_1_96_standard_errors_to_each_side():
    mae, se = law(SIZES), np.array([0.2, 0.3, 0.25, 0.2, 0.15])
    intervals = np.stack([mae, mae - 1.96 * se, mae + 1.96 * se], axis=1)
    expected = fit_learning_curve(SIZES, mae, se).doubling_limits
    assert curve_of(np.array(SIZES), intervals).doubling_limits == pytest.approx(expected)
