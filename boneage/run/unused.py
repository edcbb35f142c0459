"""Refuse, or warn of, options that a run does not use."""

import inspect
import logging
import re
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from boneage.data.split_choice import not_drawn
from boneage.errors import UserError, join_first
from boneage.options import find
from boneage.run.options import given_options
from boneage.tasks.base import Task

log = logging.getLogger(__name__)


def check_unused(cfg: DictConfig, config: dict[Any, Any]) -> None:
    """Check that the run uses what the command sets: a sweep over the rest is one run many times.

    Args:
        cfg: the config.
        config: the same as plain containers, with references resolved.

    Raises:
        UserError: for options of the split with a split file, tasks that all have the weight 0, and
            soft targets without a task that learns from them.
    """
    _check_split(OmegaConf.to_container(cfg.data), config["data"])
    _warn_of_inherited(cfg)
    if config["train"]:
        tasks = {name: node for name, node in config["tasks"].items() if "_target_" in node}
        if all(task.get("weight") == 0 for task in tasks.values()):
            weights = ", ".join(f"tasks.{name}.weight=0" for name in tasks)
            raise UserError(f"{weights}: nothing would be learned; set a weight above 0")
        if config["data"].get("soft_targets"):
            _require_student(tasks)
        else:
            _warn_of_soft_weights(tasks)


def _check_split(written: Any, data: dict[str, Any]) -> None:  # noqa: ANN401 - plain containers
    """Raise UserError for options that a split file replaces, unless its name refers to them."""
    file = data.get("split_file")
    if not file:
        return
    for option in sorted(not_drawn(data.get("train_films", "all"))):
        row, name = find(option), option.removeprefix("data.")
        assert row is not None
        if name not in data:
            continue
        referred = re.search(rf"\$\{{[^}}]*\b{name}\}}", str(written["split_file"]))
        if data[name] != row.default and not referred:
            raise UserError(
                f"data.{name}={data[name]} has no effect with data.split_file={file}, which names "
                f"the fold of every radiograph: leave it out (data.{name}={row.default}), or leave "
                "out the split file; for several folds give several files, one for each"
            )


def _require_student(tasks: dict[str, Any]) -> None:
    """Raise UserError if no task learns from a teacher's ages."""
    classes = [get_object(task["_target_"]) for task in tasks.values()]
    own = [getattr(each, "training_target", None) for each in classes]
    if all(target is Task.training_target for target in own):
        raise UserError(
            f"data.soft_targets has no effect on the task {join_first(list(tasks))}: only the age "
            "is learned from a teacher; leave it out, or choose a task with the age "
            "(task=regression, task=multitask)"
        )


def _warn_of_soft_weights(tasks: dict[str, Any]) -> None:
    """Warn of a share of the teacher's age that is set without a teacher."""
    for name, task in tasks.items():
        row = find(f"tasks.{name}.soft_weight")
        assert row is not None
        if task.get("soft_weight", row.default) != row.default:
            text = "tasks.%s.soft_weight=%s has no effect without data.soft_targets="
            log.warning(text, name, task["soft_weight"])


def _warn_of_inherited(cfg: DictConfig) -> None:
    """Warn if a class that the command names gets options of the choice that it replaces."""
    given = given_options()
    named = [name.removesuffix("._target_") for name in given if name.endswith("._target_")]
    for path in named:
        if path.startswith("hydra."):
            continue  # the config of a run lacks it
        chosen = OmegaConf.select(cfg, path)  # also of a list: augment.transforms.0
        node: Any = OmegaConf.to_container(chosen, resolve=True)
        parameters = inspect.signature(get_object(node["_target_"])).parameters
        others = [
            f"{path}.{key}={value} (its default is {parameters[key].default})"
            for key, value in node.items()
            if key in parameters
            and f"{path}.{key}" not in given
            and parameters[key].default not in (value, inspect.Parameter.empty)
        ]
        if others:
            log.warning(
                "%s gets options of the choice that it replaces: %s; set them, or leave them out "
                "with ~ before the name", node["_target_"], join_first(others),
            )  # fmt: skip
