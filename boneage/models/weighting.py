"""How the losses of several tasks become one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """From the losses of the tasks to the total that is minimised.

    Args:
        names: of the tasks; given, like the weights, by keyword.
        weights: share of each task, as its configuration says.
    """

    weights: Tensor

    def __init__(self, names: Sequence[str], weights: Sequence[float]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float), persistent=False)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return one scalar from one scalar per task."""
        return self.total(torch.stack([losses[name] for name in self.names]))

    @abstractmethod
    def total(self, losses: Tensor) -> Tensor:
        """Return one scalar from (K,) losses."""

    def learned(self) -> dict[str, Tensor]:
        """Return the factor of each loss, where it changes in training."""
        factors = self.factors()
        return {} if factors is None else dict(zip(self.names, factors, strict=True))

    def factors(self) -> Tensor | None:
        """Return the (K,) factors of the losses, None where they are fixed."""
        return None


class FixedWeighting(Weighting):
    """The sum of the losses, each times its task's weight."""

    def total(self, losses: Tensor) -> Tensor:
        return (self.weights * losses).sum()


class UncertaintyWeighting(Weighting):
    """Weights learned with the network (Kendall et al., CVPR 2018, arXiv:1705.07115).

    The total is the sum of exp(-s) * weight * loss + s / 2, where s is the logarithm of a task's
    variance, learned. The weight, and the factor of 1/2 that the paper has on losses of regression,
    only shift s.
    """

    def __init__(self, names: Sequence[str], weights: Sequence[float]) -> None:
        super().__init__(names, weights)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def total(self, losses: Tensor) -> Tensor:
        weighted = torch.exp(-self.log_variances) * self.weights * losses
        return ((weighted + self.log_variances / 2) * (losses != 0)).sum()  # 0: no label

    def factors(self) -> Tensor:
        return self.weights * torch.exp(-self.log_variances.detach())


class LossScaleWeighting(Weighting):
    """Each loss divided by its own running mean: at any time, tasks count as their weights say.

    Args:
        names, weights: as of `Weighting`.
        decay: of the running mean, per step; 0 divides by the loss of the step itself.
    """

    means: Tensor

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[float],
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
    ) -> None:
        super().__init__(names, weights)
        self.decay = decay
        self.register_buffer("means", torch.zeros(len(self.names)))  # 0: of no loss yet

    def total(self, losses: Tensor) -> Tensor:
        if self.training:
            now = losses.detach()
            before = torch.where(self.means == 0, now, self.means)
            mean = torch.lerp(now, before, self.decay)
            self.means.copy_(torch.where(now == 0, self.means, mean))  # 0: no label in the batch
        return (self.weights * losses / self._scale()).sum()

    def factors(self) -> Tensor:
        return self.weights / self._scale()

    def _scale(self) -> Tensor:
        return torch.where(self.means == 0, 1.0, self.means).clamp(min=1e-8)
