"""Options of a command that its run would not use."""

import inspect
import logging
import re
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from boneage.errors import UserError, join_first
from boneage.options import find
from boneage.tasks.base import Task

log = logging.getLogger(__name__)
OF_THE_DRAW = ("fold", "folds", "split_seed")  # of the split that a split file replaces


def check_unused(cfg: DictConfig, config: dict[Any, Any]) -> None:
    """Check that the run uses what the command sets: a sweep over the rest is one run many times.

    Args:
        cfg: the config.
        config: the same as plain containers, with references resolved.

    Raises:
        UserError: for options of the split with a split file, and soft targets without a task that
            learns from them.
    """
    _check_split(OmegaConf.to_container(cfg.data), config["data"])
    if config["train"]:
        tasks = {name: node for name, node in config["tasks"].items() if "_target_" in node}
        if config["data"].get("soft_targets"):
            _require_student(tasks)
        else:
            _warn_of_soft_weights(tasks)


def _check_split(written: Any, data: dict[str, Any]) -> None:  # noqa: ANN401 - plain containers
    """Raise UserError for options that a split file replaces, unless its name refers to them."""
    file = data.get("split_file")
    if not file:
        return
    unused = set(OF_THE_DRAW)
    if data.get("train_films", "all") != "all":
        unused.remove("split_seed")  # it draws them
    for name in sorted(unused & {*data}):
        row = find(f"data.{name}")
        assert row is not None
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
        if "soft_weight" in task:
            default = inspect.signature(get_object(task["_target_"])).parameters["soft_weight"]
            if task["soft_weight"] != default.default:
                text = "tasks.%s.soft_weight=%s has no effect without data.soft_targets="
                log.warning(text, name, task["soft_weight"])
