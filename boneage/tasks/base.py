"""The interface of a task, and its usual head."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from boneage.data.dataset import Batch, batch_rows
from boneage.data.tables.columns import label_column
from boneage.errors import FailedRun, UserError
from boneage.evaluation.metric_set import MetricSet

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Task(nn.Module, ABC):
    """A prediction learned from the shared features; a run has a dict of tasks.

    Subclasses take `in_features`, the width of the features, as a keyword argument.

    Attributes:
        head: module from (B, in_features) features to the raw output.
        weight: share of this task in the total loss.
        unit: of a decoded prediction: "years", "probability" or another.
        labels: columns of `data.columns.labels` that it learns from. `fit`, `encode` and `loss`
            only get radiographs that have a value of each, and only these have metrics.
        hides_sex: whether the task predicts the sex, which can then not be an input.
    """

    head: nn.Module
    unit = "units"
    labels: tuple[str, ...] = ()
    hides_sex = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def has_target(self, batch: Batch) -> Tensor | None:
        """Return (B,) bool, the radiographs with a target; None if all have one, always."""
        present = [~batch["labels"][name].isnan() for name in self.labels]
        return torch.stack(present).all(dim=0) if present else None

    def with_target(self, batch: Batch, output: Tensor) -> tuple[Batch, Tensor]:
        """Return the radiographs of a batch that have a target, and their (B, ...) outputs."""
        has_target = self.has_target(batch)
        if has_target is None:
            return batch, output
        rows = has_target.nonzero()[:, 0]  # waits for the device, once
        return batch_rows(batch, rows), output[rows]

    def rows_with_target(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table with a value of each of its labels."""
        return table.dropna(subset=list(map(label_column, self.labels)))

    @abstractmethod
    def fit(self, table: pd.DataFrame) -> None:
        """Store statistics of the training fold (`age_years`, `sex`, `label_...`) in buffers."""

    def refit(self, table: pd.DataFrame) -> None:
        """Fit a trained task to another training fold; decoded predictions stay the same."""
        self.fit(table)

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """Return the target of a batch in natural units."""

    def training_target(self, batch: Batch) -> Tensor:
        """Return the training target in natural units; by default that of `encode`."""
        return self.encode(batch)

    def forward(self, features: Tensor) -> Tensor:
        """Return the raw output for (B, in_features) features."""
        output: Tensor = self.head(features)
        return output

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return one scalar from the raw output and the target in natural units."""

    @abstractmethod
    def decode(self, output: Tensor) -> Tensor:
        """Return the prediction in natural units (years, class probabilities)."""

    def score(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Return the (B,) number to explain by attribution maps.

        By default, the raw output, summed if it has several numbers.

        Args:
            output: the raw output.
            target: (B,) int64, which of several numbers; None is the default.
        """
        return output.flatten(1).sum(dim=1)

    @abstractmethod
    def metrics(self) -> MetricSet:
        """Return the metrics of `decode(output)` against `encode(batch)`, both as arrays."""

    def constant(self, train: pd.DataFrame) -> float | None:
        """Return the best prediction without a radiograph, as a baseline; None if there is none.

        Args:
            train: the training fold (`age_years`, `sex`).
        """
        return None

    @abstractmethod
    def columns(self, prediction: Tensor) -> dict[str, Tensor | list[str]]:
        """Return the columns of `predictions.csv` for decoded predictions."""


def scalar_loss(name: str, task: Task, output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of a task.

    Args:
        name: of the task.
        task: the task.
        output: its raw output.
        target: the target in natural units.

    Raises:
        FailedRun: when it is not a tensor with one number.
    """
    loss = task.loss(output, target)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
        raise FailedRun(
            f"tasks.{name}: the loss is a {type(loss).__name__}{shape}: return a Tensor with one "
            "number, such as the mean over the radiographs"
        )
    return loss


def no_loss(task: Task, output: Tensor) -> Tensor:
    """Return a loss of 0 for a batch of which no radiograph has the task's target.

    It depends, as others do, on all weights: processes wait for these.
    """
    return output.sum() + 0 * sum(weight.sum() for weight in task.parameters())


class MLPHead(nn.Sequential):
    """Fully connected layers with ReLU and dropout, then a linear output.

    Args:
        in_features: width of the features.
        out_features: width of the output.
        hidden: widths of the hidden layers; empty is a linear head.
        dropout: dropout after each hidden layer.

    Raises:
        UserError: when `hidden` and `dropout` differ in length.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (),
        dropout: Sequence[float] = (),
    ) -> None:
        if len(hidden) != len(dropout):
            raise UserError(
                f"head: hidden={list(hidden)} and dropout={list(dropout)} differ in length: "
                "give one dropout per hidden layer"
            )
        layers: list[nn.Module] = []
        width = in_features
        for size, share in zip(hidden, dropout, strict=True):
            layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(share)]
            width = size
        super().__init__(*layers, nn.Linear(width, out_features))
