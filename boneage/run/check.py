"""Check a composed config against its constructors before anything is built."""

import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, get_type_hints

from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from torch import nn

from boneage.errors import UserError, one_line, suggestion
from boneage.evaluation.reference import Reference
from boneage.options import top_level
from boneage.run.options import check_unused

Seed = Annotated[int, Field(ge=0, lt=2**32)]
# others give the weights another type than the images; 32 is a short name of 32-true
Precision = Literal["32-true", 32, "bf16-mixed", "16-mixed"]
TOP_LEVEL = {
    "seed": Seed,
    "train": bool,
    "ckpt_path": str | None,
    "start_from": str | None,
    "resume": Literal["auto"] | None,
    "mirror_test": bool,
    "precision": Precision,
    "compile": bool,
    "report": bool,
    "monitor": str,
    "mode": Literal["min", "max"],
    "name": str,
    "readers_margin": Annotated[float, Field(ge=0, allow_inf_nan=False)],
    "tasks": dict[str, dict[str, Any]],
    "stages": dict[str, Any],
    "callbacks": dict[str, Any],
    "logger": dict[str, Any],
    "reference": Reference | None,
}
STRICTER_FOR = ("torch.", "lightning.", "boneage.callbacks.")  # not for a user's own classes
STRICTER = {  # than these constructors, whose values may fail or mislead later
    "trainer.precision": Precision,
    "trainer.accumulate_grad_batches": PositiveInt,
    "trainer.check_val_every_n_epoch": PositiveInt | None,
    "trainer.val_check_interval": PositiveInt | Annotated[float, Field(gt=0, le=1)] | None,
    "trainer.gradient_clip_val": NonNegativeFloat | None,
    "trainer.log_every_n_steps": NonNegativeInt,
    "trainer.min_epochs": NonNegativeInt | None,
    "trainer.max_time": str | dict[str, int] | None,
    "optimizer.lr": NonNegativeFloat,
    "optimizer.weight_decay": NonNegativeFloat,
    "loss.beta": NonNegativeFloat,
    "loss.delta": PositiveFloat,
    "callbacks.early_stopping.patience": NonNegativeInt,
}
OF_NAMES = {"string_type", "list_type"}  # Pydantic's errors where only names are accepted
MADE_LATER = re.compile(r"tasks\.[^.]+|optimizer|scheduler|weighting")  # _partial_: true
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
    check_unused(cfg, config)
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
        if resolve_name(node["_target_"]) is LearningRateMonitor:
            raise UserError(
                f"callbacks.{name} needs a logger: leave it out too, with ~callbacks.{name}"
            )


def _check_names(cfg: DictConfig, config: dict[Any, Any]) -> None:
    """Raise UserError for an option that neither the code nor another option uses."""
    for key in config:
        if key not in OPTIONS and not _is_used(str(key), cfg):
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


def _is_used(key: str, cfg: DictConfig) -> bool:
    """Tell whether another option refers to this one."""
    references = str(OmegaConf.to_container(cfg, resolve=False))
    return re.search(rf"\$\{{{re.escape(key)}[.}}]", references) is not None


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
    try:
        constructor = resolve_name(target)
        parameters = inspect.signature(constructor).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{path}._target_={target}: {one_line(error)}") from error
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
        numbers = [e["input"] for e in clear if type(e["input"]) in (int, float)]
        if numbers and {e["type"] for e in clear} <= OF_NAMES:
            option, given = where, value
            if isinstance(value, dict):
                option, given = f"{where}.{clear[0]['loc'][0]}", value[clear[0]["loc"][0]]
            text = json.dumps(list(map(str, given)) if isinstance(given, list) else str(given))
            reason = f"{numbers[0]} is a number: as text write '{option}={text}', with all quotes"
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
        where = key[1] if key else what
        raise UserError(f"{where}: {_message_of(cause, where)}") from error
    except (MisconfigurationException, ImportError, TypeError, ValueError) as error:
        raise UserError(f"{what}: {_message_of(error, what)}") from error


def _message_of(error: BaseException, where: str) -> str:
    """Return the message of an error in one line, without Pydantic's link."""
    message = re.sub(r" ?For further information visit \S+", "", one_line(error))
    if isinstance(error, TypeError) and "required positional argument" in message:
        message += "; set it"
        if MADE_LATER.fullmatch(where):
            message += ", or write _partial_: true if the run gives it"
    return message
