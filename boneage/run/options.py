"""Options of a run: its command line, and a flat dict to compare between runs."""

import shlex
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from boneage.evaluation.older_versions import WEIGHTING
from boneage.options import TABLE, is_recorded


def options(cfg: DictConfig) -> dict[str, Any]:
    """Return every option by its dotted name, and the chosen option of every config group.

    References are not resolved: an option that refers to another (`data.seed: ${seed}`) never
    differs by itself.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    choices: dict[str, Any] = {}
    if HydraConfig.initialized():
        choices = {
            group: chosen
            for group, chosen in HydraConfig.get().runtime.choices.items()
            if is_recorded(group)
        }
    flat = {key: value for key, value in flatten(plain) if is_recorded(key)}
    return dict(sorted((choices | flat).items()))


def differing(
    was: dict[str, Any], now: dict[str, Any], matters: Callable[[str], bool]
) -> dict[str, str]:
    """Return the options that differ between a run and a command, each with the run's value.

    Args:
        was: `options` of the run.
        now: `options` of the command.
        matters: whether an option is compared.

    Returns:
        By the name of the option, what to say of it.
    """
    later = {row.name: row.default for row in TABLE}  # options that older versions did not have
    later |= {f"weighting.{name}": value for name, value in WEIGHTING.items()}
    was = {name: value for name, value in later.items() if name in now} | was
    return {
        name: f"{name} (was {was[name]})" if name in was else name
        for name in was | now
        if matters(name) and was.get(name) != now.get(name)  # None for one of a newer version
    }


def named_reference(cfg: DictConfig) -> dict[str, Any]:
    """Return the reference study of a config under the key `reference`; empty without one."""
    reference = OmegaConf.to_container(cfg.reference) if cfg.reference else None
    return {} if reference is None else {"reference": reference}


def is_sweep() -> bool:
    """Tell whether this run is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def folder_option() -> str:
    """Return the option for another folder of this run, or of its sweep."""
    return "hydra.sweep.dir=" if is_sweep() else "hydra.run.dir="


def given_options() -> list[str]:
    """Return the names of the options that the command line sets; none if started from Python."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [word.lstrip("+").partition("=")[0] for word in words if not word.startswith("~")]


def is_given(option: str) -> bool:
    """Tell whether the command line sets an option; a config from Python counts as it is."""
    return not HydraConfig.initialized() or option in given_options()


def command() -> str | None:
    """Return the command line of this run, without its folder; None if started from Python."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    folders = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    own = [f"--config-dir={folder}" for folder in folders]
    own += [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]
    return shlex.join(["python", "train.py", *own, *hydra.overrides.task])


def flatten(node: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 - any YAML value
    """Return (dotted name, value) of every leaf of plain containers; a list is one value."""
    if not isinstance(node, dict) or not node:
        return [(path, node)]
    return [
        pair
        for key, value in node.items()
        for pair in flatten(value, f"{path}.{key}" if path else str(key))
    ]
