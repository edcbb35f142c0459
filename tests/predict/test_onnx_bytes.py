"""Changing the bytes of an ONNX file, held against the package onnx."""

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from boneage.predict.onnx_bytes import with_metadata, without_output
from boneage.weights import BUILTIN


@pytest.fixture(scope="module")
def small():
    """A file with the outputs x + 1 and 2 (x + 1)², of which the last is made by two nodes."""
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xyz"}
    nodes = [
        helper.make_node("Add", ["x", "one"], ["y"]),
        helper.make_node("Mul", ["y", "y"], ["square"]),
        helper.make_node("Add", ["square", "square"], ["z"]),
    ]
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = helper.make_graph(nodes, "small", [values["x"]], [values["y"], values["z"]], [one])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


def test_nodes_that_only_the_output_needs_are_left_out(small):
    left = onnx.load_from_string(without_output(small, "z"))
    onnx.checker.check_model(left)
    assert [list(node.output) for node in left.graph.node] == [["y"]]
    assert [output.name for output in left.graph.output] == ["y"]
    left = onnx.load_from_string(without_output(small, "y"))
    assert [list(node.output) for node in left.graph.node] == [["y"], ["square"], ["z"]]
    session = onnxruntime.InferenceSession(left.SerializeToString())
    (z,) = session.run(None, {"x": np.array([1, 2], np.float32)})
    assert z.tolist() == [8, 18]


def test_what_a_branch_reads_is_kept():
    names = {"x": TensorProto.FLOAT, "choice": TensorProto.BOOL, "y": TensorProto.FLOAT}
    values = {name: helper.make_tensor_value_info(name, kind, []) for name, kind in names.items()}
    branches = {
        f"{side}_branch": helper.make_graph(
            [helper.make_node(operation, ["outer", "x"], [f"{side}_y"])],
            side,
            [],
            [helper.make_tensor_value_info(f"{side}_y", TensorProto.FLOAT, [])],
        )
        for side, operation in (("then", "Add"), ("else", "Mul"))
    }
    nodes = [
        helper.make_node("Neg", ["x"], ["outer"]),
        helper.make_node("Abs", ["x"], ["z"]),
        helper.make_node("If", ["choice"], ["y"], **branches),
    ]
    made = helper.make_tensor_value_info("z", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "g", [values["x"], values["choice"]], [values["y"], made])
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(without_output(model, "z"))
    given = {"x": np.array(3, np.float32), "choice": np.array(False)}
    assert [output.tolist() for output in session.run(None, given)] == [-9]


def test_the_built_in_model_keeps_the_nodes_that_onnx_extracts():
    content = BUILTIN.read_bytes()
    left, whole = onnx.load_from_string(without_output(content, "map")), onnx.load(BUILTIN)
    expected = Extractor(whole).extract_model(["image", "sex"], ["age", "novelty"])
    assert left.graph.node == expected.graph.node
    assert len(left.graph.node) < 0.7 * len(whole.graph.node)
    assert left.graph.initializer == whole.graph.initializer
    assert left.metadata_props == whole.metadata_props


def test_a_file_without_the_output_is_unchanged(small):
    assert without_output(small, "map") == small
    assert without_output(b"", "map") == b""


def test_a_file_is_damaged_where_onnx_cannot_decode_it(small):
    content = with_metadata(small, "note", "n" * 300)
    assert onnx.load_from_string(content).metadata_props[0].value == "n" * 300
    for end in range(len(content)):
        try:
            onnx.load_from_string(content[:end])
        except DecodeError:
            with pytest.raises(ValueError, match="the message ends within"):
                without_output(content[:end], "z")
        else:
            without_output(content[:end], "z")
    with pytest.raises(ValueError, match="wire type"):
        without_output(b"\x0f", "z")
