"""The maps of a run: what is drawn, where, and that nothing else changes."""

import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import TINY, compose_config, predictions, reference_study, trained_weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boneage.callbacks.grad_cam import GradCam
from boneage.errors import UserError
from boneage.explain.cases import captions, representative_cases
from boneage.run.checkpoint import read_checkpoint
from boneage.run.experiment import train
from boneage.stages import BANDS, Stages


@pytest.fixture
def with_maps(phantom_root, tmp_path):
    def make(*overrides, run="run"):
        run_dir = tmp_path / run
        run_dir.mkdir()
        tiny = [option for option in TINY if "grad_cam" not in option]
        return compose_config(
            *tiny, "data=rsna", f"data.root={phantom_root}", f"run_dir={run_dir}",
            "callbacks.grad_cam.every_n_epochs=1", *overrides,
        )  # fmt: skip

    return make


@pytest.mark.slow
@pytest.mark.drawn
def test_every_task_has_its_pictures(with_maps, tmp_path):
    train(with_maps("task=multitask", "sex=embedding", "precision=bf16-mixed", "report=true"))
    folder = tmp_path / "run/gradcam"
    assert {file.name for file in folder.iterdir()} == {
        f"{task}_{name}"
        for task in ("age", "stage")
        for name in ("epoch_001.png", "test.png", "test")
    }
    tested = pd.read_csv(tmp_path / "run/predictions.csv", dtype=str)["id"]
    for task in ("age", "stage"):
        cases = pd.read_csv(folder / f"{task}_test/cases.csv", dtype=str)
        assert set(cases["id"]) <= set(tested)
        assert all(id_ in said for id_, said in zip(cases["id"], cases["caption"], strict=True))
        shapes = [
            cv2.imread(str(folder / f"{task}_test" / name)).shape for name in cases["picture"]
        ]
        assert {shape[0] for shape in shapes} == {480}  # phantoms are taller than wide
    page = (tmp_path / "run/report.html").read_text()
    assert "What the model looks at" in page
    with np.load(tmp_path / "run/images.npz") as stored:
        films = len(stored["ids"])
    assert page.count("data:image/jpeg") == 4 + 2 * len(cases) + films
    assert len(page) < 5_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "end",
    [
        ["trainer.max_epochs=2"],
        ["callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=1000"],
        ["trainer.limit_train_batches=2", "trainer.max_steps=4"],
        ["trainer.limit_train_batches=2", "trainer.max_steps=5"],  # within the third epoch
    ],
)
def test_the_last_validation_is_drawn_once_however_training_ends(
    with_maps, tmp_path, monkeypatch, end
):
    """It shows the averaged weights that were validated, as when every epoch is drawn."""
    drawn, draw = [], GradCam._draw

    def record(callback, trainer, rows, maps, fold, epochs, step):
        drawn.append((fold, callback.every_n_epochs, epochs, maps["age"]))
        draw(callback, trainer, rows, maps, fold, epochs, step)

    monkeypatch.setattr(GradCam, "_draw", record)
    each = "{_target_: boneage.callbacks.grad_cam.GradCam, every_n_epochs: 1, cases: 0}"
    last = "{_target_: boneage.callbacks.grad_cam.GradCam, every_n_epochs: 5, cases: 0}"
    train(
        with_maps(
            "+callbacks.ema={_target_: boneage.callbacks.checkpoint.Ema}",
            "trainer.max_epochs=9", *end, "~callbacks.grad_cam",
            f"+callbacks.every_epoch={each}", f"+callbacks.every_fifth={last}",
        )
    )  # fmt: skip
    panels = [(every, epochs) for fold, every, epochs, _ in drawn if fold == "val"]
    assert panels == [(1, 1), (1, 2), (5, 2)]
    np.testing.assert_array_equal(drawn[2][3], drawn[1][3])
    assert np.ptp(drawn[2][3]) > 0
    assert {file.name for file in (tmp_path / "run/gradcam").glob("*epoch*")} == {
        "age_epoch_001.png", "age_epoch_002.png",
    }  # fmt: skip
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    first, second = (point.step for point in events.Scalars("val/loss"))
    assert [image.step for image in events.Images("val/gradcam_age")] == [first, second, second]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("often", "drawn"),
    [
        (["trainer.val_check_interval=1"], ["001", "002", "003"]),
        (["trainer.val_check_interval=1", "trainer.max_steps=5"], ["001", "002"]),
        (
            ["trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null"],
            ["001", "002", "003"],
        ),
    ],
)  # fmt: skip
def test_maps_are_computed_once_an_epoch(with_maps, tmp_path, monkeypatch, often, drawn):
    calls = []
    maps = GradCam._maps
    monkeypatch.setattr(GradCam, "_maps", lambda *given: calls.append(given) or maps(*given))
    train(with_maps("trainer.max_epochs=3", *often, "callbacks.grad_cam.cases=0"))
    files = sorted((tmp_path / "run/gradcam").glob("age_epoch_*"))
    assert [file.stem[-3:] for file in files] == drawn
    assert len(calls) == len(drawn) + 1  # and the test


@pytest.mark.slow
def test_maps_change_no_number(with_maps, tmp_path):
    common = ["task=multitask", "sex=embedding", "augment=geometric", "trainer.max_epochs=2"]
    train(with_maps(*common, run="with"))
    train(with_maps(*common, "~callbacks.grad_cam", run="without"))
    one, other = (trained_weights(tmp_path / name) for name in ("with", "without"))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_sizes_of_nought_draw_nothing(with_maps, tmp_path):
    sizes = [f"callbacks.grad_cam.{name}=0" for name in ("panel", "cases", "per_band")]
    train(with_maps(*sizes))
    assert not (tmp_path / "run/gradcam").exists()


@pytest.mark.slow
def test_target_stages(with_maps, tmp_path):
    for target in ("truth", "adult"):
        train(with_maps("task=classification", f"callbacks.grad_cam.target={target}", run=target))
        assert (tmp_path / target / "gradcam/stage_test.png").is_file()
    with pytest.raises(UserError, match=r"target=adlut: must be predicted, truth or one of child"):
        train(with_maps("task=classification", "callbacks.grad_cam.target=adlut", run="wrong"))


@pytest.mark.slow
def test_localisation_at_the_end_of_a_run(with_maps, phantom_root, tmp_path):
    held_out = [100_003, 100_010, 100_020]
    masks = tmp_path / "masks"
    masks.mkdir()
    for id_ in held_out:
        shutil.copy(phantom_root / f"masks/{id_}.npz", masks)
    options = ["callbacks=gradcam_localisation", f"data.hold_out={masks}", "reference=paper"]
    metrics = train(with_maps(*options, "report=true"))
    split = pd.read_csv(tmp_path / "run/split.csv").set_index("id")["fold"]
    assert (split[held_out] == "test").all()
    found = pd.read_csv(tmp_path / "run/gradcam/localisation.csv")
    assert {"carpals", "epiphyses", "soft_tissue", "background"} <= set(found["region"])
    assert found["n"].max() == 3
    page = (tmp_path / "run/report.html").read_text()
    assert "1 is chance. Hollow" in page
    assert "carpals in the stage child" in (tmp_path / "run/gradcam/claims.txt").read_text()
    record = read_checkpoint(tmp_path / "run/checkpoints/best.ckpt")["boneage"]
    assert metrics["reference"] == record["reference"] == reference_study()
    assert "published" not in page, "next to synthetic radiographs"
    assert not any(name.startswith("reference") for name in metrics["options"])


def test_regions_are_checked_before_training(with_maps, tmp_path):
    wrong = tmp_path / "boxes.csv"
    wrong.write_text("id,region\n100003,MCP\n")
    with pytest.raises(UserError, match="lacks the column xmin"):
        train(with_maps("callbacks=gradcam_localisation", f"data.hold_out={wrong}"))
    wrong.write_text("id,region,xmin,ymin,xmax,ymax,image_width,image_height\nx,MCP,1,1,2,2,9,9\n")
    with pytest.raises(UserError, match=r"data\.hold_out=.*1 id, none of them among"):
        train(with_maps("callbacks=gradcam_localisation", f"data.hold_out={wrong}", run="other"))
    words = ("callbacks=gradcam_localisation", f"callbacks.localisation.boxes={wrong}")
    with pytest.raises(UserError, match=r"none of the .* test radiographs has a region"):
        train(with_maps(*words, run="third"))
    assert not (tmp_path / "run/checkpoints").exists()


def test_representative_cases():
    table = predictions(200).assign(id=range(200))
    cases = representative_cases(table, Stages(), cases=3, per_band=2)
    error = (table["age_years_predicted"] - table["age_years"]).abs()
    assert list(cases["id"][cases["kind"] == "worst"]) == list(error.nlargest(3).index)
    assert list(cases["id"][cases["kind"] == "best"]) == list(error.nsmallest(3).index)
    order = error.sort_values(ascending=False).index
    assert list(cases["id"][cases["kind"] == "median"]) == list(order[99:102])  # of 200
    others = [
        i
        for i in order
        if i not in set(cases["id"][cases["kind"].isin(["worst", "median", "best"])])
    ]
    oldest = [i for i in others if table["age_years"][i] >= 17]
    middle = len(oldest) // 2
    assert list(cases["id"][cases["kind"] == "17+ years"]) == oldest[middle - 1 : middle + 1]
    assert not cases["id"].duplicated().any()
    few = representative_cases(table.head(4), Stages(), cases=3, per_band=2)
    assert list(few["kind"]) == ["worst", "worst", "worst", "median"]  # each once
    first, second = captions(cases.head(1))[0].split("\n")
    assert first.startswith("worst: ")
    assert second.startswith("predicted ")
    assert second.endswith("%)")
    below_zero = cases.head(1).assign(age_years_predicted=-0.01)
    assert "predicted 0.0 y" in captions(below_zero)[0]


def test_a_task_without_errors_has_no_worst_radiographs():
    table = predictions(200).assign(id=range(200))
    table = table[["id", "sex", "age_years"]].assign(male_probability=0.5)
    cases = representative_cases(table, Stages(), cases=3, per_band=2)
    assert set(cases["kind"]) == {f"{band} years" for band in BANDS.names}
    assert (cases["kind"].value_counts() == 2).all()
