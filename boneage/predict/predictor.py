"""Bone ages in three lines of Python."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from boneage.errors import UserError, plural
from boneage.predict.answer import Answer
from boneage.predict.answering import RADIOGRAPHS_IN_MEMORY, answer_all
from boneage.predict.ensemble import Ensemble
from boneage.predict.patients import Patient, patient_given, patient_of
from boneage.predict.radiograph import Radiograph, load, see

File = str | os.PathLike[str]
One = File | np.ndarray  # a file, or pixels
Ones = TypeVar("Ones", bound=One)  # a list[str] is no list[One]
FILE_TYPES = (str, os.PathLike)


class Predictor:
    """Read bone ages from hand radiographs; threads can share it, and a pickle goes to processes.

    >>> answer = Predictor()("hand.png", sex="female")
    >>> answer.age_years, answer.interval_years, answer.flags

    Args:
        model: an exported `.onnx` file, a checkpoint or the folder of a run, or a list of these to
            average. Checkpoints and runs need the extra `train`. None is the built-in model.
        mirror: average with the mirror image, even if the model was tested without it.

    Raises:
        UserError: if an argument is of another type, a model cannot be read or is given twice, or
            tasks or stages of several models differ.
    """

    def __init__(self, model: File | Sequence[File] | None = None, mirror: bool = False) -> None:
        models = [model] if isinstance(model, FILE_TYPES) else model
        if models is not None and (
            not isinstance(models, Sequence)
            or not models
            or not all(isinstance(path, FILE_TYPES) for path in models)
        ):
            raise UserError(
                f"model={model!r}: give a file, a folder, or a list of them; None is the built-in "
                "model"
            )
        if not isinstance(mirror, bool | np.bool_):
            raise UserError(f"mirror={mirror!r}: give True or False; several models are a list")
        files = [_path(file) for file in models or ()]
        self.ensemble = Ensemble(files, bool(mirror))
        read = [file.absolute() for file in self.ensemble.files]
        self._arguments = (read if files else None, bool(mirror))

    def __repr__(self) -> str:
        files, mirror = self._arguments
        return f"Predictor({files and [*map(str, files)]}, mirror={mirror})"

    def __reduce__(self) -> tuple[type["Predictor"], tuple[list[Path] | None, bool]]:
        """Pickle what it was made of: a copy in another process reads the files again."""
        return Predictor, self._arguments

    @overload
    def __call__(
        self, radiographs: One, sex: str | None = None, age_years: float | None = None
    ) -> Answer: ...

    @overload
    def __call__(
        self,
        radiographs: list[Ones] | tuple[Ones, ...],
        sex: str | Iterable[str | None] | None = None,
        age_years: float | Iterable[float | None] | None = None,
    ) -> list[Answer]: ...

    def __call__(
        self,
        radiographs: One | list[Ones] | tuple[Ones, ...],
        sex: str | Iterable[str | None] | None = None,
        age_years: float | Iterable[float | None] | None = None,
    ) -> Answer | list[Answer]:
        """Predict one radiograph, or several.

        Args:
            radiographs: a file (PNG, JPEG, TIFF, BMP, DICOM); (H, W) uint8 or uint16 pixels with
                bright bones, black where masked; or a list of them.
            sex: "female", "male" or "unknown", or "F", "M", "girl" and so on; one for all, or one
                each. None, and a missing value of pandas or numpy (NA, NaN), reads the DICOM
                header, if any.
            age_years: chronological age in years, for the SD score; one for all, or one each. None
                and missing values as for the sex.

        Returns:
            An `Answer`, or a list of them in order. In a list, what cannot be read is an answer
            with status "error" and its reason.

        Raises:
            UserError: if the only radiograph cannot be read, several are not in a list, or a sex or
                an age is invalid: see `read_sex` and `read_age`.
        """
        if isinstance(radiographs, (*FILE_TYPES, np.ndarray)):
            (answer,) = self([radiographs], sex, age_years)
            if answer.status == "error":
                raise UserError(answer.reason)
            return answer
        if not isinstance(radiographs, list | tuple):
            raise UserError(f"{_not_a_radiograph(radiographs)}, or list(...) of them")
        n = len(radiographs)
        values = {"sex": _one_each(sex, n), "age_years": _one_each(age_years, n)}
        for name, own in values.items():
            if len(own) != n:
                raise UserError(
                    f"{plural(n, 'radiograph')}, but {plural(len(own), 'value')} of {name}: give "
                    "one for all, or a list with one each"
                )
        given = [patient_given(*one) for one in zip(*values.values(), strict=True)]
        step = RADIOGRAPHS_IN_MEMORY
        parts = (slice(start, start + step) for start in range(0, n, step))
        return [a for part in parts for a in self._answers(radiographs[part], given[part])]

    def _answers(self, radiographs: Sequence[One], given: Sequence[Patient]) -> list[Answer]:
        sources = [_path(r) if isinstance(r, FILE_TYPES) else r for r in radiographs]
        part = [(source, self._read(source)) for source in sources]
        patients = [
            patient_of(one, radiograph.header)
            for one, (_, radiograph) in zip(given, part, strict=True)
        ]
        return answer_all(part, patients, self.ensemble)[0]

    def _read(self, source: object) -> Radiograph:
        if isinstance(source, Path):
            return load(source, self.ensemble.preprocessings)
        if not isinstance(source, np.ndarray):
            return Radiograph(error=_not_a_radiograph(source))
        source = np.ma.filled(source, 0)  # masked pixels are black, as transparent ones are
        source = source.astype(source.dtype.newbyteorder("="), copy=False)
        try:
            return see(source, self.ensemble.preprocessings, with_film=False)
        except UserError as error:  # of what is no radiograph
            return Radiograph(error=str(error))


def _path(file: File) -> Path:
    return Path(os.fsdecode(file))  # an entry of a folder that was opened as bytes has such a name


def _not_a_radiograph(given: object) -> str:
    what = "give the path of a file or an array of pixels"
    return f"a {type(given).__name__} is not a radiograph: {what}"


def _one_each(given: object, n: int) -> list[Any]:
    """Return one value for each of `n` radiographs, from one for all or from one each.

    Raises:
        UserError: for a set or dict, whose order is not that of the radiographs.
    """
    if isinstance(given, Set | Mapping):
        raise UserError(
            f"a {type(given).__name__} of sexes or ages has no order: give a list, one value for "
            "each radiograph"
        )
    if isinstance(given, str | bytes):
        return [given] * n
    try:
        return [*given]  # type: ignore[misc]
    except TypeError:  # a number, None, an array without dimensions
        return [given] * n
