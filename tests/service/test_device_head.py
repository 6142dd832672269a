"""The head as a card runs it: IO binding, many forcing cells a run, a proof before half precision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper
from structlog.testing import capture_logs

from service import device_precision
from service.bundle import Bundle
from service.device_graph import batched_head, in_half
from service.device_head import DeviceHead, OutOfDeviceMemory
from service.device_memory import free_bytes, plan
from service.device_precision import Parity, decide, holds, parity
from service.errors import BundleError, DeviceError
from service.files import sha256_file
from service.runtime import CPU, GPU_PROVIDER, Device, make_session
from service.state import Block
from tests.fix_bundle import ToyNetwork, write_toy_bundle

NET = ToyNetwork(gain=2)
CARD = Device("gpu", GPU_PROVIDER, "it was there this morning")
GIB = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_bundle(tmp_path_factory.mktemp("device") / "bundle", NET)


@pytest.fixture
def bundle(folder: Path) -> Bundle:
    return Bundle.load(folder, prove=False)


@pytest.fixture(autouse=True)
def no_decision_kept() -> Iterator[None]:
    """Let each test decide for itself."""
    device_precision._decisions.clear()
    yield
    device_precision._decisions.clear()


def records(count: int, seed: int = 0) -> tuple[list[Block], npt.NDArray[np.float32]]:
    """Return the records of forcing cells, each with its own range, and their corners."""
    random = np.random.default_rng(seed)
    blocks = []
    for _ in range(count):
        block = Block(NET.k, NET.channels)
        block.codes[:] = random.integers(0, 256, block.codes.shape)
        block.scaling[0] = random.uniform(0.001, 0.02, NET.channels)
        block.scaling[1] = random.normal(-1, 1, NET.channels)
        blocks.append(block)
    return blocks, random.normal(0, 1, (count, 4, NET.channels)).astype(np.float32)


def on_processor(
    bundle: Bundle, blocks: list[Block], corners: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    each = [
        bundle.head_u8(block.codes, corner[None], block.scale, block.offset)
        for block, corner in zip(blocks, corners, strict=True)
    ]
    return np.concatenate(each)


def loaded(head: DeviceHead, blocks: list[Block]) -> Any:
    stretch = head.allocate(len(blocks))
    head.fill(stretch, blocks)
    return stretch


@pytest.mark.parametrize("per_run", [1, 3, 100])
def test_many_forcing_cells_a_run_are_what_each_is_alone(bundle: Bundle, per_run: int) -> None:
    blocks, corners = records(10)
    head = DeviceHead(bundle, per_run=per_run)
    found = head.run(loaded(head, blocks), np.arange(10), corners)
    np.testing.assert_allclose(found, on_processor(bundle, blocks, corners), atol=1e-6)
    assert np.ptp(found) > 0.5


def test_forcing_cells_are_picked_in_any_order_and_number(bundle: Bundle) -> None:
    blocks, corners = records(10)
    head = DeviceHead(bundle, per_run=4)
    pick = np.array([7, 2, 2, 9, 0])
    found = head.run(loaded(head, blocks), pick, corners[pick])
    expected = on_processor(bundle, [blocks[n] for n in pick], corners[pick])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_stretch_is_filled_again_and_not_wholly(bundle: Bundle) -> None:
    head = DeviceHead(bundle, per_run=8)
    stretch = loaded(head, records(6)[0])
    blocks, corners = records(4, seed=1)
    head.fill(stretch, blocks)
    found = head.run(stretch, np.arange(4), corners)
    np.testing.assert_allclose(found, on_processor(bundle, blocks, corners), atol=1e-6)
    with pytest.raises(ValueError, match="room"):
        head.fill(stretch, records(7)[0])


def test_half_precision_computes_in_half_and_stays_within_the_bound(bundle: Bundle) -> None:
    blocks, corners = records(10)
    head = DeviceHead(bundle, per_run=10, half=True)
    found = head.run(loaded(head, blocks), np.arange(10), corners)
    exact = on_processor(bundle, blocks, corners)
    assert 1e-6 < np.abs(found - exact).max() <= 0.004


def test_the_half_graph_keeps_its_inputs_and_its_output(folder: Path) -> None:
    single = batched_head((folder / "head.onnx").read_bytes(), "head.onnx", NET.k**2, NET.channels)
    ports = []
    for graph in (single, in_half(single)):
        session = make_session(graph, "head")
        ports.append([(p.name, p.type, p.shape) for p in (*session.get_inputs(), *session.get_outputs())])
    assert ports[0] == ports[1]


def test_the_bundles_own_head_runs_behind_the_decoding(folder: Path, tmp_path: Path) -> None:
    """A head by other hands: other node names, other opset, values named as the decoding would name its."""
    model = onnx.load(folder / "head.onnx")
    for node in model.graph.node:
        node.input[:] = [f"decode/{name}" if name.startswith("v") else name for name in node.input]
        node.output[:] = [f"decode/{name}" if name.startswith("v") else name for name in node.output]
    path = changed(folder, tmp_path / "other", model)
    other = Bundle.load(path)
    blocks, corners = records(3)
    head = DeviceHead(other, per_run=3)
    found = head.run(loaded(head, blocks), np.arange(3), corners)
    np.testing.assert_allclose(found, on_processor(other, blocks, corners), atol=1e-6)


def test_a_head_whose_names_stand_in_the_way_is_refused_by_name(folder: Path) -> None:
    model = onnx.load(folder / "head.onnx")
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "codes"))
    with pytest.raises(BundleError, match=r"head\.onnx has a value called 'codes'"):
        batched_head(model.SerializeToString(), "head.onnx", NET.k**2, NET.channels)


def changed(source: Path, folder: Path, head: onnx.ModelProto) -> Path:
    """Return a copy of a bundle with another head.onnx, whose checksum is right."""
    write_toy_bundle(folder, NET)
    onnx.save_model(head, folder / "head.onnx")
    manifest = json.loads((source / "manifest.json").read_text("utf-8"))
    manifest["files"]["head.onnx"] = sha256_file(folder / "head.onnx")
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return folder


def test_a_head_changed_since_the_bundle_was_loaded_is_not_run(tmp_path: Path) -> None:
    copied = write_toy_bundle(tmp_path / "bundle", NET)
    bundle = Bundle.load(copied, prove=False)
    (copied / "head.onnx").write_bytes((copied / "head_u8.onnx").read_bytes())
    with pytest.raises(BundleError, match="not the file that was exported"):
        DeviceHead(bundle, per_run=1)


# --- memory ---


class Crowded:
    """A session that has no memory for more than `room` forcing cells at once."""

    def __init__(self, session: Any, room: int) -> None:
        self._session, self._room = session, room
        self.runs: list[int] = []
        self._bound: Any = None

    def io_binding(self) -> Any:
        self._bound = self._session.io_binding()
        real = self._bound.bind_cpu_input

        def watched(name: str, value: Any) -> None:
            if name == "pick":
                self.runs.append(len(value))
            real(name, value)

        self._bound.bind_cpu_input = watched
        return self._bound

    def run_with_iobinding(self, binding: Any) -> None:
        if self.runs[-1] > self._room:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1073741824")
        self._session.run_with_iobinding(binding)


def test_short_of_memory_runs_become_smaller_and_the_result_is_the_same(bundle: Bundle) -> None:
    blocks, corners = records(10)
    crowded: list[Crowded] = []

    def session_of(graph: bytes) -> Crowded:
        crowded.append(Crowded(make_session(graph, "head"), room=3))
        return crowded[0]

    head = DeviceHead(bundle, per_run=10, session_of=session_of)
    with capture_logs() as lines:
        found = head.run(loaded(head, blocks), np.arange(10), corners)
    np.testing.assert_allclose(found, on_processor(bundle, blocks, corners), atol=1e-6)
    assert crowded[0].runs == [10, 5, 2, 2, 2, 2, 2]
    assert [line["forcing_cells"] for line in lines] == [5, 2]


def test_where_not_one_forcing_cell_fits_the_error_says_what_to_do(bundle: Bundle) -> None:
    blocks, corners = records(3)
    head = DeviceHead(bundle, per_run=3, session_of=lambda graph: Crowded(make_session(graph, "head"), 0))
    with pytest.raises(DeviceError, match=r"inference\.device_memory_gb"):
        head.run(loaded(head, blocks), np.arange(3), corners)


def test_a_card_that_fails_is_a_device_error_and_no_lack_of_memory(bundle: Bundle) -> None:
    def broken(_: bytes) -> Any:
        def fail() -> Any:
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")

        return SimpleNamespace(io_binding=fail)

    card = replace(bundle, device=CARD)
    head = DeviceHead(card, per_run=3, session_of=broken)
    with pytest.raises(DeviceError, match="illegal memory access") as failed:
        head.run(SimpleNamespace(), np.arange(3), np.zeros((3, 4, 16), np.float32))  # type: ignore[arg-type]
    assert not isinstance(failed.value, OutOfDeviceMemory)


def test_without_a_card_nothing_is_put_anywhere_else_in_silence(bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match=r"head\.onnx"):
        DeviceHead(replace(bundle, device=CARD), per_run=1)


def test_free_memory_is_asked_of_the_cuda_runtime_and_of_nobody_on_the_processor() -> None:
    def load(_: str) -> Any:
        def ask(free: Any, total: Any) -> int:
            free._obj.value, total._obj.value = 5 * GIB, 8 * GIB
            return 0

        return SimpleNamespace(cudaMemGetInfo=ask)

    def missing(_: str) -> Any:
        raise OSError("no such file")

    assert free_bytes(CARD, load) == 5 * GIB
    assert free_bytes(CARD, missing) is None
    assert free_bytes(CPU, load) is None


KERMAN = 200_000  # forcing cells: 26 GB of codes


@pytest.mark.parametrize(
    ("forcing_cells", "models", "free", "given", "resident", "most"),
    [
        (KERMAN, 1, 139 * GIB, None, True, 1024),
        (KERMAN, 4, 139 * GIB, None, True, 1024),
        (KERMAN, 5, 139 * GIB, None, False, 1024),
        (KERMAN, 1, 16 * GIB, None, False, 1024),
        (10_000, 1, 16 * GIB, None, True, 1024),
        (KERMAN, 1, 16 * GIB, 60, True, 1024),  # what the settings say counts
        (10_000, 1, None, None, True, 1024),  # a card that cannot be asked is taken for one of 4 GiB
        (KERMAN, 1, None, None, False, 1024),
        (50, 1, 139 * GIB, None, True, 50),  # no larger runs than there are forcing cells
    ],
)
def test_the_state_stays_on_the_card_where_it_fits_beside_a_run(
    forcing_cells: int, models: int, free: int | None, given: float | None, resident: bool, most: int
) -> None:
    made = plan(forcing_cells, 32, 128, models, free=free, given_gb=given)
    assert (made.resident, made.per_run <= most, made.per_run >= most // 2) == (resident, True, True)
    budget = given * 1e9 if given else 0.8 * (free or 4 * GIB)
    record = 1024 * 128 + 8 * 128
    state = forcing_cells * models if resident else 2 * models * made.per_run
    assert state * record + made.per_run * 1024 * 128 * 4 * 5 <= budget


def test_a_budget_below_one_forcing_cell_is_refused_with_the_setting() -> None:
    with pytest.raises(DeviceError, match=r"inference\.device_memory_gb"):
        plan(100, 32, 128, 1, free=None, given_gb=0.001)


# --- precision ---


def test_the_processor_stays_in_single_precision_unless_asked(bundle: Bundle) -> None:
    assert [decide(bundle, asked).half for asked in ("auto", "float32", "float16")] == [False, False, True]


def test_half_precision_is_taken_on_a_card_where_the_proof_holds(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A processor stands in for the card."""
    monkeypatch.setattr(device_precision, "DeviceHead", _of_processor)
    card = replace(bundle, device=CARD, _sessions=bundle._sessions)
    found = decide(card, "auto")
    assert found.half
    assert "class equal on" in found.reason


def _of_processor(bundle: Bundle, *, per_run: int, half: bool) -> DeviceHead:
    return DeviceHead(replace(bundle, device=CPU), per_run=per_run, half=half)


def test_half_precision_that_fails_its_proof_is_not_used_and_refused_where_asked_for(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_precision, "DeviceHead", _of_processor)
    monkeypatch.setattr(device_precision, "holds", lambda *_: False)
    card = replace(bundle, device=CARD, _sessions=bundle._sessions)
    found = decide(card, "auto")
    assert not found.half
    assert "fails its proof" in found.reason
    device_precision._decisions.clear()
    with pytest.raises(DeviceError, match=r'precision = "float16", and its proof fails'):
        decide(card, "float16")


def test_a_device_that_computes_the_head_wrongly_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(DeviceHead):
        def run(self, *values: Any) -> npt.NDArray[np.float32]:
            return super().run(*values) + np.float32(0.001)

    monkeypatch.setattr(device_precision, "DeviceHead", Wrong)
    with pytest.raises(DeviceError, match=r"differs from head\.onnx by 0\.001"):
        decide(bundle, "auto")


def test_the_proof_runs_once_for_bundle_and_device(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    first = decide(bundle, "auto")
    monkeypatch.setattr(device_precision, "parity", None)
    assert decide(bundle, "auto") is first


GOOD = Parity(100, 0.004, 0.999, 0.004, 0.999)


@pytest.mark.parametrize(
    "worse",
    [
        {"difference": 0.0041}, {"difference": np.inf}, {"agreement": 0.9989},
        {"head_difference": 0.0041}, {"head_difference": np.inf}, {"head_agreement": 0.9989},
    ],
)  # fmt: skip
def test_the_bounds_are_those_of_the_quantised_state(worse: dict[str, Any]) -> None:
    assert holds(GOOD, GOOD)
    assert not holds(GOOD, replace(GOOD, **worse))


def test_what_the_quantised_state_alone_uses_up_is_not_laid_to_half_precision() -> None:
    coarse = replace(GOOD, difference=0.0043)
    assert holds(coarse, coarse)
    assert not holds(coarse, replace(coarse, head_difference=0.0041))


def test_parity_is_of_whole_onnx_and_head_onnx(bundle: Bundle) -> None:
    found = parity(bundle, half=False)
    assert found.samples == 6144
    assert found.head_difference <= 1e-6
    assert found.head_agreement == 1
    # The quantised state is what is left.
    assert 1e-6 < found.difference <= 0.004
