"""Bone age in years as one number."""

from collections.abc import Sequence

import pandas as pd
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from boneage.data.dataset import Batch
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.errors import UserError, plural, require_call
from boneage.evaluation.metric_set import MetricSet
from boneage.evaluation.metrics import AGE
from boneage.tasks.base import MLPHead, Share, Task, Weight


class AgeRegression(Task):
    """Predict bone age; the head predicts ages standardised by the training fold.

    A head that was trained before keeps the mean and standard deviation of its first training.

    Args:
        in_features: width of the features.
        loss: module from outputs and targets, (B,) standardised ages, to one scalar.
        hidden: widths of the head's hidden layers, see `MLPHead`.
        dropout: dropout after each hidden layer.
        weight: share of the total loss.
        soft_weight: share of the teacher's age in the training target, if `data.soft_targets` has
            one; the rest is the reading (distillation: Hinton et al. 2015, arXiv:1503.02531).
    """

    outputs = 1  # of the head
    unit = "years"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_features: int,
        loss: nn.Module,
        hidden: Sequence[PositiveInt] = (),
        dropout: Sequence[Share] = (),
        weight: Weight = 1.0,
        soft_weight: Share = 0.5,
    ) -> None:
        if type(self).loss is AgeRegression.loss:  # another may call it otherwise
            require_call("loss", getattr(loss, "forward", loss), "output", "target")
        super().__init__(weight)
        self.soft_weight = soft_weight
        self.head = MLPHead(in_features, self.outputs, hidden, dropout)
        self.criterion = loss
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("std", torch.tensor(1.0))

    def fit(self, table: pd.DataFrame) -> None:
        """Store mean and standard deviation of the training ages in years.

        Raises:
            UserError: when all ages are equal, or there are none.
        """
        ages = table["age_years"]
        if ages.nunique() <= 1:  # their computed deviation may exceed 0
            raise UserError(
                f"the training fold has {plural(len(ages), 'radiograph')} of one bone age: there "
                "is nothing to regress on"
            )
        self.mean.fill_(float(ages.mean()))
        self.std.fill_(float(ages.std(ddof=0)))

    def refit(self, table: pd.DataFrame) -> None:
        """Keep mean and standard deviation: the trained head's output is in their units."""

    def encode(self, batch: Batch) -> Tensor:
        """Return (B,) ages in years."""
        return batch["age_months"] / 12

    def training_target(self, batch: Batch) -> Tensor:
        """Return (B,) ages in years, between the reading and the teacher's."""
        return torch.lerp(batch["age_months"], batch["soft_age_months"], self.soft_weight) / 12

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        error: Tensor = self.criterion(output.squeeze(1).float(), (target - self.mean) / self.std)
        return error

    def decode(self, output: Tensor) -> Tensor:
        """Return (B,) ages in years."""
        return output.squeeze(1).float() * self.std + self.mean

    def score(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Return (B,) ages in years."""
        return self.decode(output)

    def metrics(self) -> MetricSet:
        return AGE

    def constant(self, train: pd.DataFrame) -> float | None:
        """Return the mean age in years."""
        return float(train["age_years"].mean())

    def columns(self, prediction: Tensor) -> dict[str, Tensor | list[str]]:
        return {PREDICTED_AGE: prediction}
