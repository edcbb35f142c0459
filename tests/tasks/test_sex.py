"""The sex as a task: unknown sexes count nowhere, and it is no input at the same time."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import L1Loss

from boneage.errors import UserError
from boneage.evaluation.evaluate import evaluate
from boneage.models.inference import predictor
from boneage.run.checkpoint import build_model
from boneage.run.ensemble import _scored as scored_by_columns
from boneage.run.ensemble import ensemble
from boneage.run.experiment import train
from boneage.run.fit import check_targets
from boneage.run.results import _train_labels
from boneage.stages import Stages
from boneage.tasks.base import no_loss
from boneage.tasks.regression import AgeRegression
from boneage.tasks.sex import SexClassification

SEXES = torch.tensor([0, 1, 2, 1])


def results_of(true, predicted):
    """Return the metrics of a table like `predictions.csv`, by indices of the sexes."""
    names = np.array(["female", "male", "unknown"])[true]
    table = pd.DataFrame({"sex": names, "male_probability": predicted, "age_years": 5.0})
    return evaluate(table, Stages(), scored_by_columns(table))


def test_unknown_sexes_have_no_loss():
    task = SexClassification(in_features=3)
    logits = torch.tensor([[0.3], [-1.0], [5.0], [2.0]], requires_grad=True)
    expected = torch.stack(
        [-torch.log(1 - torch.sigmoid(torch.tensor(0.3)))]
        + [-torch.log(torch.sigmoid(torch.tensor(v))) for v in (-1.0, 2.0)]
    ).mean()
    part, output = task.with_target({"sex": SEXES}, logits)
    loss = task.loss(output, task.encode(part))
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert logits.grad[2].item() == 0
    _, none = task.with_target({"sex": torch.tensor([2, 2, 2, 2])}, logits)
    assert no_loss(task, none).item() == 0


def test_auroc_is_that_of_scikit_learn_with_ties_and_without_the_unknown():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 200)
    predicted = rng.normal(true == 1, 1.0).round(1)
    results = results_of(true, predicted)
    known = true < 2
    auroc = results["sex/auroc"]
    assert auroc["value"] == pytest.approx(roc_auc_score(true[known], predicted[known]))
    assert auroc["low"] < auroc["value"] < auroc["high"] <= 1
    assert auroc["n"] == known.sum()


def test_accuracy_and_baseline_are_those_of_known_sexes():
    predicted = np.array([0.45, 0.55, 0.9, 0.3])
    accuracy = results_of(SEXES.numpy(), predicted)["sex/accuracy"]
    assert (accuracy["value"], accuracy["n"]) == (pytest.approx(2 / 3), 3)
    train = pd.DataFrame({"sex": ["male", "male", "female", "unknown", "unknown"]})
    assert SexClassification(3).constant(train) == pytest.approx(2 / 3)  # of five, a girl


def test_the_radiographs_of_a_fold_whose_sex_is_known_are_counted(caplog):
    task = SexClassification(3)
    sexes = ["female"] * 5 + ["unknown"] * 21 + ["male"] * 4
    data = SimpleNamespace(fold_table=lambda fold: pd.DataFrame({"sex": sexes}))
    check_targets(SimpleNamespace(tasks={"sex": task}), data, None)
    (message,) = caplog.messages
    assert message.startswith("tasks.sex: sex is known for 9 of 30 test radiographs: its metrics")
    model = SimpleNamespace(tasks={"age": AgeRegression(3, L1Loss()), "sex": task})
    assert _train_labels(data, model) == {"sex": 9}


def test_a_fold_of_one_sex_cannot_be_learned():
    with pytest.raises(UserError, match="no training radiograph is female"):
        SexClassification(3).fit(pd.DataFrame({"sex": ["male", "unknown"]}))


def test_the_sex_is_not_learned_from_itself(configure):
    with pytest.raises(UserError, match=r"tasks\.sex predicts the sex.*sex=none"):
        train(configure("task=age_sex", "sex=embedding"))


def test_maps_are_measured_in_the_unit_of_the_task(configure):
    model = build_model(configure("task=age_stage_sex"), record={}).eval()
    images, unknown = np.zeros((2, 32, 32), np.uint8), torch.full((2,), 2)
    units = {name: predictor(model, images, unknown, name)[1] for name in model.tasks}
    assert units == {"age": "years", "stage": "probability", "sex": "probability"}


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["fixed", "uncertainty", "loss_scale"])
def test_joint_runs_have_an_interval_for_the_sex_and_their_checkpoints_load(
    configure, tmp_path, weighting
):
    options = ("task=age_stage_sex", f"weighting={weighting}", "data.folds=3")
    metrics = train(configure(*options, "+callbacks.conflict._target_="
        "boneage.callbacks.gradient_conflict.GradientConflict"))  # fmt: skip
    assert {"age/mae_months", "stage/accuracy", "sex/auroc"} <= set(metrics["test"])
    predicted = pd.read_csv(tmp_path / "run/predictions.csv")
    truth = predicted["sex"] == "male"
    by_hand = roc_auc_score(truth, predicted["male_probability"])
    assert metrics["test"]["sex/auroc"]["value"] == pytest.approx(by_hand)
    assert metrics["baselines"]["constant"]["sex/auroc"]["value"] == 0.5
    split = pd.read_csv(tmp_path / "run/split.csv")
    boys = (split["sex"][split["fold"] == "train"] == "male").mean() > 0.5
    constant = metrics["baselines"]["constant"]["sex/accuracy"]["value"]
    assert constant == pytest.approx((truth == boys).mean())
    mean = ensemble([tmp_path / "run"], tmp_path / "mean")
    assert list(mean["test"]) == list(metrics["test"])
    assert mean["test"]["sex/auroc"] == pytest.approx(metrics["test"]["sex/auroc"])
    assert mean["baselines"] == metrics["baselines"]
    groups = [pd.read_csv(tmp_path / f"{name}/subgroups.csv")["metric"] for name in ("run", "mean")]
    assert set(groups[0]) == set(groups[1])
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert ("train/age/weight" in history) == (weighting != "fixed")
    again = train(
        configure(
            *options, "train=false", f"ckpt_path={tmp_path}/run/checkpoints/best.ckpt", run="again"
        )
    )
    assert again["test"] == json.loads((tmp_path / "run/metrics.json").read_text())["test"]
