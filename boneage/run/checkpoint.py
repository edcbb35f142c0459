"""What a checkpoint says of itself, and whether it fits what is asked of it."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from boneage.data.module import BoneAgeDataModule
from boneage.errors import UserError, first_five
from boneage.models.module import BoneAgeModule
from boneage.run.check import readable
from boneage.run.options import options
from boneage.run.trust import CONFIG, check_buildable, check_record

log = logging.getLogger(__name__)

MUST_MATCH = ("name", "stages", "tasks", "backbone", "sex")
PREPROCESSING_KEYS = ("size", "fit", "contrast", "crop")


def make_record(cfg: DictConfig, data: BoneAgeDataModule) -> dict[str, Any]:
    """Return what every checkpoint of the run carries, as plain containers."""
    return {
        "config": OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(CONFIG)), resolve=True),
        "options": options(cfg),
        "config_text": OmegaConf.to_yaml(cfg, resolve=True),
        "preprocessing": {key: cfg.data[key] for key in PREPROCESSING_KEYS},
        "split": data.table[["id", "age_months", "sex", "fold"]].to_dict("list"),
    }


def fold_of(record: dict[str, Any], fold: str) -> pd.DataFrame:
    """Return `id`, `age_years` and `sex` of a fold of the data that the model was trained on."""
    table = pd.DataFrame(record["split"])
    return table[table["fold"] == fold].assign(age_years=lambda t: t["age_months"] / 12)


def checkpoint_file(path: Path) -> Path:
    """Return the best checkpoint of a run's folder; a file is one itself."""
    return path / "checkpoints/best.ckpt" if path.is_dir() else path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Load a checkpoint of this project without executing anything it may hold.

    Raises:
        UserError: when it is missing, damaged or another program's.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"checkpoint {path} cannot be loaded: {error.strerror}") from error
    except Exception as error:  # a damaged file can raise anything, with advice for programmers
        raise UserError(
            f"checkpoint {path} cannot be loaded: it is damaged, or no checkpoint"
        ) from error
    if not isinstance(checkpoint, dict) or "boneage" not in checkpoint:
        raise UserError(f"checkpoint {path} was not written by this project's training")
    try:
        check_record(checkpoint["boneage"])
    except UserError as error:
        raise UserError(f"checkpoint {path} cannot be used: {error}") from error
    return checkpoint


def check_task(checkpoint: dict[str, Any], cfg: DictConfig) -> None:
    """Raise UserError when the checkpoint is of another task than the command asks for."""
    name = checkpoint["boneage"]["config"]["name"]
    if name != cfg.name:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} was trained with task={name}, "
            f"but this command says task={cfg.name}: add task={name}"
        )


def check_resumable(checkpoint: dict[str, Any], cfg: DictConfig) -> None:
    """Raise UserError when training cannot go on with the config of this command."""
    check_task(checkpoint, cfg)
    record = checkpoint["boneage"]
    now = OmegaConf.to_container(OmegaConf.masked_copy(cfg, list(MUST_MATCH)), resolve=True)
    assert isinstance(now, dict)
    different = [key for key in MUST_MATCH if now[key] != record["config"][key]]
    for key, value in record["preprocessing"].items():
        if cfg.data[key] != value:
            different.append(f"data.{key} (was {value})")
    if different:
        raise UserError(
            f"ckpt_path={cfg.ckpt_path} cannot be resumed: this command differs from the run it "
            f"comes from in {', '.join(different)}; repeat that run's options"
        )


def check_unseen(checkpoint: dict[str, Any], table: pd.DataFrame) -> None:
    """Raise UserError when a test radiograph was used in training or in model choice.

    A radiograph is known by its id together with its age, so that another data set with ids of
    its own is not mistaken for the one trained on.
    """
    known = ["id", "age_months"]
    seen = table[table["fold"] == "test"].merge(_seen(checkpoint)[known], on=known)
    if len(seen):
        raise UserError(
            f"{len(seen)} radiographs of the test fold were used to train this checkpoint: "
            f"{first_five(list(seen['id']))}; use the run's own split: "
            "data.split_file=RUN/split.csv"
        )


def _seen(checkpoint: dict[str, Any]) -> pd.DataFrame:
    """Return the radiographs a model was trained and chosen on, also before it was trained on."""
    record = checkpoint["boneage"]
    split = pd.DataFrame(record["split"])
    return pd.concat([split[split["fold"] != "test"], pd.DataFrame(record.get("earlier", {}))])


def build_model(
    config: DictConfig,
    record: dict[str, Any],
    replaced: bool = False,
    **options: Any,  # noqa: ANN401
) -> BoneAgeModule:
    """Return a fresh model of a config that has the keys `CONFIG`.

    Args:
        config: the config.
        record: what its checkpoints will carry.
        replaced: a checkpoint's weights will replace its own: no pretrained ones are looked for.
        options: of `BoneAgeModule`.
    """
    backbone = config.backbone
    if replaced and "pretrained" in backbone:
        backbone = OmegaConf.merge(backbone, {"pretrained": False})
    with readable("model"):
        model = BoneAgeModule(
            backbone=instantiate(backbone),
            sex=instantiate(config.sex),
            tasks={name: instantiate(task) for name, task in config.tasks.items()},
            optimizer=instantiate(config.optimizer),
            scheduler=instantiate(config.scheduler),
            mirror_test=config.mirror_test,
            record=record,
            **options,
        )
        model.make_optimizer(model.parameters())  # a bad option shows now, not when training starts
    return model


def start_from(path: str, model: BoneAgeModule, table: pd.DataFrame) -> None:
    """Give a fresh model the weights of a checkpoint, part by part.

    Sex input and tasks that the checkpoint lacks, or has of other shapes, stay fresh. What it was
    trained on goes into the model's record, so that later tests refuse that too.

    Args:
        path: the checkpoint.
        model: a model that has not been trained.
        table: the radiographs it will be trained and tested on, as in `BoneAgeDataModule.table`.

    Raises:
        UserError: when the backbone is another, or a test radiograph was used to train it.
    """
    checkpoint = read_checkpoint(path)
    check_unseen(checkpoint, table)
    parts = {"backbone": model.backbone, "sex": model.sex}
    parts |= {f"tasks.{name}": task for name, task in model.tasks.items()}
    for name, part in parts.items():
        stored = checkpoint["state_dict"].items()
        weights = {k.removeprefix(f"{name}."): v for k, v in stored if k.startswith(f"{name}.")}
        if _shapes(weights) == _shapes(part.state_dict()):
            part.load_state_dict(weights)
        elif name == "backbone":
            raise UserError(f"start_from={path} has another backbone than this command")
        else:
            log.warning("%s of %s does not fit: it starts from random weights", name, path)
    model.record["earlier"] = _seen(checkpoint)[["id", "age_months"]].to_dict("list")


def _shapes(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: value.shape for name, value in weights.items()}


def load_model(checkpoint: dict[str, Any]) -> BoneAgeModule:
    """Return the trained model of a checkpoint, built from what it carries alone.

    Raises:
        UserError: when it names code outside this project, or lacks weights.
    """
    record = checkpoint["boneage"]
    check_buildable(record["config"])
    model = build_model(OmegaConf.create(record["config"]), record, replaced=True)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError("the checkpoint's weights are not those of its model") from error
    return model
