"""The sex of the patient as something to learn: an auxiliary task, or a study of its own."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional as F

from boneage.data.dataset import Batch
from boneage.data.tables.sexes import SEXES, UNKNOWN
from boneage.errors import UserError
from boneage.evaluation.metric_set import SHARE, Metric, MetricSet, Pairs
from boneage.tasks.base import MLPHead, Share, Task, Weight

MALE_PROBABILITY = "male_probability"  # column of predictions.csv
MALE = SEXES.index("male")


class SexClassification(Task):
    """Predict whether a hand is a boy's; radiographs of unknown sex have no target.

    Args:
        in_features: width of the features.
        hidden: widths of the head's hidden layers, see `MLPHead`.
        dropout: dropout after each of them.
        weight: share of the total loss.
    """

    unit = "probability"
    hides_sex = True

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[PositiveInt] = (),
        dropout: Sequence[Share] = (),
        weight: Weight = 1.0,
    ) -> None:
        super().__init__(weight)
        self.head = MLPHead(in_features, 1, hidden, dropout)

    def fit(self, table: pd.DataFrame) -> None:
        """Check that there is something to learn.

        Raises:
            UserError: when the training fold lacks girls or boys.
        """
        for sex in SEXES[:UNKNOWN]:
            if not (table["sex"] == sex).any():
                raise UserError(
                    f"no training radiograph is {sex}: the sex cannot be learned; name its column "
                    "with data.columns.sex=, or leave tasks.sex out"
                )

    def has_target(self, batch: Batch) -> Tensor:
        return batch["sex"] != UNKNOWN

    def rows_with_target(self, table: pd.DataFrame) -> pd.DataFrame:
        return table[table["sex"] != SEXES[UNKNOWN]]

    def encode(self, batch: Batch) -> Tensor:
        """Return (B,) indices into `SEXES`."""
        return batch["sex"]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean binary cross-entropy."""
        logits, male = output.squeeze(1).float(), (target == MALE).float()
        return F.binary_cross_entropy_with_logits(logits, male)

    def decode(self, output: Tensor) -> Tensor:
        """Return (B,) probabilities of a boy."""
        return torch.sigmoid(output.squeeze(1).float())

    def metrics(self) -> MetricSet:
        return SEX_METRICS

    def constant(self, train: pd.DataFrame) -> float | None:
        """Return the share of boys."""
        known = train["sex"][train["sex"] != SEXES[UNKNOWN]]
        return float((known == SEXES[MALE]).mean()) if len(known) else None

    def columns(self, prediction: Tensor) -> dict[str, Tensor | list[str]]:
        return {MALE_PROBABILITY: prediction}


def _auroc(pairs: Pairs) -> np.ndarray:
    """Return the probability that a boy has a higher score than a girl (Hanley & McNeil 1982)."""
    male = pairs.true == MALE
    boys, girls = male.sum(axis=-1), (~male).sum(axis=-1)
    ranks = (rankdata(pairs.predicted, axis=-1) * male).sum(axis=-1)
    area: np.ndarray = (ranks - boys * (boys + 1) / 2) / (boys * girls)
    return area


def _accuracy(pairs: Pairs) -> np.ndarray:
    right: np.ndarray = (pairs.predicted > 0.5) == (pairs.true == MALE)
    share: np.ndarray = right.mean(axis=-1)
    return share


SEX_METRICS = MetricSet(
    (
        Metric(
            "auroc", "AUROC of the sex", "a boy is scored higher than a girl", _auroc,
            headline=True, bounds=SHARE, logged=True,
        ),
        Metric(
            "accuracy", "Accuracy of the sex", "at a probability of 0.5", _accuracy,
            headline=True, bounds=SHARE, share=True, logged=True,
        ),
    )
)  # fmt: skip
