"""How many radiographs are enough: runs that differ only in the size of their training fold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from boneage.errors import UserError
from boneage.evaluation.comparison.group import Group, trained_seeds
from boneage.evaluation.run_folder import FinishedRun

SIZE = "data.train_films"
METRIC = "age/mae_months"
WIDTH_IN_SE = 3.92  # of a 95 % interval, if normal
LITTLE = 0.1  # months
PARAMETERS = 3
MIN_SIZES = PARAMETERS + 1  # distinct sizes needed at least
NOTHING, MUCH = 0.01, 0.1  # shares of the error
SIMULATIONS = 500
SEED = 0
# the exponents of power laws seen in practice lie between: Hestness et al. 2017, arXiv:1712.00409
EXPONENTS = np.geomspace(0.05, 2.0, 200)


@dataclass(frozen=True)
class LearningCurve:
    """A power law with a floor, error = floor + scale * n ** -exponent, and its uncertainty.

    Attributes:
        floor: months, the error that no number of radiographs would go below.
        scale: months.
        exponent: how fast the error falls.
        largest: n of the largest training fold measured.
        doubling: by how many months the error would fall with twice that many.
        doubling_limits: its 95 % interval, months.
    """

    floor: float
    scale: float
    exponent: float
    largest: int
    doubling: float
    doubling_limits: tuple[float, float]

    def __call__(self, n: np.ndarray) -> np.ndarray:
        """Return the error, in months, of training with n radiographs."""
        return _law(n, self.floor, self.scale, self.exponent)

    @property
    def is_conclusive(self) -> bool:
        """Whether the data can say that more radiographs would help, or would not.

        They cannot if the interval goes from nothing to much.
        """
        low, high = self.doubling_limits
        error = float(self(np.array([self.largest]))[0])
        return low > NOTHING * error or high - low < MUCH * error


def fit_learning_curve(n: ArrayLike, mae: ArrayLike, se: ArrayLike) -> LearningCurve:
    """Fit a power law with a floor to errors by the size of the training fold.

    Weighted least squares. The interval contains every gain for which the best curve fits nearly as
    well as the best of all (profile likelihood; Bates & Watts 1988, section 6.1): its sum of
    squares is larger by at most the 95 % quantile of chi-squared, or by that of F times the scatter
    about the curve if this is more. Runs scatter by more than their standard errors from seed to
    seed, and by less as they have the test radiographs in common.

    Args:
        n: training radiographs of each run.
        mae: months, of each run on the same test fold.
        se: months, standard error of each for other test radiographs, greater than 0.

    Raises:
        UserError: when there are fewer than four different sizes, or when the error rises with
            the size by more than chance.
    """
    sizes, errors, spread = (np.asarray(values, float) for values in (n, mae, se))
    if (different := len(np.unique(sizes))) < MIN_SIZES:
        raise UserError(
            f"a learning curve needs {MIN_SIZES} sizes of the training fold or more, and there are "
            f"{different}: sweep data.train_films over more"
        )
    rng = np.random.default_rng(SEED)
    drawn = rng.normal(errors, spread, (SIMULATIONS, len(errors)))
    if np.percentile(_slopes(sizes, drawn, spread), 2.5) > 0:
        raise UserError(
            "the error of these runs rises with the size of the training fold, which the law "
            "excludes: check that all were trained for long enough"
        )
    best = _fit(sizes, errors, spread)
    largest = int(sizes.max())
    now, then = _law(np.array([largest, 2 * largest]), *best)
    limits = _gain_limits(sizes, errors, spread, best)
    return LearningCurve(*best, largest, float(now - then), limits)


def _slopes(n: np.ndarray, mae: np.ndarray, se: np.ndarray) -> np.ndarray:
    """Return the slope of each of (m, n) rows of errors over log n, by weighted least squares."""
    slopes: np.ndarray = np.polyfit(np.log(n), mae.T, 1, w=1 / se)[0]
    return slopes


def _law(n: np.ndarray, floor: float, scale: float, exponent: float) -> np.ndarray:
    error: np.ndarray = floor + scale * np.asarray(n, float) ** -exponent
    return error


def _gain_limits(
    n: np.ndarray, mae: np.ndarray, se: np.ndarray, best: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the least and the largest gain, in months, with which a curve fits well enough.

    For a given exponent the scale is proportional to the gain, so that the sum of squares is a
    parabola of the gain: one where the floor is free, and another where it is zero.
    """
    from scipy.stats import chi2, f

    weight, freedom = se**-2, len(n) - PARAMETERS
    least = float((weight * (mae - _law(n, *best)) ** 2).sum())
    most = least + max(chi2.ppf(0.95, 1), f.ppf(0.95, 1, freedom) * least / freedom)
    exponents = EXPONENTS[:, None]
    falling = n**-exponents / (n.max() ** -exponents * (1 - 2**-exponents))  # of a gain of 1
    level = falling @ weight / weight.sum()
    mean = float(mae @ weight / weight.sum())
    edge = mean / level  # the gain from which on the floor is zero
    limits = []
    for x, y, start, end in (
        (falling - level[:, None], mae - mean, np.zeros(len(edge)), edge),
        (falling, mae, edge, np.full(len(edge), np.inf)),
    ):
        squares = x**2 @ weight
        middle = (x * y) @ weight / squares
        rest = (y - middle[:, None] * x) ** 2 @ weight
        half = np.sqrt((most - rest).clip(min=0) / squares)
        low, high = np.maximum(middle - half, start), np.minimum(middle + half, end)
        allowed = (rest <= most) & (low <= high)
        limits += [*low[allowed], *high[allowed]]
    return float(min(limits)), float(max(limits))


def _fit(n: np.ndarray, mae: np.ndarray, se: np.ndarray) -> tuple[float, float, float]:
    """Return floor, scale and exponent.

    For a given exponent the law is linear in the other two, which neither may be negative.
    """
    weight = 1 / se
    least, best = np.inf, (np.nan, np.nan, np.nan)
    for exponent in EXPONENTS:
        falling = n**-exponent
        design = np.stack([weight, weight * falling], axis=1)
        floor, scale = np.linalg.pinv(design) @ (mae * weight)
        if floor < 0:
            floor, scale = 0.0, (mae * weight**2 * falling).sum() / (weight**2 * falling**2).sum()
        if scale < 0:
            floor, scale = (mae * weight**2).sum() / (weight**2).sum(), 0.0
        rest = (((floor + scale * falling - mae) * weight) ** 2).sum()
        if rest < least:
            least, best = rest, (float(floor), float(scale), float(exponent))
    return best


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
    settings = group.settings(SIZE, "seed")
    studies = (_study(", ".join(setting.options), setting.runs) for setting in settings)
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
