"""Sweeps whose jobs run side by side, on this machine or as a cluster's jobs."""

import json

import optuna
import pandas as pd
import pytest
from helpers import PROJECT, TINY, call, call_afresh
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from boneage.run.sweep import WritableFolder


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_jobs_side_by_side(phantom_root, tmp_path, launcher):
    sweep = tmp_path / "sweep"
    arguments = [
        "-m", f"hydra/launcher={launcher}", f"hydra.sweep.dir={sweep}", "resume=auto", *TINY,
        "data=rsna", f"data.root={phantom_root}", "seed=1", "data.fold=0,99",
    ]  # fmt: skip
    done = call_afresh(*arguments, cwd=tmp_path)
    assert done.returncode != 0  # fold 99 of 10 is a mistake; the other job goes on
    good, bad = sweep / "0_regression_seed1", sweep / "1_regression_seed1"
    metrics = json.loads((good / "metrics.json").read_text())
    assert metrics["seed"] == 1
    assert "data.fold" in (bad / "error.txt").read_text()
    assert not (bad / "metrics.json").exists()
    assert "0_regression_seed1" in (sweep / "comparison.html").read_text()
    if launcher == "joblib":  # a repeated sweep leaves alone what is finished
        written = (good / "metrics.json").stat().st_mtime_ns
        again = call(*arguments[:1], *arguments[2:-1], "data.fold=0", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "is finished" in again.stdout
        assert (good / "metrics.json").stat().st_mtime_ns == written


def with_hydra(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return compose("train", overrides=list(overrides), return_hydra_config=True)


def test_slurm_jobs_are_queued_again():
    launcher = with_hydra("hydra/launcher=slurm").hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert launcher.gpus_per_node == 1
    assert launcher.max_num_timeout > 0
    assert launcher.signal_delay_s > 60


@pytest.mark.slow
def test_a_stopped_search_goes_on(phantom_root, tmp_path):
    arguments = [
        "-m", "hparams_search=optuna", f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db",
        "hydra.sweeper.n_trials=1", *TINY, "data=rsna", f"data.root={phantom_root}",
    ]  # fmt: skip
    for more in ([], ["data.fold=99"]):  # a run that finishes, and one that fails
        done = call(*arguments, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    study = optuna.load_study(study_name="regression", storage=f"sqlite:///{tmp_path}/search.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    finished, failed = study.trials
    assert finished.params != failed.params
    (run,) = (tmp_path / "outputs/search/regression").glob("*/metrics.json")
    metrics = json.loads(run.read_text())
    assert metrics["best_validation"] == finished.value
    assert all(metrics["options"][name] == value for name, value in finished.params.items())
    curve = pd.read_csv(run.parent / "history.csv")["val/age/mae_years"]
    assert finished.value == pytest.approx(curve.min())


def test_the_folder_of_the_storage_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = with_hydra("hparams_search=optuna", "hydra.sweep.dir=elsewhere")
    WritableFolder().on_multirun_start(cfg)
    assert (tmp_path / "elsewhere").is_dir()
    assert (tmp_path / "outputs").is_dir()  # of search.db
