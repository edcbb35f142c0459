"""A third task: one class and one YAML file, with nothing else touched."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import PROJECT, TINY
from hydra import compose, initialize_config_dir
from scipy import stats
from torch import nn
from torch.nn import functional as F

from boneage.evaluation import metrics
from boneage.evaluation.comparison.page import write_comparison
from boneage.evaluation.evaluate import Scored, baselines, evaluate
from boneage.evaluation.intervals import with_interval
from boneage.evaluation.metric_set import SHARE, Metric, MetricSet
from boneage.evaluation.metrics import AGE
from boneage.evaluation.report.page import write_report
from boneage.evaluation.run_folder import read_run
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.stages import Stages
from boneage.tasks.base import Task
from boneage.tasks.regression import AgeRegression

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


def right(pairs):
    return ((pairs.predicted > 0.5) == pairs.true).mean(axis=-1)


ACCURACY = Metric(
    "accuracy", "Right halves", "share above or below the median as predicted", right,
    headline=True, bounds=SHARE, share=True, logged=True,
)  # fmt: skip
BRIER = Metric(
    "brier", "Brier score", "mean squared error of the probability",
    lambda pairs: ((pairs.predicted - pairs.true) ** 2).mean(axis=-1), better="lower", bounds=SHARE,
    compared=True, curve=True, logged=True,
)  # fmt: skip


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
        return MetricSet((ACCURACY, BRIER))

    def columns(self, prediction):
        halves = ["older" if above else "younger" for above in (prediction > 0.5).tolist()]
        return {"above_median": prediction, "half": halves, "nearest": halves, "age_group": halves}


@pytest.mark.slow
@pytest.mark.drawn
def test_toy_task(phantom_root, tmp_path, caplog):
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
    tested = train(cfg)
    assert set(tested["test"]) == {"toy/accuracy", "toy/brier"}
    table = pd.read_csv(run_dir / "predictions.csv")
    truth = table["age_years"] > _training_median(phantom_root, run_dir)
    hit = ((table["above_median"] > 0.5) == truth).to_numpy()
    brier = ((table["above_median"] - truth) ** 2).to_numpy()
    found = json.loads((run_dir / "metrics.json").read_text())
    expected = with_interval(lambda x: {"b": x.mean(axis=-1)}, brier)["b"]
    assert found["test"]["toy/brier"] == pytest.approx(expected)
    assert found["test"]["toy/accuracy"] == pytest.approx(_share(hit))
    assert pd.read_csv(run_dir / "history.csv")["val/toy/accuracy"].notna().all()
    groups = pd.read_csv(run_dir / "subgroups.csv").set_index(["band", "sex", "metric"])
    males = groups.loc["all", "male", "toy/accuracy"]
    assert males["value"] == pytest.approx(hit[table["sex"] == "male"].mean())
    assert (run_dir / "checkpoints/best.ckpt").is_file()
    assert (run_dir / "gradcam/toy_test.png").is_file()
    for column in ("half", "nearest", "age_group"):
        assert set(read_run(run_dir).predictions[column]) <= {"older", "younger"}
    with caplog.at_level("WARNING"):
        mean = ensemble([run_dir], tmp_path / "mean")
    assert "toy/accuracy, toy/brier: metrics of a new task are not computed" in caplog.text
    averaged = read_run(tmp_path / "mean").predictions
    np.testing.assert_allclose(averaged["above_median"], table["above_median"], atol=1e-6)
    assert "half" not in averaged
    assert mean["n"]["test"] == len(table)
    _forget()  # another process knows what the folder holds
    page = write_report(run_dir).read_text()
    assert "<th>Right halves</th>" in page
    assert ACCURACY.meaning in page
    write_comparison([run_dir], tmp_path)
    compared = (tmp_path / "comparison.html").read_text()
    assert ">Right halves</th>" in compared
    assert ">Brier score</th>" in compared
    assert metrics.describe("toy/brier").curve


def test_the_metrics_of_a_toy_task_count_patients():
    """Draws are of patients, and an exact interval rests on their number."""
    table = pd.DataFrame({"id": [*"abcdef"], "age_years": 5.0, "patient": [*"xxxyyz"]})
    true, predicted = np.ones(6), np.full(6, 0.9)
    toy = Scored("toy", MetricSet((ACCURACY, BRIER)), true, predicted)
    result = evaluate(table, Stages(), [toy])
    none_wrong_of_3 = stats.binomtest(3, 3).proportion_ci(method="exact").low
    accuracy = {"value": 1, "low": none_wrong_of_3, "high": 1, "n": 6, "patients": 3}
    assert result["toy/accuracy"] == pytest.approx(accuracy)
    broken = replace(toy, predicted=np.full(6, np.nan))
    assert evaluate(table, Stages(), [broken]) == {}


def _share(hit):
    if hit.all() or not hit.any():
        low, high = stats.binomtest(hit.sum(), len(hit)).proportion_ci(method="exact")
        return {"value": hit.mean(), "low": low, "high": high, "n": len(hit)}
    return with_interval(lambda x: {"a": x.mean(axis=-1)}, hit)["a"]


def _forget():
    for name in ("accuracy", "brier"):
        metrics._own.pop(f"toy/{name}")
        assert metrics.describe(f"toy/{name}").label not in ("Right halves", "Brier score")


def _training_median(root, run_dir):
    ages = pd.read_csv(root / "boneage-training-dataset.csv").set_index("id")["boneage"] / 12
    split = pd.read_csv(run_dir / "split.csv").set_index("id")["fold"]
    return ages[split[split == "train"].index].median()


def test_a_metric_added_to_the_age_is_next_to_the_others_and_has_a_baseline():
    within = Metric(
        "within_3_years", "Within 3 years", "", lambda e: (e.absolute <= 3).mean(-1), share=True
    )
    metrics = replace(AGE, metrics=(*AGE.metrics, within))
    true, predicted = np.array([3.0, 8.0, 12.0, 16.0]), np.array([5.0, 8.0, 16.0, 13.5])
    table = pd.DataFrame({"age_years": true, "sex": "male"})
    task = AgeRegression(in_features=1, loss=nn.L1Loss())
    age = Scored("age", metrics, true, predicted, task.constant)
    tested = evaluate(table.assign(age_years_predicted=predicted), Stages(), [age])
    assert tested["age/within_3_years"]["value"] == 0.75
    groups = [name.split("/")[0] for name in tested]
    assert groups == sorted(groups, key=["age", "stage"].index)
    train = pd.DataFrame({"age_years": [8.0, 10.0], "sex": "male"})  # mean 9
    guess = baselines(train, table, Stages(), [age])["constant"]
    assert guess["age/within_3_years"]["value"] == 0.5  # 8 and 12
    assert guess["age/mae_years"]["value"] == (6 + 1 + 3 + 7) / 4
