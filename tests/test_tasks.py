"""Tasks: units, losses and metrics against hand computations."""

import math

import pandas as pd
import pytest
import torch
import yaml
from conftest import PROJECT
from hydra.utils import instantiate
from torch import nn

from boneage.errors import UserError
from boneage.stages import Stages
from boneage.tasks.classification import StageClassification
from boneage.tasks.regression import AgeRegression


def months(*ages):
    return {"age_months": torch.tensor(ages, dtype=torch.float32)}


@pytest.fixture
def age():
    task = AgeRegression(in_features=1, loss=nn.MSELoss())
    task.fit(pd.DataFrame({"age_years": [2.0, 4.0, 6.0, 8.0]}))  # mean 5, variance 5
    return task


def test_age_is_learned_in_standard_units_and_told_in_years(age):
    assert age.encode(months(24, 132)).tolist() == [2, 11]
    assert age.decode(torch.tensor([[0.0], [1.0]])).tolist() == pytest.approx([5, 5 + 5**0.5])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", (1.0 + 4.0) / 2),  # residuals 1 and 2 standard units
        ("l1", 1.5),
        ("smooth_l1", (0.95 + 1.95) / 2),
        ("huber", 0.1 * (0.95 + 1.95) / 2),
    ],
)
def test_age_losses_by_hand(age, loss, expected):
    config = yaml.safe_load((PROJECT / f"conf/loss/{loss}.yaml").read_text())
    task = AgeRegression(in_features=1, loss=instantiate(config))
    task.load_state_dict(age.state_dict())
    target = torch.tensor([5.0, 5.0])
    assert task.loss(torch.tensor([[1.0], [-2.0]]), target).item() == pytest.approx(expected)


def test_age_metrics(age):
    metrics = age.metrics()
    metrics.update(torch.tensor([2.0, 2.0, 1.0, 6.0]), torch.tensor([1.0, 2.0, 3.0, 6.0]))
    result = {name: value.item() for name, value in metrics.compute().items()}
    assert result == pytest.approx(
        {"mae_years": 0.75, "mae_months": 9, "rmse_years": 1.25**0.5, "r2": 1 - 5 / 14}
    )


def test_equal_ages_cannot_be_standardised():
    with pytest.raises(UserError, match="same bone age"):
        AgeRegression(in_features=1, loss=nn.L1Loss()).fit(pd.DataFrame({"age_years": [3.0, 3.0]}))


TRAINING = pd.DataFrame({"age_years": [5.0] * 2 + [12.0] * 6 + [18.0] * 1})


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_one_stage_alone_is_nothing_to_classify(balance):
    with pytest.raises(UserError, match="all 3 training radiographs are of the stage child: there"):
        stage_task(balance).fit(pd.DataFrame({"age_years": [1.0, 2.0, 9.9]}))


def stage_task(balance):
    task = StageClassification(in_features=3, stages=Stages(), balance=balance)
    task.fit(TRAINING)
    return task


def test_stage_edges():
    ages = months(0, 119, 120, 215, 216, 228)
    assert stage_task(0).encode(ages).tolist() == [0, 0, 1, 1, 2, 2]


def test_class_weights_by_hand():
    assert stage_task(0).class_weight.tolist() == [1, 1, 1]
    # n / (K n_k) = 9 / (3 * (2, 6, 1)) has mean one over the radiographs already
    assert stage_task(1).class_weight.tolist() == pytest.approx([1.5, 0.5, 3.0])
    roots = [1.5**0.5, 0.5**0.5, 3**0.5]
    mean = (2 * roots[0] + 6 * roots[1] + roots[2]) / 9
    assert stage_task(0.5).class_weight.tolist() == pytest.approx([r / mean for r in roots])


def test_weighted_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0]])
    target = torch.tensor([2, 0])
    # probabilities of the truth: 1/3 and 2/4; weights 3 and 1.5
    expected = (3 * math.log(3) + 1.5 * math.log(2)) / 2
    assert stage_task(1).loss(logits, target).item() == pytest.approx(expected)
    unweighted = (math.log(3) + math.log(2)) / 2
    assert stage_task(0).loss(logits, target).item() == pytest.approx(unweighted)


def test_a_class_without_example_has_no_weight():
    task = StageClassification(in_features=3, stages=Stages(), balance=1.0)
    with pytest.raises(UserError, match=r"no example of adult.*balance=0"):
        task.fit(TRAINING[:8])


def test_stage_metrics_and_columns():
    task = stage_task(0)
    probability = task.decode(torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 3.0, 0], [0, 0, 1.0]]))
    metrics = task.metrics()
    metrics.update(probability, torch.tensor([0, 0, 1, 1]))
    result = {name: value.item() for name, value in metrics.compute().items()}
    assert result["accuracy"] == pytest.approx(2 / 4)
    assert result["recall_child"] == pytest.approx(1 / 2)
    assert result["recall_adolescent"] == pytest.approx(1 / 2)
    columns = task.columns(probability)
    assert columns["stage_predicted"] == ["child", "adolescent", "adolescent", "adult"]
    total = sum(columns[f"stage_probability_{name}"] for name in Stages().names)
    torch.testing.assert_close(total, torch.ones(4))
