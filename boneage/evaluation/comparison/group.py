"""Runs that may be ranked against each other: the same task on the same test radiographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from boneage.errors import UserError
from boneage.evaluation.glossary import describe
from boneage.evaluation.run_folder import FinishedRun

DEFAULT_SORT = ("age/mae_months", "stage/balanced_accuracy")
# where a run was kept and how it was watched, not what it did
BOOKKEEPING = (
    "callbacks", "logger", "ckpt_path", "train", "report", "run_dir", "name",
    "data.root", "data.cache_dir", "data.num_workers", "trainer.accelerator",
    "trainer.enable_progress_bar",
)  # fmt: skip
SETTINGS_AFTER_ALL = "callbacks.early_stopping"  # it decides how long a run trains
ABSENT = "-"


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
        """What all runs of the group agree on: task, data, test_set, synthetic, official."""
        return self.runs[0].metrics

    @property
    def differing(self) -> list[str]:
        """The options in which the runs differ, less those that follow from a choice above them."""
        found = [key for key in self._keys() if self._differs(key)]
        return [key for key in found if not any(self._follows(key, other) for other in found)]

    @property
    def common(self) -> dict[str, Any]:
        """The options that all runs share; one that a run does not know is None there."""
        options = self.runs[0].metrics["options"]
        return {key: options.get(key) for key in self._keys() if not self._differs(key)}

    def settings(self) -> dict[tuple[str, ...], list[FinishedRun]]:
        """Return the runs by the values of all differing options but the seed."""
        keys = [key for key in self.differing if key != "seed"]
        settings: dict[tuple[str, ...], list[FinishedRun]] = {}
        for run in self.runs:
            settings.setdefault(tuple(self.shown(run, key) for key in keys), []).append(run)
        return settings

    @staticmethod
    def shown(run: FinishedRun, key: str) -> str:
        """Return the value of an option as text; one that is new is none in an older run."""
        value = run.metrics["options"].get(key)
        return ABSENT if value is None else str(value)

    def _differs(self, key: str) -> bool:
        return len({self.shown(run, key) for run in self.runs}) > 1

    def _follows(self, key: str, choice: str) -> bool:
        """Tell whether an option lies below a choice and is the same wherever that is the same."""
        if not key.startswith(f"{choice.split('@')[-1]}."):  # head@tasks.age.head fills the latter
            return False
        pairs = {(self.shown(run, choice), self.shown(run, key)) for run in self.runs}
        return len(pairs) == len({chosen for chosen, _ in pairs})

    def _keys(self) -> list[str]:
        keys = dict.fromkeys(key for run in self.runs for key in run.metrics["options"])
        return [key for key in keys if not _is_bookkeeping(key)]


def group_runs(runs: Sequence[FinishedRun], sort: str | None = None) -> list[list[Group]]:
    """Return, for every set of test radiographs, its groups of runs by task.

    Real radiographs come before phantoms, and of each those that most runs were tested on. Runs of
    one test set may be compared, also between tasks; those of different test sets may not.

    Args:
        runs: finished runs.
        sort: metric to sort by, with or without "test/" in front; a group without it, and every
            group by default, is sorted by its MAE, balanced accuracy, or first metric.

    Raises:
        UserError: when no run has the metric.
    """
    sort = sort.removeprefix("test/") if sort else None
    known = dict.fromkeys(name for run in runs for name in run.metrics["test"])
    if sort and sort not in known:
        raise UserError(f"--sort {sort}: no run has this metric; there are {', '.join(known)}")
    test_sets: dict[tuple[bool, str, str], dict[str, list[FinishedRun]]] = {}
    for run in runs:
        m = run.metrics
        key = (bool(m.get("synthetic")), str(m["test_set"]), str(m["stages"]))
        test_sets.setdefault(key, {}).setdefault(str(m["task"]), []).append(run)
    return [
        [_sorted_group(tasks[task], sort) for task in sorted(tasks, key=_task_order)]
        for _, tasks in sorted(test_sets.items(), key=_test_set_order)
    ]


def _test_set_order(
    item: tuple[tuple[bool, str, str], dict[str, list[FinishedRun]]],
) -> tuple[bool, int, str, str]:
    """Put the phantom's last, and before it those of most runs first."""
    (synthetic, test_set, stages), tasks = item
    return synthetic, -sum(len(runs) for runs in tasks.values()), test_set, stages


def _sorted_group(runs: list[FinishedRun], sort: str | None) -> Group:
    names = dict.fromkeys(name for run in runs for name in run.metrics["test"])
    chosen = [name for name in (sort, *DEFAULT_SORT, *names) if name in names]
    metric = chosen[0] if chosen else ""
    return Group(sorted(runs, key=lambda run: _badness(run, metric)), metric)


def _badness(run: FinishedRun, metric: str) -> float:
    """Return a number that is small where a run is good.

    Runs that were kept from seeing all data, and undefined metrics, come last.
    """
    if run.metrics.get("partial"):
        return float("inf")
    value = run.metrics["test"].get(metric, {}).get("value")
    if value is None:
        return float("inf")
    value, better = float(value), describe(metric).better
    if better in ("near zero", "near one"):
        return abs(value - (better == "near one"))
    return -value if better == "higher" else value


def _task_order(task: str) -> tuple[int, str]:
    known = ("regression", "classification", "multitask")
    return (known.index(task) if task in known else len(known), task)


def _is_bookkeeping(key: str) -> bool:
    if key.startswith(SETTINGS_AFTER_ALL):
        return False
    return any(key == name or key.startswith(f"{name}.") for name in BOOKKEEPING)
