"""Check the `option=value` of the command line before Hydra reads them."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import CompactHydraException, HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from boneage.errors import UserError, first_line, one_line, suggestion, value_advice
from boneage.run.options import flatten

CONFIG_NAME = "train"  # without .yaml
SWEEP = ("-m", "--multirun", "hydra.mode=MULTIRUN")
ELSEWHERE = re.compile(r"(--config-(dir|path|name)|-c[dpn])(=.*)?")
SHOWN = "--cfg|-c|--info|-i"  # the config, or facts on it, in place of a run
HELP = ("--help", "-h")
SHOW_CONFIG = re.compile(rf"({SHOWN}|{'|'.join(HELP)})(=.*)?")
MODES = re.compile(rf"({SHOWN}|--run|-r|--multirun|-m|--shell-completion|-sc)(=.*)?")
OF_SWEEPS = re.compile(r"hparams_search|hydra[./](sweep|sweeper|launcher)\b.*")
OF_SINGLE_RUNS = re.compile(r"hydra\.run\b.*")
TWICE = re.compile(  # what Hydra says of a group with two choices, or twice with the same
    r"(?:Multiple values for )?([\w/]+)(?:\. To override a value| appears more than once in the fi)"
)
GLOBAL_GROUPS = ("task", "experiment", "debug", "hparams_search")  # groups that set other options
COLLECTIONS = ("callbacks", "logger")  # groups of which any part can be left out
_parser: Any = ArgumentParser
_parser._check_help = lambda *_: None  # of Python 3.14: Hydra's help of an option is no text


def check_overrides(arguments: Sequence[str], folder: Path) -> None:
    """Check that Hydra can read every `option=value`, knows it and its choice, and uses it.

    A value with brackets, `=` or `;`, such as a folder's name, needs quotation marks that reach
    Hydra. A comma separates the values of a sweep.
    Of a sweep, the options of the first job and all choices are checked; a config elsewhere is not.

    Args:
        arguments: of the command line.
        folder: of the config.

    Raises:
        UserError: naming the argument, and how to quote it, or the nearest existing names.
    """
    modes = {word.lstrip("-")[0]: word for word in arguments if MODES.fullmatch(word)}
    if len(modes) > 1:
        raise UserError(f"{' and '.join(modes.values())} cannot be combined: leave one out")
    if rerun := [word for word in arguments if word.startswith("--exp")]:  # argparse completes it
        raise UserError(
            f"{rerun[0]} needs a file that no run writes: repeat the command in the run's "
            "metrics.json, or resume a stopped run with hydra.run.dir=RUN resume=auto"
        )
    sweep = any(argument in SWEEP for argument in arguments)
    overrides = _parse(arguments, sweep)
    shown = [word for word in arguments if word in HELP]
    several = [each.input_line for each in overrides if each.is_sweep_override()]
    if shown and several:
        raise UserError(f"{shown[0]} shows one run: choose one of the values of {several[0]}")
    if not any(SHOW_CONFIG.fullmatch(argument) for argument in arguments):
        _check_mode(overrides, sweep)
    if overrides and not any(ELSEWHERE.fullmatch(argument) for argument in arguments):
        with initialize_config_dir(str(folder), version_base="1.3"):
            try:
                _check_names(overrides, _loader(overrides))
            except OmegaConfBaseException as error:  # of a reference
                raise UserError(unusable(error, arguments)) from error


def unusable(error: Exception, arguments: Sequence[str]) -> str:
    """Return in one line what Hydra, its sweeper or its launcher could not use of a command."""
    if isinstance(error, CompactHydraException) and str(error).startswith("error: "):
        return str(error).removeprefix("error: ")  # of a job
    own = [word for word in arguments if word.lstrip("+").startswith(("hydra.", "hydra/"))]
    where = f"{' '.join(own)} cannot be used: " if own else ""
    return f"{where}{first_line(error)}"


def _parse(arguments: Sequence[str], sweep: bool) -> list[Override]:
    parser = OverridesParser.create()
    overrides = []
    known, unknown = get_args_parser().parse_known_intermixed_args(arguments)
    for argument in [*unknown, *known.overrides]:
        option, equals, value = argument.partition("=")
        if option.startswith("-") or not (equals or option.startswith("~")):
            raise UserError(
                f"{argument} cannot be read: write option=value, without dashes and spaces, as in "
                "trainer.max_epochs=3"
            )
        try:
            override = parser.parse_override(argument)
        except HydraException as error:
            raise UserError(f"{argument} cannot be read{value_advice(option, value)}") from error
        if value.startswith("\\\\"):  # a shared folder of Windows
            raise UserError(f"{argument} would lose a backslash{value_advice(option, value)}")
        if override.is_sweep_override() and not sweep:
            brackets = "" if "(" in value else f" brackets for a list ([{value}]) or"
            raise UserError(
                f"{argument} has several values, which need{brackets} a sweep (-m)"
                f"{value_advice(option, value)}"
            )
        overrides.append(override)
    return overrides


def _check_mode(overrides: Sequence[Override], sweep: bool) -> None:
    """Raise UserError for an option that Hydra would ignore, or that splits a run's folder."""
    for override in overrides:
        option, word = override.key_or_group, override.input_line or ""
        if option == "run_dir":  # its log and config would be in another folder
            kind = "sweep" if sweep else "run"
            raise UserError(f"{word}: name the folder with hydra.{kind}.dir=")
        if not sweep and OF_SWEEPS.fullmatch(option) and override.value() is not None:
            raise UserError(f"{word} has an effect only in a sweep: add -m, or leave it out")
        if sweep and OF_SINGLE_RUNS.fullmatch(option):
            raise UserError(
                f"{word} has no effect in a sweep: its folder is hydra.sweep.dir=, and those of "
                "its jobs are hydra.sweep.subdir="
            )


def _loader(overrides: Sequence[Override]) -> ConfigLoader:
    """Return what finds the choices of a group, also in the folders of `hydra.searchpath`."""
    path = deepcopy(GlobalHydra.instance().config_loader().get_search_path())
    for override in overrides:
        folders = override.value() if override.key_or_group == "hydra.searchpath" else None
        for folder in folders if isinstance(folders, list) else ():
            local = str(folder).removeprefix("file://")
            if "://" not in local and not Path(local).is_dir():
                raise UserError(f"hydra.searchpath: there is no folder {local}")
            path.append("hydra.searchpath in command-line", str(folder))
    return ConfigLoaderImpl(path)


def _check_names(overrides: Sequence[Override], loader: ConfigLoader) -> None:
    """Raise UserError for an option that the config lacks, or a choice that its group lacks."""
    groups: list[str] = []
    words: list[str] = []
    for override in overrides:
        option, word = override.key_or_group, override.input_line or ""
        choices = loader.get_group_options(option)
        if override.is_delete() and "." not in option:
            raise UserError(f"~{option}: only a part can be removed, as in ~callbacks.grad_cam")
        if override.is_sweep_override():
            word = f"{word.partition('=')[0]}={_first_value(override, loader)}"
        elif choices and not isinstance(override.value(), str | list | dict):
            advice = f", or leave out a part with ~{option}.NAME" * (option in COLLECTIONS)
            raise UserError(f"{word} is not a choice: there are {', '.join(choices)}{advice}")
        words.append(word)
        groups += [word] * (bool(choices) and not isinstance(override.value(), dict))
    config = _composed(words, groups)
    for group in GLOBAL_GROUPS:
        if group in config:  # its file's options are below it, not at the top level
            choice = config.hydra.runtime.choices[group]
            raise UserError(
                f"{group}={choice}: the first line of its YAML file must be '# @package _global_'"
            )
    _check_verbose(config.hydra.verbose)
    _check_sweeper(config, loader)
    ranges = [each.input_line for each in overrides if isinstance(each.value(), IntervalSweep)]
    if ranges and config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        raise UserError(f"{ranges[0]} is a range to search: add hparams_search=optuna")


def _check_sweeper(config: DictConfig, loader: ConfigLoader) -> None:
    """Raise UserError for a number below 1, and for an option to search that does not exist."""
    for name, number in config.hydra.sweeper.items_ex(resolve=False):  # Hydra resolves it later
        if isinstance(number, int) and not isinstance(number, bool) and number < 1:
            raise UserError(f"hydra.sweeper.{name}={number}: must be at least 1")
    for searched in config.hydra.sweeper.get("params") or ():
        adds = searched.startswith("+")  # an option that no file lists
        if not adds and not loader.get_group_options(searched) and not _has(config, searched):
            raise UserError(
                f"hydra.sweeper.params searches {searched}, which the chosen options do not have: "
                "choose, or write, a file of conf/hparams_search/ without it"
            )


def _check_verbose(verbose: object) -> None:
    """Raise UserError unless this is true, false, or names of loggers, those of packages."""
    names = verbose if isinstance(verbose, ListConfig) else [verbose]
    for name in [] if isinstance(verbose, bool) else names:
        package = str(name).partition(".")[0]
        known = package not in ("", *sys.stdlib_module_names)
        if package != "__main__" and not (known and find_spec(package)):
            raise UserError(
                f"hydra.verbose={verbose}: give true, or the name of a package whose log is to be "
                "detailed, such as boneage"
            )


def _composed(words: list[str], groups: list[str]) -> DictConfig:
    """Return the config of `option=value` words, with `hydra`; `groups` are those of a group."""
    try:
        return compose(CONFIG_NAME, words, return_hydra_config=True)
    except AttributeError as error:  # of OmegaConf's merge into null
        word = next((word for word in words if "={" in word), None)
        if word is None:
            raise
        option = word.partition("=")[0]
        raise UserError(
            f"{word} cannot be used: give each part on its own, as +{option}.NAME=VALUE"
        ) from error
    except OmegaConfBaseException as error:
        raise UserError(unusable(error, words)) from error
    except KeyError as error:
        raise UserError(f"hydra.job.env_copy: {error} is no environment variable") from error
    except HydraException as error:
        raise UserError(_refusal(error, words, groups)) from error


def _refusal(error: HydraException, words: list[str], groups: list[str]) -> str:
    """Return in one line why Hydra cannot compose the config of a command."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice} is not a choice{suggestion(choice, error.options)}"
    if unused := re.match(r"Could not override '([\w/]+)'\. No match in the def", text):
        return f"{unused[1]}: nothing uses it with the chosen task and experiment: leave it out"
    if twice := TWICE.match(text):
        if any(word.startswith(f"+{twice[1]}=") for word in words):
            return f"+{twice[1]}: write {twice[1]}=, without +"
        return (
            f"{twice[1]} is in the defaults of two of the chosen files: leave it out of one, or "
            f"write 'override /{twice[1]}: ...' in the second"
        )
    unknown = re.match(r"Could not override '([^']+)'\.\nTo append", text)
    if unknown is None:
        cause = error.__cause__
        reason = f" ({first_line(cause)})" if isinstance(cause, OmegaConfBaseException) else ""
        return f"{one_line(error)}{reason}"
    option = unknown[1]
    for word in words:
        if word not in groups and option.startswith(f"{word.partition('=')[0]}."):
            return f"{option}: {word} replaces it, leave out one"
        if word.startswith(f"{option}={{"):
            return (
                f"{option}={{...}} has an option that the config does not list: give it on its "
                f"own, as +{option}.NAME=VALUE"
            )
    plain = OmegaConf.to_container(compose(CONFIG_NAME, groups), resolve=False)
    assert isinstance(plain, dict)
    values = dict(flatten(plain))
    near = _nearest(option, [*(values if "." in option else plain | values)])
    return (
        f"{option}: there is no such option{near} (+ before a name adds an option that the config "
        "does not list)"
    )


def _has(config: DictConfig, option: str) -> bool:
    """Tell whether a config lists an option, with or without a value."""
    node, _, key = option.rpartition(".")
    parent = OmegaConf.select(config, node) if node else config
    return isinstance(parent, DictConfig) and key in list(parent)


def _first_value(override: Override, loader: ConfigLoader) -> object:
    """Return the first value of a sweep, or the start of a range to search.

    Raises:
        UserError: for a value that is not a choice of its group, and a pattern without any.
    """
    option, values = override.key_or_group, override.value()
    if isinstance(values, IntervalSweep):
        return values.start
    override.config_loader = loader  # for patterns
    choices = loader.get_group_options(option)
    for value in override.sweep_iterator() if choices else ():
        folder, _, name = f"{option}/{value}".rpartition("/")
        if isinstance(value, str) and name not in (known := loader.get_group_options(folder)):
            raise UserError(f"{option}={value} is not a choice{suggestion(name, known)}")
    first = next(override.sweep_string_iterator(), None)
    if first is None:
        raise UserError(f"{override.input_line} matches no choice: there are {', '.join(choices)}")
    return first


def _nearest(option: str, names: Sequence[str]) -> str:
    """Return the existing options with the most similar names as a question, if there are any."""
    near = get_close_matches(option, names, n=2, cutoff=0.75)
    if not near:
        last = option.rpartition(".")[2]
        lasts = get_close_matches(last, {name.rpartition(".")[2] for name in names})
        near = [name for name in names if name.rpartition(".")[2] in lasts][:2]
    return f": did you mean {' or '.join(near)}?" if near else ""
