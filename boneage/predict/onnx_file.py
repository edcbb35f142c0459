"""A traced model as an ONNX file, with its contract."""

import json
from collections.abc import Container
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from boneage.data.decode import STRETCH_PERCENTILES
from boneage.data.depth import BIT_DEPTHS
from boneage.data.tables.sexes import SEXES
from boneage.models.module import BoneAgeModule
from boneage.predict.answer import RESEARCH_ONLY
from boneage.predict.graph import Exported, noise
from boneage.predict.onnx_model import INPUTS, MAP, NOVELTY, output_of
from boneage.run.calibrate import intervals_by_sex
from boneage.uncertainty.calibration import to_plain
from boneage.weights import CONTRACT_SCHEMA

LOW, HIGH = STRETCH_PERCENTILES
CONTRASTS = {
    "none": "full scale to 255; above 8 bits, full scale is the smallest depth of "
    f"{', '.join(map(str, BIT_DEPTHS[1:]))} bits that contains the file's maximum, "
    "ignoring marks at 65535",
    "stretch": f"percentiles {LOW} and {HIGH} to 0 and 255, clipped; where a hand is cropped, "
    f"percentile {HIGH} is that of the pixels within its outline",
}
LARGE = 2**14  # values; smaller weights, as in first layers, stay in single precision


def contract(
    record: dict[str, Any],
    exported: Exported,
    traced: Container[str],
    licence: str,
    citation: str,
) -> dict[str, Any]:
    """Return what a caller needs: preprocessing, outputs and calibration.

    It contains the ids of the training radiographs, but no ages and no sexes.

    Args:
        record: of the checkpoint.
        exported: the exported module.
        traced: names of the weights in the graph.
        licence: of the weights.
        citation: of the training data.
    """
    stages, model = record["config"]["stages"], exported.model
    state = model.state_dict()
    columns = _columns(model, record["preprocessing"]["size"])
    by_output = {output_of(task): own for task, own in columns.items()}
    return {
        "schema": CONTRACT_SCHEMA,
        "name": record["config"]["name"],
        "inputs": {
            "image": "uint8, batch x 1 x size x size, bones bright, prepared as below",
            "sex": "int64, batch: " + ", ".join(f"{i} = {name}" for i, name in enumerate(SEXES)),
        },
        "outputs": {name: _meaning(name, by_output, stages) for name in exported.outputs},
        "tasks": columns,  # columns of predictions.csv, by task
        "preprocessing": record["preprocessing"],
        "preprocessing_version": record.get("preprocessing_version"),
        "preparation": {
            "order": "crop, resize (area where it shrinks, else linear), contrast, pad",
            "contrast": CONTRASTS[record["preprocessing"]["contrast"]],
            "scaling": "inside the model: grey / 255, channels repeated",
        },
        "stages": stages["names"],
        "stage_edges_years": stages["edges"],
        "mirror_test": model.mirror_test,  # done inside the model
        "calibration": {"half_widths_years": to_plain(intervals_by_sex(record))},
        "radiographs": _radiographs(record),
        "module": record["config"],
        "state_dict": list(state),
        "beside": {name: v.tolist() for name, v in state.items() if name not in traced},
        "licence": licence,
        "citation": citation,
        "note": RESEARCH_ONLY,
    }


def _columns(model: BoneAgeModule, size: int) -> dict[str, list[str]]:
    """Return the numeric columns of `predictions.csv` by task, in order."""
    predictions, _ = model.predict(*noise(1, size))
    columns = {name: task.columns(predictions[name]) for name, task in model.tasks.items()}
    return {
        name: [column for column, values in own.items() if isinstance(values, Tensor)]
        for name, own in columns.items()
    }


def _meaning(output: str, columns: dict[str, list[str]], stages: dict[str, Any]) -> str:
    if output == NOVELTY:
        return "distance to the training radiographs, above 1 unusual"
    if output == MAP:
        return f"Grad-CAM of {next(iter(columns))}, batch x h x w, positive where it is raised"
    if output == "age":
        return "years of bone age"
    if len(columns[output]) == len(stages["names"]):
        return f"probabilities of {', '.join(stages['names'])}"
    return ", ".join(columns[output])


def _radiographs(record: dict[str, Any]) -> dict[str, list[str]]:
    """Return the ids used for training, also of earlier weights, and for model selection."""
    split, earlier = pd.DataFrame(record["split"]), record.get("earlier", {}).get("id", [])
    train, val = (split["id"][split["fold"] == fold].tolist() for fold in ("train", "val"))
    return {"train": list(dict.fromkeys([*train, *earlier])), "val": val}


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Round the large weights of a model to half precision."""
    for weight in model.parameters():
        if weight.numel() >= LARGE:
            weight.copy_(weight.half().float())


def to_onnx(
    program: torch.export.ExportedProgram,
    outputs: list[str],
    side: int,
    metadata: dict[str, Any],
) -> bytes:
    """Return a program as a file; weights that are exact in half precision are stored so.

    Args:
        program: from radiographs and sexes to the outputs.
        outputs: their names.
        side: of the square radiographs, pixels.
        metadata: plain containers by key.

    Raises:
        RuntimeError: if ONNX lacks an operation.
    """
    import onnx

    written = torch.onnx.export(
        program,
        noise(3, side),
        dynamo=True,
        input_names=[*INPUTS],
        output_names=outputs,
        optimize=False,  # it would merge and rename weights
        verbose=False,
    )
    assert written is not None
    model = written.model_proto
    _name_types(model)
    _remove_source(model)
    _store_in_half(model.graph)
    del model.metadata_props[:]
    texts = {key: json.dumps(content, separators=(",", ":")) for key, content in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    content: bytes = model.SerializeToString()
    return content


def _name_types(model: Any) -> None:  # noqa: ANN401 - protobuf
    """Name the type of each cast: the limits of a clip are then constants, and it is fused.

    Onnxruntime does not fold a cast to the type of another value.
    """
    from onnx import helper, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info)}
    types |= {initialiser.name: initialiser.data_type for initialiser in graph.initializer}
    for node in model.graph.node:
        if node.op_type == "CastLike" and node.input[1] in types:
            node.op_type, like = "Cast", node.input.pop()
            node.attribute.append(helper.make_attribute("to", types[like]))


def _remove_source(model: Any) -> None:  # noqa: ANN401 - protobuf
    """Remove the source locations of the operations: they are long and contain folder names."""
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (model.graph, *model.functions):
        part.doc_string = ""
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _store_in_half(graph: Any) -> None:  # noqa: ANN401 - protobuf
    """Store initialisers as float16 if that is exact, and cast them back in the graph."""
    from onnx import TensorProto, helper, numpy_helper

    casts = {}
    for initialiser in graph.initializer:
        values = numpy_helper.to_array(initialiser)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.dtype != np.float32 or values.size < LARGE or not (half == values).all():
            continue
        name = initialiser.name
        initialiser.CopyFrom(numpy_helper.from_array(half, name))
        casts[name] = helper.make_node("Cast", [name], [f"{name}.single"], to=TensorProto.FLOAT)
    for node in graph.node:
        node.input[:] = [casts[name].output[0] if name in casts else name for name in node.input]
    nodes = [*casts.values(), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
