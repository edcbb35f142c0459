"""What the terminal cannot show, or no longer reads, stops no command and loses no result."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from helpers import PROJECT, TRAIN, call, run_boneage, write_finished_run

BONEAGE = ["-m", "boneage"]
WITHOUT_TEMPORARY_FOLDER = """
import runpy, sys, tempfile
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*words, encoding="utf-8", fonts=None, **streams):
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, *words],
        env=env | ({"MPLCONFIGDIR": fonts} if fonts else {}),
        check=False,
        timeout=120,
        **({"capture_output": True} | streams),
    )


def test_a_width_of_zero_columns_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    table = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 12.0]})
    write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0, 12.0]))
    compared = run(*BONEAGE, "compare", "run", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert b"MAE" in compared.stdout


def test_a_character_that_the_encoding_lacks_is_a_question_mark(tmp_path):
    config = run(TRAIN, "name='a†b'", "--cfg", "job", encoding="ascii")
    assert config.returncode == 0, config.stderr
    assert b"name: a?b" in config.stdout
    table = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 12.0]})
    write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0, 12.0]))
    compared = run(*BONEAGE, "compare", "run", encoding="ascii", cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert b"?" in compared.stdout  # the dagger of a small test fold
    assert (tmp_path / "comparison/comparison.html").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_control_characters_of_names_are_question_marks(tmp_path):
    """A terminal would obey them, and an error of one line would have two."""
    for name in ("a\x1b[2J\r\n.png", "b\x9b2J.png", ".hidden\x1b]0;.png", "c\u202egnp.exe.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    of_folder = run(*BONEAGE, "predict", str(tmp_path))
    assert of_folder.returncode == 1
    shown = of_folder.stdout.decode() + of_folder.stderr.decode()
    assert not {*shown} & {"\x1b", "\r", "\x9b", "\u202e"}
    assert shown.count("a?[2J??.png") == 2  # the name, and the reason
    assert ".hidden?]0;.png" in shown
    of_one = run(*BONEAGE, "predict", str(tmp_path / "a\x1b[2J\r\n.png"))
    assert len(of_one.stderr.splitlines()) == 1
    assert b"a?[2J??.png: " in of_one.stderr


@pytest.mark.parametrize("command", [[TRAIN, "--cfg", "job"], [*BONEAGE, "--help"]])
def test_a_closed_pipe_is_no_error(command):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*command, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", [[TRAIN], [*BONEAGE, "predict", "/x.png", "--out", "out"]])
def test_a_removed_working_directory_is_one_line(tmp_path, command):
    folder = tmp_path / "removed"
    folder.mkdir()
    done = run(*command, cwd=folder, preexec_fn=folder.rmdir)
    assert done.returncode == 1
    assert done.stderr == b"error: the working directory was removed: change to another one\n"


def test_folders_that_cannot_be_written(tmp_path):
    table = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 12.0]})
    folder = write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0, 12.0]))
    (tmp_path / "file").touch()
    (folder / "figures").touch()
    done = call("report", str(folder), cwd=tmp_path, target=run_boneage)
    message = f"error: {folder}/figures cannot be written (File exists): when this is fixed, "
    assert done.stderr.startswith(message)
    (folder / "figures").unlink()
    done = run(*BONEAGE, "report", folder, fonts=str(tmp_path / "file/cache"))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("script", [TRAIN, str(PROJECT / "boneage/__main__.py")])
def test_no_folder_for_temporary_files(tmp_path, script):
    words = ["compare", tmp_path] if script != TRAIN else []
    done = run(
        "-c", WITHOUT_TEMPORARY_FOLDER, script, *words, fonts="/dev/null/cache",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        b"error: no folder for temporary files can be written: set TMPDIR to one that can\n"
    )
    assert not list(tmp_path.iterdir())
