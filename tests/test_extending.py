"""The examples of docs/extend.md, as a reader would save them."""

import importlib.util
import re
import sys

import pandas as pd
import pytest
from helpers import PROJECT

from boneage.errors import UserError
from boneage.run.checkpoint import build_model
from boneage.run.experiment import train

EXAMPLE = re.compile(r"```(?:python|yaml)\n((?:# @.*\n)?# (\S+)\n.*?)```", re.DOTALL)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The folder with the examples of the page, each whole; modules can be imported."""
    for text, name in EXAMPLE.findall((PROJECT / "docs/extend.md").read_text()):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if file.suffix == ".py":
            module_name = name.removesuffix(".py").replace("/", ".")
            spec = importlib.util.spec_from_file_location(module_name, file)
            module = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, module_name, module)
            spec.loader.exec_module(module)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("option", ["task=school_age", "loss=log_cosh"])
def test_an_example_can_be_trained(saved, configure, tmp_path, option):
    tested = train(configure(f"hydra.searchpath=[file://{saved}/conf]", option))["test"]
    table = pd.read_csv(tmp_path / "run/predictions.csv")
    if option == "task=school_age":
        right = (table["school_age_probability"] > 0.5) == (table["age_years"] >= 6)
        assert tested["school_age/right"]["value"] == pytest.approx(right.mean())
    else:
        error = (table["age_years_predicted"] - table["age_years"]).abs()
        assert tested["age/mae_years"]["value"] == pytest.approx(error.mean())


def test_a_network_that_is_no_backbone_is_told_to_be_wrapped(configure):
    cfg = configure()
    cfg.backbone = {"_target_": "boneage.tasks.base.MLPHead", "in_features": 4, "out_features": 2}
    with pytest.raises(UserError, match=r"^backbone: MLPHead is no subclass of .*: wrap it in one"):
        build_model(cfg, {})


def test_a_task_file_names_the_columns_that_its_task_learns(saved, configure):
    file = saved / "conf/task/school_age.yaml"
    file.write_text(f"{file.read_text()}data: {{columns: {{labels: [boneage]}}}}\n")
    sys.modules["boneage.tasks.school_age"].SchoolAge.labels = ("boneage",)
    options = [f"hydra.searchpath=[file://{saved}/conf]", "task=school_age"]
    assert configure(*options).data.columns.labels == ["boneage"]
    with pytest.raises(UserError, match=r"boneage of your table: add .*\.labels=\[boneage\]"):
        train(configure(*options, "data.columns.labels=null"))
