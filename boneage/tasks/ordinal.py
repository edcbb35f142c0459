"""Maturity stage as ordered classes."""

from collections.abc import Sequence

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from boneage.stages import Stages
from boneage.tasks.base import Share, Weight
from boneage.tasks.classification import StageClassification

CERTAIN = 1e4  # log odds to be at least of the first, or at most of the last stage
TINY = 1e-37  # near the smallest number in single precision


class OrdinalStages(StageClassification):
    """Predict one maturity, cut into stages at learned thresholds (McCullagh 1980).

    The probability to exceed threshold k is sigmoid(maturity - threshold k): cumulative logits.

    The arguments are those of `StageClassification`.
    """

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
        super().__init__(in_features, stages, hidden, dropout, balance, focal, weight)
        self.first = nn.Parameter(torch.empty(()))
        between = max(0, len(stages) - 2)  # thresholds after the first; `fit` refuses one stage
        self.steps = nn.Parameter(torch.empty(between))  # before softplus
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the thresholds to those before training, as torch does with the weights of layers."""
        nn.init.zeros_(self.first)
        nn.init.ones_(self.steps)

    @property
    def outputs(self) -> int:
        """Width of the head's output: the maturity."""
        return 1

    @property
    def thresholds(self) -> Tensor:
        """(K - 1,) increasing thresholds."""
        return torch.cat([self.first[None], self.first + F.softplus(self.steps).cumsum(0)])

    def decode(self, output: Tensor) -> Tensor:
        """Return (B, K) probabilities."""
        beyond = torch.sigmoid(output.float() - self.thresholds)
        bounds = F.pad(F.pad(beyond, (1, 0), value=1.0), (0, 1), value=0.0)
        return bounds[:, :-1] - bounds[:, 1:]

    def negative_log_likelihood(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the (B,) negative log likelihood of the true stage.

        With a the log odds to exceed the threshold below the stage, and b those above it, the
        likelihood is sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)). Logarithms
        of these factors have a gradient at every maturity, unlike that of a difference of 0.
        """
        a, b = self._log_odds_beyond(output, target)
        apart = -torch.expm1(b - a)
        return -(F.logsigmoid(a) + F.logsigmoid(-b) + apart.clamp_min(1e-7).log())

    def score(self, output: Tensor, target: Tensor | None = None) -> Tensor:
        """Return (B,) log odds of (B,) stages; None is the predicted stage."""
        if target is None:
            target = self.decode(output).argmax(dim=1)
        a, b = self._log_odds_beyond(output, target)
        own = a.sigmoid() * (-b).sigmoid() * (1 - torch.exp(b - a))
        others = (-a).sigmoid() + b.sigmoid()
        return torch.log(own + TINY) - torch.log(others + TINY)

    def _log_odds_beyond(self, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B,) log odds to exceed the thresholds below and above (B,) stages."""
        beyond = output.float() - self.thresholds
        bounds = F.pad(F.pad(beyond, (1, 0), value=CERTAIN), (0, 1), value=-CERTAIN)
        below, above = bounds[:, :-1], bounds[:, 1:]
        return below.gather(1, target[:, None])[:, 0], above.gather(1, target[:, None])[:, 0]
