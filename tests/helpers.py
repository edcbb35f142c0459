"""What tests share: tiny options, made-up runs, and calls of train.py."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from copy import deepcopy
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from boneage.data.decode import Preprocessing
from boneage.data.formats import read_radiograph
from boneage.evaluation import evaluate
from boneage.evaluation.intervals import with_interval
from boneage.evaluation.run_folder import hash_test_set
from boneage.run.results import metric_report, write_json
from boneage.stages import Stages

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
    "~callbacks.model_summary",
]
TRAIN = str(PROJECT / "train.py")
SCORED: dict[tuple[str, tuple[str, ...]], tuple[dict[str, object], str]] = {}


class PlainLoss(nn.Module):
    """A user's loss without options."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).abs().mean()


def compose_config(*overrides: str, conf: Path = PROJECT / "conf") -> DictConfig:
    """Compose the config; configs that differ only in their folders are composed once."""
    last = {word.partition("=")[0]: word for word in overrides}.values()
    folders = [word for word in last if word.startswith(("data.root=/", "run_dir=/"))]
    cfg = deepcopy(_compose(conf, *(word for word in overrides if word not in folders)))
    for key, _, folder in (word.partition("=") for word in folders):
        OmegaConf.update(cfg, key, folder)
    return cfg


def with_fast_network(*overrides: str) -> list[str]:
    """Add a network that is built at once, unless the overrides choose one."""
    chosen = any(word.startswith(("backbone", "experiment")) for word in overrides)
    return [*overrides, *(() if chosen else ("backbone=paper_cnn",))]


@cache
def _compose(conf: Path, *overrides: str) -> DictConfig:
    """Set options, as Hydra does, in the config of the chosen files, which is composed once."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    options = [each for each in parsed if _sets_option(each, conf)]
    chosen = (each.input_line for each in parsed if each not in options)
    cfg = deepcopy(_compose_files(conf, *chosen))
    ConfigLoaderImpl._apply_overrides_to_config(options, cfg)
    return cfg


def _sets_option(override: Override, conf: Path) -> bool:
    """Tell whether Hydra reads an override after the files: no group, no sweep, not of Hydra."""
    key = override.key_or_group
    plain = not (override.is_sweep_override() or override.package or key.startswith("hydra"))
    return plain and (not (conf / key).is_dir() or isinstance(override.value(), dict))


@cache
def _compose_files(conf: Path, *chosen: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("train", overrides=list(chosen))


def decode(path: str | Path, preprocessing: Preprocessing) -> np.ndarray:
    """Return the square of a file, (size, size) uint8."""
    return preprocessing.square(read_radiograph(path)[0]).pixels


def trained_weights(run: Path, name: str = "last") -> dict[str, Tensor]:
    """Return the weights of a checkpoint of a run."""
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def run_train(arguments, cwd, output, script=TRAIN):
    os.chdir(cwd)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(output / name, os.O_CREAT | os.O_WRONLY), number)
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


def run_boneage(arguments, cwd, output):
    run_train(arguments, cwd, output, PROJECT / "boneage/__main__.py")


def call(*arguments, cwd, target=run_train):
    """Call train.py, or `boneage`, as `python` does, without waiting for its imports."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        process = server.Process(target=target, args=(arguments, cwd, output))
        process.start()
        process.join(240)
        assert process.exitcode is not None
        written = [(output / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(arguments, process.exitcode, *written)


def predictions(n=80, seed=0):
    """Return truth and predictions of both tasks of n made-up radiographs."""
    rng = np.random.default_rng(seed)
    ages = rng.uniform(0.5, 19, n)
    probability = rng.dirichlet((1, 1, 1), n)
    table = pd.DataFrame({"age_years": ages, "sex": rng.choice(["female", "male"], n)})
    table["age_years_predicted"] = ages + rng.normal(0, 1, n)
    table["stage_predicted"] = [Stages().names[k] for k in probability.argmax(axis=1)]
    for k, name in enumerate(Stages().names):
        table[f"stage_probability_{name}"] = probability[:, k]
    return table


def write_finished_run(folder: Path, predictions: pd.DataFrame, **changes: object) -> Path:
    """Write what a finished run leaves, from its predictions, without training anything.

    Args:
        folder: the run's folder.
        predictions: `id`, `sex`, `age_years` and what was predicted; `stage` is added.
        changes: other values of `metrics.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages = Stages(**changes.get("stages", {}))
    of = [stages.names[k] for k in stages.index_of(predictions["age_years"].to_numpy(float))]
    table = predictions.assign(stage=of)
    n = len(table)
    report, groups = scored(table, stages, tuple(changes.get("subgroups", ())))
    metrics = {
        "task": "regression",
        "data": "radiographs",
        "synthetic": False,
        "official": False,
        "test_set": hash_test_set(table),
        "n": {"train": 3, "val": 1, "test": n},
        **report,
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
    (folder / "subgroups.csv").write_text(groups)
    write_json(folder / "metrics.json", metrics | changes)
    return folder


def scored(
    table: pd.DataFrame, stages: Stages, columns: tuple[str, ...]
) -> tuple[dict[str, object], str]:
    """Return the metrics of predictions and their `subgroups.csv`, each table scored once."""
    key = table.to_json(), columns
    if key not in SCORED:
        train = pd.DataFrame({"age_years": [5.0, 8.0, 12.0], "sex": ["female", "male", "male"]})
        with patch.object(evaluate, "with_interval", partial(with_interval, draws=100)):
            groups = evaluate.subgroups(table, stages, columns=columns)  # a third of the time
        SCORED[key] = metric_report(table, train, stages), groups.to_csv(index=False)
    return SCORED[key]


def reference_study() -> dict[str, object]:
    """Return what runs of `reference=paper` write down of the reference study."""
    found = OmegaConf.to_container(OmegaConf.load(PROJECT / "conf/reference/paper.yaml"))
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


class Page(HTMLParser):
    """Collects the visible text, the tags, and every address of a page."""

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.addresses = [], [], []
        self.feed(html)
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words += data.split()
