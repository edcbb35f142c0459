"""Options of a run: its command line, a flat dict to compare runs, and which have no effect."""

import inspect
import logging
import re
import shlex
from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from boneage.errors import UserError, join_first
from boneage.options import TABLE, find, is_recorded

log = logging.getLogger(__name__)


def options(cfg: DictConfig) -> dict[str, Any]:
    """Return every option by its dotted name, and the chosen option of every config group.

    References are not resolved: an option that refers to another (`data.seed: ${seed}`) never
    differs by itself.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    choices: dict[str, Any] = {}
    if HydraConfig.initialized():
        choices = {
            group: chosen
            for group, chosen in HydraConfig.get().runtime.choices.items()
            if is_recorded(group)
        }
    flat = {key: value for key, value in flatten(plain) if is_recorded(key)}
    return dict(sorted((choices | flat).items()))


def differing(
    was: dict[str, Any], now: dict[str, Any], matters: Callable[[str], bool]
) -> dict[str, str]:
    """Return the options that differ between a run and a command, each with the run's value.

    Args:
        was: `options` of the run.
        now: `options` of the command.
        matters: whether an option is compared.

    Returns:
        By the name of the option, what to say of it.
    """
    from boneage.evaluation.metrics_schema import WEIGHTING  # not for --help, as others below

    later = {row.name: row.default for row in TABLE}  # options that older versions did not have
    later |= {f"weighting.{name}": value for name, value in WEIGHTING.items()}
    was = {name: value for name, value in later.items() if name in now} | was
    return {
        name: f"{name} (was {was[name]})" if name in was else name
        for name in was | now
        if matters(name) and was.get(name) != now.get(name)  # None for one of a newer version
    }


def named_reference(cfg: DictConfig) -> dict[str, Any]:
    """Return the reference study of a config under the key `reference`; empty without one."""
    reference = OmegaConf.to_container(cfg.reference) if cfg.reference else None
    return {} if reference is None else {"reference": reference}


def is_sweep() -> bool:
    """Tell whether this run is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def folder_option() -> str:
    """Return the option for another folder of this run, or of its sweep."""
    return "hydra.sweep.dir=" if is_sweep() else "hydra.run.dir="


def given_options() -> list[str]:
    """Return the names of the options that the command line sets; none if started from Python."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [word.lstrip("+").partition("=")[0] for word in words if not word.startswith("~")]


def is_given(option: str) -> bool:
    """Tell whether the command line sets an option; a config from Python counts as it is."""
    return not HydraConfig.initialized() or option in given_options()


def command() -> str | None:
    """Return the command line of this run, without its folder; None if started from Python."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    folders = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    own = [f"--config-dir={folder}" for folder in folders]
    own += [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]
    return shlex.join(["python", "train.py", *own, *hydra.overrides.task])


def flatten(node: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 - any YAML value
    """Return (dotted name, value) of every leaf of plain containers; a list is one value."""
    if not isinstance(node, dict) or not node:
        return [(path, node)]
    return [
        pair
        for key, value in node.items()
        for pair in flatten(value, f"{path}.{key}" if path else str(key))
    ]


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
        _check_soft_targets(tasks, bool(config["data"].get("soft_targets")))


def _check_split(written: Any, data: dict[str, Any]) -> None:  # noqa: ANN401 - plain containers
    """Raise UserError for options that a split file replaces, unless its name refers to them."""
    file = data.get("split_file")
    if not file:
        return
    from boneage.data.split_choice import not_drawn

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


def _check_soft_targets(tasks: dict[str, Any], given: bool) -> None:
    """Raise UserError if no task learns from the given ages; warn of their weight without them."""
    from boneage.tasks.base import Task

    for name, task in tasks.items():
        row = find(f"tasks.{name}.soft_weight")
        assert row is not None
        if not given and task.get("soft_weight", row.default) != row.default:
            text = "tasks.%s.soft_weight=%s has no effect without data.soft_targets="
            log.warning(text, name, task["soft_weight"])
    classes = [resolve_name(task["_target_"]) for task in tasks.values()]
    own = [getattr(each, "training_target", None) for each in classes]
    if given and all(target is Task.training_target for target in own):
        raise UserError(
            f"data.soft_targets has no effect on the task {join_first(list(tasks))}: only the age "
            "is learned from a teacher; leave it out, or choose a task with the age "
            "(task=regression, task=multitask)"
        )


def _warn_of_inherited(cfg: DictConfig) -> None:
    """Warn if a class that the command names gets options of the choice that it replaces."""
    given = given_options()
    for name in given:
        path = name.removesuffix("._target_")
        if path == name or path.startswith("hydra."):  # the config of a run lacks those of Hydra
            continue
        chosen = OmegaConf.select(cfg, path)  # also of a list: augment.transforms.0
        node: Any = OmegaConf.to_container(chosen, resolve=True)
        target = resolve_name(node["_target_"])
        if inspect.isclass(target) and "__init__" not in vars(target):
            continue  # a subclass with the options of the class that it extends
        parameters = inspect.signature(target).parameters
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
