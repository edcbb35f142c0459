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
    measurement costs one backward pass per task. The history has the mean of each epoch. A batch
    without a gradient of a task, because no radiograph has its label, has no cosine.

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
        cosines = {}
        for a, b in combinations(gradients, 2):
            name, pair = f"gradients/cosine_{a}_{b}", (gradients[a], gradients[b])
            measured = all(bool(gradient.any()) for gradient in pair)
            cosine = float(torch.cosine_similarity(*pair, dim=0))
            # a weight of 0 in the mean: all processes must log it, also without a label
            model.log(name, cosine, on_step=False, on_epoch=True, logger=False,
                batch_size=int(measured), sync_dist=True)  # fmt: skip
            if measured:
                cosines[name] = cosine
        for logger in trainer.loggers:  # `log` would write at the steps of log_every_n_steps
            logger.log_metrics(cosines, trainer.global_step)


def _flat(loss: Tensor, weights: list[torch.nn.Parameter]) -> Tensor:
    """Return the gradient of a loss as one vector; the graph stays for the training step."""
    parts = torch.autograd.grad(loss, weights, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
