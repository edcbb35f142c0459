"""Focal and ordinal losses, soft labels and mirrored predictions, by hand."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm
from torch import nn

from boneage.errors import UserError
from boneage.run.checkpoint import build_model
from boneage.run.experiment import train
from boneage.stages import Stages
from boneage.tasks.age_distribution import AgeDistribution
from boneage.tasks.classification import StageClassification
from boneage.tasks.ordinal import OrdinalStages

AGES = pd.DataFrame({"age_years": [4.0] * 6 + [12.0] * 3 + [18.5]})


def test_focal_loss_by_hand():
    task = StageClassification(3, Stages(), focal=2.0)
    probabilities = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
    logits, target = torch.tensor(np.log(probabilities)), torch.tensor([0, 2])
    expected = (0.3**2 * -math.log(0.7) + 0.75**2 * -math.log(0.25)) / 2
    assert task.loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("focal", [0.0, 0.5, 1.0])
def test_the_focal_loss_of_a_certain_prediction_has_a_gradient(focal):
    task = StageClassification(3, Stages(), focal=focal)
    logits = torch.tensor([[90.0, 0.0, 0.0], [0.0, 90.0, 0.0]], requires_grad=True)
    task.loss(logits, torch.tensor([0, 1])).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(2, 3))


def test_focal_loss_of_zero_is_the_weighted_cross_entropy():
    task = StageClassification(3, Stages(), balance=1.0)
    task.fit(AGES)
    logits, target = torch.randn(8, 3), torch.arange(8) % 3
    expected = nn.functional.cross_entropy(logits, target, task.class_weight, reduction="none")
    torch.testing.assert_close(task.loss(logits, target), expected.mean())


@pytest.mark.parametrize("k", [2, 3, 5])
def test_ordinal_probabilities_by_hand(k):
    stages = Stages([f"s{i}" for i in range(k)], list(range(1, k)))
    task = OrdinalStages(1, stages)
    thresholds = task.thresholds.detach().numpy()
    assert (np.diff(thresholds) > 0).all()
    output = torch.tensor([[-1.0], [0.5], [3.0]])
    beyond = expit(output.numpy() - thresholds)
    expected = -np.diff(np.hstack([np.ones((3, 1)), beyond, np.zeros((3, 1))]))
    np.testing.assert_allclose(task.decode(output).detach(), expected, atol=1e-6)
    np.testing.assert_allclose(task.decode(output).detach().sum(1), 1, atol=1e-6)


def test_ordinal_loss_by_hand():
    task = OrdinalStages(1, Stages(), balance=1.0)
    task.fit(AGES)  # 6, 3 and 1 of 10
    weight = np.array([10 / 18, 10 / 9, 10 / 3])
    output, target = torch.tensor([[0.2], [1.4]]), torch.tensor([0, 2])
    p = task.decode(output).detach().numpy()
    expected = (weight[0] * -math.log(p[0, 0]) + weight[2] * -math.log(p[1, 2])) / 2
    assert task.loss(output, target).item() == pytest.approx(expected, rel=1e-5)
    focal = OrdinalStages(1, Stages(), focal=2.0)
    expected = (
        (1 - p[0, 0]) ** 2 * -math.log(p[0, 0]) + (1 - p[1, 2]) ** 2 * -math.log(p[1, 2])
    ) / 2
    assert focal.loss(output, target).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("maturity", "stage"), [(40.0, 0), (40.0, 1), (-40.0, 1), (-40.0, 2)])
def test_a_maturity_that_is_far_off_has_a_gradient_towards_its_stage(maturity, stage):
    """The likelihood is below what float32 can subtract: as 1e-7 it had no gradient."""
    task = OrdinalStages(1, Stages())
    output = torch.tensor([[maturity]], requires_grad=True)
    loss = task.negative_log_likelihood(output, torch.tensor([stage]))
    loss.sum().backward()
    probability = task.decode(torch.tensor([[np.sign(maturity) * 8.0]]))[0, stage].item()
    assert loss.item() == pytest.approx(-math.log(probability) + 32, abs=0.01)
    assert output.grad.item() == pytest.approx(np.sign(maturity))


def test_thresholds_that_meet_have_a_finite_loss_with_a_gradient():
    task = OrdinalStages(1, Stages())
    nn.init.constant_(task.steps, -40.0)  # no number of single precision is between them
    output = torch.tensor([[0.5]], requires_grad=True)
    task.loss(output, torch.tensor([1])).backward()
    assert all(weights.grad.isfinite() for weights in (output, task.first, task.steps))
    assert output.grad.item() > 0


@pytest.mark.parametrize("maturity", [-40.0, -5.0, 5.0, 40.0])
def test_the_map_of_a_certain_stage_has_a_gradient(maturity):
    output = torch.tensor([[maturity]], requires_grad=True)
    task = OrdinalStages(1, Stages())
    for stage, slope in ((0, -1.0), (2, 1.0), (None, np.sign(maturity))):
        target = None if stage is None else torch.tensor([stage])
        score = task.score(output, target)
        (gradient,) = torch.autograd.grad(score.sum(), output)
        assert gradient.item() == pytest.approx(slope, abs=1e-4)


def test_ordinal_stages_learn_their_thresholds():
    """From the maturity alone, the thresholds must end where the stages meet."""
    torch.manual_seed(0)
    task = OrdinalStages(1, Stages())
    maturity = torch.rand(600, 1) * 20
    target = torch.bucketize(maturity[:, 0], torch.tensor([10.0, 18.0]), right=True)
    optimizer = torch.optim.Adam([task.first, task.steps], lr=0.2)
    for _ in range(400):
        optimizer.zero_grad()
        task.loss(maturity, target).backward()
        optimizer.step()
    np.testing.assert_allclose(task.thresholds.detach(), [10, 18], atol=0.5)
    assert (task.decode(maturity).argmax(1) == target).float().mean() > 0.98


@pytest.fixture
def distribution():
    task = AgeDistribution(240, nn.L1Loss(), sigma=6.0, share=0.25)
    task.fit(pd.DataFrame({"age_years": [2.0, 4.0, 6.0, 8.0]}))
    return task


def test_soft_labels_are_a_normal_distribution(distribution):
    labels = distribution.soft_labels(torch.tensor([10.0]))[0].numpy()
    months = np.arange(240)
    expected = norm.cdf(months + 1, 120, 6) - norm.cdf(months, 120, 6)
    np.testing.assert_allclose(labels, expected, atol=1e-4)
    assert labels @ (months + 0.5) == pytest.approx(120, abs=0.01)


def test_soft_labels_near_either_end_have_the_age_as_their_mean(distribution):
    """Of a normal distribution that is cut off at one side only, that of 3 months is 6.5."""
    months = torch.cat([torch.linspace(1, 24, 47), torch.linspace(216, 239, 47)])
    labels = distribution.soft_labels(months / 12)
    assert (distribution.decode(labels.log()) * 12 - months).abs().max() <= 0.5  # half a bin
    np.testing.assert_allclose(labels.sum(dim=1), 1, atol=1e-6)
    beyond = distribution.soft_labels(torch.tensor([0.0, 20.0, 25.0]))
    assert beyond.argmax(dim=1).tolist() == [0, 239, 239]


def test_the_expectation_is_the_age(distribution):
    logits = torch.full((1, 240), -torch.inf)
    logits[0, 100] = logits[0, 140] = 0.0  # months 100.5 and 140.5, equally likely
    assert distribution.decode(logits).item() == pytest.approx(120.5 / 12)
    true = distribution.soft_labels(torch.tensor([7.3, 15.0])).log()
    np.testing.assert_allclose(distribution.decode(true), [7.3, 15.0], atol=1e-3)


def test_the_expectation_is_exact_in_mixed_precision(distribution):
    certain = 1000 * torch.eye(240)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        months = 12 * distribution.decode(certain)
    assert months.tolist() == pytest.approx([k + 0.5 for k in range(240)])


def test_ages_above_a_distribution_are_said(distribution, caplog):
    distribution.fit(pd.DataFrame({"age_years": [2.0, 20.0, 20.5, 24.0]}))
    assert "2 training radiographs above 20 years, which AgeDistribution cannot" in caplog.text


def test_the_loss_of_a_distribution_by_hand(distribution):
    logits, target = torch.randn(4, 240), torch.tensor([3.0, 8.0, 12.0, 17.0])
    shares = torch.softmax(logits, 1).numpy()
    labels = distribution.soft_labels(target).numpy()
    cross_entropy = -(labels * np.log(shares)).sum(1).mean()
    error = np.abs(shares @ (np.arange(240) + 0.5) / 12 - target.numpy()).mean() / 5**0.5
    expected = 0.25 * cross_entropy + 0.75 * error
    assert distribution.loss(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_mirrored_predictions_by_hand(configure):
    model = build_model(configure("task=multitask", "mirror_test=true"), record={}).eval()
    image = torch.randint(0, 256, (5, 1, 32, 32), dtype=torch.uint8)
    sex = torch.zeros(5, dtype=torch.int64)
    one, other = model(image, sex), model(image.flip(3), sex)
    found, features = model.predict(image, sex)
    for name, task in model.tasks.items():
        torch.testing.assert_close(
            found[name], (task.decode(one[name]) + task.decode(other[name])) / 2
        )
    assert not torch.allclose(found["age"], model.tasks["age"].decode(one["age"]))
    torch.testing.assert_close(features, model.features(image))  # of the radiograph, not its mirror


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["tasks.age._target_=boneage.tasks.age_distribution.AgeDistribution", "mirror_test=true"],
        ["task=classification", "tasks.stage._target_=boneage.tasks.ordinal.OrdinalStages"],
        ["task=classification", "tasks.stage.focal=2"],
    ],
)
def test_runs_and_their_checkpoints(configure, tmp_path, overrides):
    first = train(configure(*overrides))
    ckpt = tmp_path / "run/checkpoints/best.ckpt"
    task = [word for word in overrides if word.startswith(("task=", "mirror_test="))]
    again = train(configure(*task, "train=false", f"ckpt_path={ckpt}", run="again"))
    assert again["test"] == first["test"]


def test_one_stage_is_refused_in_one_line():
    task = OrdinalStages(1, Stages(["all"], []))
    with pytest.raises(UserError, match="nothing to classify"):
        task.fit(pd.DataFrame({"age_years": [2.0, 9.0]}))
