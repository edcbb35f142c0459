"""The options that matter, under short names, for TensorBoard's HPARAMS."""

from collections.abc import Mapping
from typing import Any

CHOICES = {  # config groups
    "task": "name",
    "backbone": "backbone._target_",
    "sex": "sex._target_",
    "augmentation": "augment._target_",
    "optimizer": "optimizer._target_",
    "schedule": "scheduler._target_",
}
GROUP_OF = {"augmentation": "augment", "schedule": "scheduler"}
VALUES = {
    "size": "data.size",
    "sampler": "data.sampling",
    "loss": "tasks.age.loss",
    "balance": "tasks.stage.balance",
    "learning_rate": "optimizer.lr",
    "batch": "data.batch_size",
    "precision": "precision",
    "seed": "seed",
}


def hyperparameters(options: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Return what a sweep can be sorted by; an option that a task does not have is left out.

    Args:
        options: every option by its dotted name, and the choices of the config groups; a run that
            was started from Python has none of these, and is told by the class it names.
    """
    found: dict[str, bool | int | float | str] = {}
    for name, target in CHOICES.items():
        chosen = options.get(GROUP_OF.get(name, name)) or options.get(target)
        if chosen is not None:
            found[name] = str(chosen).rsplit(".", 1)[-1]
    for name, key in VALUES.items():
        if options.get(key) is not None:
            value = options[key]
            found[name] = value if isinstance(value, bool | int | float) else str(value)
    return found
