"""The data of the figures: predictions of a fold, and the files of a run."""

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.ids import patient_codes
from boneage.evaluation.evaluate import without_levels
from boneage.evaluation.intervals import counts
from boneage.evaluation.numbers import is_few
from boneage.evaluation.predictions import (
    BEYOND_ANY_AGE,
    PREDICTED_PREFIXES,
    has_probability,
    predicted_stage,
    stage_probability,
)
from boneage.evaluation.run_folder import FinishedRun
from boneage.evaluation.stage import confusion
from boneage.run_files import HISTORY, SPLIT, SUBGROUPS
from boneage.stages import Stages


class AbsentError(LookupError):
    """The data of a figure was not predicted, or is not in the folder of the run."""


class Material:
    """The data of the figures; each attribute raises AbsentError if its data does not exist.

    Radiographs with a prediction that is not finite or beyond any age are left out.

    Args:
        predictions: as for `evaluate`, with `sex`.
        stages: the stages.
        run: the finished run; None during training.
    """

    def __init__(
        self, predictions: pd.DataFrame, stages: Stages, run: FinishedRun | None = None
    ) -> None:
        numeric = [column for column in predictions if str(column).startswith(PREDICTED_PREFIXES)]
        valid = (predictions[numeric].abs() <= BEYOND_ANY_AGE).all(axis=1)  # False for NaN
        self.table = predictions[valid]
        self.stages = stages
        self._run = run

    def _column(self, name: str) -> pd.Series:
        if name not in self.table or self.table.empty:
            raise AbsentError(name)
        return self.table[name]

    @property
    def patients(self) -> np.ndarray | None:
        """(n,) patient numbers; None if unknown."""
        return patient_codes(self.table)

    @cached_property
    def true(self) -> np.ndarray:
        """(n,) true ages in years."""
        return self._column("age_years").to_numpy(float)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(n,) predicted ages in years."""
        return self._column(PREDICTED_AGE).to_numpy(float)

    @property
    def sex(self) -> np.ndarray:
        """(n,) sexes."""
        return self._column("sex").to_numpy(str)

    @property
    def edged_stages(self) -> Stages:
        """The stages, if there are two or more."""
        if not self.stages.edges:
            raise AbsentError("edges")
        return self.stages

    @cached_property
    def true_stage(self) -> np.ndarray:
        """(n,) true stage indices."""
        return self.stages.index_of(self.true)

    @cached_property
    def stage(self) -> np.ndarray:
        """(n,) predicted stage indices, or stages of the predicted ages."""
        if "stage_predicted" not in self.table:
            self._column(PREDICTED_AGE)
        return predicted_stage(self.table, self.stages)

    @property
    def hit(self) -> np.ndarray:
        """(n,) whether the stage is correct."""
        hit: np.ndarray = self.stage == self.true_stage
        return hit

    @property
    def confusion(self) -> np.ndarray:
        """(K, K) radiographs, true stage by row."""
        return confusion(self.true_stage, self.stage, len(self.stages))

    @property
    def small_stages(self) -> np.ndarray:
        """(K,) whether a stage has few patients, or radiographs if these are unknown."""
        patients = self.patients
        chosen = [self.true_stage == i for i in range(len(self.stages))]
        own = [None if patients is None else patients[of_stage] for of_stage in chosen]
        return np.array([is_few(counts(int(c.sum()), p)) for c, p in zip(chosen, own, strict=True)])

    @cached_property
    def probability(self) -> np.ndarray:
        """(n, K) probabilities of the stages."""
        self._column("stage_predicted")
        if not has_probability(self.table):
            raise AbsentError("probabilities")
        return stage_probability(self.table, self.stages)

    @property
    def run(self) -> FinishedRun:
        """The finished run."""
        if self._run is None:
            raise AbsentError("run")
        return self._run

    @property
    def subgroups(self) -> pd.DataFrame:
        """The metrics of ages by age band and sex."""
        groups = without_levels(self.run.table(SUBGROUPS))
        if not len(groups) or not (groups["metric"] == "age/mae_months").any():
            raise AbsentError("subgroups")
        return groups

    @property
    def history(self) -> pd.DataFrame:
        """The logged values of each epoch."""
        return self._table(HISTORY)

    @property
    def split(self) -> pd.DataFrame:
        """The fold of each radiograph."""
        return self._table(SPLIT)

    def _table(self, name: str) -> pd.DataFrame:
        table = self.run.table(name)
        if table.empty:
            raise AbsentError(name)
        return table

    @property
    def augmented(self) -> np.ndarray:
        """(rows, columns, H, W) training radiographs, plain and augmented."""
        images: np.ndarray = _stored(self.run.images(), "augmented")
        return images

    @property
    def readers_report(self) -> dict[str, Any]:
        """The comparison of several readers."""
        report: dict[str, Any] = _stored(self.run.metrics, "readers_report")
        return report

    @property
    def architecture(self) -> dict[str, Any]:
        """The blocks of the model."""
        blocks: dict[str, Any] = _stored(self.run.metrics, "architecture")
        return blocks


def _stored(content: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - any stored value
    if (value := content.get(name)) is None:
        raise AbsentError(name)
    return value
