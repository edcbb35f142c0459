"""Write the record of a checkpoint, read checkpoints, and build models from them."""

import logging
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from boneage.data.decode import PREPROCESSING_VERSION, Preprocessing
from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError, require_call, require_part
from boneage.models.module import BoneAgeModule, all_finite
from boneage.run.check import readable
from boneage.run.checkpoint_file import (
    checkpoint_file,
    require_weights,
    what_it_contains,
    what_it_is,
)
from boneage.run.exported import read_exported
from boneage.run.options import is_given, named_reference, options
from boneage.run.record_schema import (
    CONFIG_KEYS,
    RECORD_SCHEMA,
    SPLIT_COLUMNS,
    check_buildable,
    checked_record,
)
from boneage.stages import Stages
from boneage.weights import is_exported

log = logging.getLogger(__name__)


def make_record(cfg: DictConfig, data: BoneAgeDataModule) -> dict[str, Any]:
    """Return the record in every checkpoint of a run, as plain containers."""
    return {
        "schema": RECORD_SCHEMA,
        "config": resolved(cfg, CONFIG_KEYS),
        "options": options(cfg),
        **named_reference(cfg),
        "config_text": OmegaConf.to_yaml(cfg, resolve=True),
        "preprocessing": {field.name: cfg.data[field.name] for field in fields(Preprocessing)},
        "preprocessing_version": PREPROCESSING_VERSION,
        "split": data.table[[c for c in (*SPLIT_COLUMNS, "patient") if c in data.table]].to_dict(
            "list"
        ),
    }


def warn_of_unreadable(record: dict[str, Any]) -> None:
    """Warn, before hours of training, of code that no command will build from the checkpoint."""
    try:
        check_buildable(record["config"])
    except UserError as error:
        log.warning(
            "%s. This run is trained and tested, but unless this changes, no command builds its "
            "checkpoints (predict, explain, export, train=false). Code in boneage/tasks/ or "
            "boneage/models/ needs no trust", error,
        )  # fmt: skip


def resolved(cfg: DictConfig, keys: Sequence[str]) -> dict[str, Any]:
    """Return parts of a config as plain containers, with references resolved."""
    parts = {key: cfg[key] for key in keys}
    return {
        key: OmegaConf.to_container(part, resolve=True) if OmegaConf.is_config(part) else part
        for key, part in parts.items()
    }


def fold_of(record: dict[str, Any], fold: str) -> pd.DataFrame:
    """Return `id`, `age_years` and `sex` of a fold of the model's training data."""
    table = pd.DataFrame(record["split"])
    return table[table["fold"] == fold].assign(age_years=lambda t: t["age_months"] / 12)


def stages_of(record: dict[str, Any]) -> Stages:
    """Return the stages that a model was trained with."""
    stages = record["config"]["stages"]
    return Stages(stages["names"], stages["edges"])


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of this project without executing code from it.

    Args:
        path: as for `checkpoint_file`.

    Raises:
        UserError: if it is missing or damaged, another program or a newer version wrote it, or its
            training diverged.
    """
    path = checkpoint_file(Path(path))
    if is_exported(path):
        return read_exported(path)
    checkpoint = _load(path)
    if not isinstance(checkpoint, dict) or "boneage" not in checkpoint:
        raise UserError(f"{path} is not a boneage checkpoint: it is {what_it_contains(checkpoint)}")
    try:
        checkpoint["boneage"] = checked_record(checkpoint["boneage"])
    except UserError as error:
        raise type(error)(f"checkpoint {path} cannot be used: {error}") from error
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, dict):
        raise UserError(
            f"checkpoint {path} cannot be used: it contains no weights (state_dict); use another "
            "checkpoint of the run"
        )
    if not all_finite(weights):
        raise UserError(
            f"checkpoint {path} cannot be used: its training diverged, so its weights are not "
            "finite; train again with a lower optimizer.lr"
        )
    return checkpoint


def _load(path: Path) -> Any:  # noqa: ANN401 - any content
    """Return the content of a PyTorch file, as plain containers and tensors."""
    require_weights(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        if what := what_it_is(path):
            raise UserError(f"{path} is not a boneage checkpoint: it is {what}") from error
        raise UserError(
            f"checkpoint {path} cannot be loaded: it is incomplete or damaged; copy it again, or "
            "use another checkpoint of the run"
        ) from error


def check_task(checkpoint: dict[str, Any], cfg: DictConfig) -> None:
    """Raise UserError if the checkpoint is of another task than the command."""
    name = checkpoint["boneage"]["config"]["name"]
    if name != cfg.name:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} was trained with task={name}, "
            f"but this command has task={cfg.name}: add task={name}"
        )


def config_of_test(checkpoint: dict[str, Any], cfg: DictConfig) -> DictConfig:
    """Return a config with the file, the stages and the preprocessing of a checkpoint.

    Its `mirror_test` counts too, unless the command line sets another.
    """
    record = checkpoint["boneage"]
    check_buildable(record["config"])
    changed = cfg.copy()
    changed.ckpt_path = str(checkpoint_file(Path(cfg.ckpt_path)).resolve())
    changed.stages = record["config"]["stages"]
    changed.data.update(record["preprocessing"])
    if not is_given("mirror_test"):
        changed.mirror_test = record["config"]["mirror_test"]
    return changed


def build_model(
    config: DictConfig,
    record: dict[str, Any],
    replaced: bool = False,
    compile_backbone: bool = False,
    endless: bool = False,
) -> BoneAgeModule:
    """Return a new model from a config with the keys `CONFIG_KEYS`.

    Args:
        config: the config.
        record: the record for its checkpoints.
        replaced: a checkpoint's weights will replace its own, so do not load pretrained ones.
        compile_backbone: as for `BoneAgeModule`.
        endless: the training has no end, which some schedulers refuse.
    """
    backbone = config.backbone
    if replaced and "pretrained" in backbone:
        backbone = OmegaConf.merge(backbone, {"pretrained": False})
    with readable("model"):
        network = instantiate(backbone)
        advice = ": wrap it in one, as docs/extend.md shows"
        require_part("backbone", network, "boneage.models.backbones.Backbone", advice)
        model = BoneAgeModule(
            backbone=network,
            sex=instantiate(config.sex),
            tasks={name: instantiate(task) for name, task in config.tasks.items()},
            optimizer=instantiate(config.optimizer),
            scheduler=instantiate(config.scheduler),
            weighting=instantiate(config.weighting),
            mirror_test=config.mirror_test,
            record=record,
            compile_backbone=compile_backbone,
        )
    require_part("weighting", model.weighting, "boneage.models.weighting.Weighting")
    with readable("optimizer"):  # bad options fail now, not when training starts
        optimizer = model.make_optimizer(model.parameters())
        require_part("optimizer", optimizer, "torch.optim.Optimizer")
        require_call("optimizer", optimizer.step, closure="")  # by Lightning
    with readable("scheduler"):
        schedule = model.make_scheduler(optimizer, total_steps=math.inf if endless else 10**6)
        require_part("scheduler", schedule, "torch.optim.lr_scheduler.LRScheduler")
    return model


def load_model(checkpoint: dict[str, Any]) -> BoneAgeModule:
    """Return the trained model of a checkpoint, built only from its record.

    Raises:
        UserError: if it names code outside this project, or its weights do not fit.
    """
    record = checkpoint["boneage"]
    check_buildable(record["config"])
    model = build_model(OmegaConf.create(record["config"]), record, replaced=True)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError("the checkpoint's weights do not fit its model") from error
    return model
