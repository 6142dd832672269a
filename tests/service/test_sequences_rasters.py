"""Promises of windows that rest on raster products: nobody's gap is hidden, no damaged file stops the map."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import from_origin
from rasterio.warp import transform

from service.feeds.base import Grid
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.stamps import to_stamp
from service.surfaces import SurfaceStore
from tests.fix_windows import FIRST, LEFT, STEP, TOP, UTM, build, contents

NOW = datetime(2024, 4, 1, tzinfo=UTC)
DAYS = [FIRST + timedelta(days=number) for number in range(3)]
REACH_KM = 0.2  # of the gauge in the north-west corner; the region is 480 x 360 m


def grid(day: int, value: float, *, columns: int = 30) -> Grid:
    """The satellite over the region's westernmost columns of 100 m, with a margin."""
    return Grid(
        day=DAYS[day],
        values=np.full((30, columns), value, np.float32),
        transform=from_origin(LEFT - 1000, TOP + 1000, 100, 100),
        crs=UTM,
        ends_at=to_stamp(datetime(2024, 3, 2 + day, tzinfo=UTC)),
        source="test",
    )


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """A gauge in the north-west corner with three days; no raster yet."""
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [LEFT], [TOP])
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as archive:
        archive.add_series("gauges", "rain", [SeriesPosition("A", lon, lat)], NOW)
        archive.add([Reading("gauges", "rain", "A", day, 5.0) for day in DAYS], NOW)
        yield archive


def bring(archive: Archive, *grids: Grid) -> None:
    with archive.transaction():
        archive.rasters.add("satellite", "rain", grids, NOW)


def test_a_raster_gives_windows_where_no_gauge_reaches(archive: Archive, tmp_path: Path) -> None:
    alone = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    bring(archive, *(grid(day, 8 + day) for day in range(3)))
    both = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    assert not alone.complete.all()
    assert both.complete.all()
    assert not both.partial
    assert (both.coverage, both.reach) == (1.0, 1.0)
    assert set(np.unique(both.windows)) == {5, 8, 9, 10}


def test_a_day_without_its_raster_leaves_its_cells_unknown(archive: Archive, tmp_path: Path) -> None:
    bring(archive, grid(0, 8), grid(2, 10))
    windows = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    alone = build(tmp_path / "alone", archive, 1, length=1, max_distance_km=REACH_KM)
    assert alone.complete.all()  # the first day alone is whole
    assert 0 < windows.complete.sum() < len(windows.complete)
    # Whatever rasters brought on the other days, cells are in range as on that day.
    second = build(tmp_path / "second", archive, 2, length=1, max_distance_km=REACH_KM)
    assert (windows.complete == second.complete).all()
    assert windows.partial.keys() == second.partial.keys()
    assert all((windows.partial[cell] == second.partial[cell]).all() for cell in second.partial)


def test_the_basis_tells_cells_of_the_gauge_from_those_of_the_raster(
    archive: Archive, tmp_path: Path
) -> None:
    bring(archive, *(grid(day, 8 + day) for day in range(3)))
    windows = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    near, far = windows.basis[0], windows.basis[-1]
    assert near != far


def test_a_raster_of_a_part_does_not_reach_the_rest(archive: Archive, tmp_path: Path) -> None:
    """Its westernmost 13 columns end 300 m from the region's left edge."""
    bring(archive, *(grid(day, 8 + day, columns=13) for day in range(3)))
    windows = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    right = LEFT + (np.arange(4) + 1) * STEP
    assert windows.complete.reshape(3, 4)[2].tolist() == (right <= LEFT + 300).tolist()


def test_a_damaged_raster_is_left_out_and_heals(archive: Archive, tmp_path: Path) -> None:
    bring(archive, *(grid(day, 8 + day) for day in range(3)))
    whole = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    store = SurfaceStore(tmp_path / "data" / "surfaces")
    for path in store.days():
        path.unlink()
    ((raster,),) = archive.rasters.days("rain", [DAYS[1]])
    raster.path.write_bytes(b"PK damaged")
    hurt = build(tmp_path, archive, 3, max_distance_km=REACH_KM)
    assert 0 < hurt.complete.sum() < len(hurt.complete)
    bring(archive, grid(1, 9))
    assert contents(build(tmp_path, archive, 3, max_distance_km=REACH_KM)) == contents(whole)
