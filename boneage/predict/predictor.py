"""Bone ages in three lines of Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from boneage.data.labels import MAX_AGE_YEARS
from boneage.data.sexes import SEXES
from boneage.errors import UserError
from boneage.predict.answer import Answer
from boneage.predict.answering import answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.patients import Patient, patient_of
from boneage.predict.radiograph import Radiograph, load, see

BATCH = 32  # radiographs that are held at a time

One = str | Path | np.ndarray  # a file, or pixels


class Predictor:
    """Read bone ages from hand radiographs.

    >>> answer = Predictor()("hand.png", sex="female")
    >>> answer.age_years, answer.interval_years, answer.flags

    Args:
        model: an exported `.onnx` file, a checkpoint or the folder of a run (which need the
            framework: `boneage[train]`), or several of them, whose mean is predicted. None is the
            built-in model.
        mirror: average with the mirror image, also where the model was not tested so.

    Raises:
        UserError: when a model cannot be read, or several do not fit together.
    """

    def __init__(
        self, model: str | Path | Sequence[str | Path] | None = None, mirror: bool = False
    ) -> None:
        paths = [model] if isinstance(model, str | Path) else model or ()
        self.ensemble = Ensemble([Path(path) for path in paths], mirror)

    @overload
    def __call__(
        self, radiographs: One, sex: str | None = None, age_years: float | None = None
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        radiographs: list[One],
        sex: str | Sequence[str | None] | None = None,
        age_years: float | Sequence[float | None] | None = None,
    ) -> list[Answer]: ...

    def __call__(
        self,
        radiographs: One | list[One],
        sex: str | Sequence[str | None] | None = None,
        age_years: float | Sequence[float | None] | None = None,
    ) -> Answer | list[Answer]:
        """Predict one radiograph, or several.

        Args:
            radiographs: a file (PNG, JPEG, TIFF, BMP, DICOM); (H, W) uint8 or uint16 pixels with
                bright bones; or a list of them.
            sex: "female", "male" or "unknown", of all; or one each. None is what a DICOM header
                says, else unknown.
            age_years: chronological age in years, for the SD score; of all, or one each.

        Returns:
            An `Answer`, or a list of them in order. In a list, a file that cannot be read is an
            answer with status "error" and its reason.

        Raises:
            UserError: when the one radiograph cannot be read, pixels are not (H, W) uint8 or
                uint16, a sex is none of `SEXES`, or an age is none from 0 to 25 years.
        """
        if isinstance(radiographs, str | Path | np.ndarray):
            (answer,) = self._answers([radiographs], [sex], [age_years])  # type: ignore[list-item]
            if answer.status == "error":
                raise UserError(answer.reason)
            return answer
        if not isinstance(radiographs, list | tuple):
            raise UserError(
                f"a {type(radiographs).__name__} is no radiograph: give a file, pixels, or a list"
            )
        n = len(radiographs)
        sexes = [sex] * n if sex is None or isinstance(sex, str) else list(sex)
        ages = list(age_years) if isinstance(age_years, Sequence) else [age_years] * n
        if not len(sexes) == len(ages) == n:
            raise UserError(f"{n} radiographs, but {len(sexes)} sexes and {len(ages)} ages")
        return [
            answer
            for i in range(0, n, BATCH)
            for answer in self._answers(
                radiographs[i : i + BATCH], sexes[i : i + BATCH], ages[i : i + BATCH]
            )
        ]

    def _answers(
        self,
        radiographs: Sequence[One],
        sexes: Sequence[str | None],
        ages: Sequence[float | None],
    ) -> list[Answer]:
        if wrong := [sex for sex in sexes if sex not in (*SEXES, None)]:
            raise UserError(f"sex={wrong[0]!r}: must be one of {', '.join(SEXES)}")
        for age in ages:
            if age is not None and not _is_age(age):
                raise UserError(
                    f"age_years={age!r}: must be a chronological age, 0 to {MAX_AGE_YEARS} years"
                )
        sources = [r if isinstance(r, np.ndarray) else Path(r) for r in radiographs]
        part = [(source, self._read(source)) for source in sources]
        patients = []
        for (source, radiograph), sex, age in zip(part, sexes, ages, strict=True):
            patient = Patient("unknown" if sex is None else sex, "option" if sex else "")
            if isinstance(source, Path):
                patient = patient_of(source, sex, {}, radiograph.header)
            if age is not None:
                patient = Patient(patient.sex, patient.sex_from, float(age), "option")
            patients.append(patient)
        return answer_all(part, patients, self.ensemble)[0]

    def _read(self, source: Path | np.ndarray) -> Radiograph:
        if isinstance(source, Path):
            return load(source, self.ensemble.preprocessings)
        if source.ndim != 2 or source.dtype not in (np.uint8, np.uint16) or not source.size:
            raise UserError(
                f"pixels of shape {source.shape} and type {source.dtype}: a radiograph is (height, "
                "width) of uint8 or uint16, with bright bones"
            )
        return see(source, self.ensemble.preprocessings, with_film=False)


def _is_age(value: Any) -> bool:  # noqa: ANN401 - whatever a caller gives
    number = isinstance(value, int | float | np.number)
    return number and 0 <= float(value) <= MAX_AGE_YEARS
