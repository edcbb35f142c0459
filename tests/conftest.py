"""Shared fixtures: the tiny fake data set and composed configs."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.data.phantom import write_phantom
from boneage.evaluation.evaluate import subgroups
from boneage.evaluation.run_folder import hash_test_set
from boneage.predict.export import export
from boneage.run.experiment import train
from boneage.run.results import metric_report, write_json
from boneage.stages import Stages

# Networks of this size are fastest on one thread, also while the machine is busy otherwise.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background shell

PROJECT = Path(__file__).parent.parent
server = multiprocessing.get_context("forkserver")  # of processes that have imported everything
server.set_forkserver_preload(["boneage.run.experiment"])
BACKBONES = [
    "paper_cnn",
    "slim_resnet",
    "se_resnet",
    "resnet18",
    "efficientnet_v2_s",
    "convnext_tiny",
    "efficientnet_lite0",
]
TINY = [
    "backbone=slim_resnet",
    "sex=none",
    "augment=report",
    "callbacks=no_ema",
    "mirror_test=false",
    "data.crop=none",
    "data.contrast=none",
    "backbone.stem=4",
    "backbone.widths=[4,8]",
    "backbone.depths=[1,1]",
    "data.size=32",
    "data.batch_size=8",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "report=false",
    "~callbacks.grad_cam",
    "~callbacks.dashboard",
    "~callbacks.progress_bar",
    "~callbacks.model_summary",
]


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 phantom radiographs of 64 pixels; do not write into it."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), n=24, size=64, seed=0)


@pytest.fixture(scope="session")
def exported(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny trained run and what it is exported to; do not write into it."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "run").mkdir()
    options = [*TINY, "data=rsna", f"data.root={phantom_root}", f"run_dir={folder}/run"]
    train(compose_config(*options, "sex=embedding"))
    export(folder / "run", folder / "model.onnx", "onnx")
    return folder


@pytest.fixture
def own_root(phantom_root: Path, tmp_path: Path) -> Path:
    """A copy of the phantom data set to damage."""
    return Path(shutil.copytree(phantom_root, tmp_path / "radiographs"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BONEAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def decode(path: str | Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return the square of a file, (size, size) uint8."""
    return preprocessing.square(read_radiograph(path)[0]).pixels


def compose_config(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@pytest.fixture
def configure(phantom_root: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose a tiny, quick experiment on the phantom, with a run folder of its own."""

    def make(*overrides: str, run: str = "run") -> DictConfig:
        run_dir = tmp_path / run
        run_dir.mkdir(exist_ok=True)
        return compose_config(
            *TINY, "data=rsna", f"data.root={phantom_root}", f"run_dir={run_dir}", *overrides
        )

    return make


def reference_study() -> dict[str, object]:
    """Return what runs of `reference=paper` write down of the reference study."""
    found = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf/reference/paper.yaml"))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def write_finished_run(folder: Path, predictions: pd.DataFrame, **changes: object) -> Path:
    """Write what a finished run leaves, from its predictions, without training anything.

    Args:
        folder: the run's folder.
        predictions: `id`, `sex`, `age_years` and what was predicted; `stage` is added.
        changes: other values of `metrics.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages()
    of = [stages.names[k] for k in stages.of(predictions["age_years"].to_numpy(float))]
    table = predictions.assign(stage=of)
    n = len(table)
    train = pd.DataFrame({"age_years": [5.0, 8.0, 12.0], "sex": ["female", "male", "male"]})
    metrics = {
        "task": "regression",
        "data": "radiographs",
        "synthetic": False,
        "official": False,
        "test_set": hash_test_set(table),
        "n": {"train": 3, "val": 1, "test": n},
        **metric_report(table, train, stages),
        "stages": {"names": list(stages.names), "edges": list(stages.edges)},
        "parameters": 1234,
        "epochs": 2,
        "images_per_second": 100.0,
        "seconds": 12.0,
        "started": "2026-01-02T03:04:05+00:00",
        "device": "CPU, 2 threads",
        "command": "python train.py",
        "seed": 1,
        "options": {"backbone": "slim_resnet", "data.size": 128, "seed": 1, "train": True},
        "versions": {"boneage": "0"},
    }
    table.to_csv(folder / "predictions.csv", index=False)
    subgroups(table, stages).to_csv(folder / "subgroups.csv", index=False)
    write_json(folder / "metrics.json", metrics | changes)
    return folder
