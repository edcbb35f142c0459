"""A checkpoint as a file that runs without this project."""

import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from boneage.data.decode import Preprocessing
from boneage.data.phantom.exposure import expose
from boneage.data.sexes import SEXES
from boneage.errors import UserError, install
from boneage.predict.graph import Exported, trace
from boneage.predict.onnx_file import contract, round_weights, write_onnx
from boneage.run.calibrate import novelty_of
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.checkpoint_file import checkpoint_file
from boneage.weights import KEY, SITE_KEY

log = logging.getLogger(__name__)

Format = Literal["onnx", "torch_export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
CHECKED = 64  # radiographs
TOLERANCE = 1e-4  # years, or of a probability; of novelty and map in proportion to the greatest
SMALLEST = 1e-6  # a map of less is empty
HALF_TOLERANCE = 0.1 / 12  # years, or of a probability


@dataclass(frozen=True)
class Differences:
    """How far predictions of drawn hands differ at most, in years or of a probability.

    Args:
        graph: of the file and of the model with the file's weights.
        half: of the models with the weights of the file and of the checkpoint.
    """

    graph: float
    half: float


def export(
    checkpoint: Path, out: Path, form: Format, licence: str = "", citation: str = ""
) -> Differences:
    """Write a checkpoint as a model file, its contract as JSON beside it, and check both.

    Args:
        checkpoint: checkpoint, or folder of a run.
        out: the file; the contract goes to the same name with `.json`.
        form: "onnx", with weights in half precision, or "torch_export" for `torch.export.load`.
        licence: of the weights, for the contract.
        citation: of the data trained on, for the contract.

    Raises:
        UserError: when it cannot be read or written, is there already or has another suffix, a
            package is missing, or the file does not predict what the checkpoint does.
    """
    if form == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        raise UserError(f"{', '.join(missing)} is missing: {install('export')}")
    side_file = out.with_suffix(".json")
    if out.suffix != SUFFIXES[form]:
        raise UserError(f"--out {out}: a file of --format {form} ends in {SUFFIXES[form]}")
    if there := next((path for path in (out, side_file) if path.exists()), None):
        raise UserError(f"{there} exists already: choose another --out, or remove it")
    file = checkpoint_file(checkpoint)
    if file.suffix == out.suffix:
        raise UserError(f"{file} is an exported file already: copy it")
    loaded = read_checkpoint(file)
    record = loaded["boneage"]
    exported = Exported(load_model(loaded), novelty_of(record), with_map=True)
    hands = _phantoms(Preprocessing(**record["preprocessing"]))
    rounding = _round(exported, *hands) if form == "onnx" else 0.0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch()  # a mistake in it shows now
        out.unlink()
        said = {"licence": licence, "citation": citation} | record.get("terms", {})
        terms = _write(exported, record, out, form, said)
        side_file.write_text(json.dumps(terms, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from error
    difference = _difference(exported, out, form, *hands)
    if not difference <= TOLERANCE:
        out.unlink()
        side_file.unlink()
        raise UserError(f"{out} would differ from {file} by {difference:.1e}: it is removed")
    return Differences(difference, rounding)


def _phantoms(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return drawn hands of all ages, prepared for a model, and their sexes."""
    rng = np.random.default_rng(0)
    squares, sexes = [], []
    for i, age in enumerate(np.linspace(0.5, 18.5, CHECKED)):
        sexes.append(i % len(SEXES))
        image = expose(float(age), SEXES[i % 2], 256, rng).image
        squares.append(preprocessing.square(image).pixels)
    return torch.from_numpy(np.stack(squares))[:, None], torch.tensor(sexes)


def _round(exported: Exported, image: Tensor, sex: Tensor) -> float:
    """Round a model to half precision unless that changes what it predicts; return by how much."""
    exact = {name: values.clone() for name, values in exported.model.state_dict().items()}
    before, _ = exported.model.predict(image, sex)
    round_weights(exported.model)
    after, _ = exported.model.predict(image, sex)
    change = max(float((after[name] - before[name]).abs().max()) for name in before)
    if change <= HALF_TOLERANCE:
        return change
    exported.model.load_state_dict(exact)
    log.warning("Weights stay in single precision: half would change predictions by %.2g", change)
    return 0.0


def _write(
    exported: Exported, record: dict[str, Any], out: Path, form: Format, said: dict[str, str]
) -> dict[str, Any]:
    """Write the model, without its map where that cannot be; return the contract."""
    side = record["preprocessing"]["size"]
    try:
        program = trace(exported, side)
        terms = contract(record, exported, program.state_dict, **said)
        if form == "onnx":
            site = record.get("calibration", {}).get("site")
            metadata = {KEY: terms} | ({SITE_KEY: site} if site else {})
            write_onnx(program, exported.outputs, side, metadata, out)
        else:
            extra = {"contract.json": json.dumps(terms)}
            torch.export.save(program, out, extra_files=extra)
    except RuntimeError:
        if not exported.with_map:
            raise
        log.warning("The gradients of this network cannot be written: the file draws no maps")
        exported.with_map = False
        return _write(exported, record, out, form, said)
    return terms


def _difference(exported: Exported, out: Path, form: Format, image: Tensor, sex: Tensor) -> float:
    """Return how much what the file returns differs at most from what the model does."""
    expected = [values.numpy() for values in exported(image, sex)]
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        found = session.run(None, {"image": image.numpy(), "sex": sex.numpy()})
    else:
        found = [values.detach().numpy() for values in torch.export.load(out).module()(image, sex)]
    differences = []
    for name, a, b in zip(exported.outputs, expected, found, strict=True):
        if name in exported.model.tasks:
            differences.append(float(np.abs(a - b).max()))
        else:  # where a unit is just about to act, rounding can switch a place of the map
            differences.append(float(np.abs(a - b).mean()) / max(float(np.abs(a).max()), SMALLEST))
    return max(differences)
