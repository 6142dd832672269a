"""Layers by way of a device: the same susceptibility, resident or streamed, whatever is asked of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from structlog.testing import capture_logs

from exporters.layer import NODATA
from service.device_head import DeviceHead, OutOfDeviceMemory
from service.device_memory import DevicePlan
from service.doctor import examine
from service.engines.device import DeviceEngine, open_device_engine
from service.ensemble import Member
from service.errors import AbandonedError, DeviceError, Outcome
from service.head import CpuHead
from service.inference import LayerStrip, layer_strips
from service.runtime import CPU_PROVIDER, Device
from service.sequences import WindowSet
from service.state import SpatialState, StoredReader
from service.tile_work import Model, TileOrder, TileResult, TileWork
from service.tiles import tiles_of
from tests.fix_bundle import ToyNetwork
from tests.fix_region import LAST_DAY, Clock, ToyRegion
from tests.fix_scene import Scene, make_scene, without_window
from tests.service.test_ensemble import with_members

NET = ToyNetwork(gain=3)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A region of 4 bands of tiles, with holes."""
    mask = np.ones((500, 300), bool)
    mask[130:260, 140:] = False
    mask[:, 100:110] = False
    return make_scene(tmp_path_factory.mktemp("scene"), NET, shape=(500, 300), mask=mask)


@pytest.fixture(scope="module")
def state(scene: Scene) -> SpatialState:
    return scene.state()


def engine_of(
    scene: Scene, state: SpatialState, *, per_run: int = 600, resident: bool = True,
    heads: Sequence[DeviceHead] = (),
) -> DeviceEngine:  # fmt: skip
    used = heads or [DeviceHead(scene.bundle, per_run=per_run)]
    made = DevicePlan(per_run, resident, "a test")
    return DeviceEngine(used, scene.region.forcing, state.valid_cells > 0, plan=made, workers=2)


def strips(
    scene: Scene, state: SpatialState, engine: Any, windows: WindowSet | None = None, **more: Any
) -> list[LayerStrip]:
    """Return the layer; without an engine, the processor's."""
    return list(
        layer_strips(
            scene.region, state, scene.bundle, windows or scene.windows, workers=2, engine=engine, **more
        )
    )


def stored(made: Sequence[LayerStrip]) -> npt.NDArray[np.uint8]:
    return np.concatenate([strip.stored for strip in made])


def orders_of(scene: Scene, state: SpatialState) -> Iterator[TileOrder]:
    embedded = scene.bundle.temporal(scene.windows.windows)
    for tile in tiles_of(scene.region.forcing, state.valid_cells > 0):
        corners = embedded[scene.windows.corner_rows[tile.members]]
        yield TileOrder(tile, np.zeros(len(tile.members), bool), corners=(corners,))


class Bare(TileWork):
    """Gives susceptibility as the head gave it."""

    def compute(self, order: TileOrder) -> TileResult:
        members = order.tile.members
        assert self.model.head is not None
        if not len(members):
            return TileResult(order.tile)
        values = self.model.head.run(self.model.state.tile(members).blocks, order.corners)[0]
        return TileResult(order.tile, {"susceptibility": values})


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("per_run", [1, 300, 10_000])
def test_susceptibility_is_the_processors_before_it_is_stored(
    scene: Scene, state: SpatialState, resident: bool, per_run: int
) -> None:
    engine = engine_of(scene, state, per_run=per_run, resident=resident)
    with StoredReader(state) as reader:
        work = Bare(scene.bundle.manifest, Model(reader, CpuHead(scene.bundle)))
        expected = [work.compute(order) for order in orders_of(scene, state)]
        found = list(engine.run(work, orders_of(scene, state)))
    assert [one.tile.band for one in found] == [one.tile.band for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.blocks.keys() == other.blocks.keys()
        for name, values in other.blocks.items():
            np.testing.assert_allclose(one.blocks[name], values, atol=1e-6)


@pytest.mark.parametrize("resident", [True, False])
def test_a_layer_has_the_same_unknown_cells_and_the_same_values(
    scene: Scene, state: SpatialState, resident: bool
) -> None:
    windows = replace(without_window(scene.windows, 40), partial={41: np.arange(NET.k**2) % 2 == 0})
    expected = stored(strips(scene, state, None, windows))
    found = stored(strips(scene, state, engine_of(scene, state, resident=resident), windows))
    np.testing.assert_array_equal(found == NODATA, expected == NODATA)
    assert (found != expected).mean() < 1e-3  # a value on the edge of two bytes may fall to the other
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_resident_state_is_read_once_for_many_layers(
    scene: Scene, state: SpatialState, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(scene, state)
    first = stored(strips(scene, state, engine))
    other = replace(scene.windows, windows=scene.windows.windows[::-1].copy())
    expected = stored(strips(scene, state, None, other))
    monkeypatch.setattr(DeviceHead, "copy", _no_more)
    again = stored(strips(scene, state, engine))
    np.testing.assert_array_equal(first, again)
    found = stored(strips(scene, state, engine, other))
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found != first).any()


def _no_more(*_: Any) -> None:
    raise AssertionError("the state is read again")


def test_members_of_a_forecast_and_of_an_ensemble_go_through_the_device(
    scene: Scene, state: SpatialState
) -> None:
    random = np.random.default_rng(3)
    sets = [
        replace(scene.windows, windows=scene.windows.windows * np.float32(random.uniform(0.5, 1.5)))
        for _ in range(3)
    ]
    head = DeviceHead(scene.bundle, per_run=500)
    engine = engine_of(scene, state, heads=[head, head])
    for more in ({"forecasts": sets}, {"members": [Member(scene.bundle, state)]}):
        for one, other in zip(
            strips(scene, state, engine, **more), strips(scene, state, None, **more), strict=True
        ):
            for a, b in ((one.stored, other.stored), (one.quantiles, other.quantiles),
                         (one.uncertainty, other.uncertainty)):  # fmt: skip
                assert (a is None) == (b is None)
                if a is not None and b is not None:
                    assert np.abs(a.astype(int) - b).max() <= 1
            assert one.outside == other.outside


class Tight(DeviceHead):
    """A device with room for some stretches, and `after` a refusal, when others are let go, for as many."""

    room = after = 2

    def allocate(self, count: int) -> Any:
        if self.room == 0:
            self.room = self.after
            raise OutOfDeviceMemory("no room")
        self.room -= 1
        return super().allocate(count)


def test_a_card_that_fills_up_goes_over_to_streaming_and_says_so(scene: Scene, state: SpatialState) -> None:
    head = Tight(scene.bundle, per_run=600)
    engine = engine_of(scene, state, heads=[head])
    expected = stored(strips(scene, state, None))
    with capture_logs() as lines:
        found = stored(strips(scene, state, engine))
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "graphics card short of memory, the state is streamed from here on"
    ]


def test_no_room_even_to_stream_is_a_device_error_that_says_what_to_do(
    scene: Scene, state: SpatialState
) -> None:
    head = Tight(scene.bundle, per_run=600)
    head.room, head.after = 1, 0
    engine = engine_of(scene, state, resident=False, heads=[head])
    with pytest.raises(DeviceError, match=r"inference\.device_memory_gb"):
        strips(scene, state, engine)


def test_the_caller_can_abandon_and_the_engine_is_good_for_another_layer(
    scene: Scene, state: SpatialState
) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise AbandonedError("asked to stop")

    engine = engine_of(scene, state, per_run=150, resident=False)
    with pytest.raises(AbandonedError):
        strips(scene, state, engine, on_tile=stop)
    np.testing.assert_array_equal(
        stored(strips(scene, state, engine)), stored(strips(scene, state, engine_of(scene, state)))
    )


def test_a_bundle_of_kind_whole_runs_as_ever(tmp_path: Path) -> None:
    small = make_scene(tmp_path, NET, shape=(40, 40), kind="whole")
    state = small.state()
    engine = DeviceEngine(
        [], small.region.forcing, state.valid_cells > 0, plan=DevicePlan(1, True, ""), workers=1
    )
    np.testing.assert_array_equal(stored(strips(small, state, engine)), stored(strips(small, state, None)))


def test_it_is_opened_with_a_proof_and_says_how_it_computes(scene: Scene, state: SpatialState) -> None:
    with capture_logs() as lines:
        engine = open_device_engine(
            [scene.bundle], scene.region.forcing, state.valid_cells,
            precision="float32", memory_gb=1, workers=2,
        )  # fmt: skip
    (line,) = [line for line in lines if line["event"] == "head on the graphics card"]
    assert line["precision"] == ["float32"]
    assert line["memory"].startswith("resident: budget 1 GB (inference.device_memory_gb)")
    found, expected = stored(strips(scene, state, engine)), stored(strips(scene, state, None))
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_half_precision_moves_stored_values_by_less_than_the_bound(scene: Scene, state: SpatialState) -> None:
    engine = open_device_engine(
        [scene.bundle], scene.region.forcing, state.valid_cells,
        precision="float16", memory_gb=1, workers=2,
    )  # fmt: skip
    found, expected = stored(strips(scene, state, engine)), stored(strips(scene, state, None))
    assert (found != expected).any()
    assert np.abs(found.astype(int) - expected).max() <= 1


# --- through the settings, on a processor that stands in for a card ---

STAND_IN = Device("gpu", CPU_PROVIDER, "a processor that stands in for a card")


def on_the_card(monkeypatch: pytest.MonkeyPatch, device: Device = STAND_IN) -> None:
    for module in ("workshop", "doctor"):
        monkeypatch.setattr(f"service.{module}.chosen_device", lambda _: device)


@pytest.mark.parametrize("members", [0, 1])
def test_a_refresh_runs_the_head_on_the_card_and_says_in_which_precision(
    toy: ToyRegion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    if members:
        with_members(toy.settings.bundle.path, [replace(ToyNetwork(), seed=7)])
    other = ToyRegion(Path(shutil.copytree(toy.folder, tmp_path / "other")), Clock())
    (expected,) = other.refresh(LAST_DAY)
    on_the_card(monkeypatch)
    monkeypatch.setattr(CpuHead, "run", None)
    with capture_logs() as lines:
        (found,) = toy.refresh(LAST_DAY)
    assert (found.outcome, expected.outcome) == (Outcome.PUBLISHED, Outcome.PUBLISHED)
    (line,) = [line for line in lines if line["event"] == "head on the graphics card"]
    assert len(line["precision"]) == 1 + members
    assert found.layer is not None
    assert expected.layer is not None
    with (
        rasterio.open(found.layer.folder / "susceptibility.tif") as one,
        rasterio.open(expected.layer.folder / "susceptibility.tif") as two,
    ):
        difference = one.read(1).astype(int) - two.read(1)
    assert np.abs(difference).max() <= 1


def test_doctor_says_the_precision_and_its_proof(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_card(monkeypatch)
    monkeypatch.setenv("COLLUVIUM_INFERENCE__PRECISION", "float32")
    checks = examine(toy.settings, toy.clock(), lambda *_: None, offline=True)
    (check,) = [check for check in checks if check.name == "device"]
    assert 'the head computes in float32: inference.precision = "float32"' in check.message


def test_a_card_that_computes_wrongly_makes_no_map(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    real = DeviceHead.run
    monkeypatch.setattr(DeviceHead, "run", lambda *values: real(*values) + np.float32(0.01))
    on_the_card(monkeypatch, replace(STAND_IN, reason="one that is broken"))
    (result,) = toy.refresh(LAST_DAY)
    assert result.outcome == Outcome.FAILED
    with toy.ledger() as ledger:
        assert ledger.runs(1)[0].label == "device"
        assert ledger.latest() is None
