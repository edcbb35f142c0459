"""A label that some radiographs lack: they count in nothing of its task, and in all of others."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from boneage.data.dataset import batch_rows
from boneage.errors import UserError
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.methods.text import methods
from boneage.evaluation.metric_set import Metric, MetricSet
from boneage.evaluation.report.page import write_report
from boneage.evaluation.run_folder import read_run
from boneage.models.backbones import Backbone
from boneage.models.module import BoneAgeModule
from boneage.models.sex import NoSex
from boneage.run.experiment import train
from boneage.run.fit import check_targets
from boneage.tasks.base import Task

YAML = """
# @package _global_
name: height
monitor: val/height/mae_cm
mode: min
data: {columns: {labels: [height]}}
tasks:
  height:
    _target_: test_missing_labels.Height
    _partial_: true
"""


class Height(Task):
    """The height in centimetres, which some tables lack for some children."""

    labels = ("height",)

    def __init__(self, in_features: int):
        super().__init__()
        self.head = nn.Linear(in_features, 1)
        self.scale = nn.Parameter(torch.ones(()))  # only used by the loss
        self.register_buffer("mean", torch.tensor(0.0))

    def fit(self, table):
        self.mean.fill_(table["label_height"].to_numpy().mean())  # NaN, if one were NaN

    def encode(self, batch):
        assert batch["labels"]["height"].isfinite().all()
        return batch["labels"]["height"]

    def loss(self, output, target):
        return (self.scale * (self.decode(output) - target).abs()).mean()

    def decode(self, output):
        return output.squeeze(1) + self.mean

    def metrics(self):
        mae = lambda pairs: np.abs(pairs.predicted - pairs.true).mean(axis=-1)  # noqa: E731
        return MetricSet((Metric("mae_cm", "MAE", "", mae, "cm", "lower", True, logged=True),))

    def constant(self, train):
        return float(self.mean)

    def columns(self, prediction):
        return {"height_predicted": prediction}


def batch_of(heights):
    n = len(heights)
    pixels = torch.arange(n * 16, dtype=torch.uint8)
    return {
        "image": pixels.reshape(n, 1, 4, 4), "index": torch.arange(n),
        "sex": torch.zeros(n, dtype=torch.int64), "age_months": torch.linspace(20, 200, n),
        "labels": {"height": torch.tensor(heights)},
    }  # fmt: skip


def loss_and_gradients(batch):
    """Return the loss of a backbone and a head for a batch, and the gradients of all weights."""
    torch.manual_seed(0)
    backbone = Backbone(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), 1, 3, "0")
    model = BoneAgeModule(backbone, NoSex(), {"height": Height}, optimizer=None)
    model.log_dict = lambda *_, **__: None
    loss = model.total_loss(model(batch["image"], batch["sex"]), batch, "val")
    loss.backward()
    return loss, [weight.grad for weight in model.parameters()]


def test_radiographs_without_a_label_do_not_change_loss_or_gradients():
    nan = float("nan")
    batch = batch_of([120.0, nan, 95.5, nan, 101.0])
    rows = torch.tensor([0, 2, 4])
    with_nan, without = (loss_and_gradients(b) for b in (batch, batch_rows(batch, rows)))
    assert with_nan[0].item() == without[0].item() > 0
    for one, other in zip(with_nan[1], without[1], strict=True):
        torch.testing.assert_close(one, other)
        assert one.isfinite().all()
    loss, gradients = loss_and_gradients(batch_of([nan, nan]))  # which processes wait for
    assert loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("numbers", "monitor", "message"),
    [
        ((0, 9, 9), "val/age/mae_months", "height is known for 0 of 30 training radiographs: fill"),
        (
            (9, 0, 9),
            "val/height/mae_cm",
            "height is known for 0 of 30 validation radiographs: fill",
        ),
        ((9, 0, 30), "val/age/mae_months", None),
        ((0, 0, 0), None, None),  # a test at a hospital that does not measure
    ],
)
def test_folds_with_few_labels_are_named(numbers, monitor, message, caplog):
    folds = dict(zip(("train", "val", "test"), numbers, strict=True))
    data = SimpleNamespace(
        fold_table=lambda fold: pd.DataFrame({"label_height": [100.0] * folds[fold]}).reindex(
            range(30)
        )
    )
    model = SimpleNamespace(tasks={"height": Height(1)})
    if message:
        with pytest.raises(UserError, match=message):
            check_targets(model, data, monitor)
        return
    check_targets(model, data, monitor)
    text = "tasks.height: height is known for {} of 30 {} radiographs: {}"
    few = [(9, "training", "it learns from few"), (0, "validation", "no metrics")]
    expected = few if monitor else [(0, "test", "no metrics")]
    assert caplog.messages == [text.format(*each) for each in expected]


@pytest.fixture
def heights(own_root, tmp_path):
    """Write heights of 40 % of the phantom's children into their table; return all heights."""
    file = own_root / "boneage-training-dataset.csv"
    table = pd.read_csv(file)
    own = (80 + table["boneage"] / 2).where(np.arange(len(table)) % 5 < 3)
    table.assign(height=own).to_csv(file, index=False)
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/height.yaml").write_text(YAML)
    return own.set_axis(table["id"].astype(str))


@pytest.mark.slow
def test_a_label_that_two_in_five_children_lack(heights, own_root, tmp_path, configure, caplog):
    options = (f"hydra.searchpath=[file://{tmp_path}/conf]", "task=height", f"data.root={own_root}")
    with caplog.at_level("INFO"):
        found = train(configure(*options, "data.folds=3"))
    assert caplog.text.count("data.columns.labels: height is known for 15 of 24 radiographs") == 1
    run = read_run(tmp_path / "run")
    table = run.predictions.set_index("id")
    true = heights[table.index]
    pd.testing.assert_series_equal(table["label_height"], true, check_names=False)
    n = int(true.notna().sum())
    assert 0 < n < len(table)
    result = found["test"]["height/mae_cm"]
    assert result["value"] == pytest.approx((table["height_predicted"] - true).abs().mean())
    assert result["n"] == n
    assert f"tasks.height: height is known for {n} of {len(table)} test radiographs" in caplog.text
    split = pd.read_csv(tmp_path / "run/split.csv", dtype=str).set_index("id")["fold"]
    known = heights[split.index[split == "train"]]
    assert found["train_labels"] == {"height": known.notna().sum()}
    assert f"{known.notna().sum()} of {len(known)} training radiographs had the" in methods(run)
    mean = known.mean()
    constant = found["baselines"]["constant"]["height/mae_cm"]
    assert (constant["value"], constant["n"]) == (pytest.approx((true - mean).abs().mean()), n)
    assert np.isfinite(pd.read_csv(tmp_path / "run/history.csv")["train/height/loss"]).all()
    groups = pd.read_csv(tmp_path / "run/subgroups.csv").query("metric == 'height/mae_cm'")
    assert groups.query("band != 'all' and sex == 'all'")["n"].sum() == n
    write_report(run.path)
    write_comparison([run.path], tmp_path)
    assert f">{n}<" in (tmp_path / "run/report.html").read_text()
