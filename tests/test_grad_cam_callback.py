"""The maps of a run: what is drawn, where, and that nothing else changes."""

import pytest
import torch
from conftest import TINY, compose_config
from test_figures import predictions

from boneage.errors import UserError
from boneage.explain.cases import captions, telling_cases
from boneage.run.experiment import train
from boneage.stages import Stages


@pytest.fixture
def with_maps(phantom_root, tmp_path):
    def make(*overrides, run="run"):
        run_dir = tmp_path / run
        run_dir.mkdir()
        tiny = [option for option in TINY if "grad_cam" not in option]
        return compose_config(
            *tiny, "data=rsna", f"data.root={phantom_root}", f"run_dir={run_dir}",
            "callbacks.grad_cam.every_n_epochs=1", "~callbacks.dashboard", *overrides,
        )  # fmt: skip

    return make


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_task_has_its_pictures(with_maps, tmp_path, precision):
    train(with_maps("task=multitask", "sex=embedding", f"precision={precision}", "report=true"))
    drawn = {file.name for file in (tmp_path / "run/gradcam").iterdir()}
    assert drawn == {
        f"{task}_{name}.png" for task in ("age", "stage") for name in ("epoch_001", "test")
    }
    page = (tmp_path / "run/report.html").read_text()
    assert "What the model looks at" in page
    assert page.count("data:image/jpeg") == 4
    assert len(page) < 5_000_000


def test_maps_change_no_number(with_maps, tmp_path):
    common = ["task=multitask", "sex=embedding", "augment=geometric", "trainer.max_epochs=2"]
    train(with_maps(*common, run="with"))
    train(with_maps(*common, "~callbacks.grad_cam", run="without"))
    one, other = (
        torch.load(tmp_path / f"{name}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("with", "without")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_sizes_of_nought_draw_nothing(with_maps, tmp_path):
    sizes = [f"callbacks.grad_cam.{name}=0" for name in ("panel", "cases", "per_band")]
    train(with_maps(*sizes))
    assert not (tmp_path / "run/gradcam").exists()


def test_target_stages(with_maps, tmp_path):
    for target in ("truth", "adult"):
        train(with_maps("task=classification", f"callbacks.grad_cam.target={target}", run=target))
        assert (tmp_path / target / "gradcam/stage_test.png").is_file()
    with pytest.raises(UserError, match=r"target=adlut: must be predicted, truth or one of child"):
        train(with_maps("task=classification", "callbacks.grad_cam.target=adlut", run="wrong"))


def test_telling_cases():
    table = predictions(200).assign(id=range(200))
    cases = telling_cases(table, Stages(), cases=3, per_band=2)
    error = (table["age_years_predicted"] - table["age_years"]).abs()
    assert set(cases["id"][cases["kind"] == "worst"]) == set(error.nlargest(3).index)
    assert set(cases["id"][cases["kind"] == "best"]) == set(error.nsmallest(3).index)
    assert (cases["kind"] == "median").sum() == 3
    assert (cases["kind"] == "17+ years").sum() == 2
    assert (cases["age_years"][cases["kind"] == "17+ years"] >= 17).all()
    assert not cases["id"].duplicated().any()
    first, second = captions(cases.head(1))[0].split("\n")
    assert first.startswith("worst: ")
    assert second.startswith("predicted ")
    assert second.endswith("%)")
