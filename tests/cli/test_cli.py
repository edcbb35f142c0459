"""The `boneage` command as people call it."""

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from itertools import pairwise

import pandas as pd
import pytest
from helpers import call, run_boneage, write_finished_run
from typer.testing import CliRunner

from boneage.cli.main import Command, app
from boneage.errors import UserError

call = partial(call, target=run_boneage)


def test_help_loads_nothing_heavy():
    code = """
import sys
from boneage.cli.main import app
try:
    app(["--help"])
except SystemExit:
    print([m for m in ("torch", "pandas", "numpy", "matplotlib", "hydra") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, loaded = done.stdout.strip().splitlines()
    assert loaded == "[]"
    for command in ("phantom", "report", "compare", "dashboard"):
        assert any(command in line for line in text)


def test_help_fills_a_narrow_terminal_and_cuts_nothing_off():
    """No name ends in an ellipsis, and no line of a paragraph is broken before it is full."""
    width, code = 80, "from boneage.cli.main import app; app()"
    env = os.environ | {"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)}
    for words in (["predict"], ["calibrate"], ["verify"], []):
        command = [sys.executable, "-c", code, *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        assert "…" not in done.stdout
        assert "bool" not in done.stdout.lower()  # a flag takes no value
        lines = [line.rstrip() for line in done.stdout.partition("╭")[0].splitlines()]
        for line, following in pairwise(lines):
            if line and following:
                assert len(f"{line} {following.split()[0]} ") > width, line


def test_console_script_is_installed():
    script = f"{sys.prefix}/bin/boneage"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_phantom(tmp_path):
    done = call("phantom", "hands here", "--n", "3", "--size", "64", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "hands here/boneage-training-dataset.csv")
    assert len(table) == 3
    assert len(list((tmp_path / "hands here").rglob("*.png"))) == 3
    assert f"""'data.root="{tmp_path}/hands here"'""" in done.stdout.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["phantom", "x", "--n", "0"], "n=0"),
        (["phantom", "x", "--size", "9999"], "size=9999"),
        (["report", "nowhere"], "nowhere"),
        (["compare", "nowhere"], "nowhere: no such folder"),
        (["dashboard", "."], ". contains no TensorBoard logs: give a folder with trained runs"),
        (["dashboard", "nowhere"], "nowhere is not a folder: give a folder with trained runs"),
        (
            ["verify", "nix"],
            "nix does not exist: give the folder with the radiographs, or download",
        ),
        (["verify", "."], ". is an empty folder: give the folder with the radiographs"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, said):
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(["phantom", "x", "--n", "many"], "--n"), (["dashboard", ".", "--port", "-1"], "--port")],
)
def test_a_wrong_option_is_a_usage_error(tmp_path, arguments, option):
    (tmp_path / "events.out.tfevents.1").touch()
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert option in done.stderr


@pytest.mark.slow
def test_report_is_drawn_again(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 12.0]})
    folder = write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0, 12.0]))
    done = call("report", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Wrote run/report.html"
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict hand.png --sex F --sex M", "--sex is given more than once"),
        (
            "export --out m.onnx --checkpoint a --checkpoint b",
            "--checkpoint is given more than once",
        ),
        ("stress --n 3 --n 3 --n=3", "--n is given more than once"),
        ("predict hand.png --out ''", "--out is empty: give a value"),
        ("predict hand.png --out=", "--out is empty: give a value"),
        ("predict hand.png --checkpoint a --checkpoint ''", "--checkpoint is empty"),
        ("predict hand.png ''", "images is empty: give a value"),
        ("dashboard ''", "folder is empty: give a value"),
        ("predict hand.png --out --report", "--out has no value: it is followed by --report"),
        ("app --checkpoint --no-browser", "--checkpoint has no value"),
        ("verify . --column age=a --column age=b", "--column age= is given more than once"),
    ],
)
def test_an_option_is_given_once_and_with_a_value(tmp_path, monkeypatch, line, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(said)):
        app(shlex.split(line))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line", ["export my\\ run", "export my\\ run --out a", "app my\\ run", "stress my\\ run"]
)
def test_a_run_without_its_option_is_said(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my run").mkdir()
    with pytest.raises(
        UserError, match="my run is given without an option: write --checkpoint 'my"
    ):
        app(shlex.split(line))
    for other in ("app nothing", f"{line} --checkpoint a", "dashboard . 'my run'"):
        with pytest.raises(SystemExit) as usage:
            app(shlex.split(other))
        assert usage.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["my run"]


def test_every_command_checks_its_options():
    assert {registered.cls for registered in app.registered_commands} == {Command}


def test_flags_and_lists_may_be_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"one\.onnx cannot be loaded"):
        app(["app", "--no-browser", "--no-browser", "--checkpoint=one.onnx", "--checkpoint=two"])


@pytest.mark.parametrize(
    ("word", "said"),
    [("train", r"python train\.py"), ("evaluate", "train=false"), ("infer", "boneage predict")],
)
def test_a_word_of_other_programs_names_the_command(word, said):
    with pytest.raises(UserError, match=f"no command {word}: .*{said}"):
        CliRunner().invoke(app, [word, "--x=1"], catch_exceptions=False)
