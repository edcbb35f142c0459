"""Tasks: units and losses against hand computations, metrics against torchmetrics."""

import math
import pickle

import pandas as pd
import pytest
import torch
import yaml
from helpers import PROJECT
from hydra.utils import instantiate
from torch import nn
from torchmetrics.functional import classification, regression

from boneage.errors import UserError
from boneage.models.module import Scores
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
    assert age.constant(pd.DataFrame({"age_years": [2.0, 4.0, 12.0]})) == 6


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


def logged(task, true, predicted):
    """Return what is logged of batches of true values and predictions."""
    scores = Scores(task.metrics)
    for _ in range(2):  # the second epoch has forgotten the first
        scores.reset()
        for k in range(0, len(true), 7):
            scores.update(predicted[k : k + 7], true[k : k + 7])
    assert not scores.state_dict()  # checkpoints hold none of it
    pickle.loads(pickle.dumps(scores))  # for processes that are spawned
    return scores.compute()


def test_age_is_logged_as_torchmetrics_scores_it(age):
    true = torch.rand(40, generator=torch.Generator().manual_seed(0)) * 19
    predicted = true + torch.randn(40, generator=torch.Generator().manual_seed(1))
    mae = regression.mean_absolute_error(predicted, true).item()
    expected = {
        "mae_years": mae,
        "mae_months": 12 * mae,
        "rmse_years": regression.mean_squared_error(predicted, true, squared=False).item(),
        "r2": regression.r2_score(predicted, true).item(),
    }
    assert logged(age, true, predicted) == pytest.approx(expected, rel=1e-5)


def test_r2_of_one_radiograph_is_undefined(age):
    assert math.isnan(logged(age, torch.tensor([3.0]), torch.tensor([4.0]))["r2"])


def test_stages_are_logged_as_torchmetrics_scores_them():
    true = torch.arange(40) % 3
    probability = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    pair = probability, true, 3
    recall = classification.multiclass_recall(*pair, average=None).tolist()
    expected = {
        "accuracy": classification.multiclass_accuracy(*pair, average="micro").item(),
        "balanced_accuracy": classification.multiclass_accuracy(*pair).item(),
        "kappa": classification.multiclass_cohen_kappa(*pair, weights="quadratic").item(),
        **{f"recall_{n}": recall[k] for k, n in enumerate(Stages().names)},
    }
    assert logged(stage_task(0), true, probability) == pytest.approx(expected, rel=1e-5)


def test_the_recall_of_an_absent_stage_is_undefined():
    probability = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7], [0.0, 0.9, 0.1]])
    values = logged(stage_task(0), torch.tensor([0, 0, 1]), probability)
    assert math.isnan(values["recall_adult"])
    assert values["balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)


@pytest.mark.parametrize(
    "ages", [[3.0], [3.0] * 2, [1 / 12] * 10]
)  # the latter have a deviation of 1e-17
def test_equal_ages_cannot_be_standardised(ages):
    with pytest.raises(UserError, match=r"has \d+ radiographs? of one bone age: there is nothing"):
        AgeRegression(in_features=1, loss=nn.L1Loss()).fit(pd.DataFrame({"age_years": ages}))


TRAINING = pd.DataFrame({"age_years": [5.0] * 2 + [12.0] * 6 + [18.0] * 1})


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_one_stage_alone_is_nothing_to_classify(balance):
    with pytest.raises(UserError, match="has 3 radiographs of one stage, child: there"):
        stage_task(balance).fit(pd.DataFrame({"age_years": [1.0, 2.0, 9.9]}))


def stage_task(balance):
    task = StageClassification(in_features=3, stages=Stages(), balance=balance)
    task.fit(TRAINING)
    return task


def test_stage_edges():
    ages = months(0, 119, 120, 215, 216, 228)
    assert stage_task(0).encode(ages).tolist() == [0, 0, 1, 1, 2, 2]


def test_an_age_on_an_edge_is_of_the_older_stage_in_single_precision_too():
    for edge in (tenths / 10 for tenths in range(10, 250)):
        task = StageClassification(in_features=1, stages=Stages(["young", "old"], [edge]))
        assert task.encode(months(12 * edge, 12 * edge - 0.1)).tolist() == [1, 0]


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


def test_a_trained_stage_head_gets_the_edges_and_weights_of_its_new_training():
    task = StageClassification(in_features=3, stages=Stages(["a", "b", "c"], [6, 12]))
    task.load_state_dict(stage_task(1).state_dict())
    task.refit(TRAINING)
    assert task.encode(months(71, 72, 144)).tolist() == [0, 1, 2]
    assert task.class_weight.tolist() == [1, 1, 1]


def test_a_class_without_example_has_no_weight():
    task = StageClassification(in_features=3, stages=Stages(), balance=1.0)
    with pytest.raises(UserError, match=r"no example of adult.*balance=0"):
        task.fit(TRAINING[:8])


def test_stage_columns():
    task = stage_task(0)
    probability = task.decode(torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 3.0, 0], [0, 0, 1.0]]))
    columns = task.columns(probability)
    assert task.score(torch.tensor([[0.5, 2.0, 1.0]])).item() == 2  # of the predicted stage
    assert columns["stage_predicted"] == ["child", "adolescent", "adolescent", "adult"]
    first = [columns[f"stage_probability_{name}"][0].item() for name in Stages().names]
    e = math.e**2
    assert first == pytest.approx([e / (e + 2), 1 / (e + 2), 1 / (e + 2)])
    assert columns["stage_probability_adult"][3].item() == pytest.approx(math.e / (math.e + 2))
