"""Options of a run: its command line, and a flat dict to compare between runs."""

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from boneage.errors import UserError
from boneage.options import is_recorded

SWEEP = ("-m", "--multirun", "hydra.mode=MULTIRUN")


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
    flat = {key: value for key, value in _flatten(plain) if is_recorded(key)}
    return dict(sorted((choices | flat).items()))


def named_reference(cfg: DictConfig) -> dict[str, Any]:
    """Return the reference study of a config under the key `reference`; empty without one."""
    reference = OmegaConf.to_container(cfg.reference) if cfg.reference else None
    return {} if reference is None else {"reference": reference}


def command() -> str | None:
    """Return the command line of this run; None if it was started from Python."""
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


def check_overrides(arguments: Sequence[str]) -> None:
    """Check that Hydra's grammar can read every `option=value`.

    A value with brackets, `=` or `;`, such as a folder's name, needs quotation marks that reach
    Hydra. A comma separates the values of a sweep.

    Args:
        arguments: of the command line.

    Raises:
        UserError: naming the argument and how to quote it.
    """
    parser = OverridesParser.create()
    sweep = any(argument in SWEEP for argument in arguments)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if not equals or option.startswith("-"):
            continue
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(f"{argument} cannot be read{_advice(option, value)}") from error
        if override.is_sweep_override() and not sweep:
            raise UserError(
                f"{argument} has several values, which need a sweep (-m){_advice(option, value)}"
            )


def _advice(option: str, value: str) -> str:
    """Return how to quote a value, or that its quotation marks do not match."""
    if value.startswith(('"', "'")):
        return ": its quotation marks do not match"
    quoted = option + '="' + value.replace('"', '\\"') + '"'
    return f": if this is one value, quote it: {shlex.quote(quoted)}"
