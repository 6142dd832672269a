"""The base map of the region's own DEM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rio_cogeo.cogeo import cog_validate

import service.hillshade
from service.errors import RegionError, StorageError
from service.hillshade import ensure_hillshade, find_hillshade
from service.settings import Settings
from tests.fix_region import LEFT, SHAPE, TOP, ToyRegion

HILL = 500 + 60 * np.sin(np.mgrid[: SHAPE[0], : SHAPE[1]][0] / 9) * np.cos(
    np.mgrid[: SHAPE[0], : SHAPE[1]][1] / 7
)


def with_dem(toy: ToyRegion, metres: npt.NDArray[np.floating], **changes: object) -> Settings:
    profile = {
        "driver": "GTiff",
        "height": metres.shape[0],
        "width": metres.shape[1],
        "count": 1,
        "dtype": "float32",
        "nodata": -9999,
        "crs": "EPSG:32632",
        "transform": Affine(30, 0, LEFT, 0, -30, TOP),
        **changes,
    }
    with rasterio.open(toy.folder / "dem.tif", "w", **profile) as out:
        out.write(metres.astype(np.float32), 1)
    if 'dem = "dem.tif"' not in toy.config.read_text("utf-8"):
        text = toy.config.read_text("utf-8").replace("[factors]\n", '[factors]\ndem = "dem.tif"\n')
        toy.config.write_text(text, "utf-8")
    return toy.settings


def light_of(path: Path | None) -> npt.NDArray[np.uint8]:
    assert path is not None
    with rasterio.open(path) as raster:
        assert raster.nodata == 0
        return np.asarray(raster.read(1))


def test_slopes_towards_the_sun_are_brighter_and_unknown_ground_stays_unknown(toy: ToyRegion) -> None:
    rows = np.mgrid[: SHAPE[0], : SHAPE[1]][0]
    metres = 500.0 + 5 * np.minimum(rows, SHAPE[0] - rows)  # a ridge from west to east
    metres[:, :5] = -9999

    light = light_of(ensure_hillshade(with_dem(toy, metres)))

    north, south, flat = light[5:28, 10:], light[36:60, 10:], 1 + round(254 * np.sin(np.deg2rad(45)))
    assert south.max() < flat < north.min()
    assert not light[:, :5].any()
    assert light[:, 6:].all()


def test_it_is_a_cog_on_the_region_s_grid_and_made_once(toy: ToyRegion) -> None:
    path = ensure_hillshade(with_dem(toy, HILL))
    assert path is not None
    assert cog_validate(path)[0]
    with rasterio.open(path) as raster:
        assert (raster.shape, raster.crs.to_epsg(), raster.bounds[0]) == (SHAPE, 32632, LEFT)
    made = path.stat().st_mtime_ns

    assert ensure_hillshade(toy.settings) == path == find_hillshade(toy.settings)
    assert path.stat().st_mtime_ns == made


def test_strips_leave_no_seam(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = light_of(ensure_hillshade(with_dem(toy, HILL)))
    for rows in (1, 7):
        path = find_hillshade(toy.settings)
        assert path is not None
        path.unlink()
        monkeypatch.setattr(service.hillshade, "_STRIP_CELLS", rows * SHAPE[1])
        np.testing.assert_array_equal(light_of(ensure_hillshade(toy.settings)), whole)


def test_another_dem_makes_another_hillshade_and_the_old_one_goes(toy: ToyRegion) -> None:
    first = ensure_hillshade(with_dem(toy, HILL))
    second = ensure_hillshade(with_dem(toy, HILL * 2))
    assert first != second
    assert list((toy.data / "region").glob("hillshade-*")) == [second]


def test_a_dem_on_other_cells_is_brought_onto_the_grid(toy: ToyRegion) -> None:
    exact = light_of(ensure_hillshade(with_dem(toy, HILL)))
    fine = np.kron(HILL, np.ones((2, 2)))
    warped = light_of(ensure_hillshade(with_dem(toy, fine, transform=Affine(15, 0, LEFT, 0, -15, TOP))))
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(exact[inner].astype(int) - warped[inner]).mean() < 3


def test_elevation_of_the_factor_stack_serves_where_no_dem_is_named(toy: ToyRegion) -> None:
    with rasterio.open(toy.settings.stack_path, "r+") as stack:
        stack.set_band_description(1, "elevation")
        height = stack.read(1, masked=True)
    light = light_of(ensure_hillshade(toy.settings))
    assert not light[height.mask].any()
    assert len(np.unique(light)) > 2


def test_without_any_elevation_there_is_none(toy: ToyRegion) -> None:
    assert ensure_hillshade(toy.settings) is None
    assert find_hillshade(toy.settings) is None


def test_a_dem_that_cannot_be_used_is_named_and_nothing_is_left(toy: ToyRegion) -> None:
    settings = with_dem(toy, HILL, crs=None, transform=Affine(15, 0, LEFT, 0, -15, TOP))
    with pytest.raises(RegionError, match=r"dem\.tif does not say its CRS"):
        ensure_hillshade(settings)
    (toy.folder / "dem.tif").write_bytes(b"II*\x00 not a raster")
    with pytest.raises(StorageError, match=r"dem\.tif"):
        ensure_hillshade(toy.settings)
    assert not list((toy.data / "region").glob("*hillshade*"))
    assert not list((toy.data / "region").glob(".*part*"))
