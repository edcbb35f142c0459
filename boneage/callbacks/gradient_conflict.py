"""Whether tasks pull the shared layers in different directions."""

from itertools import combinations
from typing import cast

import lightning as L
import torch
from pydantic import PositiveInt
from torch import Tensor
from typing_extensions import override

from boneage.models.module import BoneAgeModule


class GradientConflict(L.Callback):
    """Log the cosine between the gradients of each pair of tasks on the backbone's weights.

    -1 is opposite, 0 unrelated, 1 the same direction (Yu et al. 2020, arXiv:2001.06782). Each
    measurement costs one backward pass per task. The history has the mean of each epoch.

    Args:
        every_n_steps: training steps between two measurements.
    """

    def __init__(self, every_n_steps: PositiveInt = 50) -> None:
        self.every_n_steps = every_n_steps

    @override
    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        model = cast(BoneAgeModule, pl_module)
        if len(model.tasks) < 2 or trainer.global_step % self.every_n_steps:
            return
        shared = [weight for weight in model.backbone.parameters() if weight.requires_grad]
        gradients = {name: _flat(own, shared) for name, own in model.losses.items()}
        cosines = {
            f"gradients/cosine_{a}_{b}": float(
                torch.cosine_similarity(gradients[a], gradients[b], dim=0)
            )
            for a, b in combinations(gradients, 2)
        }
        model.log_dict(cosines, on_epoch=True, logger=False, batch_size=1, sync_dist=True)
        for logger in trainer.loggers:  # `log_dict` would write at the steps of log_every_n_steps
            logger.log_metrics(cosines, trainer.global_step)


def _flat(loss: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    """Return the gradient of a loss as one vector; the graph stays for the training step."""
    parts = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
