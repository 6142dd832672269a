"""Broken and mistaken rasters are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from service.errors import FactorError
from service.region import Grid
from tests.fix_factors import write_raster
from trainer.factor_sources import HALO, RasterSource

SIZE = 30.0
LEFT, TOP = 600_000.0, 4_900_000.0
GRID = Grid(CRS.from_epsg(32632), LEFT, TOP, SIZE, 20, 24)
WHOLE = Window(0, 0, 24, 20)


def numbers() -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).random((20, 24)).astype(np.float32) * 1000


def source(path: Path, kind: Any = "continuous") -> RasterSource:
    return RasterSource("dem", path, GRID, kind)


def test_a_source_on_the_grid_is_taken_as_it_is(tmp_path: Path) -> None:
    values = numbers()
    values[3:5, 7] = -9999
    with source(write_raster(tmp_path / "a.tif", values, nodata=-9999)) as dem:
        read = dem.read(WHOLE)

    np.testing.assert_array_equal(read, np.where(values == -9999, np.nan, values))


def test_beyond_the_source_nothing_is_known(tmp_path: Path) -> None:
    with source(write_raster(tmp_path / "a.tif", numbers())) as dem:
        read = dem.read(Window(-HALO, -HALO, 24 + 2 * HALO, 20 + 2 * HALO))

    np.testing.assert_array_equal(read, np.pad(numbers(), HALO, constant_values=np.nan))


@settings(deadline=None, max_examples=20)  # a busy machine is not a failure
@given(row=st.integers(0, 19), column=st.integers(0, 23), kind=st.sampled_from(["continuous", "categorical"]))
def test_a_warped_value_does_not_depend_on_the_window(
    tmp_path_factory: pytest.TempPathFactory, row: int, column: int, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "tilted.tif"
    if not path.exists():
        step = 0.0003
        values = np.random.default_rng(5).random((60, 60)).astype(np.float32)
        where = Affine(step, 0, 10.245, 0, -step, 44.256)
        write_raster(path, values, crs="EPSG:4326", transform=where)
    with source(path, kind) as tilted:
        whole = tilted.read(WHOLE)
        part = tilted.read(Window(column, row, 24 - column, 20 - row))

    assert np.isfinite(whole).all()
    np.testing.assert_allclose(part, whole[row:, column:], rtol=1e-5)


def test_categories_are_never_mixed(tmp_path: Path) -> None:
    codes = np.random.default_rng(7).choice(np.array([3, 200], np.uint8), (40, 48))
    finer = Affine(SIZE / 2, 0, LEFT + 4, 0, -SIZE / 2, TOP - 4)
    with source(write_raster(tmp_path / "rock.tif", codes, transform=finer), "categorical") as rock:
        assert set(np.unique(rock.read(WHOLE))) == {3.0, 200.0}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match=r"dem: no such file: .*a\.tif"):
        source(tmp_path / "a.tif")


def test_a_raster_without_a_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match=r"a\.tif does not say its CRS"):
        source(write_raster(tmp_path / "a.tif", numbers(), crs=None))


def test_a_raster_without_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster(path, numbers(), transform=Affine.identity())
    with pytest.raises(FactorError, match="does not say where it lies"):
        source(path)


def test_degrees_under_a_crs_in_metres_are_refused(tmp_path: Path) -> None:
    degrees = Affine(0.0003, 0, 10.2, 0, -0.0003, 44.2)
    with pytest.raises(FactorError, match=r"claims EPSG:32632, in metres, but its bounds .* are degrees"):
        source(write_raster(tmp_path / "a.tif", numbers(), transform=degrees))


def test_a_raster_of_several_bands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match="has 3 bands"):
        source(write_raster(tmp_path / "a.tif", numbers(), numbers(), numbers()))


def test_a_file_that_is_no_raster_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("<html>503 Service Unavailable</html>")
    with pytest.raises(FactorError, match=r"a\.tif cannot be read as a raster"):
        source(path)


def test_a_truncated_raster_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers(), compress="deflate")
    path.write_bytes(path.read_bytes()[:1200])
    with pytest.raises(FactorError, match=r"a\.tif cannot be read as a raster"), source(path) as dem:
        dem.read(WHOLE)


def test_elevations_that_say_they_are_in_feet_are_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", numbers())
    with rasterio.open(path, "r+") as out:
        out.units = ("ft",)
    with source(path) as dem, pytest.raises(FactorError, match="is in 'ft'"):
        dem.require_metres()


def test_the_digest_changes_with_the_file(tmp_path: Path) -> None:
    values = numbers()
    with source(write_raster(tmp_path / "a.tif", values)) as dem:
        before = dem.digest()
    values[0, 0] += 1
    with source(write_raster(tmp_path / "a.tif", values)) as dem:
        after = dem.digest()

    assert len(before) == 1
    assert before != after
