"""What was asked of a run, as flat options that can be compared between runs."""

import shlex
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

PER_RUN = ("run_dir", "resume")  # differ by nature
HIDDEN = (
    "hydra",
    "experiment",
    "hparams_search",
    "debug",
)  # what they choose is in the other options


def options(cfg: DictConfig) -> dict[str, Any]:
    """Return every option by its dotted name, and the chosen option of every config group.

    Values stay as they were written: one that refers to another (`data.seed: ${seed}`) does not
    differ on its own.
    """
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    choices: dict[str, Any] = {}
    if HydraConfig.initialized():
        choices = {
            group: chosen
            for group, chosen in HydraConfig.get().runtime.choices.items()
            if not group.startswith(HIDDEN)
        }
    flat = {key: value for key, value in _flatten(plain) if key not in PER_RUN}
    return dict(sorted((choices | flat).items()))


def command() -> str | None:
    """Return the command line that started this run; None when it was started from Python."""
    if not HydraConfig.initialized():
        return None
    return shlex.join(["python", "train.py", *HydraConfig.get().overrides.task])


def _flatten(node: Any, path: str = "") -> list[tuple[str, Any]]:  # noqa: ANN401 - any YAML value
    """Return (dotted name, value) of every leaf; a list is one value."""
    if not isinstance(node, dict) or not node:
        return [(path, node)]
    return [
        pair
        for key, value in node.items()
        for pair in _flatten(value, f"{path}.{key}" if path else str(key))
    ]
