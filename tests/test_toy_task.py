"""A third task: one class and one YAML file, with nothing else touched."""

import json

import pandas as pd
import torch
from conftest import PROJECT, TINY
from hydra import compose, initialize_config_dir
from torch import nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAccuracy

from boneage.run.experiment import train
from boneage.tasks.base import Task

YAML = """
# @package _global_
name: adultness
monitor: val/toy/accuracy
mode: max
tasks:
  toy:
    _target_: test_toy_task.AboveMedian
    _partial_: true
"""


class AboveMedian(Task):
    """Is the bone age above the training median?"""

    def __init__(self, in_features: int):
        super().__init__()
        self.head = nn.Linear(in_features, 1)
        self.register_buffer("median", torch.tensor(0.0))

    def fit(self, table):
        self.median.fill_(table["age_years"].median())

    def encode(self, batch):
        return (batch["age_months"] / 12 > self.median).float()

    def loss(self, output, target):
        return F.binary_cross_entropy_with_logits(output.squeeze(1), target)

    def decode(self, output):
        return output.squeeze(1).sigmoid()

    def metrics(self):
        return MetricCollection({"accuracy": BinaryAccuracy()})

    def columns(self, prediction):
        return {"above_median": prediction}


def test_toy_task(phantom_root, tmp_path):
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/toy.yaml").write_text(YAML)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose(
            "train",
            overrides=[
                *(option for option in TINY if "grad_cam" not in option),
                f"hydra.searchpath=[file://{tmp_path}/conf]",
                "task=toy",
                "data=rsna",
                f"data.root={phantom_root}",
                f"run_dir={run_dir}",
            ],
        )
    metrics = train(cfg)
    assert set(metrics["test"]) == {"toy/accuracy"}
    table = pd.read_csv(run_dir / "predictions.csv")
    truth = table["age_years"] > _training_median(phantom_root, run_dir)
    accuracy = ((table["above_median"] > 0.5) == truth).mean()
    result = json.loads((run_dir / "metrics.json").read_text())["test"]["toy/accuracy"]
    assert result == {"value": accuracy, "low": None, "high": None, "n": len(table)}
    assert (run_dir / "checkpoints/best.ckpt").is_file()
    assert (run_dir / "gradcam/toy_test.png").is_file()


def _training_median(root, run_dir):
    ages = pd.read_csv(root / "boneage-training-dataset.csv").set_index("id")["boneage"] / 12
    split = pd.read_csv(run_dir / "split.csv").set_index("id")["fold"]
    return ages[split[split == "train"].index].median()
