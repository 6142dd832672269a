"""Cells inside a polygon: those whose centres lie in it, whatever its shape, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from exporters.layer import NODATA, SCALE, ClassScheme
from service import polygon_counts
from service.errors import StorageError
from service.polygon_counts import PolygonCounts, count_cells, covered_cells, onto_grid
from service.region import Grid

GRID = Grid(CRS.from_epsg(32632), 500_000.0, 5_000_000.0, 30.0, 600, 700)
SCHEME = ClassScheme(breaks=(0.2, 0.4, 0.6))


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    """Four blocks instead of one, three of them cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polygon_counts, "_BLOCK", 512)
        yield


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Random values with unknown cells, and a mask."""
    folder = tmp_path_factory.mktemp("rasters")
    random = np.random.default_rng(4)
    stored = random.integers(0, 251, (GRID.height, GRID.width), dtype=np.uint8)
    stored[random.random(stored.shape) < 0.1] = NODATA
    mask = (np.hypot(*np.ogrid[-300:300, -350:350]) < 340).astype(np.uint8)
    for name, values in (("s.tif", stored), ("m.tif", mask)):
        with rasterio.open(folder / name, "w", **GRID.profile("uint8", 1, None)) as out:
            out.write(values, 1)
    return folder / "s.tif", folder / "m.tif"


def read(path: Path) -> npt.NDArray[np.uint8]:
    with rasterio.open(path) as raster:
        return np.asarray(raster.read(1))


def centres() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x = GRID.left + (np.arange(GRID.width) + 0.5) * 30
    y = GRID.top - (np.arange(GRID.height) + 0.5) * 30
    xx, yy = np.meshgrid(x, y)
    return xx, yy


corner = st.tuples(st.floats(-40, 740), st.floats(-40, 640))


@settings(max_examples=40, deadline=None)
@given(st.lists(corner, min_size=3, max_size=9))
def test_a_cell_counts_where_the_polygon_contains_its_centre(
    rasters: tuple[Path, Path], cells: list[tuple[float, float]]
) -> None:
    ring = [(GRID.left + column * 30, GRID.top - row * 30) for column, row in cells]
    polygon = shapely.make_valid(shapely.Polygon(ring))
    polygon = shapely.unary_union([part for part in shapely.get_parts(polygon) if part.area > 0])
    if shapely.is_empty(polygon):
        return
    stored, mask = (read(path) for path in rasters)
    xx, yy = centres()
    shapely.prepare(polygon)
    inside = shapely.contains_xy(polygon, xx, yy) & (mask == 1)
    # A centre on the very outline may fall on either side.
    doubtful = shapely.intersects_xy(polygon.boundary.buffer(1e-3), xx, yy) & (mask == 1)
    found = count_cells(*rasters, GRID, polygon).histogram
    expected = np.bincount(stored[inside], minlength=256)
    assert np.abs(found - expected).sum() <= doubtful.sum()


def test_a_polygon_around_everything_counts_every_cell_of_the_mask_and_one_beside_it_none(
    rasters: tuple[Path, Path],
) -> None:
    stored, mask = (read(path) for path in rasters)
    left, bottom, right, top = GRID.bounds
    everything = count_cells(*rasters, GRID, shapely.box(left - 1, bottom - 1, right + 1, top + 1))
    assert everything.histogram.tolist() == np.bincount(stored[mask == 1], minlength=256).tolist()
    assert count_cells(*rasters, GRID, shapely.box(right + 1, bottom, right + 999, top)).cells == 0
    assert count_cells(*rasters, GRID, shapely.Polygon()).cells == 0
    assert covered_cells(shapely.box(left - 1, bottom - 1, right + 1, top + 1), GRID) == stored.size
    assert covered_cells(shapely.box(right + 1, bottom, right + 999, top), GRID) == 0


@given(st.lists(st.integers(0, 250), min_size=1, max_size=60), st.integers(0, 5))
def test_figures_of_a_histogram_are_those_of_the_values(values: list[int], unknown: int) -> None:
    counts = PolygonCounts(np.bincount([*values, *[NODATA] * unknown], minlength=256))
    decoded = np.array(values) * SCALE
    assert (counts.cells, counts.known) == (len(values) + unknown, len(values))
    assert counts.mean() == pytest.approx(decoded.mean())
    assert counts.median() == pytest.approx(np.median(decoded))
    assert counts.maximum() == pytest.approx(decoded.max())
    classes = SCHEME.classify(np.array(values, np.uint8))
    expected = np.bincount(classes, minlength=5)
    expected[0] += unknown
    assert counts.by_class(SCHEME).tolist() == expected.tolist()


def test_a_polygon_drawn_in_degrees_is_where_it_was_drawn_and_what_is_far_away_folds_onto_nothing() -> None:
    xx, yy = centres()
    lon, lat = rasterio.warp.transform(GRID.crs, "EPSG:4326", xx[::7, ::7].ravel(), yy[::7, ::7].ravel())
    here = shapely.Polygon([(9.0, 45.0), (9.2, 45.02), (9.1, 45.16), (9.02, 45.1)])
    world = shapely.box(-179, -89, 179, 89)
    away = shapely.box(-100, -60, -20, 30)
    for drawn in (here, world, world - here, away):
        projected = onto_grid(drawn, GRID)
        found = shapely.contains_xy(projected, xx[::7, ::7], yy[::7, ::7]).ravel()
        expected = shapely.contains_xy(drawn, lon, lat)
        assert (found != expected).mean() < 0.001
    assert shapely.is_empty(onto_grid(away, GRID))
    assert math.isclose(covered_cells(onto_grid(world, GRID), GRID), GRID.height * GRID.width)


def test_a_raster_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.tif").write_bytes(b"no raster")
    with pytest.raises(StorageError, match=r"s\.tif"):
        count_cells(tmp_path / "s.tif", tmp_path / "s.tif", GRID, shapely.box(*GRID.bounds))
