"""Check a composed config against its constructors before anything is built."""

import inspect
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import get_object
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from boneage.data.split_choice import not_drawn
from boneage.errors import UserError, join_first, one_line, suggestion
from boneage.options import find, top_level
from boneage.run.option_types import STRICTER, STRICTER_FOR, TOP_LEVEL
from boneage.tasks.base import Task

log = logging.getLogger(__name__)
SET_BY_RUN = {  # options of the trainer
    "callbacks": "those of the group callbacks are used (~callbacks.NAME leaves one out)",
    "logger": "those of the group logger are used (~logger.NAME leaves one out)",
    "default_root_dir": "the folder of a run is hydra.run.dir",
    "enable_model_summary": "callbacks.model_summary is used",
}
OPTIONS = list(dict.fromkeys((*TOP_LEVEL, *top_level())))  # constructors check nested options


def check_config(cfg: DictConfig) -> None:
    """Check that every value is set and has the type of its constructor's parameter.

    Raises:
        UserError: naming the key, the value and the expected type.
    """
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is not set: set it with {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        where = error.full_key or "config"
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, dict)
    for key in ("trainer", "data", *TOP_LEVEL):
        if key not in config:
            raise UserError(f"~{key}: a run cannot do without {key}")
    for key, hint in TOP_LEVEL.items():
        _check_value(key, config[key], hint)
    if not config["tasks"]:
        raise UserError("tasks is empty: there is nothing to learn; choose task=...")
    _check_node("", {**config, "tasks": None})
    _check_node("tasks", config["tasks"])  # whose loss and stages refer to those above
    _check_names(cfg, config)
    _check_files(config["callbacks"])
    _check_loggers(config)
    _check_unused(cfg, config)
    if own := [name for name in SET_BY_RUN if name in config["trainer"]]:
        raise UserError(f"trainer.{own[0]} has no effect, as {SET_BY_RUN[own[0]]}: leave it out")
    if config["trainer"].get("limit_test_batches") == 0:
        raise UserError(
            "trainer.limit_test_batches=0 leaves no radiograph to test: omit it, or set it to a "
            "number of batches"
        )


def _check_files(callbacks: dict[str, Any]) -> None:
    """Raise UserError if two checkpoints are written to one file."""
    names: dict[tuple[str | None, str], str] = {}
    for name, node in callbacks.items():
        if (filename := node.get("filename")) is None:
            continue
        if (other := names.setdefault((node.get("dirpath"), filename), name)) != name:
            raise UserError(
                f"callbacks.{name}.filename={filename} is also the file of callbacks.{other}: "
                "choose another name"
            )


def _check_loggers(config: dict[Any, Any]) -> None:
    """Raise UserError if a training would log its learning rate without a logger."""
    if config["logger"] or not config["train"]:
        return
    for name, node in config["callbacks"].items():
        if get_object(node["_target_"]) is LearningRateMonitor:
            raise UserError(
                f"callbacks.{name} needs a logger: leave it out too, with ~callbacks.{name}"
            )


def _check_names(cfg: DictConfig, config: dict[Any, Any]) -> None:
    """Raise UserError for an option that neither the code nor another option uses."""
    text = OmegaConf.to_yaml(cfg)  # with unresolved references
    for key in config:
        if key not in OPTIONS and not re.search(rf"\$\{{{re.escape(key)}[.}}]", text):
            raise UserError(f"{key}: there is no such option{suggestion(key, OPTIONS)}")
    for group in ("tasks", "callbacks", "logger"):
        nodes = config[group]
        for name, node in nodes.items():
            if not isinstance(node, dict):
                value = "null" if node is None else str(node).lower()
                raise UserError(f"{group}.{name}={value}: leave it out with ~{group}.{name}")
        valid = [name for name, node in nodes.items() if "_target_" in node]
        for name in nodes:
            if name not in valid:
                raise UserError(f"{group}.{name} has no _target_{suggestion(name, valid)}")


def _check_node(path: str, node: Any) -> None:  # noqa: ANN401 - any YAML value
    if isinstance(node, list):
        for index, item in enumerate(node):
            _check_node(f"{path}[{index}]", item)
    if not isinstance(node, dict):
        return
    hints, accepts = _schema(path, str(node["_target_"])) if "_target_" in node else ({}, None)
    for key, value in node.items():
        where = f"{path}.{key}" if path else str(key)
        built = "_target_" in str(value)  # then checked against its own constructor
        if str(key).startswith("_"):
            continue
        if accepts is not None and key not in accepts:
            near = suggestion(key, sorted(accepts)) if accepts else ""
            raise UserError(
                f"{where}: {node['_target_']} has no such option (~{where} leaves it out){near}"
            )
        if key in hints and not built:
            _check_value(where, value, hints[key])
        _check_node(where, value)


def _schema(path: str, target: str) -> tuple[dict[str, Any], set[str] | None]:
    """Return type hints and accepted names (None: any) of a `_target_`."""
    with readable(f"{path}._target_={target}"):
        constructor = get_object(target)
    parameters = inspect.signature(constructor).parameters
    try:
        hints = get_type_hints(
            constructor.__init__ if inspect.isclass(constructor) else constructor,
            include_extras=True,
        )
    except NameError:  # a third party's annotation that only its type checker can resolve
        hints = {}
    if getattr(constructor, "__init__", None) is nn.Module.__init__:
        return {}, set()  # its signature accepts anything, but it does not
    if target.startswith(STRICTER_FOR):
        hints |= {key: STRICTER[f"{path}.{key}"] for key in hints if f"{path}.{key}" in STRICTER}
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return hints, None if accepts_any else set(parameters)


def _check_value(where: str, value: object, hint: Any) -> None:  # noqa: ANN401 - any type hint
    adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    try:
        parsed = adapter.validate_python(value)
    except ValidationError as error:
        clear = [e for e in error.errors() if e["type"] not in ("is_instance_of", "none_required")]
        reason = _reason([e["msg"] for e in clear or error.errors()[-1:]])
        if any(e["type"] == "sequence_str" for e in clear):
            reason = f"write a list: {where}=[{value}]"
        if not clear and inspect.isclass(hint):
            name = where.rpartition(".")[2]
            reason = f"choose an option of the group ({name}=...), or write its _target_"
        raise UserError(f"{where}={value!r} is not valid: {reason}") from error
    if isinstance(value, str) and not isinstance(parsed, str | Path):
        raise UserError(
            f"{where}={value!r} is text: write it without quotes, and an environment variable as "
            "${oc.decode:${oc.env:NAME}}"
        )


def _reason(messages: list[str]) -> str:
    """Return why none of the accepted types fits, as one sentence."""
    start = "Input should be "
    if all(message.startswith(start) for message in messages):
        return start + " or ".join(dict.fromkeys(m.removeprefix(start) for m in messages))
    return messages[-1]


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Raise errors of instantiation from the config as one clear line."""
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from error
        key = re.search(r"full_key: (\S+)", str(error))
        raise UserError(f"{key[1] if key else what}: {_message_of(cause)}") from error
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        raise UserError(f"{what}: {_message_of(error)}") from error


def _message_of(error: BaseException) -> str:
    """Return the message of an error in one line, without Pydantic's link."""
    return re.sub(r" ?For further information visit \S+", "", one_line(error))


def _check_unused(cfg: DictConfig, config: dict[Any, Any]) -> None:
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
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    given = [word.lstrip("+").partition("=")[0] for word in words if not word.startswith("~")]
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
