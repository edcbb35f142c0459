"""What the terminal cannot show, or no longer reads, stops no command and loses no result."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from helpers import PROJECT, TRAIN, write_finished_run

BONEAGE = ["-m", "boneage"]


def run(*words, encoding="utf-8", **streams):
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(PROJECT)},
        check=False,
        timeout=120,
        **({"capture_output": True} | streams),
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp437", "ascii"])
def test_a_character_that_the_encoding_lacks_is_a_question_mark(tmp_path, encoding):
    config = run(TRAIN, "name='a†b'", "--cfg", "job", encoding=encoding)
    assert config.returncode == 0, config.stderr
    assert b"name: a?b" in config.stdout
    table = pd.DataFrame({"id": ["a", "b"], "sex": "male", "age_years": [5.0, 12.0]})
    write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0, 12.0]))
    compared = run(*BONEAGE, "compare", "run", encoding=encoding, cwd=tmp_path)
    assert compared.returncode == 0, compared.stderr
    assert b"?" in compared.stdout  # the dagger of a small test fold
    assert (tmp_path / "comparison/comparison.html").is_file()


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
