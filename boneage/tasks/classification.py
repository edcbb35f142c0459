"""Maturity stage as one of K classes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from boneage.data.dataset import Batch
from boneage.errors import UserError, plural
from boneage.evaluation.metric_set import MetricSet
from boneage.evaluation.metrics import stage_probability_metrics
from boneage.stages import PROBABILITY, ROUNDING_YEARS, Stages
from boneage.tasks.base import MLPHead, Share, Task, Weight


class StageClassification(Task):
    """Predict the maturity stage with a cross-entropy over K stages.

    Args:
        in_features: width of the features.
        stages: the stages.
        hidden: widths of the head's hidden layers, see `MLPHead`.
        dropout: dropout after each hidden layer.
        balance: exponent of the class weights, (n / (K n_k)) ** balance, scaled to a mean of one
            over the training radiographs: 0 is off (the reference study), 1 is inverse frequency.
        focal: exponent of the focal loss, (1 - p) ** focal (Lin 2017): 0 is off.
        weight: share of the total loss.
    """

    unit = "probability"
    class_weight: Tensor
    edges: Tensor

    def __init__(
        self,
        in_features: int,
        stages: Stages,
        hidden: Sequence[PositiveInt] = (),
        dropout: Sequence[Share] = (),
        balance: NonNegativeFloat = 0.0,
        focal: NonNegativeFloat = 0.0,
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(weight)
        self.stages = stages
        self.balance = balance
        self.focal = focal
        self.head = MLPHead(in_features, self.outputs, hidden, dropout)
        self.register_buffer("class_weight", torch.ones(len(stages)))
        self.register_buffer("edges", torch.tensor(stages.edges))

    @property
    def outputs(self) -> int:
        """Width of the head's output."""
        return len(self.stages)

    def fit(self, table: pd.DataFrame) -> None:
        """Store the edges of the stages, and class weights from the training stages.

        Raises:
            UserError: when all are of one stage, or `balance` is set and a stage is empty.
        """
        counts = np.bincount(
            self.stages.index_of(table["age_years"].to_numpy()), minlength=len(self.stages)
        )
        if counts.max() == len(table):
            raise UserError(
                f"the training fold has {plural(len(table), 'radiograph')} of one stage, "
                f"{self.stages.names[counts.argmax()]}: there is nothing to classify; change "
                "stages.edges, or use task=regression"
            )
        self.edges.copy_(torch.tensor(self.stages.edges))
        self.class_weight.fill_(1)
        if self.balance == 0:
            return
        if absent := [n for n, count in zip(self.stages.names, counts, strict=True) if count == 0]:
            raise UserError(
                f"the training fold has no example of {', '.join(absent)}, so its class weight is "
                "undefined: set tasks.stage.balance=0, change the stages, or use another split"
            )
        weight = (counts.sum() / (len(counts) * counts)) ** self.balance
        self.class_weight.copy_(torch.from_numpy(weight * counts.sum() / (weight @ counts)))

    def encode(self, batch: Batch) -> Tensor:
        """Return (B,) stage indices."""
        return torch.bucketize(batch["age_months"] / 12, self.edges - ROUNDING_YEARS, right=True)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean over the batch of the weighted cross-entropy.

        The sum is divided by the batch size, not by the sum of weights, so that a rare class has
        the same weight in a batch that contains only that class.
        """
        nll = self.negative_log_likelihood(output, target)
        missed = 1 - torch.exp(-nll)  # probability of the other stages
        missed = missed.clamp_min(torch.finfo(missed.dtype).tiny)  # 0 ** 0.5 has no finite gradient
        return (self.class_weight[target] * missed**self.focal * nll).mean()

    def negative_log_likelihood(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the (B,) negative log likelihood of the true stage."""
        return F.cross_entropy(output.float(), target, reduction="none")

    def decode(self, output: Tensor) -> Tensor:
        """Return (B, K) probabilities."""
        return output.float().softmax(dim=1)

    def score(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Return (B,) raw outputs of (B,) stages; None is the predicted stage."""
        if target is None:
            target = output.argmax(dim=1)
        return output.gather(1, target[:, None])[:, 0]

    def metrics(self) -> MetricSet:
        return stage_probability_metrics(self.stages.names)

    def columns(self, prediction: Tensor) -> dict[str, Tensor | list[str]]:
        names = self.stages.names
        return {
            "stage_predicted": [names[k] for k in prediction.argmax(dim=1).tolist()],
            **{PROBABILITY + n: prediction[:, k] for k, n in enumerate(names)},
        }
