"""How many radiographs are enough: runs that differ only in the size of their training fold."""

from dataclasses import dataclass

import numpy as np

from boneage.errors import UserError
from boneage.evaluation.comparison.group import Group
from boneage.evaluation.comparison.paired import trained_seeds
from boneage.evaluation.learning_curve import LearningCurve, fit_learning_curve
from boneage.evaluation.run_folder import FinishedRun

SIZE = "data.train_films"
METRIC = "age/mae_months"
WIDTH_IN_SE = 3.92  # of a 95 % interval, if normal
LITTLE = 0.1  # months


@dataclass(frozen=True)
class SizeStudy:
    """The error of runs by the size of their training fold.

    Args:
        setting: the options in which these runs differ from others of their group; empty if none.
        n: (K,) training radiographs, ascending.
        mae: (K, 3) MAE on the test fold and its 95 % interval, months.
        curve: what was fitted; None with too few sizes.
        sentence: what twice as many radiographs would bring, or why that cannot be said.
    """

    setting: str
    n: np.ndarray
    mae: np.ndarray
    curve: LearningCurve | None
    sentence: str

    @property
    def text(self) -> str:
        """The sentence, after its setting if there are several."""
        return f"{self.setting}: {self.sentence}" if self.setting else self.sentence


def size_studies(group: Group) -> list[SizeStudy]:
    """Return a study for each setting of a group that was trained with different sizes.

    Runs of one setting differ in `data.train_films` and the seed only. A run counts if it was
    trained on all that its options name, and has an MAE with an interval.
    """
    if SIZE not in group.differing:
        return []
    settings = group.settings(SIZE, "seed").items()
    studies = (_study(", ".join(setting), runs) for setting, runs in settings)
    return [study for study in studies if study is not None]


def _study(setting: str, runs: list[FinishedRun]) -> SizeStudy | None:
    by_size: dict[int, list[FinishedRun]] = {}
    for run in runs:
        if not run.metrics.get("partial") and _interval(run):
            by_size.setdefault(int(run.metrics["n"]["train"]), []).append(run)
    pairs = [(n, run) for n in sorted(by_size) for run in trained_seeds(by_size[n])]
    n = np.array([size for size, _ in pairs])
    if len(np.unique(n)) < 2:
        return None
    mae = np.array([_interval(run) for _, run in pairs])
    try:
        curve = curve_of(n, mae)
    except UserError as error:
        return SizeStudy(setting, n, mae, None, f"No curve is fitted: {error}.")
    return SizeStudy(setting, n, mae, curve, _sentence(curve))


def curve_of(n: np.ndarray, mae: np.ndarray) -> LearningCurve:
    """Return the power law fitted to results with intervals.

    Args:
        n: (K,) training radiographs.
        mae: (K, 3) MAE and its 95 % interval, months.

    Raises:
        UserError: when there are too few sizes.
    """
    return fit_learning_curve(n, mae[:, 0], (mae[:, 2] - mae[:, 1]) / WIDTH_IN_SE)


def _interval(run: FinishedRun) -> list[float]:
    """Return MAE and limits of a run in months; nothing where one is undefined."""
    result = run.metrics["test"].get(METRIC, {})
    values = [result.get(part) for part in ("value", "low", "high")]
    return [] if None in values or values[1] == values[2] else [float(v) for v in values]


def _sentence(curve: LearningCurve) -> str:
    low, high = curve.doubling_limits
    n = curve.largest
    sizes = f"twice as many training radiographs ({2 * n:,} instead of {n:,})"
    by = f"{curve.doubling:.2f} months (95 % interval {low:.2f} to {high:.2f})"
    if not curve.is_conclusive:
        return (
            f"The effect of {sizes} is unclear: the fitted curve falls by {by}, an interval too "
            "wide to tell."
        )
    if curve.doubling < LITTLE:
        return f"With {sizes} the fitted curve hardly falls: by {by}."
    return f"With {sizes} the fitted curve falls by {by}."
