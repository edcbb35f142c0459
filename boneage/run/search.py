"""Searches for good options with Optuna: which trials one study may contain."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from boneage.data.atomic import write_file
from boneage.errors import UserError, first_line, join_first
from boneage.options import BOOKKEEPING, kind_of
from boneage.run.options import differing, flatten
from boneage.run.sweep import is_search

log = logging.getLogger(__name__)
NAME_ANOTHER_STUDY = "name another study with hydra.sweeper.study_name="
RESULTS = "optimization_results.yaml"  # of Optuna's sweeper
ROOT = "data.root"  # bookkeeping for a run, whose radiographs are compared one by one


class Search(Callback):
    """Stop a search whose trials cannot be compared or had no result, and name the best run.

    Optuna would add the trials to those of the study, and call the best of all the best.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Check the direction, and compare options with those of the study's finished trials."""
        if not is_search(config):
            return
        try:
            check_direction(config)
            if config.hydra.sweeper.study_name is not None:  # else a study in memory
                check_study(config)
        except UserError as error:
            sys.exit(f"error: {error}")
        _end_in_one_line()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ANN401
        """Add the run of the best options to Optuna's results, and print it."""
        if not is_search(config):
            return
        from boneage.evaluation.metrics import describe
        from boneage.evaluation.numbers import number

        results = Path(config.hydra.sweep.dir) / RESULTS
        best = OmegaConf.load(results)
        run = best_run(results.parent, dict(best.best_params), best.best_value)
        if run is None:
            print(f"{results.parent} does not contain the run of the best options")
            return
        write_file(results, OmegaConf.to_yaml(OmegaConf.merge(best, {"best_run": str(run)})))
        unit = describe(config.monitor.removeprefix("val/")).unit
        print(f"Best run: {run} ({config.monitor} {number(best.best_value, unit)})")


def best_run(folder: Path, params: Mapping[str, Any], score: float) -> Path | None:
    """Return the run with the options and the score of a trial; None if a folder has none.

    Args:
        folder: of the search.
        params: the options of the trial that were searched.
        score: its best validation score.
    """
    from boneage.run_files import HYDRA, METRICS, read_json

    words = {f"{name}={value}" for name, value in params.items()}
    for file in sorted(folder.rglob(f"{HYDRA}/overrides.yaml")):
        metrics = file.parents[1] / METRICS
        if not metrics.exists():
            continue
        try:
            if not words <= {*map(str, OmegaConf.load(file))}:
                continue
            found = read_json(metrics).get("best_validation") == score
        except (OSError, ValueError, YAMLError, UserError) as error:
            log.warning("Skipped: %s: %s", file, first_line(error))
            continue
        if found:
            return metrics.parent
    return None


def check_direction(config: DictConfig) -> None:
    """Raise UserError if a search would not look for the best score of a run."""
    direction, expected = config.hydra.sweeper.direction, f"{config.mode}imize"
    if getattr(direction, "name", direction) not in (expected, [expected]):
        raise UserError(
            f"hydra.sweeper.direction={direction} is not the direction of {config.monitor}, whose "
            f"best value is its {config.mode}imum (mode={config.mode}): leave it out"
        )


def _end_in_one_line() -> None:
    """Say that there are no best options, where Optuna would raise an error after all trials.

    Neither it nor Hydra has a hook for this moment.
    """
    import optuna  # of the extra `sweep`

    of_optuna: Any = optuna.Study
    best = of_optuna.best_trial.fget

    def best_trial(study: Any) -> Any:  # noqa: ANN401
        if not any(trial.state.name == "COMPLETE" for trial in study.trials):
            sys.exit("error: no trial of the search has finished: there are no best options")
        return best(study)

    of_optuna.best_trial = property(best_trial)


def _finished_trials(config: DictConfig) -> list[Any]:
    """Return the finished trials of the study that a search adds to.

    Raises:
        UserError: if the storage cannot be read.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

    sweeper = config.hydra.sweeper
    if sweeper.get("storage") is None:
        return []
    try:
        trials = optuna.load_study(sweeper.study_name, sweeper.storage).trials
    except KeyError:  # a new study
        return []
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"hydra.sweeper.storage={sweeper.storage}: {reason}") from error
    return [trial for trial in trials if trial.state.name == "COMPLETE"]


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
    ranges: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    for word in (*words, *config.hydra.overrides.task):
        try:
            of_word = create_params_from_overrides([word])
        except (ValueError, HydraException) as error:
            reason = first_line(error)
            raise UserError(f"{word}: this range of a search is not valid: {reason}") from error
        ranges |= of_word[0]
        fixed |= of_word[1]
    ranges = {name: values for name, values in ranges.items() if name not in fixed}
    trials = _finished_trials(config)
    study = f"the study {sweeper.study_name} in {sweeper.storage}"
    if trials and (differ := _differing(config, trials[-1], fixed, {*ranges})):
        raise UserError(
            f"{study} has trials with other options, whose scores cannot be compared: "
            f"{join_first(list(differ.values()))}; {NAME_ANOTHER_STUDY}, or search with the "
            "options of the study"
        )
    for trial in trials:
        for option in ranges.keys() & trial.distributions.keys():
            try:
                check_distribution_compatibility(trial.distributions[option], ranges[option])
            except ValueError as error:
                raise UserError(
                    f"{study} has trials with other values of {option} to choose from, which "
                    f"Optuna cannot change: {NAME_ANOTHER_STUDY}"
                ) from error


def _differing(
    config: DictConfig,
    trial: Any,  # noqa: ANN401 - of Optuna
    fixed: dict[str, str],
    ranges: set[str],
) -> dict[str, str]:
    """Return the options that a trial and a search fix at different values."""
    searched = ranges | {*trial.params}

    def matters(key: str) -> bool:
        is_root = key == ROOT or key.startswith(f"{ROOT}.")
        return key not in searched and (kind_of(key) != BOOKKEEPING or is_root)

    return differing(_options(config, trial.user_attrs), _options(config, fixed), matters)


def _options(config: DictConfig, fixed: dict[str, str]) -> dict[str, Any]:
    """Return the options of a trial, without those that are searched, by their dotted names."""
    words = [f"{name}={value}" for name, value in fixed.items()]
    plain = OmegaConf.to_container(compose(config.hydra.job.config_name, words), resolve=False)
    return {
        key: os.path.abspath(value) if key == ROOT and isinstance(value, str | Path) else value
        for key, value in flatten(plain)
    }
