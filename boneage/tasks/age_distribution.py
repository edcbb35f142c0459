"""Bone age as a distribution over months, whose expectation is the predicted age."""

import logging
from collections.abc import Sequence

import pandas as pd
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from typing_extensions import override

from boneage.errors import plural
from boneage.tasks.base import Share, Weight
from boneage.tasks.regression import AgeRegression

log = logging.getLogger(__name__)


class AgeDistribution(AgeRegression):
    """Predict the probability of every month of bone age (label distribution learning, Geng 2016).

    The target is a normal distribution around the true age, so that neighbouring months are nearly
    right. The loss combines its cross-entropy with the error of the expectation (standardised).
    Other arguments are those of `AgeRegression`.

    Args:
        loss: error of the expectation.
        sigma: standard deviation of the target in months.
        share: share of the cross-entropy in the loss.
    """

    outputs = 240  # months of bone age
    middle: Tensor

    def __init__(
        self,
        in_features: int,
        loss: nn.Module,
        hidden: Sequence[PositiveInt] = (),
        dropout: Sequence[Share] = (),
        sigma: PositiveFloat = 6.0,
        share: Share = 0.2,
        weight: Weight = 1.0,
        soft_weight: Share = 0.5,
    ) -> None:
        super().__init__(in_features, loss, hidden, dropout, weight, soft_weight)
        self.sigma = sigma
        self.share = share
        self.register_buffer("middle", torch.arange(self.outputs) + 0.5)

    @override
    def fit(self, table: pd.DataFrame) -> None:
        super().fit(table)
        if older := int((table["age_years"] > self.outputs / 12).sum()):
            log.warning(
                "%s above %g years, which AgeDistribution cannot predict: AgeRegression can",
                plural(older, "training radiograph"),
                self.outputs / 12,
            )

    def soft_labels(self, age_years: Tensor) -> Tensor:
        """Return the (B, 240) target distributions of (B,) ages in years.

        Near either end both tails are cut at the same distance, so that the mean is the age: that
        of whole months from 1 to 239 exactly, others to half a month.
        """
        months = (12 * age_years[:, None]).clamp(0, self.outputs)
        distance = self.middle - months
        reach = torch.minimum(months, self.outputs - months).clamp(min=1)
        logits = -0.5 * (distance / self.sigma) ** 2
        return logits.masked_fill(distance.abs() > reach, -torch.inf).softmax(dim=1)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        cross_entropy = nn.functional.cross_entropy(output.float(), self.soft_labels(target))
        error: Tensor = self.criterion(self.decode(output) / self.std, target / self.std)
        return self.share * cross_entropy + (1 - self.share) * error

    def decode(self, output: Tensor) -> Tensor:
        """Return (B,) expected ages in years."""
        share = output.float().softmax(dim=1)
        return (share * self.middle).sum(dim=1) / 12  # mixed precision would round a product "@"
