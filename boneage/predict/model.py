"""What prediction needs of a trained model, whatever runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from boneage.data.decode import Preprocessing
from boneage.evaluation.conformal import Intervals
from boneage.evaluation.site import Site
from boneage.stages import Stages

Columns = dict[str, np.ndarray]


class Model(Protocol):
    """A trained model.

    Attributes:
        file: where it was read from.
        task: its name, such as "regression".
        stages: the maturity stages it was trained with.
        preprocessing: of the radiographs it sees.
        mirror: whether predictions are the mean of those of a radiograph and its mirror image.
        intervals: by whether the sex is known; None where it has none.
        site: what is to be changed in its ages and intervals at a site; None if nothing.
        seen: ids of the radiographs it was trained and chosen on.
        calibrated: whether it knows its own errors: the intervals, or the novelty.
    """

    file: Path
    task: str
    stages: Stages
    preprocessing: Preprocessing
    mirror: bool
    intervals: dict[bool, Intervals | None]
    site: Site | None
    seen: frozenset[str]
    calibrated: bool

    def predict(self, squares: np.ndarray, sexes: Sequence[str]) -> tuple[Columns, np.ndarray]:
        """Predict radiographs.

        Args:
            squares: (n, size, size) uint8.
            sexes: n sexes.

        Returns:
            The (n,) numeric columns of `predictions.csv`; and (n,) distances to the training
            radiographs, 1 at the limit, NaN where the model does not know them.
        """

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray | None:
        """Return (n, size, size) signed Grad-CAM maps of the first task, if there are any."""
