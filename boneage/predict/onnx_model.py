"""An exported model, run by onnxruntime without torch and Lightning."""

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from boneage.data.decode import Preprocessing
from boneage.data.tables.columns import PREDICTED_AGE
from boneage.data.tables.sexes import sex_codes
from boneage.errors import UserError, plural
from boneage.predict.onnx_bytes import without_output
from boneage.stages import BANDS, Stages
from boneage.uncertainty.calibration import IntervalsBySex, Site, from_plain
from boneage.weights import BUILTIN, CONTRACT_SCHEMA, KEY, SITE_KEY

Columns = dict[str, np.ndarray]
BATCH = 16  # radiographs at a time
INPUTS = ("image", "sex")
NOVELTY, MAP = "novelty", "map"  # outputs


class Model(Protocol):
    """A trained model.

    Attributes:
        file: the file it was read from.
        tasks: names of its tasks, such as "age" and "stage".
        stages: the maturity stages it was trained with.
        preprocessing: of its input radiographs.
        mirror: whether predictions are averaged with those of the mirror image.
        intervals: for known and unknown sex (the key); None if it has none.
        site: correction and intervals of a site; None if it is fitted to none.
        seen: ids of its training and validation radiographs.
        validated: number of its validation radiographs, which the intervals are fitted to.
        calibrated: whether training calibrated it; without that it measures no novelty.
        predicts_age: whether it predicts bone ages.
    """

    file: Path
    tasks: frozenset[str]
    stages: Stages
    preprocessing: Preprocessing
    mirror: bool
    intervals: IntervalsBySex
    site: Site | None
    seen: frozenset[str]
    validated: int
    calibrated: bool
    predicts_age: bool

    def predict(self, squares: np.ndarray, sexes: Sequence[str]) -> tuple[Columns, np.ndarray]:
        """Predict radiographs.

        Args:
            squares: (n, size, size) uint8.
            sexes: n sexes.

        Returns:
            The (n,) numeric columns of `predictions.csv`; and (n,) distances to the training
            radiographs, 1 at the limit, NaN if the model does not measure them.
        """

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray | None:
        """Return (n, size, size) signed Grad-CAM maps of the first task, if there are any."""


def output_of(task: str) -> str:
    """Return the name of a task's output, which is not that of an input."""
    return f"predicted_{task}" if task in INPUTS else task


def builtin_file() -> Path:
    """Return the file of the built-in model.

    Raises:
        UserError: if this installation lacks it.
    """
    if not BUILTIN.is_file():
        raise UserError(
            "this installation has no built-in model: install boneage again, or give a model "
            "with --checkpoint"
        )
    return BUILTIN


class OnnxModel:
    """A model written by `boneage export`; see `Model`.

    Args:
        file: the file.
        mirror: average with the mirror image, even if the exported graph does not.

    Raises:
        UserError: if it cannot be read, or `boneage export` did not write it.
    """

    def __init__(self, file: Path, mirror: bool = False) -> None:
        self.file = file
        self.content, self.session = _open(file)
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.calibrated = NOVELTY in self.outputs
        try:
            self._read_metadata(self.session.get_modelmeta().custom_metadata_map, mirror)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise UserError(f"model {file} cannot be used: its contract is damaged") from error
        self._require_fit()

    def _read_metadata(self, metadata: dict[str, str], mirror: bool) -> None:
        """Set the attributes of the model from its metadata."""
        self.contract = _contract(self.file, metadata)
        self.site = Site.of(json.loads(metadata[SITE_KEY])) if SITE_KEY in metadata else None
        self.seen = frozenset(chain.from_iterable(self.contract["radiographs"].values()))
        self.validated = len(self.contract["radiographs"]["val"])
        self.columns: dict[str, list[str]] = self.contract["tasks"]
        self.tasks = frozenset(self.columns)
        self.predicts_age = PREDICTED_AGE in chain.from_iterable(self.columns.values())
        self.stages = Stages(self.contract["stages"], self.contract["stage_edges_years"])
        self.preprocessing = Preprocessing(**self.contract["preprocessing"])
        self.mirror = mirror or self.contract["mirror_test"]
        self.intervals = from_plain(self.contract["calibration"]["half_widths_years"])

    def _require_fit(self) -> None:
        """Raise UserError if the contract is not that of the outputs, or lacks widths of bands."""
        shapes = {output.name: output.shape[1:] for output in self.session.get_outputs()}
        wrong = f"model {self.file} cannot be used: its contract"
        for task, columns in self.columns.items():
            shape = shapes.get(output_of(task))
            if shape not in ([len(columns)], [] if len(columns) == 1 else None):
                raise UserError(
                    f"{wrong} has {plural(len(columns), 'column')} for tasks.{task}, which do not "
                    f"fit its outputs {', '.join(self.outputs)}: export it again"
                )
        at_site = self.site.intervals if self.site else {}
        for own in (*self.intervals.values(), *at_site.values()):
            if own and (len(own.widths) != len(BANDS) or not all(w >= 0 for w in own.widths)):
                raise UserError(
                    f"{wrong} needs {len(BANDS)} half_widths_years from 0, but has "
                    f"{own.plain()}: export it again"
                )

    def predict(self, squares: np.ndarray, sexes: Sequence[str]) -> tuple[Columns, np.ndarray]:
        """Predict (n, size, size) uint8 radiographs: see `Model`."""
        tasks = {output_of(task): columns for task, columns in self.columns.items()}
        extra = [NOVELTY] if NOVELTY in self.outputs else []
        outputs = self._run([*tasks, *extra], squares, sexes)
        if self.mirror and not self.contract["mirror_test"]:
            mirrored = self._run([*tasks], squares[..., ::-1], sexes)
            outputs |= {name: (outputs[name] + mirrored[name]) / 2 for name in tasks}
        columns: Columns = {}
        for output, names in tasks.items():
            columns |= zip(names, outputs[output].reshape(len(squares), -1).T, strict=True)
        return columns, outputs.get(NOVELTY, np.full(len(squares), np.nan))

    def maps(self, squares: np.ndarray, sexes: Sequence[str]) -> np.ndarray | None:
        """Return (n, size, size) signed Grad-CAM maps, if the file has that output."""
        if not any(output.name == MAP for output in self._complete.get_outputs()):
            return None
        side = self.preprocessing.size
        maps = self._run([MAP], squares, sexes)[MAP]
        return np.stack([cv2.resize(m, (side, side), interpolation=cv2.INTER_LINEAR) for m in maps])

    def _run(
        self, outputs: list[str], squares: np.ndarray, sexes: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the named outputs of n radiographs."""
        session = self._complete if MAP in outputs else self.session
        image, sex = np.ascontiguousarray(squares)[:, None], sex_codes(sexes)
        parts = [
            session.run(outputs, {"image": image[i : i + BATCH], "sex": sex[i : i + BATCH]})
            for i in range(0, len(image), BATCH)
        ]
        return {
            name: np.concatenate(p)
            for name, p in zip(outputs, zip(*parts, strict=True), strict=True)
        }

    @cached_property
    def _complete(self) -> Any:  # noqa: ANN401 - it has no types
        """The session with the map, which takes about 1.5 times as long."""
        return new_session(self.content)


def new_session(content: bytes) -> Any:  # noqa: ANN401 - it has no types
    """Return a session of onnxruntime on the CPU for an ONNX file's content.

    Its threads do not spin on cores that read radiographs, and it logs nothing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # the caller reports errors
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _open(file: Path) -> tuple[bytes, Any]:
    """Return the content of a file, and a session that computes all but the map.

    Raises:
        UserError: if the file cannot be read, or is no ONNX file.
    """
    try:
        content = file.read_bytes()
    except (OSError, ValueError) as error:  # the second for an impossible name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"model {file} cannot be loaded: {reason}") from error
    try:
        return content, new_session(without_output(content, MAP))
    except Exception as error:  # onnxruntime has an exception for each of its codes
        raise UserError(
            f"model {file} cannot be loaded: it is not a complete ONNX file; copy it again"
        ) from error


def _contract(file: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the contract in the metadata of a file.

    Raises:
        UserError: if there is none, or another version wrote it.
        KeyError, TypeError, ValueError: if it is damaged.
    """
    if KEY not in metadata:
        raise UserError(f"{file} is not a boneage model: write one with boneage export")
    contract: dict[str, Any] = json.loads(metadata[KEY])
    schema = contract.get("schema", 0)
    if not 1 <= schema <= CONTRACT_SCHEMA:
        advice = "update boneage" if schema > CONTRACT_SCHEMA else "export it again"
        raise UserError(f"model {file} was written by another version of boneage: {advice}")
    if not Preprocessing(**contract["preprocessing"]).matches_version(
        contract["preprocessing_version"]
    ):
        raise UserError(
            f"model {file} was trained with another version of boneage, which crops hands "
            "differently: train it again with this version"
        )
    return contract
