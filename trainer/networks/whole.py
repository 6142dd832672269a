"""The network as it was trained, traced into one graph: what the factored graphs are proven against."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from torch import nn

from trainer.networks.cnn_dnn import CnnDnn
from trainer.networks.cnn_lstm import CnnLstm
from trainer.networks.factored import IR_VERSION, OPSET


def whole_graph(model: CnnLstm) -> onnx.ModelProto:
    """Return `patches` float32 (n, C, P, P), `window` (n, N, V) -> `susceptibility` (n,), physical units.

    Nothing of the machine or the moment stays in the graph, so the same weights give the same bytes.
    """
    inputs = model.inputs
    # Two of each: a batch of one would be traced as a constant.
    patches = torch.zeros(2, len(inputs.factors), inputs.patch, inputs.patch)
    window = torch.zeros(2, inputs.window_days, len(inputs.variables))
    return _traced(model, {"patches": patches, "window": window})


def patches_graph(model: CnnDnn, window_days: int, variables: int) -> onnx.ModelProto:
    """Return the same of a network that sees patches alone; `window` (n, N, V) is declared and not used."""
    patches = torch.zeros(2, len(model.factors), model.patch, model.patch)
    graph = _traced(model, {"patches": patches})
    # Written by hand: a tracer may drop what nothing reads.
    shape = ["n", window_days, variables]
    graph.graph.input.append(onnx.helper.make_tensor_value_info("window", onnx.TensorProto.FLOAT, shape))
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _traced(model: nn.Module, given: dict[str, torch.Tensor]) -> onnx.ModelProto:
    rows = torch.export.Dim("n")
    training = model.training
    model.eval()
    try:
        with quiet():
            program = torch.onnx.export(
                model,
                tuple(given.values()),
                dynamo=True,
                input_names=list(given),
                output_names=["susceptibility"],
                dynamic_shapes={name: {0: rows} for name in given},
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
    finally:
        model.train(training)
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    buffer = io.BytesIO()
    onnx.save(program.model_proto, buffer)
    graph = onnx.load_from_string(buffer.getvalue())
    scrub(graph, "whole")
    onnx.checker.check_model(graph, full_check=True)
    return graph


def scrub(model: onnx.ModelProto, name: str) -> None:
    """Name a graph, and remove stack traces with paths, versions and other words that differ by machine."""
    model.producer_name, model.producer_version, model.doc_string = "colluvium", "", ""
    model.ir_version = IR_VERSION
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = name, ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for number, node in enumerate(graph.node):
        node.name, node.doc_string = f"n{number}", ""
        del node.metadata_props[:]
    for part in (*graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says about its own insides while it traces."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # says once per process that torchvision is absent
    try:
        with warnings.catch_warnings():
            # torch's own calls of what it deprecates, and its view of an LSTM's flat weights.
            warnings.filterwarnings("ignore", "_check_is_size", FutureWarning)
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            warnings.filterwarnings("ignore", "The tensor attributes? .*_flat_weights", UserWarning)
            warnings.filterwarnings(
                "ignore", r"The \.grad attribute of a Tensor that is not a leaf", UserWarning
            )
            # The two inputs share their first axis, which torch reports as a name it dropped.
            warnings.filterwarnings("ignore", ".*The axis name: n will not be used", UserWarning)
            yield
    finally:
        registration.setLevel(level)
