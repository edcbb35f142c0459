"""Shared fixtures: the tiny fake data set, tiny runs on it, and composed configs."""

import gc
import os
import shutil
import signal
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from helpers import PROJECT, TINY, compose_config
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hypothesis import HealthCheck, settings
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image

from boneage.data.phantom import write_phantom
from boneage.evaluation.figures.style import RC
from boneage.predict.export import export
from boneage.run.experiment import train
from boneage.terminal import collect_garbage_less_often

# Networks of this size are fastest on one thread, also while the machine is busy otherwise.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start

settings.register_profile(
    "boneage",
    deadline=None,
    derandomize=True,  # the same examples everywhere: a red build is somebody's change
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("boneage")

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background shell


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collection: the suite takes a tenth less time."""
    gc.freeze()
    collect_garbage_less_often()


def pytest_sessionfinish() -> None:
    """Let Python end as usual; some packages print what is left otherwise."""
    gc.unfreeze()


TRAIN = {"trained", "copied", "exported", "runs", "finished", "events"}  # fixtures that train


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of trained models as slow."""
    for item in items:
        if TRAIN & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 phantom radiographs of 64 pixels; do not write into it."""
    return write_phantom(tmp_path_factory.mktemp("phantom"), n=24, size=64, seed=0)


@pytest.fixture(scope="session")
def trained(phantom_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the folder of a tiny run with these options, trained once; do not write into it."""
    folders: dict[tuple[str, ...], Path] = {}

    def run(*overrides: str) -> Path:
        if overrides not in folders:
            folder = tmp_path_factory.mktemp("run")
            options = ["data=rsna", f"data.root={phantom_root}", f"run_dir={folder}"]
            train(compose_config(*TINY, *options, *overrides))
            folders[overrides] = folder
        return folders[overrides]

    return run


@pytest.fixture
def copied(trained: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a copy of a tiny run with these options, to damage or continue."""

    def copy(*overrides: str, run: str = "run") -> Path:
        folder = tmp_path / run
        return Path(shutil.copytree(trained(*overrides), folder, dirs_exist_ok=True))

    return copy


@pytest.fixture(scope="session")
def exported(trained: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny trained run and what it is exported to; do not write into it."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "run").symlink_to(trained("sex=embedding"))
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


@pytest.fixture(scope="session", autouse=True)
def _parse_configs_once() -> None:
    """Parse each file of the project's config and of Hydra's once: a quarter of composing it."""
    parsed: dict[tuple[str, str], ConfigResult] = {}

    def once(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
        def load_once(source: ConfigSource, config_path: str) -> ConfigResult:
            if source.path.startswith("/") and source.path != str(PROJECT / "conf"):
                return load(source, config_path)  # a test may write into it
            key = source.path, config_path
            if key not in parsed:
                parsed[key] = load(source, config_path)
            return deepcopy(parsed[key])

        return load_once

    with pytest.MonkeyPatch.context() as patch:
        for source in Plugins.instance().discover(ConfigSource):
            patch.setattr(source, "load_config", once(source.load_config))
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_figures() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RC, "pdf.fonttype", 3)  # TrueType fonts take a third of a page's time
        yield


@pytest.fixture(autouse=True)
def _blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figure, which takes a seventh of the suite's time, but for tests marked `drawn`."""

    def write_blank(figure: Figure, file: BinaryIO, **_: object) -> None:
        Image.new("L", (1, 1)).save(file, format="png")

    if not request.node.get_closest_marker("drawn"):
        monkeypatch.setattr(Figure, "savefig", write_blank)


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
