"""The record of a checkpoint: its schema, and which classes may be built from it."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, Self, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import nn
from torch.nn.modules.loss import _Loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from boneage.data.decode import Preprocessing
from boneage.errors import UserError, first_damage
from boneage.evaluation.metrics_schema import (
    StageNames,
    current_config,
    current_options,
    current_task,
)
from boneage.options import TABLE
from boneage.run.checkpoint_file import IntactCheckpoint
from boneage.stages import BANDS, Stages

RECORD_SCHEMA = 2  # of the record; increased when older versions could not read it correctly
OWN = ("boneage.models.", "boneage.tasks.", "boneage.stages")
SCHEDULE_MODULE = "boneage.models.schedules"  # whose functions return schedulers
TORCH = {"torch.nn": _Loss, "torch.optim": Optimizer, "torch.optim.lr_scheduler": LRScheduler}
BUILDABLE = (nn.Module, Optimizer, LRScheduler)  # what a checkpoint may build of a trusted package
PLAIN_TYPES = (dict, list, tuple, str, int, float, type(None))  # bool is an int
TRUST = "BONEAGE_TRUST"  # environment variable: names of packages, separated by commas
RETIRED = {
    "boneage.models.pretrained.TorchvisionBackbone": "torchvision's networks are now those of timm"
}
CONFIG_KEYS = tuple(row.name for row in TABLE if row.checkpoint)
SPLIT_COLUMNS = ("id", "age_months", "sex", "fold")
Widths = Annotated[list[float | None], Field(min_length=len(BANDS), max_length=len(BANDS))]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Node(_Part):
    target: str = Field(alias="_target_")


class _Config(_Part):
    backbone: _Node
    sex: _Node
    optimizer: _Node
    scheduler: _Node
    weighting: _Node
    tasks: Annotated[dict[str, _Node], Field(min_length=1)]
    stages: StageNames
    mirror_test: bool
    name: str


class _Preprocessing(_Part):
    size: int


class _Radiographs(_Part):
    id: list[str]
    age_months: list[float]
    fold: list[str] | None = None  # older versions did not store that of the starting weights
    patient: list[Any] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        lengths = {len(cells) for _, cells in self if cells is not None}
        if len(lengths) > 1:
            raise ValueError("its columns differ in length")
        return self


class _Split(_Radiographs):
    sex: list[str]
    fold: list[str]


class _Line(_Part):
    offset: float
    slope: float
    middle: float
    low: float
    high: float


class _Site(_Part):
    form: str
    lines: dict[str, _Line]
    half_widths_years: dict[str, Widths]
    ids: list[str] = []


class _Calibration(_Part):
    half_widths_years: dict[str, Widths] = {}
    site: _Site | None = None


class _Record(_Part):
    config: _Config
    options: dict[str, Any]
    config_text: str
    preprocessing: _Preprocessing
    split: _Split
    earlier: _Radiographs | None = None
    calibration: _Calibration = _Calibration()


def checked_record(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any content
    """Return the record of a checkpoint, in the form of this version.

    Raises:
        UserError: if it is not a record of training.
        IntactCheckpoint: if another version wrote it, with another schema or preprocessing.
    """
    if not isinstance(record, dict) or not record:  # empty: of a Trainer of the user's own
        raise UserError("it was not written by this project's training")
    schema = record.get("schema", 1)
    if not isinstance(schema, int) or schema < 1:
        raise UserError(f"its schema is {schema!r}, not an integer from 1")
    if schema > RECORD_SCHEMA:
        raise IntactCheckpoint(
            f"a newer version of boneage wrote it (schema {schema}; this version reads up to "
            f"{RECORD_SCHEMA}): update boneage"
        )
    if isinstance(record.get("config"), dict):
        record = {**record, "config": current_config(record["config"])}
    _require_schema(record)
    options = {field.name for field in fields(Preprocessing)}
    if unknown := [str(key) for key in record["preprocessing"] if key not in options]:
        raise IntactCheckpoint(
            f"its preprocessing has options that this version lacks ({', '.join(unknown)}): update "
            "boneage"
        )
    try:
        preprocessing = Preprocessing(**record["preprocessing"])
    except TypeError as error:
        raise UserError(f"its preprocessing is damaged: {error}") from error
    if not preprocessing.matches_version(record.get("preprocessing_version")):
        raise IntactCheckpoint(
            "it was trained with another version of boneage, which crops hands differently: "
            "train it again with this version"
        )
    if not _is_calibration(record.get("calibration", {}), record["split"]["fold"].count("val")):
        raise UserError("its calibration is damaged")
    current = {name: current_task(task) for name, task in record["config"]["tasks"].items()}
    if record.get("earlier"):
        record["earlier"] = _with_folds(record["earlier"], record["split"])
    return {
        **record,
        "config": record["config"] | {"tasks": current},
        "options": current_options(record["options"]),
    }


def _require_schema(record: dict[str, Any]) -> None:
    """Raise UserError, naming the first key that is missing or of another type."""
    try:
        _Record.model_validate(record)
        Stages(record["config"]["stages"]["names"], record["config"]["stages"]["edges"])
    except ValidationError as error:
        raise UserError(
            f"its record {first_damage(error)}; use another checkpoint of the run"
        ) from error


def _with_folds(earlier: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    """Return the radiographs of the starting weights with folds, which older versions left out.

    Only those of the run's own validation fold are known not to have been trained on.
    """
    fold_of = dict(zip(split["id"], split["fold"], strict=True))
    validated = ["val" if fold_of.get(id_) == "val" else "train" for id_ in earlier["id"]]
    return {"fold": validated} | earlier


def _is_calibration(content: Any, held_out: int) -> bool:  # noqa: ANN401
    """Return whether this is a calibration on `held_out` radiographs, or empty."""
    try:
        predicted = [content[name] for name in content if name.startswith("predicted_years")]
        fits = all(np.asarray(ages, float).shape == (held_out,) for ages in predicted)
        novelty = content.get("novelty")
        return fits and (novelty is None or _is_novelty(novelty))
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _is_novelty(novelty: dict[str, Any]) -> bool:
    """Return whether a novelty, in the current or the older form, is complete."""
    width = len(novelty["mean"])
    if "whiten" in novelty:
        return tuple(novelty["whiten"].shape) == (width, width) and float(novelty["limit"]) > 0
    k = len(novelty["variances"])
    positive = bool((novelty["variances"] > 0).all()) and min(novelty["rest"], novelty["limit"]) > 0
    return tuple(novelty["directions"].shape) == (width, k) and positive


def check_buildable(node: Any) -> None:  # noqa: ANN401 - plain containers
    """Check the config of a checkpoint from an untrusted source.

    Code of another package is imported only if the user names the package in `TRUST`.

    Raises:
        UserError: if it names code that is not a part of a model or was removed from this project,
            or contains text that a config would resolve, or anything but plain containers.
    """
    if not isinstance(node, PLAIN_TYPES):
        raise UserError(
            f"the checkpoint's config contains a {type(node).__name__}, which no training of this "
            "project writes: use another checkpoint"
        )
    if isinstance(node, str) and "${" in node:
        raise UserError(f"the checkpoint contains text that would be resolved: {node}")
    if isinstance(node, dict) and node.get("_target_") in RETIRED:
        raise UserError(
            f"the checkpoint was trained with an older version of boneage ({node['_target_']}): "
            f"{RETIRED[node['_target_']]}; train it again, or use that version"
        )
    if isinstance(node, dict) and "_target_" in node and not _is_part_of_a_model(node["_target_"]):
        raise UserError(f"the checkpoint names code outside this project: {_refusal(node)}")
    children = [*node, *node.values()] if isinstance(node, dict) else node
    for child in children if isinstance(children, list | tuple) else ():
        check_buildable(child)


def _refusal(node: dict[str, Any]) -> str:
    """Return the name of refused code, and what to do if it may be the user's own."""
    target = str(node["_target_"])
    package = target.partition(".")[0]
    if package in _trusted():
        return (
            f"{target} (in {TRUST}, but it cannot be imported, or is not a network, task, loss, "
            "optimizer or scheduler: a class of these, or a function annotated to return one)"
        )
    if package in (*sys.stdlib_module_names, "boneage", "torch"):
        return target
    return f"{target}; if {package} is your own package, or you trust it, set {TRUST}={package}"


def _trusted() -> list[str]:
    return os.environ.get(TRUST, "").replace(",", " ").split()


def _is_part_of_a_model(target: Any) -> bool:  # noqa: ANN401
    """Return whether this names a class of a module for parts of models, or a schedule."""
    module, _, name = str(target).rpartition(".")
    trusted = module.partition(".")[0] in _trusted()
    if not module.startswith(OWN) and module not in TORCH and not trusted:
        return False
    try:
        part = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    if module in TORCH:
        return inspect.isclass(part) and issubclass(part, TORCH[module])
    if not module.startswith(OWN):
        kind = _returned(part) if inspect.isfunction(part) else part
        return inspect.isclass(kind) and issubclass(kind, BUILDABLE)
    kind_fits = inspect.isclass(part) or (module == SCHEDULE_MODULE and inspect.isfunction(part))
    return kind_fits and part.__module__ == module


def _returned(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - any annotation
    """Return what a function is annotated to return; None if it does not say."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, AttributeError, SyntaxError, TypeError):  # text that names nothing
        return None
