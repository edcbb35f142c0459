"""The sex of the patient as a second input, next to the radiograph."""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from boneage.data.tables.sexes import SEXES
from boneage.tasks.base import Share


class SexInput(nn.Module):
    """Join (B,) sexes, indices into `SEXES`, to (B, F) features: (B, F + out_features)."""

    out_features: int


class NoSex(SexInput):
    """Use the radiograph only."""

    out_features = 0

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        return features


class SexEmbedding(SexInput):
    """A learned embedding of female, male or unknown, joined to the image features.

    In training, the sex is set to unknown at random, so that the model also works without it.

    Args:
        dim: width of the embedding.
        drop: share of the training radiographs whose sex is hidden.
    """

    def __init__(self, dim: PositiveInt = 16, drop: Share = 0.1) -> None:
        super().__init__()
        self.out_features = dim
        self.drop = drop
        self.embedding = nn.Embedding(len(SEXES), dim)

    def forward(self, features: Tensor, sex: Tensor) -> Tensor:
        if self.training:
            hidden = torch.rand(sex.shape, device=sex.device) < self.drop
            sex = sex.masked_fill(hidden, SEXES.index("unknown"))
        return torch.cat([features, self.embedding(sex)], dim=1)
