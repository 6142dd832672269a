"""The processor's head: the same values as the bundle's graphs, from every thread and block."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from service.bundle import Bundle
from service.files import sha256_file, write_json
from service.head import CpuHead
from service.state_records import Block
from tests.fix_bundle import ToyNetwork, write_toy_bundle

FloatArray = npt.NDArray[np.float32]
NET = ToyNetwork(gain=4)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_toy_bundle(tmp_path_factory.mktemp("toy") / "bundle", NET))


def records(number: int, seed: int = 0) -> list[Block]:
    random = np.random.default_rng(seed)
    blocks = []
    for _ in range(number):
        block = Block(NET.k, NET.channels)
        block.codes[:] = random.integers(0, 256, block.codes.shape)
        block.scaling[0] = random.uniform(0.001, 0.02, NET.channels)
        block.scaling[1] = random.normal(size=NET.channels)
        blocks.append(block)
    return blocks


def corner_rows(number: int, seed: int = 1) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(number, 4, NET.channels)).astype(np.float32)


def by_float(bundle: Bundle, blocks: list[Block], corners: FloatArray) -> FloatArray:
    """Return what head.onnx makes of the decoded states."""
    decoded = np.concatenate([block.codes * block.scale + block.offset for block in blocks])
    return bundle.head(decoded.astype(np.float32), corners)


def refilled(blocks: list[Block]) -> Iterator[Block]:
    """Yield the records one after the other in one and the same block, as a reader from the disk does."""
    room = Block(NET.k, NET.channels)
    for block in blocks:
        room.scaling[:], room.codes[:] = block.scaling, block.codes
        yield room


def test_each_record_is_run_with_each_set_of_corners(bundle: Bundle) -> None:
    blocks, sets = records(5), [corner_rows(5, seed) for seed in (1, 2, 3)]
    found = CpuHead(bundle).run(blocks, sets)
    assert len(found) == 3
    for values, corners in zip(found, sets, strict=True):
        np.testing.assert_allclose(values, by_float(bundle, blocks, corners), atol=1e-6)
    assert np.ptp(found[0]) > 0.2


def test_a_block_that_is_filled_again_gives_what_fresh_blocks_give(bundle: Bundle) -> None:
    head, blocks, corners = CpuHead(bundle), records(6), corner_rows(6)
    fresh = head.run(blocks, [corners])[0]
    np.testing.assert_array_equal(head.run(refilled(blocks), [corners])[0], fresh)
    for number, block in enumerate(blocks):
        row = corners[number : number + 1]
        alone = bundle.head_u8(block.codes, row, np.array(block.scale), np.array(block.offset))
        np.testing.assert_array_equal(alone[0], fresh[number])


def test_values_of_an_earlier_run_stay(bundle: Bundle) -> None:
    head, corners = CpuHead(bundle), corner_rows(3)
    first = head.run(refilled(records(3)), [corners])[0]
    kept = first.copy()
    head.run(refilled(records(3, seed=9)), [corner_rows(3, seed=9)])
    np.testing.assert_array_equal(first, kept)


def test_threads_do_not_disturb_each_other(bundle: Bundle) -> None:
    head = CpuHead(bundle)
    jobs = [(records(4, seed), corner_rows(4, seed)) for seed in range(24)]
    expected = [head.run(blocks, [corners])[0] for blocks, corners in jobs]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda job: head.run(refilled(job[0]), [job[1]])[0], jobs)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_only_contiguous_arrays_are_bound(bundle: Bundle) -> None:
    (block,), out = records(1), np.empty((1, NET.k**2), np.float32)
    corners = corner_rows(2)[::2]
    wide = np.empty((NET.channels, 2), np.float32)
    with pytest.raises(ValueError, match="contiguous"):
        bundle.bound_head_u8(block.codes, corners, wide[:, 0], block.offset, out)


def test_a_graph_whose_sizes_are_not_called_g_is_served_alike(tmp_path: Path, bundle: Bundle) -> None:
    """What a bundle's graphs call their open dimension is theirs to choose."""
    folder = write_toy_bundle(tmp_path / "bundle", NET)
    path = folder / "head_u8.onnx"
    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        for dimension in port.type.tensor_type.shape.dim:
            if dimension.dim_param == "g":
                dimension.dim_param = "blocks"
    onnx.save_model(model, path)
    manifest = bundle.manifest
    files = {**manifest.files, "head_u8.onnx": sha256_file(path)}
    write_json(folder / "manifest.json", manifest.model_dump(mode="json") | {"files": files})
    blocks, corners = records(3), corner_rows(3)
    other = CpuHead(Bundle.load(folder)).run(blocks, [corners])[0]
    np.testing.assert_array_equal(other, CpuHead(bundle).run(blocks, [corners])[0])
