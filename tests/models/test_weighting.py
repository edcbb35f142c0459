"""One loss of several: fixed, learned by uncertainty, and on one scale."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from boneage.models.weighting import FixedWeighting, LossScaleWeighting, UncertaintyWeighting

NAMES = ("age", "stage")


def losses(age, stage):
    return {"age": torch.tensor(age), "stage": torch.tensor(stage)}


def test_fixed_is_the_weighted_sum():
    assert FixedWeighting(NAMES, (1.0, 0.5))(losses(2.0, 3.0)).item() == 3.5


def test_learned_weights_start_as_the_sum_and_end_at_the_inverse_of_the_losses():
    weighting = UncertaintyWeighting(NAMES, (1.0, 1.0))
    assert weighting(losses(2.0, 3.0)).item() == 5.0
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        weighting(losses(4.0, 0.25)).backward()
        optimizer.step()
    # d/ds (exp(-s) L + s / 2) = 0 where exp(-s) = 1 / (2 L)
    factors = {name: factor.item() for name, factor in weighting.learned().items()}
    assert factors == pytest.approx({"age": 1 / 8, "stage": 2.0}, rel=1e-3)


def test_the_share_of_a_task_scales_its_learned_and_its_running_factor():
    """The factor of a loss is the derivative of the total."""
    for weighting, s in (
        (UncertaintyWeighting(NAMES, (2.0, 0.5)), torch.tensor([0.7, -0.3])),
        (LossScaleWeighting(NAMES, (2.0, 0.5)), torch.tensor([4.0, 0.5]).log()),
    ):
        own = {name: loss.requires_grad_() for name, loss in losses(4.0, 0.5).items()}
        if isinstance(weighting, UncertaintyWeighting):
            weighting.log_variances.data = s
        weighting(own).backward()
        expected = (torch.tensor([2.0, 0.5]) / s.exp()).tolist()
        assert [loss.grad.item() for loss in own.values()] == pytest.approx(expected)
        assert [weighting.learned()[name].item() for name in NAMES] == pytest.approx(expected)


def test_the_half_of_the_paper_only_shifts_the_variance():
    loss, s = torch.tensor(3.0), torch.tensor(0.7)
    paper = torch.exp(-s) * loss / 2 + s / 2
    shifted = s + torch.log(torch.tensor(2.0))
    ours = torch.exp(-shifted) * loss + shifted / 2
    assert (ours - paper).item() == pytest.approx(torch.log(torch.tensor(2.0)).item() / 2)


def test_scaled_losses_count_alike():
    weighting = LossScaleWeighting(NAMES, (1.0, 1.0), decay=0.5)
    for _ in range(20):
        total = weighting(losses(100.0, 0.01))
    assert total.item() == pytest.approx(2.0, rel=1e-3)
    means = weighting.means.clone()
    weighting.eval()
    weighting(losses(1.0, 1.0))
    assert torch.equal(weighting.means, means)  # validation leaves them as they are


def test_running_mean_by_hand():
    weighting = LossScaleWeighting(("age",), (2.0,), decay=0.9)
    weighting({"age": torch.tensor(1.0)})
    total = weighting({"age": torch.tensor(2.0)})
    assert total.item() == pytest.approx(2.0 * 2.0 / (0.9 * 1.0 + 0.1 * 2.0))


def test_a_loss_that_has_vanished_has_a_finite_factor():
    weighting = LossScaleWeighting(("stage",), (1.0,), decay=0.5)
    assert weighting({"stage": torch.tensor(1e-42)}).item() < 1
    assert weighting.learned()["stage"].isfinite()


def test_a_batch_without_labels_does_not_change_the_running_mean():
    """As of the sex, if it is unknown: a loss of 0 is no loss, not a perfect prediction."""
    weighting = LossScaleWeighting(("sex",), (1.0,), decay=0.9)
    for loss in (0.0, 0.5, 0.0):
        weighting({"sex": torch.tensor(loss)})
    assert weighting.means.item() == pytest.approx(0.5)


def test_a_batch_without_labels_does_not_change_the_learned_weight():
    weighting = UncertaintyWeighting(NAMES, (1.0, 1.0))
    weighting(losses(2.0, 0.0)).backward()
    assert weighting.log_variances.grad.tolist() == [-1.5, 0.0]  # 1/2 - loss


def test_a_first_batch_without_labels_does_not_spoil_the_moving_average():
    weighting = LossScaleWeighting(("sex",), (1.0,), decay=0.9)
    average = AveragedModel(weighting, multi_avg_fn=get_ema_multi_avg_fn(), use_buffers=True)
    for loss in (0.0, 0.5, 0.5):
        weighting({"sex": torch.tensor(loss)})
        average.update_parameters(weighting)
    assert average.module.means.isfinite().all()  # checkpoints with other numbers are refused
