"""Graphs put together from parts compute what the parts do, and say nothing of where they come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from service.runtime import make_session
from trainer.onnx_graph import IR_VERSION, OPSET, GraphBuilder, port


def doubled() -> onnx.ModelProto:
    """Return x -> y = 2 x and, beside it, z = x + 5."""
    graph = GraphBuilder()
    graph.add("Mul", "x", graph.floats(2.0), output="y")
    graph.add("Add", "x", graph.floats(5.0), output="z")
    model = graph.model("part", [port("x", ["n"])], [port("y", ["n"]), port("z", ["n"])])
    model.graph.node[0].name, model.graph.node[0].doc_string = "of a converter", "made on a machine"
    return model


def test_a_part_is_embedded_twice_without_clash_and_without_what_is_not_needed() -> None:
    graph = GraphBuilder()
    once = graph.embed(doubled(), {"x": "value"}, "y")
    twice = graph.embed(doubled(), {"x": once}, "y")
    graph.add("Identity", twice, output="out")
    model = graph.model("both", [port("value", ["n"])], [port("out", ["n"])])
    found = make_session(model.SerializeToString(), "both").run(None, {"value": np.ones(3, np.float32)})[0]
    assert found.tolist() == [4, 4, 4]
    assert [node.op_type for node in model.graph.node] == ["Mul", "Mul", "Identity"]
    assert b"converter" not in model.SerializeToString()
    assert b"machine" not in model.SerializeToString()
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET)


def test_constants_keep_their_rank() -> None:
    part = GraphBuilder()
    part.add("Gather", "x", part.scalar(1), output="y", axis=0)
    whole = GraphBuilder()
    inner = whole.embed(part.model("part", [port("x", ["n"])], [port("y", [])]), {"x": "value"}, "y")
    whole.add("Identity", inner, output="out")
    model = whole.model("whole", [port("value", ["n"])], [port("out", [])])
    session = make_session(model.SerializeToString(), "whole")
    found = session.run(None, {"value": np.array([7, 8], np.float32)})[0]
    assert found.shape == ()
    assert found == 8


def test_an_output_that_nothing_makes_is_refused() -> None:
    with pytest.raises(ValueError, match="'part' has no 'w'"):
        GraphBuilder().embed(doubled(), {"x": "value"}, "w")


def test_an_input_that_nothing_gives_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing makes 'x'"):
        GraphBuilder().embed(doubled(), {}, "y")


def test_parts_with_graphs_of_their_own_are_refused() -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "branch", [], [port("b", ["n"])])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    inputs = [port("x", ["n"]), port("c", [], onnx.TensorProto.BOOL)]
    model = helper.make_model(helper.make_graph([node], "part", inputs, [port("y", ["n"])]))
    with pytest.raises(ValueError, match="has subgraphs"):
        GraphBuilder().embed(model, {"x": "x", "c": "c"}, "y")
