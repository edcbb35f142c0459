"""A checkpoint as a file that runs without this project."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from boneage.data.decode import STRETCH_PERCENTILES
from boneage.data.depth import BIT_DEPTHS
from boneage.data.sexes import SEXES
from boneage.errors import UserError
from boneage.models.module import BoneAgeModule
from boneage.run.checkpoint import checkpoint_file, load_model, read_checkpoint

Format = Literal["onnx", "torch_export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
CHECKED = 64  # radiographs
TOLERANCE = 1e-4  # years, or of a probability
UNITS = {"age": "years of bone age"}
LOW, HIGH = STRETCH_PERCENTILES
CONTRASTS = {
    "none": "full scale to 255; beyond 8 bits it is that of the least depth of "
    f"{', '.join(map(str, BIT_DEPTHS[1:]))} bits that holds the file's maximum, "
    "marks at 65535 left aside",
    "stretch": f"percentiles {LOW} and {HIGH} to 0 and 255, clipped; where a hand is cropped, "
    f"percentile {HIGH} is that of the pixels within its outline",
}


class Exported(nn.Module):
    """From radiographs and sexes to what every task predicts, in natural units, as it is tested."""

    def __init__(self, model: BoneAgeModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model.predict(image, sex)[0].values())


def export(checkpoint: Path, out: Path, form: Format) -> float:
    """Write a checkpoint as a model file, its contract as JSON beside it, and check both.

    Args:
        checkpoint: checkpoint, or folder of a run.
        out: the file; the contract goes to the same name with `.json`.
        form: "onnx", or "torch_export" for `torch.export.load`.

    Returns:
        The largest difference to the checkpoint's predictions of 64 radiographs of noise.

    Raises:
        UserError: when it cannot be read or written, is there already or has another suffix, a
            package is missing, or the file does not predict what the checkpoint does.
    """
    if form == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        raise UserError(f"{', '.join(missing)} is missing: pip install 'boneage[export]'")
    side_file = out.with_suffix(".json")
    if out.suffix != SUFFIXES[form]:
        raise UserError(f"--out {out}: a file of --format {form} ends in {SUFFIXES[form]}")
    if there := next((path for path in (out, side_file) if path.exists()), None):
        raise UserError(f"{there} exists already: choose another --out, or remove it")
    file = checkpoint_file(checkpoint)
    loaded = read_checkpoint(file)
    model = load_model(loaded).eval()
    terms = contract(loaded["boneage"], model)
    side = terms["preprocessing"]["size"]
    batch = torch.export.Dim("batch")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.touch()  # a mistake in it shows now
        out.unlink()
        program = torch.export.export(
            Exported(model), _example(2, side), dynamic_shapes=({0: batch}, {0: batch})
        )
        if form == "onnx":
            _write_onnx(program, out, terms, side)
        else:
            torch.export.save(program, out, extra_files={"contract.json": json.dumps(terms)})
        side_file.write_text(json.dumps(terms, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}") from error
    difference = _difference(model, out, form, side)
    if not difference <= TOLERANCE:
        out.unlink()
        side_file.unlink()
        raise UserError(f"{out} would differ from {file} by {difference:.1e}: it is removed")
    return difference


def contract(record: dict[str, Any], model: BoneAgeModule) -> dict[str, Any]:
    """Return what a caller of the model must know: how to prepare radiographs, what comes out."""
    stages = record["config"]["stages"]
    return {
        "task": record["config"]["name"],
        "inputs": {
            "image": "uint8, batch x 1 x size x size, bones bright, prepared as below",
            "sex": "int64, batch: " + ", ".join(f"{i} = {name}" for i, name in enumerate(SEXES)),
        },
        "outputs": {
            name: UNITS.get(name, f"probabilities of {', '.join(stages['names'])}")
            for name in model.tasks
        },
        "preprocessing": record["preprocessing"],
        "preparation": {
            "order": "crop, resize (area where it shrinks, else linear), contrast, pad",
            "contrast": CONTRASTS[record["preprocessing"]["contrast"]],
            "scaling": "inside the model: grey / 255, channels repeated",
        },
        "age": "standardisation is inside the model: outputs are years",
        "stages": stages["names"],
        "stage_edges_years": stages["edges"],
        "mirror_test": model.mirror_test,  # done inside the model
        "trained_on": record["split"]["fold"].count("train"),
        "note": "Research use only: not a medical device.",
    }


def _write_onnx(
    program: torch.export.ExportedProgram, out: Path, terms: dict[str, Any], side: int
) -> None:
    written = torch.onnx.export(
        program,
        _example(2, side),
        dynamo=True,
        input_names=["image", "sex"],
        output_names=list(terms["outputs"]),
        verbose=False,
    )
    assert written is not None
    written.model.metadata_props["boneage"] = json.dumps(terms)
    written.save(out)


def _difference(model: BoneAgeModule, out: Path, form: Format, side: int) -> float:
    """Return how much the file's predictions differ at most from the checkpoint's."""
    image, sex = _example(CHECKED, side)
    with torch.inference_mode():
        expected = [values.numpy() for values in Exported(model)(image, sex)]
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        found = session.run(None, {"image": image.numpy(), "sex": sex.numpy()})
    else:
        found = [values.detach().numpy() for values in torch.export.load(out).module()(image, sex)]
    return max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))


def _example(n: int, side: int) -> tuple[Tensor, Tensor]:
    """Return n radiographs of noise and their sexes, always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    image = nn.functional.interpolate(coarse.float(), size=(side, side), mode="bilinear")
    return image.to(torch.uint8), torch.arange(n) % len(SEXES)
