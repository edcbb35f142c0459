"""What a checkpoint says of itself: whether it is whole, and may be built from."""

import importlib
import inspect
from dataclasses import fields
from typing import Any

import numpy as np
from torch.nn.modules.loss import _Loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from boneage.data.decode import Preprocessing
from boneage.errors import UserError
from boneage.evaluation.older_versions import current_options, current_task
from boneage.options import TABLE

SCHEMA = 2  # of the record: goes up when an older version could not read it rightly
OWN = ("boneage.models.", "boneage.tasks.", "boneage.stages")
TORCH = {"torch.nn": _Loss, "torch.optim": Optimizer, "torch.optim.lr_scheduler": LRScheduler}
RETIRED = {
    "boneage.models.pretrained.TorchvisionBackbone": "torchvision's networks are now those of timm"
}
RECORD = {"config": dict, "options": dict, "config_text": str, "preprocessing": dict, "split": dict}
CONFIG = tuple(row.name for row in TABLE if row.checkpoint)
SPLIT = ("id", "age_months", "sex", "fold")


class NewerRecord(UserError):
    """A checkpoint that is sound, but was written by a newer version of this project."""


def checked_record(record: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a file may hold
    """Return the record of a checkpoint, in the form that this version writes.

    Raises:
        UserError: when it is not what training writes.
        NewerRecord: when a newer version may have written it.
    """
    if not isinstance(record, dict):
        raise UserError("it was not written by this project's training")
    schema = record.get("schema", 1)
    if not isinstance(schema, int) or schema < 1:
        raise UserError(f"its schema is {schema!r}, not a number from 1 on")
    if schema > SCHEMA:
        raise NewerRecord(
            f"a newer version of boneage wrote it (schema {schema}; this version reads up to "
            f"{SCHEMA}): update boneage"
        )
    for name, kind in RECORD.items():
        if not isinstance(record.get(name), kind):
            raise UserError(f"its record lacks {name}")
    for part, keys in (("config", CONFIG), ("split", SPLIT)):
        if lacking := [key for key in keys if key not in record[part]]:
            raise UserError(f"its {part} lacks {', '.join(lacking)}")
    tasks = record["config"]["tasks"]
    if not isinstance(tasks, dict) or not all(isinstance(task, dict) for task in tasks.values()):
        raise UserError("its tasks are not what training writes")
    known = {field.name for field in fields(Preprocessing)}
    if unknown := [str(key) for key in record["preprocessing"] if key not in known]:
        raise NewerRecord(
            f"its radiographs were prepared by options that this version does not know "
            f"({', '.join(unknown)}): update boneage"
        )
    try:
        preprocessing = Preprocessing(**record["preprocessing"])
    except TypeError as error:
        raise UserError(f"its preprocessing is not what training writes: {error}") from error
    if not preprocessing.matches_version(record.get("preprocessing_version")):
        raise UserError(
            "it was trained on hands that another version of boneage crops differently: "
            "train it again with this one"
        )
    if not _is_calibration(
        record.get("calibration", {}), list(record["split"]["fold"]).count("val")
    ):
        raise UserError("its calibration is not what training writes")
    current = {name: current_task(task) for name, task in tasks.items()}
    return record | {
        "config": record["config"] | {"tasks": current},
        "options": current_options(record["options"]),
    }


def _is_calibration(found: Any, held_out: int) -> bool:  # noqa: ANN401
    """Tell whether this is what training keeps of its errors on so many radiographs, or empty."""
    try:
        novelty = found.get("novelty")
        predicted = [found[name] for name in found if name.startswith("predicted_years")]
        fits = all(np.asarray(ages, float).shape == (held_out,) for ages in predicted)
        if novelty is None:
            return fits
        return fits and _is_novelty(novelty)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _is_novelty(found: dict[str, Any]) -> bool:
    """Tell whether a novelty, of today or of before, is whole."""
    width = len(found["mean"])
    if "whiten" in found:
        return tuple(found["whiten"].shape) == (width, width) and float(found["limit"]) > 0
    k = len(found["variances"])
    positive = bool((found["variances"] > 0).all()) and min(found["rest"], found["limit"]) > 0
    return tuple(found["directions"].shape) == (width, k) and positive


def check_buildable(node: Any) -> None:  # noqa: ANN401 - plain containers
    """Check what a model is to be built from: it may come from a stranger.

    Raises:
        UserError: when it names code that makes no part of a model, or that an older version of
            this project had, or holds text that a config would resolve.
    """
    if isinstance(node, str) and "${" in node:
        raise UserError(f"the checkpoint holds text that would be resolved: {node}")
    if isinstance(node, dict) and node.get("_target_") in RETIRED:
        raise UserError(
            f"the checkpoint was trained with an older version of boneage ({node['_target_']}): "
            f"{RETIRED[node['_target_']]}; train it again, or use that version"
        )
    if isinstance(node, dict) and "_target_" in node and not _is_part_of_a_model(node["_target_"]):
        raise UserError(f"the checkpoint names code outside this project: {node['_target_']}")
    children = [*node, *node.values()] if isinstance(node, dict) else node
    for child in children if isinstance(children, list) else ():
        check_buildable(child)


def _is_part_of_a_model(target: Any) -> bool:  # noqa: ANN401
    """Tell whether a name is that of a class or function defined in a module that makes models."""
    module, _, name = str(target).rpartition(".")
    if not module.startswith(OWN) and module not in TORCH:
        return False
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    if module in TORCH:
        return inspect.isclass(made) and issubclass(made, TORCH[module])
    return (inspect.isclass(made) or inspect.isfunction(made)) and made.__module__ == module
