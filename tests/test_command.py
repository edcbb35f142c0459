"""`python train.py` as people call it."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from conftest import PROJECT, TINY


def call(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(PROJECT / "train.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_help_is_quick_and_whole(tmp_path):
    code = f"""
import runpy, sys
sys.argv = ["train.py", "--help"]
try:
    runpy.run_path({str(PROJECT / "train.py")!r}, run_name="__main__")
except SystemExit:
    print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    *text, torch_loaded = done.stdout.strip().splitlines()
    assert torch_loaded == "False"
    groups = {path.parent.name for path in (PROJECT / "conf").glob("*/*.yaml")} - {"hydra"}
    for group in groups:
        line = next(line for line in text if line.startswith(f"{group}:"))
        options = {path.stem for path in (PROJECT / "conf" / group).glob("*.yaml")}
        assert set(line.split(": ")[1].split(", ")) == options
    assert sum("python train.py" in line for line in text) >= 5


@pytest.mark.slow
def test_multirun(phantom_root, tmp_path):
    done = call(
        "-m", "task=regression,multitask", "seed=1,2", *TINY,
        "data=rsna", f"data.root={phantom_root}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = sorted((tmp_path / "outputs/sweeps").glob("*/*/metrics.json"))
    ran = {(m["task"], m["seed"]) for m in (json.loads(path.read_text()) for path in found)}
    assert ran == {(t, s) for t in ("regression", "multitask") for s in (1, 2)}
    for path in found:
        assert (path.parent / ".hydra/config.yaml").is_file()
    table = pd.read_csv(found[0].parent.parent / "comparison.csv")
    assert table["task"].value_counts().to_dict() == {"regression": 2, "multitask": 2}
    assert set(table["option/seed"]) == {1, 2}


def test_a_mistake_is_one_line_and_leaves_no_run(tmp_path):
    done = call("data=rsna", f"data.root={tmp_path}/nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert f"{tmp_path}/nowhere" in done.stderr
    assert not list((tmp_path / "outputs").rglob(".hydra"))


def test_a_typo_is_hydras_own_message(tmp_path):
    done = call("optimizer.lrr=1", cwd=tmp_path)
    assert done.returncode == 1
    assert "Key 'lrr' is not in struct" in done.stderr
    assert "Traceback" not in done.stderr
    unknown = call("task=regresion", cwd=tmp_path)
    assert unknown.returncode == 1
    assert "regression" in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_a_failed_job_does_not_stop_the_sweep(phantom_root, tmp_path):
    done = call(
        "-m", f"data.root={tmp_path}/nowhere,{phantom_root}", "data=rsna", *TINY, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    assert len(list(sweep.glob("*/metrics.json"))) == 1
    assert (sweep / "0_regression_seed1/error.txt").read_text().startswith("data.root=")
    page = (sweep / "comparison.html").read_text()
    assert "0_regression_seed1: failed: data.root=" in page
    assert len(pd.read_csv(sweep / "comparison.csv")) == 1
