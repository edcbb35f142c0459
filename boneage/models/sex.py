"""The sex of the patient as a second input, next to the radiograph."""

from collections.abc import Iterable

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from boneage.data.tables.sexes import SEXES, UNKNOWN
from boneage.tasks.base import Share


class SexInput(nn.Module):
    """Join (B,) sexes, indices into `SEXES`, to (B, F) features: (B, F + out_features)."""

    out_features: int

    def fit(self, sexes: Iterable[str]) -> None:
        """Learn which of `SEXES` the training radiographs have."""


class NoSex(SexInput):
    """Use the radiograph only."""

    out_features = 0

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        return features


class SexEmbedding(SexInput):
    """A learned embedding of female, male or unknown, joined to the image features.

    In training, the sex is set to unknown at random, so that the model also works without it. A sex
    that no training radiograph has is trained as unknown is, so that both have the same embedding.

    Args:
        dim: width of the embedding.
        drop: share of the training radiographs whose sex is hidden.
    """

    def __init__(self, dim: PositiveInt = 16, drop: Share = 0.1) -> None:
        super().__init__()
        self.out_features = dim
        self.drop = drop
        self.embedding = nn.Embedding(len(SEXES), dim)
        self.unseen: list[int] = []  # sexes of no training radiograph

    @override
    @torch.no_grad()
    def fit(self, sexes: Iterable[str]) -> None:
        self.unseen = [SEXES.index(sex) for sex in SEXES[:UNKNOWN] if sex not in {*sexes}]
        self.embedding.weight[self.unseen] = self.embedding.weight[UNKNOWN].clone()

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        weight = self.embedding.weight
        if self.training:
            hidden = torch.rand(sex.shape, device=sex.device) < self.drop
            sex = sex.masked_fill(hidden, UNKNOWN)
            if self.unseen:  # they get the gradient of unknown, and add 0 to it
                weight, same = weight.clone(), weight[self.unseen]
                weight[UNKNOWN] += (same - same.detach()).sum(dim=0)
        return torch.cat([features, functional.embedding(sex, weight)], dim=1)
