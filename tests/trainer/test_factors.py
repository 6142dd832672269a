"""The factor stack of a small region, derived from files made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform
from rasterio.windows import Window

import trainer.factor_jobs
from service.errors import FactorError
from service.factor_stack import FactorStack, edge_path
from service.region import open_region
from service.settings import Settings
from tests.fix_factors import (
    COLUMNS,
    EVERYTHING,
    LEFT,
    MASK,
    RESERVOIRS,
    ROWS,
    SIZE,
    TOP,
    WHOLE,
    read,
    run,
    settings,
    valley,
    write_raster,
)
from trainer.factors import derive
from trainer.terrain import LOCAL_FACTORS, terrain_bands


def test_every_declared_factor_is_a_band_that_says_what_it_is(everything: Path) -> None:
    report = run(everything, EVERYTHING, RESERVOIRS)
    bands = {band.name: band for band in report.bands}

    assert list(bands) == [
        *LOCAL_FACTORS,
        *("twi", "spi", "distance_to_streams", "distance_to_roads", "land_use", "annual_rain", "ndvi"),
        *("reservoir_distance", "reservoir_height", "reservoir_influence"),
    ]
    skewed = {name for name, band in bands.items() if band.log}
    assert skewed == {
        *("twi", "spi", "distance_to_streams", "distance_to_roads", "reservoir_distance", "annual_rain")
    }
    assert bands["land_use"].categories == {1: "forest", 2: "field"}
    assert bands["slope"].unit == "degrees"
    assert bands["plan_curvature"].unit == "1/m"
    assert bands["twi"].source_date == "2015-07-01"
    assert bands["distance_to_roads"].source_date == "2020-02-01"
    assert (bands["annual_rain"].minimum, bands["annual_rain"].unit) == (1200, "mm")
    assert (bands["ndvi"].minimum, bands["ndvi"].maximum) == (0.5, 0.5)
    assert (bands["reservoir_influence"].minimum, bands["reservoir_influence"].maximum) == (0, 1)
    assert bands["distance_to_roads"].maximum == 900


def test_the_values_are_those_of_the_sources(everything: Path) -> None:
    run(everything, EVERYTHING, RESERVOIRS)
    roads, land, height, streams = read(
        everything, "distance_to_roads", "land_use", "reservoir_height", "distance_to_streams"
    )

    np.testing.assert_allclose(roads[0], np.minimum(np.abs(np.arange(COLUMNS) - 10) * SIZE, 900))
    assert (land[:, :30] == 1).all()
    assert (land[:, 30:] == 2).all()
    np.testing.assert_allclose(height, valley() - 480, atol=1e-3)
    assert (streams[-10:, 30] == 0).all()  # the valley floor, far enough down
    assert streams[5, 2] > 500


def test_all_bands_are_missing_outside_the_mask(everything: Path) -> None:
    report = run(everything, EVERYTHING, RESERVOIRS + "\n" + MASK)
    stack = read(everything, *(band.name for band in report.bands))
    outside = np.ones((ROWS, COLUMNS), np.bool_)
    outside[5:55, 5:45] = False

    assert report.cells == 40 * 50
    assert np.isnan(stack[:, outside]).all()
    assert np.isfinite(stack[:, ~outside]).all()


def test_windows_leave_no_trace_in_the_terrain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dem = valley(300, 280)
    dem[100:130, 240:270] = np.nan
    write_raster(tmp_path / "dem.tif", dem, nodata=np.nan)
    names = [*LOCAL_FACTORS, "twi", "spi", "distance_to_streams"]
    text = settings(tmp_path).model_dump(mode="json")
    text["grid"]["extent"] = [LEFT, TOP - 300 * SIZE, LEFT + 280 * SIZE, TOP]
    text["factors"] |= {"terrain": names, "distance_cap_m": 600.0}
    declared = Settings(**text)
    stacks = []
    for tile in (256, 1024):
        monkeypatch.setattr(trainer.factor_jobs, "TILE", tile)
        monkeypatch.setattr(trainer.factor_jobs, "WIDE_TILE", tile)
        (tmp_path / "data" / "factors.tif").unlink(missing_ok=True)
        region = open_region(declared)
        derive(declared, region)
        with FactorStack.open(declared.stack_path, region.grid) as stack:
            stacks.append(stack.read(names, Window(0, 0, 280, 300)))

    np.testing.assert_array_equal(stacks[0], stacks[1])
    whole = terrain_bands(dem, SIZE, list(LOCAL_FACTORS))
    for number, name in enumerate(LOCAL_FACTORS):
        np.testing.assert_array_equal(stacks[0][number], whole[name], name)


def test_a_dem_larger_than_the_grid_completes_the_neighbourhood_of_edge_cells(tmp_path: Path) -> None:
    around = Affine(SIZE, 0, LEFT - 3 * SIZE, 0, -SIZE, TOP + 3 * SIZE)
    dem = valley(ROWS + 6, COLUMNS + 6)
    write_raster(tmp_path / "dem.tif", dem, transform=around)
    run(tmp_path, 'terrain = ["elevation", "slope"]')
    elevation, slope = read(tmp_path, "elevation", "slope")

    np.testing.assert_array_equal(elevation, dem[3:-3, 3:-3])
    np.testing.assert_array_equal(slope, terrain_bands(dem, SIZE, ["slope"])["slope"][3:-3, 3:-3])


def test_a_dem_in_degrees_is_warped_to_metres(tmp_path: Path) -> None:
    step = 0.00025
    west, north = 10.245, 44.26
    lon = west + (np.arange(260) + 0.5) * step
    lat = north - (np.arange(160) + 0.5) * step
    lons, lats = np.meshgrid(lon, lat)
    x, y = transform("EPSG:4326", "EPSG:32632", lons.ravel(), lats.ravel())
    rise = 0.1 * (np.array(x) - LEFT) + 0.05 * (np.array(y) - TOP) + 800
    plane = rise.reshape(lons.shape).astype(np.float32)
    write_raster(
        tmp_path / "dem.tif", plane, crs="EPSG:4326", transform=Affine(step, 0, west, 0, -step, north)
    )
    run(tmp_path, 'terrain = ["elevation", "slope"]')
    elevation, slope = read(tmp_path, "elevation", "slope")

    columns, rows = np.meshgrid(np.arange(COLUMNS) + 0.5, np.arange(ROWS) + 0.5)
    np.testing.assert_allclose(elevation, 0.1 * columns * SIZE - 0.05 * rows * SIZE + 800, atol=0.02)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(np.hypot(0.1, 0.05))), atol=0.02)


def test_scaled_and_integer_sources_come_in_physical_units(tmp_path: Path) -> None:
    stored = np.full((ROWS, COLUMNS), 250, np.int16)
    stored[0, 0] = -999
    path = write_raster(tmp_path / "temperature.tif", stored, nodata=-999)
    with rasterio.open(path, "r+") as out:
        out.scales, out.offsets = (0.1,), (-10.0,)
    run(tmp_path, 'rasters = [{name = "warmth", path = "temperature.tif", date = 2020-01-01}]')
    (warmth,) = read(tmp_path, "warmth")

    assert np.isnan(warmth[0, 0])
    np.testing.assert_allclose(warmth.ravel()[1:], 15.0, atol=1e-5)


def test_the_same_sources_are_not_derived_again(everything: Path) -> None:
    first = run(everything, EVERYTHING, RESERVOIRS)
    before = first.path.stat().st_mtime_ns
    again = run(everything, EVERYTHING, RESERVOIRS)

    assert not first.unchanged
    assert again.unchanged
    assert (again.digest, again.bands, again.notes) == (first.digest, first.bands, first.notes)
    assert first.path.stat().st_mtime_ns == before


def test_a_changed_source_changes_the_digest_and_its_return_restores_it(everything: Path) -> None:
    first = run(everything, EVERYTHING, RESERVOIRS)
    rain = np.full((ROWS, COLUMNS), 1200, np.float32)
    rain[40, 40] = 1201
    write_raster(everything / "rain.tif", rain)
    second = run(everything, EVERYTHING, RESERVOIRS)
    write_raster(everything / "rain.tif", np.full((ROWS, COLUMNS), 1200, np.float32))
    third = run(everything, EVERYTHING, RESERVOIRS)

    assert not second.unchanged
    assert second.digest != first.digest
    assert third.digest == first.digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("stream_threshold_km2 = 0.2", "stream_threshold_km2 = 0.3"),
        ("cap_m = 900", "cap_m = 800"),
        ('2 = "field"', '2 = "meadow"'),
        ("log = true", "log = false"),
    ],
)
def test_a_changed_setting_changes_the_digest(everything: Path, before: str, after: str) -> None:
    first = run(everything, EVERYTHING, RESERVOIRS)
    assert before in EVERYTHING
    second = run(everything, EVERYTHING.replace(before, after), RESERVOIRS)

    assert second.digest != first.digest


def test_a_lost_sidecar_is_made_again(everything: Path) -> None:
    first = run(everything, EVERYTHING, RESERVOIRS)
    edge_path(first.path).unlink()

    assert not run(everything, EVERYTHING, RESERVOIRS).unchanged
    assert edge_path(first.path).exists()


def test_catchments_cut_by_the_edge_are_marked_and_counted(tmp_path: Path) -> None:
    row, column = np.meshgrid(np.arange(ROWS), np.arange(COLUMNS), indexing="ij")
    tongue = np.where((column > 25) & (column < 35), 900.0, 0.0)  # a slope that enters from the north
    hill = 800 - 9.0 * np.hypot(row - 35, column - 30)
    write_raster(tmp_path / "dem.tif", np.where(row < 20, hill + tongue * (20 - row) / 20, hill).astype("f4"))
    report = run(tmp_path, 'terrain = ["twi"]')
    with FactorStack.open(report.path, open_region(settings(tmp_path)).grid) as stack:
        edge = stack.read_edge(WHOLE)

    assert edge is not None
    border = np.ones((ROWS, COLUMNS), np.bool_)
    border[1:-1, 1:-1] = False
    assert (edge[border] == 1).all()
    assert (edge[2:15, 30] == 1).all()  # down the tongue
    assert (edge[25:60, 15:45] == 0).all()  # the hill gets nothing from outside
    assert report.cells_cut_by_edge == int((edge == 1).sum())
    assert report.catchments_cut_by_edge is not None
    assert report.catchments_cut_by_edge > 0
    assert any("cut by the DEM's edge" in note for note in report.notes)


def test_a_stack_without_flow_has_no_sidecar(tmp_path: Path) -> None:
    run(tmp_path, 'terrain = ["twi"]')
    report = run(tmp_path, 'terrain = ["slope"]')

    assert not edge_path(report.path).exists()
    assert report.cells_cut_by_edge is None


def test_flow_that_does_not_fit_is_refused_and_the_rest_is_not(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match=r"4,200 cells needs .* drop twi, spi and distance_to_streams"):
        run(tmp_path, 'terrain = ["slope", "spi"]', available_bytes=200_000)

    assert run(tmp_path, 'terrain = ["slope"]', available_bytes=200_000).bands


def test_progress_ends_at_its_total(everything: Path) -> None:
    seen: list[tuple[int, int]] = []
    run(everything, EVERYTHING, RESERVOIRS, progress=lambda done, total: seen.append((done, total)))

    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_the_clock_that_is_passed_in_measures_the_seconds(tmp_path: Path) -> None:
    ticks = iter([100.0, 112.5])

    assert run(tmp_path, clock=lambda: next(ticks)).seconds == 12.5


def test_a_failure_leaves_the_stack_in_place_and_nothing_else(everything: Path) -> None:
    first = run(everything, EVERYTHING, RESERVOIRS)
    kept = first.path.read_bytes()
    write_raster(everything / "land.tif", np.full((ROWS, COLUMNS), 9, np.uint8))
    with pytest.raises(FactorError, match="codes without a name: 9"):
        run(everything, EVERYTHING, RESERVOIRS)

    assert first.path.read_bytes() == kept
    assert sorted(path.name for path in first.path.parent.iterdir() if path.is_file()) == [
        "factors.edge.tif",
        "factors.tif",
    ]


def test_a_source_that_leaves_some_cells_uncovered_is_noted(tmp_path: Path) -> None:
    write_raster(tmp_path / "rain.tif", np.full((ROWS, COLUMNS - 6), 900, np.float32))
    report = run(tmp_path, 'rasters = [{name = "rain", path = "rain.tif", date = 2020-01-01}]')

    assert any("rain: 420 cells of the region (10.00%) are not covered" in note for note in report.notes)
    assert report.bands[-1].valid_share == pytest.approx(0.9)
