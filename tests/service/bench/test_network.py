"""The bundle of random weights: proven like any other, and of a trained one's operators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.bench.graph import flops_of
from service.bench.network import Size, factor_specs, variable_specs, write_random_bundle
from service.bundle import Bundle, verify

SMALL = Size(factors=3, filters=(4, 6, 8), lstm=(8, 6), channels=16, hidden=8, k=8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_bundle(tmp_path_factory.mktemp("random") / "bundle", SMALL)


def test_the_bundle_passes_the_proof_of_every_bundle(bundle: Path) -> None:
    found = verify(bundle, samples=256)
    assert found.passed
    assert found.synthetic
    assert not found.may_warn


def test_a_larger_map_is_flattened_as_the_trainer_does_it(tmp_path: Path) -> None:
    size = Size(patch=31, factors=2, filters=(4, 4, 4), lstm=(4, 4), channels=8, hidden=4, k=8)
    assert verify(write_random_bundle(tmp_path / "bundle", size), samples=32).passed


def test_the_same_size_gives_the_same_bundle(bundle: Path, tmp_path: Path) -> None:
    assert Bundle.load(write_random_bundle(tmp_path / "again", SMALL)).digest == Bundle.load(bundle).digest


def test_its_map_has_every_class(bundle: Path) -> None:
    loaded = Bundle.load(bundle, prove=False)
    random = np.random.default_rng(5)
    patches = random.uniform(0, 100, (400, 3, 1, 1)).astype(np.float32) * np.ones((23, 23), np.float32)
    wet = random.uniform(0, 60, (400, 30, 1)) * (random.random((400, 30, 1)) < 0.3)
    windows = np.concatenate([wet, np.full((400, 30, 1), -100.0)], axis=2).astype(np.float32)
    found = loaded.whole(patches, windows)
    assert set(np.digitize(found, (0.4, 0.5, 0.6)).tolist()) == {0, 1, 2, 3}


def test_its_graphs_hold_the_operators_that_the_trainer_writes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    factored = pytest.importorskip("trainer.networks.factored")
    network = pytest.importorskip("trainer.networks.cnn_lstm")
    size = Size()
    bundle = write_random_bundle(tmp_path / "bundle", size)
    torch.manual_seed(0)
    inputs = network.Inputs(factor_specs(size), variable_specs(size), patch=size.patch)
    model = network.CnnLstm(inputs, seed=0).eval()
    trained = {
        "spatial.onnx": factored.spatial_graph(model),
        "temporal.onnx": factored.temporal_graph(model),
        "head.onnx": factored.head_graph(model, size.k),
        "head_u8.onnx": factored.head_u8_graph(model, size.k),
    }
    for name, graph in trained.items():
        assert _shape_of(onnx.load_model(bundle / name)) == _shape_of(graph), name


def _shape_of(model: onnx.ModelProto) -> tuple[Counter[str], list[tuple[int, ...]]]:
    """How many of each operator, and the sizes of the weights."""
    operators = Counter(node.op_type for node in model.graph.node)
    large = [tuple(one.dims) for one in model.graph.initializer if np.prod(one.dims) > 64]
    return operators, sorted(large)


def test_operations_are_counted_as_by_hand(bundle: Path) -> None:
    head = flops_of(
        bundle / "head_u8.onnx",
        {"state": (1, 64, 16), "corners": (1, 4, 16), "scale": (16,), "offset": (16,)},
    )
    assert head == 64 * 2 * (4 * 16 + 16 * 8 + 8)
    temporal = flops_of(bundle / "temporal.onnx", {"window": (5, 30, 2)})
    gates = 30 * 4 * (8 * (2 + 8) + 6 * (8 + 6))
    assert temporal == 5 * 2 * (gates + 6 * 16)


def test_the_operations_of_a_dense_convolution_hold_its_halo(bundle: Path) -> None:
    one = flops_of(bundle / "spatial.onnx", {"factors": (1, 3, 23, 23)})
    many = flops_of(bundle / "spatial.onnx", {"factors": (1, 3, 54, 54)})
    useful = 2 * (9 * 3 * 4 + 9 * 4 * 6 + 9 * 6 * 8 + 8 * 16)
    assert one > many / 32**2 > useful


def test_shapes_that_cannot_be_told_are_refused(bundle: Path) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        flops_of(bundle / "temporal.onnx", {})
