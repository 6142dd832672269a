"""One place: its cell, and the window that a layer used there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from service.place import Cell, PlaceWindow, find_cell, place_window
from service.region import Region, open_region
from service.surfaces import Kind
from tests.fix_places import MASKED_CELL, lonlat_of, make_valley
from tests.fix_region import SHAPE, ToyRegion
from tests.fix_windows import (
    BELOW,
    CHANGE,
    FIRST,
    LEFT,
    NAN,
    RAIN,
    TOP,
    K,
    Shelf,
    build,
    lake,
    make_region,
    make_settings,
)


def cell_of(region: Region, index: int, number: int) -> Cell:
    row, column = region.forcing.active[index] * K
    here = int(row) + number // K, int(column) + number % K
    return Cell(*here, 0.0, 0.0, inside=True, zone=None, forcing_cell=index, number=number)


def place(folder: Path, shelf: Shelf, region: Region, cell: Cell, day: int, **more: Any) -> PlaceWindow:
    forcing = {key: more[key] for key in ("fill", "max_distance_km", "max_carry_days") if key in more}
    return place_window(
        make_settings(folder, **{"max_distance_km": 5.0} | forcing).forcing,
        region.forcing,
        shelf,
        more.get("variables", (RAIN,)),
        cell,
        FIRST + timedelta(days=day),
        window_days=3,
        lag_days=1,
        reservoirs=more.get("reservoirs"),
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_place_has_the_window_that_the_layer_of_the_region_has_there_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("place")
    spot = st.tuples(st.integers(-250, 700), st.integers(-250, 600))
    gauges = data.draw(st.lists(spot, min_size=1, max_size=4))
    value = st.one_of(st.just(NAN), st.floats(0, 300, width=32))
    rows = st.lists(value, min_size=len(gauges), max_size=len(gauges))
    rain = np.array(data.draw(st.lists(rows, min_size=5, max_size=5)), dtype=np.float32)
    level = data.draw(st.lists(st.one_of(st.just(NAN), st.floats(80, 99, width=32)), min_size=5, max_size=5))
    region = make_region()
    shelf = Shelf(gauges, rain, {"r0": np.array(level, np.float32)})
    more: dict[str, Any] = {
        "variables": (RAIN, BELOW, CHANGE),
        "reservoirs": lake(shapely.box(LEFT, TOP - 10, LEFT + 10, TOP)),
        "fill": data.draw(st.sampled_from(["same_day", "linear"])),
        "max_distance_km": 0.4,
    }
    layer = build(folder, shelf, 5, region=region, **more)
    for index in range(len(region.forcing.active)):
        number = data.draw(st.integers(0, K * K - 1))
        here = place(folder, shelf, region, cell_of(region, index, number), 5, **more)
        assert here.days == layer.days
        finite = np.isfinite(here.corners).all(axis=(1, 2))
        assert finite.tolist() == (layer.corner_rows[index] >= 0).tolist()
        for corner in np.flatnonzero(finite):
            expected = layer.windows[layer.corner_rows[index, corner]]
            assert here.corners[corner].tobytes() == expected.tobytes()
        in_reach = bool(layer.partial.get(index, np.ones(K * K, bool))[number])
        assert here.complete == (bool(layer.complete[index]) and in_reach)


def test_a_day_is_what_its_weakest_corner_is(tmp_path: Path) -> None:
    # One gauge on the west side of the forcing cell, one on the east, both in reach of all corners.
    shelf = Shelf([(0, 60), (120, 60)], np.array([[1, 2], [NAN, 2], [NAN, NAN], [4, 4]], np.float32))
    region = make_region(1, 1)

    here = place(tmp_path, shelf, region, cell_of(region, 0, 0), 3)

    assert here.kinds[:, 0].tolist() == [Kind.OBSERVED, Kind.FILLED, Kind.MISSING]
    assert np.isnan(here.values[2, 0])
    assert here.values[1, 0] == 2
    assert here.nearest == ("feed/g0", "feed/g1", None)
    assert here.nearest_km[0] < here.nearest_km[1]
    assert np.isnan(here.nearest_km[2])
    assert not here.complete


def test_levels_tell_what_is_read_filled_and_carried_and_an_unlinked_place_has_constants(
    tmp_path: Path,
) -> None:
    days = np.full(40, 90.0, np.float32)
    days[[33, 36]] = NAN  # a gap, and two days later the open end
    days[37:] = NAN
    shelf = Shelf([(0, 0)], np.ones((40, 1), np.float32), {"r0": days})
    region = make_region()
    more: dict[str, Any] = {
        "variables": (RAIN, BELOW),
        "reservoirs": lake(shapely.box(LEFT, TOP - 10, LEFT + 10, TOP)),
        "max_carry_days": 1,
    }
    kinds = {}
    for day in (35, 39):
        here = place(tmp_path, shelf, region, cell_of(region, 0, 0), day, **more)
        assert here.reservoir == 0
        kinds.update(zip(here.days, here.kinds[:, 1].tolist(), strict=True))
    offset = {(day - FIRST).days: kind for day, kind in kinds.items()}
    assert offset == {
        32: Kind.OBSERVED, 33: Kind.FILLED, 34: Kind.OBSERVED,
        36: Kind.CARRIED, 37: Kind.MISSING, 38: Kind.MISSING,
    }  # fmt: skip

    away = place(tmp_path, shelf, region, cell_of(region, 11, 0), 35, **more)
    assert away.reservoir is None
    assert (away.corners[:, :, 1] == BELOW.unlinked).all()
    assert away.complete


def test_a_place_in_no_forcing_cell_of_the_mask_has_no_window(tmp_path: Path) -> None:
    region = make_region(2, 2, active=[(0, 0)])
    outside = Cell(K + 1, K + 1, 0.0, 0.0, inside=False, zone=None, forcing_cell=None, number=0)
    with pytest.raises(ValueError, match="no forcing cell"):
        place(tmp_path, Shelf([(0, 0)], np.ones((5, 1), np.float32)), region, outside, 4)


# --- which cell a point is in ---


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> ToyRegion:
    """A region with a mask, to look at."""
    return make_valley(tmp_path_factory.mktemp("cells") / "valley")


def test_every_cell_is_found_by_its_centre_with_its_mask_zone_and_forcing_cell(valley: ToyRegion) -> None:
    region = open_region(valley.settings)
    with rasterio.open(region.mask_path) as raster:
        mask = raster.read(1)
    with rasterio.open(region.zones_path) as raster:
        codes = raster.read(1)
    assert {0, 1} <= set(mask.ravel().tolist())
    random = np.random.default_rng(3)
    for row, column in [*random.integers((0, 0), SHAPE, (60, 2)).tolist(), MASKED_CELL]:
        lon, lat = lonlat_of(row, column)
        cell = find_cell(region, lon, lat)
        assert cell is not None
        assert (cell.row, cell.column) == (row, column)
        assert (cell.lon, cell.lat) == pytest.approx((lon, lat), abs=1e-9)
        assert cell.inside == (mask[row, column] == 1)
        assert (cell.zone.code if cell.zone else 0) == codes[row, column]
        if cell.inside:
            k = region.forcing.k
            assert cell.forcing_cell is not None
            square = region.forcing.active[cell.forcing_cell]
            assert square.tolist() == [row // k, column // k]
            assert cell.number == row % k * k + column % k


@settings(max_examples=60, deadline=None)
@given(lon=st.floats(-180, 180), lat=st.floats(-90, 90))
def test_a_point_anywhere_on_earth_is_in_no_cell_unless_it_is(
    valley: ToyRegion, lon: float, lat: float
) -> None:
    west, north = lonlat_of(-1, -1)
    east, south = lonlat_of(SHAPE[0], SHAPE[1])
    near = west - 0.01 <= lon <= east + 0.01 and south - 0.01 <= lat <= north + 0.01
    assert near or find_cell(open_region(valley.settings), lon, lat) is None


@pytest.mark.parametrize("corner", [(-0.5, -0.5), (-0.5, 79.5), (63.5, -0.5), (63.5, 79.5)])
def test_a_point_on_the_corner_of_the_grid_is_in_the_cell_there_or_in_none(
    valley: ToyRegion, corner: tuple[float, float]
) -> None:
    cell = find_cell(open_region(valley.settings), *lonlat_of(*corner))
    assert cell is None or (cell.row in (0, 63) and cell.column in (0, 79))
