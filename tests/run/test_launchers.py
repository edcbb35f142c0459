"""Sweeps whose jobs run side by side, on this machine or as a cluster's jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
from helpers import PROJECT, TINY, TRAIN, call, compose_config
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf, open_dict

from boneage.errors import UserError
from boneage.run.search import _differing, best_run, check_direction, check_study
from boneage.run.sweep import WritableFolder, _result


def start(*arguments, cwd):
    """Call train.py in a process of its own: joblib's workers do not end in a forked one."""
    words = [sys.executable, TRAIN, *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "call"),
    [("submitit_local", call), pytest.param("joblib", start, marks=pytest.mark.soak)],
)
def test_a_sweep_side_by_side(launcher, call, phantom_root, tmp_path):
    sweep = tmp_path / "sweep"
    arguments = [
        "-m", f"hydra/launcher={launcher}", f"hydra.sweep.dir={sweep}", "resume=auto", *TINY,
        "data=rsna", f"data.root={phantom_root}", "seed=1", "data.fold=0,99",
    ]  # fmt: skip
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode != 0  # fold 99 of 10 is a mistake; the other job goes on
    good, bad = sweep / "0_regression_seed1", sweep / "1_regression_seed1"
    metrics = good / "metrics.json"
    assert json.loads(metrics.read_text())["seed"] == 1
    assert "data.fold" in (bad / "error.txt").read_text()
    assert not (bad / "metrics.json").exists()
    assert "0_regression_seed1" in (sweep / "comparison.html").read_text()
    written = metrics.stat().st_mtime_ns
    again = call(*arguments[:1], *arguments[2:-1], "data.fold=0", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "is finished" in again.stdout
    assert metrics.stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_stopped_sweep_leaves_no_job_behind(phantom_root, tmp_path):
    words = [
        sys.executable, TRAIN, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *TINY,
        "data=rsna", f"data.root={phantom_root}", f"hydra.sweep.dir={tmp_path}/sweep",
        "data.fold=0,99", "trainer.max_epochs=100000", "callbacks.early_stopping.patience=100000",
    ]  # fmt: skip
    failed = tmp_path / "sweep/1_regression_seed1/error.txt"
    sweep = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        # fold 99 of 10 is a mistake; the other job, which runs beside it, goes on
        next(line for line in sweep.stdout if failed.exists() and line.startswith("Epoch "))
        sweep.terminate()
        said, _ = sweep.communicate(timeout=60)  # until no process writes into the pipe
    finally:
        with suppress(ProcessLookupError):
            os.killpg(sweep.pid, signal.SIGKILL)
    assert "data.fold" in failed.read_text()
    assert sweep.returncode == 128 + signal.SIGTERM
    assert said.splitlines()[-1].startswith("Continue with: python train.py -m ")


@cache
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
    for more in ([], ["data.num_workers=-1"]):  # a run that finishes, and one that fails
        done = call(*arguments, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (line,) = re.findall(r"^Best run: outputs/search/regression/(.*)$", done.stdout, re.M)
        assert re.search(r" \(val/age/mae_years \d+\.\d+\)$", line)
    study = optuna.load_study(study_name="regression", storage=f"sqlite:///{tmp_path}/search.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    finished, failed = study.trials
    assert finished.params != failed.params
    (run,) = (tmp_path / "outputs/search/regression").glob("*/metrics.json")
    results = OmegaConf.load(run.parents[1] / "optimization_results.yaml")
    assert tmp_path / results.best_run == run.parent
    metrics = json.loads(run.read_text())
    assert metrics["best_validation"] == finished.value
    assert all(metrics["options"][name] == value for name, value in finished.params.items())
    curve = pd.read_csv(run.parent / "history.csv")["val/age/mae_years"]
    assert finished.value == pytest.approx(curve.min())


def test_a_failed_job_is_named_by_what_the_sweep_chose(monkeypatch):
    typed = ["sex=NONE", "note=null", "~callbacks.grad_cam", "seed=1,2"]
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", *typed])
    overrides = ["sex=none", "note=null", "~callbacks.grad_cam=null", "seed=2"]
    for of_user in (True, False):  # an error of another process has no traceback
        error = (CompactHydraException if of_user else RuntimeError)("error: no test radiograph")
        with pytest.raises(CompactHydraException, match=r"^error: seed=2: no test radiograph$"):
            _result(JobReturn(overrides, status=JobStatus.FAILED, _return_value=error))


def search(storage, *overrides):
    """Return the config of a search whose study has one finished trial, and one that failed."""
    study = optuna.create_study(storage=storage, study_name="regression", load_if_exists=True)
    if not study.trials:
        trial = optuna.trial.create_trial(
            params={"optimizer.lr": 1e-3, "data.batch_size": 64},
            distributions={
                "optimizer.lr": optuna.distributions.LogUniformDistribution(1e-4, 1e-2),
                "data.batch_size": optuna.distributions.CategoricalDistribution((32, 64, 128)),
            },
            user_attrs={"data": "rsna", "data.root": str(PROJECT), "trainer.max_epochs": "3"},
            value=1.0,
        )
        study.add_trial(trial)
        failed = {"data": "phantom", "data.size": "96"}  # of a search that was corrected
        study.add_trial(
            optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs=failed)
        )
    return [
        "hparams_search=optuna", f"hydra.sweeper.storage={storage}", "data=rsna",
        f"data.root={PROJECT}", "trainer.max_epochs=3", *overrides,
    ]  # fmt: skip


def check(overrides):
    """Check a search as Hydra does, which keeps the options of its runs out of its own."""
    own = [word for word in overrides if word.startswith(("hparams_search=", "hydra."))]
    cfg = with_hydra(*own).copy()
    with open_dict(cfg):
        cfg.hydra.overrides.task = list(overrides)
    check_study(cfg)


def test_a_study_has_comparable_trials_only(tmp_path, monkeypatch):
    storage = f"sqlite:///{tmp_path}/search.db"
    monkeypatch.chdir(PROJECT.parent)
    monkeypatch.setattr("boneage.run.search.compose", lambda name, words: compose_config(*words))
    same_folder = f"data.root={PROJECT.name}"
    check(search(storage, same_folder, "data.num_workers=2", "data.size=128"))  # the default
    check(search(storage, "data.batch_size=16"))  # fewer options are searched
    check(search(storage, "data.sampling=choice(ages,shuffle)"))  # more
    check(search(storage, "data.size=96", "hydra.sweeper.study_name=other"))
    for other in (
        "trainer.max_epochs=5",
        "data.size=96",
        "data.root=elsewhere",
        "monitor=val/loss",
    ):
        option = other.partition("=")[0]
        with pytest.raises(UserError, match=rf"{option} \(was .*hydra\.sweeper\.study_name="):
            check(search(storage, other))
    trial = SimpleNamespace(user_attrs={"data": "phantom"}, params={})
    cfg = OmegaConf.create({"hydra": {"job": {"config_name": "train"}}})
    for root in ({}, {"data.root.n": "50"}):  # other phantoms
        assert _differing(cfg, trial, {"data": "phantom", **root}, set()).keys() == root.keys()
    with pytest.raises(UserError, match=r"other values of data\.batch_size.*study_name="):
        check(search(storage, "data.batch_size=choice(8,16)"))
    with pytest.raises(UserError, match=r"^optimizer\.lr=.*: this range .* is not valid: .*low"):
        check(search(storage, "optimizer.lr=interval(1e-2,1e-4)"))


@pytest.mark.slow
def test_a_search_without_a_finished_trial_ends_in_one_line(tmp_path):
    done = call(
        "-m", "hparams_search=optuna", f"hydra.sweeper.storage=sqlite:///{tmp_path}/search.db",
        "hydra.sweeper.n_trials=3", *TINY, "data.num_workers=-1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no trial of the search has finished" in done.stderr
    assert "Traceback" not in done.stderr
    failed = (tmp_path / "outputs/search/regression/failed.txt").read_text().splitlines()
    assert len(failed) == 3  # the first two do not stop the search


def test_the_best_run_has_the_score_and_the_options(tmp_path):
    rows = [("a", 0.5, "lr=0.01"), ("b", 0.5, "lr=0.02"), ("c", 0.4, "lr=0.02")]
    rows += [("d", 0.3, "lr=0.01\n- size=96"), ("e", 0.3, "lr=0.02\n- size=96")]
    for name, score, word in rows:  # the same score can be of other options
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text(json.dumps({"best_validation": score}))
        (tmp_path / name / ".hydra/overrides.yaml").write_text(f"- data=rsna\n- {word}\n")
    for name, content in (("0", b"\x89PNG\r\n"), ("00", b"5"), ("000", b"- [lr")):  # damaged
        shutil.copytree(tmp_path / "b", tmp_path / name)
        (tmp_path / name / ".hydra/overrides.yaml").write_bytes(content)
    assert best_run(tmp_path, {"lr": 0.02}, 0.5) == tmp_path / "b"
    assert best_run(tmp_path, {"lr": 0.02}, 0.4) == tmp_path / "c"
    assert best_run(tmp_path, {"lr": 0.01}, 0.4) is None
    assert best_run(tmp_path, {"lr": 0.02, "size": 96}, 0.3) == tmp_path / "e"


@pytest.mark.parametrize("direction", ["minimise", "maximize", "[minimize,maximize]"])
def test_a_search_has_the_direction_of_its_score(direction):
    with pytest.raises(UserError, match=r"direction=.*val/age/mae_years.*minimum \(mode=min\)"):
        check_direction(with_hydra("hparams_search=optuna", f"hydra.sweeper.direction={direction}"))
    check_direction(with_hydra("hparams_search=optuna"))
    check_direction(with_hydra("hparams_search=optuna", "task=classification"))


def test_a_range_that_cannot_be_read_is_said():
    words = ["hparams_search=optuna", '+hydra.sweeper.params.seed="choice(1,2"']
    with pytest.raises(UserError, match=r"^seed=.*: this range of a search is not valid: .*1,2.$"):
        check_study(with_hydra(*words))


def test_each_study_has_its_own_folder():
    assert with_hydra("hparams_search=optuna").hydra.sweep.dir == "outputs/search/regression"
    other = with_hydra("hparams_search=optuna", "hydra.sweeper.study_name=heads")
    assert other.hydra.sweep.dir == "outputs/search/heads"


def test_the_folder_of_the_storage_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = with_hydra("hparams_search=optuna", "hydra.sweep.dir=elsewhere")
    WritableFolder().on_multirun_start(cfg)
    assert (tmp_path / "elsewhere").is_dir()
    assert (tmp_path / "outputs").is_dir()  # of search.db
