"""Export a checkpoint to a file that runs without this project."""

import io
import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from boneage.data.atomic import make_writable, require_writable, write_files, writing
from boneage.data.decode import Preprocessing
from boneage.data.phantom import expose
from boneage.data.tables.sexes import SEXES
from boneage.errors import UserError, install
from boneage.predict.graph import Exported, trace
from boneage.predict.onnx_file import contract, round_weights, to_onnx
from boneage.predict.onnx_model import OnnxModel, new_session, output_of
from boneage.run.calibrate import novelty_of, site_of
from boneage.run.checkpoint import load_model, read_checkpoint
from boneage.run.checkpoint_file import checkpoint_file
from boneage.weights import KEY, SITE_KEY, is_exported, name_of

log = logging.getLogger(__name__)

Format = Literal["onnx", "torch_export"]
EXPORT_SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
SITE_PLACES: dict[Format, str] = {
    "onnx": f"metadata {SITE_KEY}, which boneage predict uses",
    "torch_export": "extra file site.json",
}
EXPORT_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
RADIOGRAPHS_CHECKED = 64
EXPORT_TOLERANCE = 1e-4  # in years or probability; for novelty and map relative to the maximum
EMPTY_MAP = 1e-6  # maximum below which a map is empty
HALF_TOLERANCE = 0.1 / 12  # in years or probability


@dataclass(frozen=True)
class Differences:
    """The largest differences of predictions on phantoms, in years or probability.

    Args:
        graph: between the file and the model with the file's weights.
        half: between the model with the file's weights and with the checkpoint's weights.
    """

    graph: float
    half: float


def export(
    checkpoint: Path, out: Path, form: Format, licence: str = "", citation: str = ""
) -> Differences:
    """Write a checkpoint as a model file with its contract as JSON, and check the predictions.

    A file that is exported already is copied.

    Args:
        checkpoint: checkpoint, or folder of a run.
        out: the file; the contract has the same name with `.json`.
        form: "onnx", with weights in half precision, or "torch_export" for `torch.export.load`.
        licence: of the weights, for the contract.
        citation: of the training data, for the contract.

    Raises:
        UserError: if the checkpoint cannot be read, `out` exists, has another suffix or cannot be
            written, a package is missing, or the file's predictions differ from the checkpoint's.
    """
    if form == "onnx" and (
        missing := [name for name in EXPORT_PACKAGES if find_spec(name) is None]
    ):
        raise UserError(f"{', '.join(missing)} is missing: {install('export')}")
    side_file = out.with_suffix(".json")
    if out.suffix != EXPORT_SUFFIXES[form]:
        raise UserError(f"--out {out}: a file of --format {form} ends in {EXPORT_SUFFIXES[form]}")
    if existing := next((path for path in (out, side_file) if path.exists()), None):
        raise UserError(f"{existing} exists already: choose another --out, or remove it")
    file = checkpoint_file(checkpoint)
    if is_exported(file) and form == "onnx":
        _write(out, file.read_bytes(), OnnxModel(file).contract)
        return Differences(0.0, 0.0)
    loaded = read_checkpoint(file)
    record = loaded["boneage"]
    exported = Exported(load_model(loaded), novelty_of(record), with_map=True)
    if (site := site_of(record)) is not None and site.correction.lines:
        log.warning(
            "%s is fitted to a site: the file's outputs are without the correction, which is in "
            "its %s", file, SITE_PLACES[form],
        )  # fmt: skip
    require_writable(out.parent)
    log.info("Exporting %s: this takes a minute or two", name_of(checkpoint))
    hands = _phantoms(Preprocessing(**record["preprocessing"]))
    rounding = _round(exported, *hands) if form == "onnx" else 0.0
    rights = {"licence": licence, "citation": citation} | record.get("terms", {})
    content, terms = _serialise(exported, record, form, rights)
    difference = _difference(exported, content, form, *hands)
    if not difference <= EXPORT_TOLERANCE:
        raise UserError(
            f"predictions of {out} would differ from those of {file} by {difference:.1e}: it is "
            "not written"
        )
    _write(out, content, terms)
    return Differences(difference, rounding)


def _write(out: Path, content: bytes, terms: dict[str, Any]) -> None:
    """Write a model file and, next to it, its contract."""
    make_writable(out.parent)
    with writing(out):
        write_files({out.with_suffix(".json"): json.dumps(terms, indent=1) + "\n", out: content})


def _phantoms(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return phantoms of all ages, preprocessed for a model, and their sexes."""
    rng = np.random.default_rng(0)
    squares, sexes = [], []
    for i, age in enumerate(np.linspace(0.5, 18.5, RADIOGRAPHS_CHECKED)):
        sexes.append(i % len(SEXES))
        image = expose(float(age), SEXES[i % 2], 256, rng).image
        squares.append(preprocessing.square(image).pixels)
    return torch.from_numpy(np.stack(squares))[:, None], torch.tensor(sexes)


def _round(exported: Exported, image: Tensor, sex: Tensor) -> float:
    """Round a model to half precision unless its predictions change; return the change."""
    exact = {name: values.clone() for name, values in exported.model.state_dict().items()}
    before, _ = exported.model.predict(image, sex)
    round_weights(exported.model)
    after, _ = exported.model.predict(image, sex)
    changes = [float((after[name] - before[name]).abs().max()) for name in before]
    change = float(np.max(changes))  # NaN if one is, unlike max()
    if change <= HALF_TOLERANCE:
        return change
    exported.model.load_state_dict(exact)
    log.warning(
        "Weights are stored in single precision: half precision would change predictions by %.2g",
        change,
    )
    return 0.0


def _serialise(
    exported: Exported, record: dict[str, Any], form: Format, rights: dict[str, str]
) -> tuple[bytes, dict[str, Any]]:
    """Return a model file, without a map if that cannot be exported, and its contract."""
    side = record["preprocessing"]["size"]
    try:
        program = trace(exported, side)
        terms = contract(record, exported, program.state_dict, **rights)
        site = record.get("calibration", {}).get("site")
        if form == "onnx":
            metadata = {KEY: terms} | ({SITE_KEY: site} if site else {})
            return to_onnx(program, exported.outputs, side, metadata), terms
        extra = {"contract.json": json.dumps(terms)}
        extra |= {"site.json": json.dumps(site)} if site else {}
        torch.export.save(program, buffer := io.BytesIO(), extra_files=extra)
        return buffer.getvalue(), terms
    except RuntimeError:
        if not exported.with_map:
            raise
        log.warning("The gradients of this network cannot be exported: the file gives no maps")
        exported.with_map = False
        return _serialise(exported, record, form, rights)


def _difference(
    exported: Exported, content: bytes, form: Format, image: Tensor, sex: Tensor
) -> float:
    """Return the largest difference between the outputs of the file and of the model."""
    expected = [values.numpy() for values in exported(image, sex)]
    if form == "onnx":
        actual = new_session(content).run(None, {"image": image.numpy(), "sex": sex.numpy()})
    else:
        program = torch.export.load(io.BytesIO(content)).module()
        actual = [values.detach().numpy() for values in program(image, sex)]
    differences = []
    for name, a, b in zip(exported.outputs, expected, actual, strict=True):
        if name in map(output_of, exported.model.tasks):
            differences.append(float(np.abs(a - b).max()))
        else:  # the mean: rounding can switch a unit at its threshold, and so a pixel of the map
            differences.append(float(np.abs(a - b).mean()) / max(float(np.abs(a).max()), EMPTY_MAP))
    return float(np.max(differences))  # NaN if one is, unlike max()
