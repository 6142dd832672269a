"""Sources and settings that cannot give a factor stack are refused, by name."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from service.errors import FactorError, RegionError, StorageError
from service.region import open_region
from tests.fix_factors import (
    COLUMNS,
    ROWS,
    line,
    read,
    run,
    settings,
    valley,
    write_features,
    write_raster,
)
from trainer.factors import derive


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ("terrain = []", "no factor is declared"),
        ('rasters = [{name = "slope", path = "dem.tif", date = 2020-01-01}]', "twice: slope"),
        ('rasters = [{name = "rock", path = "no.tif", date = 2020-01-01}]', "rock: no such file: .*no.tif"),
        (
            'distances = [{name = "roads", path = "no.geojson", date = 2020-01-01}]',
            "roads: no such file: .*no.geojson",
        ),
        (
            'ndvi = {red = "dem.tif", nir = "dem.tif", date = 2020-01-01}',
            "red and nir are one file",
        ),
        (
            'terrain = ["distance_to_streams"]\nstream_threshold_km2 = 50',
            r"no cell drains 50 km².*lower factors\.stream_threshold_km2",
        ),
    ],
)
def test_settings_that_cannot_give_a_stack_are_refused(tmp_path: Path, factors: str, message: str) -> None:
    with pytest.raises((FactorError, RegionError), match=message):
        run(tmp_path, factors)


def test_features_far_from_the_region_are_refused(tmp_path: Path) -> None:
    write_features(tmp_path / "roads.geojson", line(1000))
    with pytest.raises(FactorError, match=r"none of the 1 features of .* lies within 900 m"):
        run(tmp_path, 'distances = [{name = "r", path = "roads.geojson", cap_m = 900, date = 2020-01-01}]')


def test_codes_without_a_name_are_listed(tmp_path: Path) -> None:
    land = np.ones((ROWS, COLUMNS), np.uint8)
    land[0, :7], land[1, :3] = 44, 255
    write_raster(tmp_path / "land.tif", land)
    with pytest.raises(FactorError, match=r"codes without a name: 44 \(7 cells\), 255 \(3 cells\)"):
        run(
            tmp_path,
            'rasters = [{name = "land", path = "land.tif", kind = "categorical", date = 2020-01-01, '
            'categories = {1 = "forest"}}]',
        )


def test_a_no_data_value_that_is_not_declared_is_suspected(tmp_path: Path) -> None:
    dem = valley()
    dem[:3] = -9999
    write_raster(tmp_path / "dem.tif", dem)
    with pytest.raises(FactorError, match=r"from -9999 to .*no-data value not declared"):
        run(tmp_path)


def test_elevations_in_feet_are_suspected(tmp_path: Path) -> None:
    write_raster(tmp_path / "dem.tif", (valley() + 2600) * 3.28084)
    with pytest.raises(FactorError, match="in feet or another unit"):
        run(tmp_path)


def test_a_red_band_and_a_near_infrared_band_are_not_taken_for_each_other(everything: Path) -> None:
    with pytest.raises(FactorError, match=r"100% of the cells are below 0: .*swapped"):
        run(everything, 'ndvi = {red = "nir.tif", nir = "red.tif", date = 2020-01-01}')


def test_ndvi_of_a_negative_or_empty_reflectance_is_missing(tmp_path: Path) -> None:
    red = np.full((ROWS, COLUMNS), 0.04, np.float32)
    nir = np.full((ROWS, COLUMNS), 0.36, np.float32)
    red[0, 0], nir[0, 1] = -0.01, -0.5
    red[0, 2] = nir[0, 2] = 0
    write_raster(tmp_path / "red.tif", red)
    write_raster(tmp_path / "nir.tif", nir)
    report = run(tmp_path, 'ndvi = {red = "red.tif", nir = "nir.tif", date = 2020-01-01}')
    (ndvi,) = read(tmp_path, "ndvi")

    assert np.isnan(ndvi[0, :3]).all()
    np.testing.assert_allclose(ndvi[1:], 0.8, atol=1e-6)
    assert any("ndvi: 3 cells have a negative reflectance" in note for note in report.notes)


def test_a_disk_that_fills_up_is_an_error_and_not_half_a_stack(tmp_path: Path) -> None:
    write_raster(tmp_path / "dem.tif", np.random.default_rng(1).random((ROWS, COLUMNS)).astype(np.float32))
    declared = settings(tmp_path, 'terrain = ["elevation", "slope", "northness", "eastness"]')
    region = open_region(declared)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises((StorageError, OSError)):
            derive(declared, region)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert not [path for path in (tmp_path / "data").iterdir() if path.is_file()]
