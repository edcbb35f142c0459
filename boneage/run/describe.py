"""What a run was: the part of `metrics.json` that does not depend on its predictions."""

from importlib.metadata import version
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from boneage.data.module import BoneAgeDataModule
from boneage.evaluation.published import looks_official
from boneage.models.architecture import describe_architecture
from boneage.models.module import BoneAgeModule
from boneage.run.options import command, options

PACKAGES = (
    "boneage",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "albumentations",
)
WHOLE = {  # options under which a run sees all radiographs
    "trainer.limit_train_batches": None,
    "trainer.limit_val_batches": None,
    "trainer.limit_test_batches": None,
    "trainer.overfit_batches": 0.0,
    "trainer.fast_dev_run": False,
}


def describe_run(
    cfg: DictConfig, data: BoneAgeDataModule, model: BoneAgeModule, trainer: L.Trainer
) -> dict[str, Any]:
    """Return task, data, model, options, device and versions of a run, as plain containers.

    `partial` lists what kept the run from using all data: its numbers are for trying things out.
    """
    now = _options(cfg, model)
    return {
        "task": cfg.name,
        "data": "phantom" if data.synthetic else data.root.name,
        "synthetic": data.synthetic,
        "partial": [f"{key}={now[key]}" for key, whole in WHOLE.items() if now[key] != whole],
        "official": looks_official(data.table) and not data.synthetic,
        "stages": {"names": list(data.stages.names), "edges": list(data.stages.edges)},
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "architecture": describe_architecture(model, data.preprocessing.size),
        "epochs": trainer.current_epoch,
        "device": _device_name(trainer),
        "command": command(),
        "seed": cfg.seed,
        "options": now,
        "versions": {package: version(package) for package in PACKAGES},
    }


def _options(cfg: DictConfig, model: BoneAgeModule) -> dict[str, Any]:
    """Return the options of a run; one that tests a checkpoint has the model of that."""
    now = options(cfg)
    if cfg.train:
        return now
    of_test = {k: v for k, v in now.items() if k.startswith("data.") or k in ("train", "ckpt_path")}
    trained: dict[str, Any] = model.record.get("options", now)
    return trained | of_test


def _device_name(trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type.upper()}, {threads} thread{'s' if threads > 1 else ''}"
