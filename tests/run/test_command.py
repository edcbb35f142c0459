"""`python train.py` as people call it."""

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from helpers import PROJECT, TINY, TRAIN, call, run_train, server
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from boneage.run.sweep import SweepComparison, _result, repeated


@pytest.mark.slow
def test_help_is_quick_and_whole(tmp_path):
    code = f"""
import runpy, sys
sys.argv = ["train.py", "--help"]
try:
    runpy.run_path({TRAIN!r}, run_name="__main__")
except SystemExit:
    print(sorted({{"torch", "matplotlib", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    *text, loaded = done.stdout.strip().splitlines()
    assert loaded == "[]"
    groups = {path.parent.name for path in (PROJECT / "conf").glob("*/*.yaml")} - {"hydra"}
    for group in groups:
        line = next(line for line in text if line.startswith(f"{group}:"))
        options = {path.stem for path in (PROJECT / "conf" / group).glob("*.yaml")}
        assert set(line.split(": ")[1].split(", ")) == options
    assert sum("python train.py" in line for line in text) >= 5


@pytest.mark.slow
def test_the_recorded_command_finds_the_users_own_config(phantom_root, tmp_path):
    for name, text in (
        ("searched/loss/mine", "_target_: torch.nn.L1Loss"),
        ("given/augment/mine", "_target_: albumentations.Compose\ntransforms: []"),
    ):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    own = ["--config-dir", f"{tmp_path}/given", f"hydra.searchpath=[file://{tmp_path}/searched]"]
    words = [*TINY, "data=rsna", f"data.root={phantom_root}", "loss=mine", "augment=mine"]
    commands = [[*own, *words]]
    for name in ("first", "again"):
        done = call(*commands[-1], f"hydra.run.dir={tmp_path / name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        recorded = json.loads((tmp_path / name / "metrics.json").read_text())["command"]
        assert recorded.startswith("python train.py ")
        commands.append(shlex.split(recorded)[2:])
    assert commands[1] == commands[2]


@pytest.mark.slow
def test_multirun(phantom_root, tmp_path):
    done = call(
        "task=regression,multitask", "-m", "data.fold=0,99", *TINY,
        "data=rsna", f"data.root={phantom_root}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1  # there is no fold 99; the other jobs go on
    (line,) = (line for line in done.stderr.splitlines() if "error" in line.lower())
    assert line.startswith("error: task=regression data.fold=99: data.folds=10 data.fold=99")
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    found = sorted(sweep.glob("*/metrics.json"))
    assert [json.loads(path.read_text())["task"] for path in found] == ["regression", "multitask"]
    for path in found:
        assert (path.parent / ".hydra/config.yaml").is_file()
    assert (
        (sweep / "1_regression_seed1/error.txt")
        .read_text()
        .startswith("data.folds=10 data.fold=99")
    )
    assert (
        "1_regression_seed1: failed: data.folds=10 data.fold=99"
        in (sweep / "comparison.html").read_text()
    )
    table = pd.read_csv(sweep / "comparison.csv")
    assert table["task"].value_counts().to_dict() == {"regression": 1, "multitask": 1}
    place = sweep.relative_to(tmp_path)
    assert done.stdout.splitlines()[-2:] == [
        f"Comparison of the finished runs: {place}/comparison.html",
        f"2 jobs failed or refused: the reasons are in {place}/failed.txt",
    ]
    listed = (sweep / "failed.txt").read_text().splitlines()
    assert [line.split(": ")[0] for line in listed] == ["1_regression_seed1", "3_multitask_seed1"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size=0: must be at least 1"),
        ("hydra.sweep.dir=${none}", "Interpolation key 'none' not found"),
    ],
)
def test_a_value_that_hydra_cannot_use_is_one_line(word, said, tmp_path):
    done = call("-m", "seed=1,2", word, cwd=tmp_path)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"error: {word.partition('=')[0]}")
    assert line.endswith(said)


@pytest.mark.parametrize("line", ["seed=1: is odd", "is odd"])
def test_the_error_of_a_job_names_its_options_once(line):
    error = CompactHydraException(f"error: {line}")
    job = JobReturn(["seed=1"], status=JobStatus.FAILED, _return_value=error)
    with pytest.raises(CompactHydraException, match=r"^error: seed=1: is odd$"):
        _result(job)


@pytest.mark.slow
def test_a_stopped_sweep_prints_the_command_that_continues_it(phantom_root, tmp_path):
    words = ["seed=1,2", "-m", *TINY, "trainer.max_epochs=5"]
    words += ["data=rsna", f"data.root={phantom_root}"]
    process = server.Process(target=run_train, args=(words, tmp_path, tmp_path))
    process.start()
    while not list(tmp_path.rglob("last.ckpt")) and process.is_alive():
        time.sleep(0.01)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    said = (tmp_path / "stdout").read_text()
    assert said.count("python train.py") == 1  # not that of the job
    given = said.splitlines()[-1].partition("Continue with: python train.py ")[2]
    assert call(*shlex.split(given), cwd=tmp_path).returncode == 0
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    finished = sorted(file.parent.name for file in sweep.glob("*/metrics.json"))
    assert finished == ["0_regression_seed1", "1_regression_seed2"]


def test_the_command_that_continues_a_sweep():
    command = "python train.py -m seed=1,2 hydra.sweep.dir=s"
    assert repeated(["-m", "seed=1,2"], Path("s")) == f"{command} resume=auto"
    words = shlex.split(command)[2:]
    assert repeated(words, Path("s")) == f"{command} resume=auto"
    assert repeated([*words, "resume=auto"], Path("s")) == f"{command} resume=auto"
    assert repeated(words, None) == command  # a search


@pytest.mark.parametrize(("sweeper", "more"), [({}, "resume=auto"), ({"direction": "min"}, "")])
def test_the_last_lines_of_a_sweep(tmp_path, monkeypatch, sweeper, more):
    for name in ("folder", "again"):
        monkeypatch.setattr(SweepComparison, name, None)
    assert SweepComparison.last_lines(SystemExit(143)) == []  # of a single run
    monkeypatch.setattr("sys.argv", ["train.py", "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}"])
    failed = tmp_path / "failed.txt"
    failed.write_text("of an earlier call: lost\n")
    hydra = {"sweep": {"dir": str(tmp_path)}, "sweeper": sweeper}
    SweepComparison().on_multirun_start(OmegaConf.create({"hydra": hydra}))
    assert SweepComparison.last_lines(SystemExit(1)) == []  # only an interrupted one goes on
    failed.write_text("0: lost\n1: lost\n")
    line, again = SweepComparison.last_lines(SystemExit(143))
    assert line == f"2 jobs failed or refused: the reasons are in {failed}"
    command = f"python train.py -m seed=1,2 hydra.sweep.dir={tmp_path} {more}"
    assert again == f"Continue with: {command.strip()}"


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [False, True])
def test_the_recorded_config_is_that_of_the_run(phantom_root, tmp_path, sweep):
    where = ["-m", "hydra.sweep.dir=sweep"] if sweep else ["hydra.run.dir=run"]
    words = [*where, *TINY, "data=rsna", f"data.root={phantom_root}"]
    assert call(*words, "seed=3", cwd=tmp_path).returncode == 0
    (run,) = (path.parent for path in tmp_path.rglob("metrics.json"))
    files = {path: path.read_text() for path in (run / ".hydra").iterdir()}
    assert {path.name for path in files} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert yaml.safe_load(files[run / ".hydra/config.yaml"])["seed"] == 3
    assert "hydra" not in yaml.safe_load(files[run / ".hydra/config.yaml"])
    assert yaml.safe_load(files[run / ".hydra/hydra.yaml"])["hydra"]["runtime"]["cwd"]
    assert "seed=3" in yaml.safe_load(files[run / ".hydra/overrides.yaml"])
    again = ["hydra.sweep.subdir=" + run.name] if sweep else []
    option = "hydra.sweep.dir=" if sweep else "hydra.run.dir="
    for other in (["seed=4"], ["seed=4", "resume=auto"], ["resume=auto", "trainer.max_epochs=9"]):
        refused = call(*words, *again, *other, cwd=tmp_path)
        assert refused.returncode == 1, other
        assert re.search(
            f"error: .* another folder with {option}( |$)", refused.stderr, re.MULTILINE
        )
        listed = "1 job failed or refused: the reasons are in sweep/failed.txt"
        assert (refused.stdout.splitlines()[-1:] == [listed]) == sweep
        assert {path: path.read_text() for path in (run / ".hydra").iterdir()} == files


def test_a_mistake_is_one_line_and_leaves_no_run(tmp_path):
    done = call("data=rsna", f"data.root={tmp_path}/nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert f"{tmp_path}/nowhere" in done.stderr
    assert not list((tmp_path / "outputs").rglob(".hydra"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=1"], "optimizer.lrr: there is no such option: did you mean optimizer.lr?"),
        (["sed=1"], "sed: there is no such option: did you mean seed? (+ before"),
        (["task=regresion"], "task=regresion is not a choice: did you mean regression?"),
        (["-m", "task=regression,regresion"], "task=regresion is not a choice"),
        (["-m", "experiment=ladder/age/01_residual,ladder/age/1"], "experiment=ladder/age/1 is no"),
        (["~callbacks"], "~callbacks: only a part can be removed, as in ~callbacks.grad_cam"),
        (["~task"], "~task: only a part can be removed"),
    ],
)
def test_a_typo_is_one_line(tmp_path, words, said):
    done = call(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["hydra.run.dir="], ["-m", "hydra.sweep.dir="]])
def test_a_folder_that_cannot_be_written(tmp_path, words):
    (tmp_path / "file").touch()
    done = call(*words[:-1], f"{words[-1]}{tmp_path}/file/run", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/file/run cannot be written (Not a")
    assert done.stderr.count("\n") == 1
