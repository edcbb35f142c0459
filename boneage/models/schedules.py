"""Learning-rate schedules by optimizer step."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from boneage.errors import UserError
from boneage.tasks.base import Share


def constant(optimizer: Optimizer, total_steps: float) -> LambdaLR:
    """Use a constant learning rate."""
    return LambdaLR(optimizer, lambda step: 1.0)


def warmup_cosine(optimizer: Optimizer, total_steps: float, warmup: Share = 0.05) -> LambdaLR:
    """Rise linearly, then fall to zero along half a cosine (Loshchilov & Hutter 2017).

    Args:
        optimizer: the optimizer.
        total_steps: optimizer steps of the run.
        warmup: share of the steps with a rising rate.

    Raises:
        UserError: if the number of steps is infinite.
    """
    if math.isinf(total_steps):
        raise UserError(
            "scheduler=warmup_cosine needs an end: set trainer.max_steps or trainer.max_epochs, or "
            "choose scheduler=constant"
        )
    rise = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, total_steps - rise)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
