"""The head: from features to a task's raw output."""

from collections.abc import Sequence

from torch import nn

from boneage.errors import UserError


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
