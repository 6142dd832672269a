"""What an ONNX file of a bundle must be: self-contained, with the inputs and outputs that it is run with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from service.errors import BundleError
from service.manifest import WHOLE, Manifest


def check_self_contained(path: Path, content: bytes) -> None:
    """Refuse tensors kept outside the graph: they are neither hashed nor bound to the bundle's folder."""
    try:
        model = onnx.load_from_string(content)
    except Exception as error:  # protobuf's classes differ by its implementation
        raise BundleError(f"{path} is not an ONNX graph: {error}") from error
    for tensor in _tensors(model.graph, model.functions):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise BundleError(
                f"{path} keeps tensor {tensor.name!r} outside the file; export it with external data off"
            )


def _tensors(graph: Any, functions: Any = ()) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in (*graph.node, *(node for function in functions for node in function.node)):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.ByteSize():
                    yield from _tensors(inner)


def check_ports(path: Path, name: str, session: Any, manifest: Manifest) -> None:
    """Compare names, types and shapes of a graph's inputs and outputs with the contract (None: any size)."""
    channels, cells = manifest.channels, manifest.forcing_cell**2
    factors, variables = len(manifest.factors), len(manifest.variables)
    window = (None, manifest.window_days, variables)
    real, byte = "tensor(float)", "tensor(uint8)"
    corners, vector = (real, (None, 4, channels)), (real, (channels,))
    ports: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "spatial.onnx": (
            {"factors": (real, (1, factors, None, None))},
            {"state": (real, (1, channels, None, None))},
        ),
        "temporal.onnx": ({"window": (real, window)}, {"embedding": (real, (None, channels))}),
        "head.onnx": (
            {"state": (real, (None, cells, channels)), "corners": corners},
            {"susceptibility": (real, (None, cells))},
        ),
        "head_u8.onnx": (
            {
                "state": (byte, (None, cells, channels)),
                "corners": corners,
                "scale": vector,
                "offset": vector,
            },
            {"susceptibility": (real, (None, cells))},
        ),
        WHOLE: (
            {"patches": (real, (None, factors, manifest.patch, manifest.patch)), "window": (real, window)},
            {"susceptibility": (real, (None,))},
        ),
    }
    sides = zip(("input", "output"), ports[name], (session.get_inputs(), session.get_outputs()), strict=True)
    for side, expected, found in sides:
        names = {port.name: port for port in found}
        if set(names) != set(expected):
            raise BundleError(
                f"{path} has {side}s {', '.join(sorted(names))}; the contract says {', '.join(expected)}"
            )
        for port, (kind, shape) in expected.items():
            given = names[port]
            if given.type != kind or not _fits(given.shape, shape):
                raise BundleError(
                    f"{path}: {side} {port!r} is {given.type} {given.shape}; the manifest means {kind} "
                    f"{['any' if size is None else size for size in shape]}"
                )


def _fits(given: list[int | str | None], expected: tuple[int | None, ...]) -> bool:
    if len(given) != len(expected):
        return False
    pairs = zip(given, expected, strict=True)
    return all((not isinstance(size, int)) if wanted is None else size == wanted for size, wanted in pairs)
