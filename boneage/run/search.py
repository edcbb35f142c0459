"""Searches for good options with Optuna: which trials one study may contain."""

import os
import sys
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from boneage.errors import UserError, join_first
from boneage.options import BOOKKEEPING, kind_of
from boneage.run.options import differing, flatten

ANOTHER = "name another study with hydra.sweeper.study_name="
ROOT = "data.root"  # bookkeeping for a run, whose radiographs are compared one by one


class Search(Callback):
    """Stop a search whose trials cannot be compared, and one of which no trial has finished.

    Optuna would add the trials to those of the study, and call the best of all the best.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Compare options and ranges with those of the study's finished trials."""
        if config.hydra.sweeper.get("study_name") is None:
            return  # a sweep of given values, or a study in memory
        try:
            check_study(config)
        except UserError as error:
            sys.exit(f"error: {error}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:  # noqa: ANN401
        """Say in one line that there are no best options, where Optuna would fail."""
        sweeper = config.hydra.sweeper
        last = config.hydra.job.get("num") == sweeper.get("n_trials", 0) - 1
        if last and sweeper.n_jobs == 1 and job_return.status is JobStatus.FAILED:
            trials = _study(config)
            if trials is not None and not any(trial.state.name == "COMPLETE" for trial in trials):
                sys.exit("error: no trial of the search has finished: there are no best options")


def _study(config: DictConfig) -> list[Any] | None:
    """Return the trials of the study that a search adds to; None if it is new.

    Raises:
        UserError: if the storage cannot be read.
    """
    import optuna  # of the extra `sweep`
    from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

    sweeper = config.hydra.sweeper
    if sweeper.get("storage") is None or sweeper.get("study_name") is None:
        return None
    try:
        return list(optuna.load_study(sweeper.study_name, sweeper.storage).trials)
    except KeyError:
        return None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"hydra.sweeper.storage={sweeper.storage}: {reason}") from error


def check_study(config: DictConfig) -> None:
    """Check that the trials of a search can be compared with those that its study has.

    Options that only one of them searches may differ.

    Args:
        config: of the search, with `hydra`.

    Raises:
        UserError: naming the options that differ, or the range that Optuna cannot change.
    """
    from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
    from optuna.distributions import check_distribution_compatibility

    sweeper = config.hydra.sweeper
    words = [f"{name}={value}" for name, value in (sweeper.get("params") or {}).items()]
    try:
        ranges, fixed = create_params_from_overrides([*words, *config.hydra.overrides.task])
    except ValueError as error:
        raise UserError(f"a range of the search is not valid: {error}") from error
    ranges = {name: values for name, values in ranges.items() if name not in fixed}
    trials = [trial for trial in _study(config) or [] if trial.state.name == "COMPLETE"]
    study = f"the study {sweeper.study_name} in {sweeper.storage}"
    if trials and (differ := _differing(config, trials[-1], fixed, {*ranges})):
        raise UserError(
            f"{study} has trials with other options, whose scores cannot be compared: "
            f"{join_first(list(differ.values()))}; {ANOTHER}, or search with the options of the "
            "study"
        )
    for trial in trials:
        for option in ranges.keys() & trial.distributions.keys():
            try:
                check_distribution_compatibility(trial.distributions[option], ranges[option])
            except ValueError as error:
                raise UserError(
                    f"{study} has trials with other values of {option} to choose from, which "
                    f"Optuna cannot change: {ANOTHER}"
                ) from error


def _differing(
    config: DictConfig,
    trial: Any,  # noqa: ANN401 - of Optuna
    fixed: dict[str, str],
    ranges: set[str],
) -> dict[str, str]:
    """Return the options that a trial and a search fix at different values."""
    searched = ranges | {*trial.params}
    config_name = config.hydra.job.config_name

    def matters(key: str) -> bool:
        return key not in searched and (kind_of(key) != BOOKKEEPING or _is_root(key))

    return differing(_options(config_name, trial.user_attrs), _options(config_name, fixed), matters)


def _is_root(key: str) -> bool:
    return key == ROOT or key.startswith(f"{ROOT}.")


def _options(config_name: str, fixed: dict[str, str]) -> dict[str, Any]:
    """Return the options of a trial, without those that are searched, by their dotted names."""
    words = [f"{name}={value}" for name, value in fixed.items()]
    plain = OmegaConf.to_container(compose(config_name, words), resolve=False)
    assert isinstance(plain, dict)
    return {
        key: os.path.abspath(value) if key == ROOT and isinstance(value, str | Path) else value
        for key, value in flatten(plain)
    }
