"""A traced model as an ONNX file: weights in half precision, under the names of the state dict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from boneage.predict.graph import noise

LARGE = 2**14  # values: most of a network's bytes; first layers, where errors begin, have less


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Round the large weights of a model to half precision."""
    for weight in model.parameters():
        if weight.numel() >= LARGE:
            weight.copy_(weight.half().float())


def write_onnx(
    program: torch.export.ExportedProgram,
    outputs: list[str],
    side: int,
    metadata: dict[str, Any],
    out: Path,
) -> None:
    """Write a program; what half precision holds exactly is stored so, and cast in the graph.

    Args:
        program: from radiographs and sexes to the outputs.
        outputs: their names.
        side: of the square radiographs, pixels.
        metadata: plain containers by key.
        out: the file.

    Raises:
        OSError: when it cannot be written.
        RuntimeError: when ONNX has no such operation.
    """
    import onnx

    written = torch.onnx.export(
        program,
        noise(3, side),
        dynamo=True,
        input_names=["image", "sex"],
        output_names=outputs,
        optimize=False,  # it would merge weights, and rename them
        verbose=False,
    )
    assert written is not None
    model = written.model_proto
    _forget_source(model)
    _store_in_half(model.graph)
    del model.metadata_props[:]
    texts = {key: json.dumps(said, separators=(",", ":")) for key, said in metadata.items()}
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, out)


def _forget_source(model: Any) -> None:  # noqa: ANN401 - protobuf
    """Remove where in the code each operation comes from: it is long, and names folders."""
    del model.graph.value_info[:], model.graph.metadata_props[:]
    for part in (model.graph, *model.functions):
        part.doc_string = ""
        for node in part.node:
            node.doc_string = ""
            del node.metadata_props[:]


def _store_in_half(graph: Any) -> None:  # noqa: ANN401 - protobuf
    """Store initialisers as float16 where that is exact, and cast them back in the graph."""
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
