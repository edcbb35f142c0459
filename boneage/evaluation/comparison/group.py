"""Find finished runs below folders, and group them by test set and task."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from boneage.errors import UserError
from boneage.evaluation.metrics import describe
from boneage.evaluation.numbers import DASH, option_value
from boneage.evaluation.reference import Reference, first_reference
from boneage.evaluation.report.statements import limit_of_readers
from boneage.evaluation.run_folder import FinishedRun, read_run, run_folder
from boneage.options import is_choice, kind_of
from boneage.run_files import ERROR, HYDRA, METRICS, SPLIT

TRACES = (METRICS, HYDRA, SPLIT, ERROR)  # a folder with any of them is a run folder
DEFAULT_SORT = ("age/mae_months", "stage/balanced_accuracy")
FEW_OPTIONS = 2  # that differ: they stand beside the name of a run
SEVERAL = "several"  # values, those of the runs of an ensemble


def find_runs(folders: Sequence[Path]) -> tuple[list[FinishedRun], list[str]]:
    """Return the finished runs in and below folders, in order of their paths.

    Args:
        folders: run folders, their checkpoint files, or folders with run folders at any depth.

    Returns:
        The runs, and for every other run folder or file one line that says what is wrong with it.

    Raises:
        UserError: when a folder does not exist, or there is no finished run.
    """
    runs: dict[Path, FinishedRun] = {}
    skipped: dict[Path, str] = {}
    for given in folders:
        folder = run_folder(given)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        if given.is_file() and not (given.suffix == ".ckpt" and _is_run(os.listdir(folder))):
            skipped[given] = f"{given} is neither a run folder nor a checkpoint in one"
            continue
        for path in _run_folders(folder):
            try:
                runs[path.resolve()] = read_run(path)
            except UserError as error:
                skipped[path.resolve()] = str(error)
    if not runs:
        reasons = "".join(f"; {reason}" for reason in list(skipped.values())[:3])
        where = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no finished run in or below {where}{reasons}")
    return list(runs.values()), list(skipped.values())


def _is_run(names: Sequence[str]) -> bool:
    """Tell whether a folder with these entries is a run folder."""
    return any(trace in names for trace in TRACES)


def _run_folders(folder: Path) -> list[Path]:
    """Return the run folders in and below a folder, links included."""
    run_folders, visited = [], set()
    for where, subfolders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(where) in visited:  # a link back up, or to a sibling
            subfolders.clear()
            continue
        visited.add(os.path.realpath(where))
        if _is_run([*files, *subfolders]):
            run_folders.append(Path(where))
            subfolders.clear()
        subfolders.sort()
    return sorted(run_folders)


@dataclass(frozen=True)
class Setting:
    """Runs that share some options.

    Args:
        runs: the runs, at least one.
        options: "option=value" for each of these that differs from other runs.
    """

    runs: list[FinishedRun]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Runs of one task on one test set, the best first.

    Args:
        runs: the runs.
        sort: the metric that they are sorted by.
    """

    runs: list[FinishedRun]
    sort: str

    @property
    def first(self) -> dict[str, Any]:
        """The metrics of the best run: task, data, test_set and synthetic are common to all."""
        return self.runs[0].metrics

    @property
    def reference(self) -> Reference | None:
        """The reference study of the group: that of the best run with one."""
        return first_reference(run.metrics for run in self.runs)

    @cached_property
    def differing(self) -> list[str]:
        """The options that differ, without those that follow from a choice above them."""
        keys = [key for key in self._keys() if self._differs(key) and self._matters(key)]
        return [key for key in keys if not any(self._follows(key, other) for other in keys)]

    @property
    def beside_names(self) -> list[str]:
        """The options that differ, if they are few enough to stand beside the name of a run."""
        return self.differing if len(self.differing) <= FEW_OPTIONS else []

    @property
    def common(self) -> dict[str, Any]:
        """The options that all runs share; an option that a run lacks is None."""
        options = self.runs[0].metrics["options"]
        return {key: options.get(key) for key in self._keys() if not self._differs(key)}

    def settings(self, *without: str) -> list[Setting]:
        """Return the settings of the differing options but for some of these, the best first."""
        keys = [key for key in self.differing if key not in without]
        settings: dict[tuple[str, ...], list[FinishedRun]] = {}
        for run in self.runs:
            settings.setdefault(tuple(self.named(run, keys)), []).append(run)
        return [Setting(runs, options) for options, runs in settings.items()]

    @cached_property
    def of_seeds(self) -> list[Setting]:
        """The settings with several seeds (`trained_seeds`), the best mean first."""
        trained = (Setting(trained_seeds(s.runs), s.options) for s in self.settings("seed"))
        several = [setting for setting in trained if len(setting.runs) > 1]
        return sorted(several, key=lambda setting: _badness(setting.runs, self.sort))

    def named(self, run: FinishedRun, keys: Sequence[str]) -> list[str]:
        """Return options of a run as "option=value"."""
        return [f"{key}={self.shown(run, key)}" for key in keys]

    @property
    def limit_of_readers(self) -> str:
        """What MAE a perfect model would have, in words; empty if no reader says."""
        limits = (limit_of_readers(run.metrics) for run in self.runs)
        return next(filter(None, limits), "")

    @staticmethod
    def shown(run: FinishedRun, key: str) -> str:
        """Return the value of an option as text.

        A dash if an older run lacks it, "several" if the runs of an ensemble differ in it. An
        option that follows another one has the same text in all runs.
        """
        if key in run.metrics.get("differing", ()):
            return SEVERAL
        value = run.metrics["options"].get(key)
        return DASH if value is None else option_value(value)

    def _differs(self, key: str) -> bool:
        return len({self.shown(run, key) for run in self.runs}) > 1

    def _matters(self, key: str) -> bool:
        """Tell whether the choice of a group changes an option other than bookkeeping.

        A choice without a known option below it always counts.
        """
        below = [k for k in self._keys() if k.startswith(f"{key.split('@')[-1]}.")]
        return not (below and is_choice(key)) or any(self._differs(k) for k in below)

    def _follows(self, key: str, choice: str) -> bool:
        """Tell whether an option lies below a choice and has one value for each of its values."""
        if not key.startswith(f"{choice.split('@')[-1]}."):  # group@node fills the node
            return False
        pairs = {(self.shown(run, choice), self.shown(run, key)) for run in self.runs}
        return len(pairs) == len({chosen for chosen, _ in pairs})

    def _keys(self) -> list[str]:
        keys = dict.fromkeys(key for run in self.runs for key in run.metrics["options"])
        return [key for key in keys if kind_of(key) != "bookkeeping"]


def group_runs(runs: Sequence[FinishedRun], sort: str | None = None) -> list[list[Group]]:
    """Return the groups of runs by task, for every set of test radiographs.

    Real radiographs come before phantoms, and test sets with most runs first. Only runs of the same
    test set are compared, also between tasks.

    Args:
        runs: finished runs.
        sort: metric to sort by, with or without "test/" in front. By default, and in groups
            without it, the MAE, the balanced accuracy, or the first metric.

    Raises:
        UserError: when no run has the metric.
    """
    sort = sort.removeprefix("test/") if sort else None
    require_metrics("--sort", [sort] if sort else [], runs)
    test_sets: dict[tuple[bool, str, str], dict[str, list[FinishedRun]]] = {}
    for run in runs:
        m = run.metrics
        key = (bool(m.get("synthetic")), str(m["test_set"]), str(m["stages"]))
        test_sets.setdefault(key, {}).setdefault(str(m["task"]), []).append(run)
    return [
        [_sorted_group(tasks[task], sort) for task in sorted(tasks, key=_task_order)]
        for _, tasks in sorted(test_sets.items(), key=_test_set_order)
    ]


def require_metrics(option: str, names: Sequence[str], runs: Sequence[FinishedRun]) -> None:
    """Raise UserError, naming the option, when no run has one of the metrics."""
    known = dict.fromkeys(name for run in runs for name in run.metrics["test"])
    if absent := [name for name in names if name not in known]:
        raise UserError(
            f"{option} {absent[0]}: no run has this metric; there are {', '.join(known)}"
        )


def _test_set_order(
    item: tuple[tuple[bool, str, str], dict[str, list[FinishedRun]]],
) -> tuple[bool, int, str, str]:
    """Sort test sets: phantoms last, those with most runs first."""
    (synthetic, test_set, stages), tasks = item
    return synthetic, -sum(len(runs) for runs in tasks.values()), test_set, stages


def _sorted_group(runs: list[FinishedRun], sort: str | None) -> Group:
    names = dict.fromkeys(name for run in runs for name in run.metrics["test"])
    chosen = [name for name in (sort, *DEFAULT_SORT, *names) if name in names]
    metric = chosen[0] if chosen else ""
    return Group(sorted(runs, key=lambda run: _badness([run], metric)), metric)


def trained_seeds(members: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return one run per seed, of runs that differ in nothing else, in the order of the seeds.

    A seed that was run again counts once, by its latest run; tests of a checkpoint do not count, as
    their options are not those it was trained with, nor do means of several runs.
    """
    trained = [
        run
        for run in members
        if run.metrics["options"].get("train", True) and "ensemble" not in run.metrics
    ]
    trained.sort(key=lambda run: str(run.metrics.get("started")))
    latest = {run.metrics["seed"]: run for run in trained}
    return [latest[seed] for seed in sorted(latest)]


def _badness(runs: Sequence[FinishedRun], metric: str) -> float:
    """Return a number that is smaller if the mean of a metric over some runs is better.

    Runs on partial data and undefined metrics come last.
    """
    values = [run.metrics["test"].get(metric, {}).get("value") for run in runs]
    if None in values or any(run.metrics.get("partial") for run in runs):
        return float("inf")
    value, better = fmean(values), describe(metric).better
    if better in ("near zero", "near one"):
        return abs(value - (better == "near one"))
    return -value if better == "higher" else value


def _task_order(task: str) -> tuple[int, str]:
    built_in = ("regression", "classification", "multitask")
    return (built_in.index(task) if task in built_in else len(built_in), task)
