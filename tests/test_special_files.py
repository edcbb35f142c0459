"""Pipes and devices in place of files: reading one could wait, or fill the memory, for ever."""

import os
from pathlib import Path

import pandas as pd
import pytest
from helpers import write_finished_run

from boneage.data.formats import read_radiograph
from boneage.data.radiographs import explore
from boneage.data.tables.columns import DEFAULT_COLUMNS
from boneage.data.tables.read import read_header, read_table
from boneage.errors import UserError
from boneage.evaluation.run_folder import read_run
from boneage.run.checkpoint_file import checkpoint_file

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are none on Windows")


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [pipe, device])
@pytest.mark.parametrize("read", [read_radiograph, read_table, read_header, checkpoint_file])
@pytest.mark.parametrize("name", ["a.png", "a.csv", "a.xlsx", "a.ckpt", "a.onnx", "a"])
def test_they_are_refused_in_one_line(tmp_path, read, make, name):
    make(tmp_path / name)
    with pytest.raises(UserError, match=f"{name} is a pipe or a device: give a file$"):
        read(tmp_path / name)


def test_one_in_a_folder_of_radiographs_is_skipped(tmp_path, caplog):
    pd.DataFrame({"id": ["1"], "boneage": [60], "male": [True]}).to_csv(tmp_path / "b.csv")
    pipe(tmp_path / "a.csv")
    pipe(tmp_path / "without a suffix")
    assert [table.path.name for table in explore(tmp_path, DEFAULT_COLUMNS).tables] == ["b.csv"]
    assert "a.csv is a pipe or a device" in caplog.text


def test_one_in_a_run_is_refused(tmp_path):
    table = pd.DataFrame({"id": ["1"], "sex": ["male"], "age_years": [7.0]})
    run = write_finished_run(tmp_path / "run", table.assign(age_years_predicted=[6.0]))
    (run / "predictions.csv").unlink()
    pipe(run / "predictions.csv")
    with pytest.raises(UserError, match=r"predictions\.csv is a pipe or a device"):
        read_run(run)


def test_a_file_given_on_standard_input_is_one(tmp_path):
    (tmp_path / "a.csv").write_text("id,boneage\n1,60\n")
    number = os.open(tmp_path / "a.csv", os.O_RDONLY)
    assert list(read_table(Path(f"/dev/fd/{number}"))["id"]) == ["1"]
    os.close(number)
