"""Sen12Landslides files: right side up, whatever the order in which they are stored."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from rasterio.windows import Window

from service.detection.reading import open_reader
from service.detection.scene import Scene, open_scene
from service.errors import InputError

SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
PATCH = SHARED / "apennines" / "sentinel2_patch_4120.nc"

CRS_WKT = 'PROJCS["WGS 84 / UTM zone 32N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",9],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1],AUTHORITY["EPSG","32632"]]'  # noqa: E501
SHAPE = (9, 14)  # rows, columns


def ground(name: str, number: int) -> npt.NDArray[np.int16]:
    """What lies there at a date, north above: it rises to the east, and more to the south."""
    row, column = np.indices(SHAPE)
    return np.asarray({"B02": 500, "B04": 700, "DEM": 300}[name] + 100 * number + column + 20 * row, np.int16)


def write_series(
    path: Path, *, turned: bool = True, ordered: bool = True, units: str = "days since 2023-05-01"
) -> Path:
    """Write a file of three dates as the netCDF-4 library lays it out in HDF5; `turned`: (time, x, y)."""
    axes: dict[str, npt.NDArray[Any]] = {
        "time": np.array([0, 10, 22]),
        "x": 700_000 + 10.0 * np.arange(SHAPE[1]),
        "y": 4_900_000 - 10.0 * np.arange(SHAPE[0]),
    }
    order = ("time", "x", "y") if turned else ("time", "y", "x")
    with h5py.File(path, "w") as file:
        for number, (name, values) in enumerate(axes.items()):
            file[name] = values
            file[name].make_scale(name)
            if ordered:
                file[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        file["time"].attrs["units"] = np.bytes_(units.encode())
        file["time"].attrs["calendar"] = np.bytes_(b"proleptic_gregorian")
        reference = file.create_dataset("spatial_ref", data=np.int64(0))
        reference.attrs["crs_wkt"] = reference.attrs["spatial_ref"] = np.bytes_(CRS_WKT.encode())
        reference.attrs["GeoTransform"] = np.bytes_(b"700000.0 10.0 0.0 4900000.0 0.0 -10.0")
        for name in ("B02", "B04", "DEM"):
            values = np.stack([ground(name, number) for number in range(3)])
            file[name] = values.transpose(0, 2, 1) if turned else values
            file[name].attrs["grid_mapping"] = np.bytes_(b"spatial_ref")
            if ordered:
                file[name].attrs["_Netcdf4Coordinates"] = np.array(
                    [list(axes).index(axis) for axis in order], np.int32
                )
            for place, axis in enumerate(order):
                file[name].dims[place].attach_scale(file[axis])
    return path


def stored(path: Path, name: str) -> h5py.File:
    file = h5py.File(path, "r+")
    assert file[name].shape == (3, SHAPE[1], SHAPE[0])
    return file


def read(scene: Scene, name: str, window: Window | None = None) -> npt.NDArray[np.float32]:
    with open_reader(scene) as reader:
        return reader.band(name, window or Window(0, 0, scene.shape[1], scene.shape[0]))


@pytest.mark.parametrize("turned", [True, False])
def test_a_series_comes_out_right_side_up_however_it_is_stored(tmp_path: Path, turned: bool) -> None:
    scene = open_scene(write_series(tmp_path / "a.nc", turned=turned), day=date(2023, 5, 11))
    assert (scene.shape, scene.sensed_on, scene.id) == (SHAPE, date(2023, 5, 11), "a-2023-05-11")
    assert tuple(scene.transform)[:6] == (10, 0, 700_000, 0, -10, 4_900_000)
    np.testing.assert_allclose(read(scene, "B04"), ground("B04", 1) / 10_000, rtol=1e-6)
    np.testing.assert_allclose(read(scene, "elevation", Window(3, 2, 5, 4)), ground("DEM", 1)[2:6, 3:8])
    assert np.isfinite(read(scene, "slope")).all()


def test_one_of_several_dates_is_to_be_chosen(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.nc")
    for day, words in (
        (None, "choose one with --date: 2023-05-01"),
        (date(2023, 5, 2), "has no date 2023-05-02"),
    ):
        with pytest.raises(InputError, match=words):
            open_scene(path, day=day)


def test_a_file_that_leaves_open_how_it_lies_or_when_it_was_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in which order x and y"):
        open_scene(write_series(tmp_path / "a.nc", ordered=False), day=date(2023, 5, 11))
    with pytest.raises(InputError, match="no dates that can be read"):
        open_scene(write_series(tmp_path / "b.nc", units="hours since noon"), day=date(2023, 5, 11))
    (tmp_path / "c.nc").write_bytes(b"CDF?")
    with pytest.raises(InputError, match="cannot be read as netCDF-4"):
        open_scene(tmp_path / "c.nc")


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_file_whose_coordinates_run_against_its_transform_is_refused(
    tmp_path: Path, turned: bool, axis: str
) -> None:
    path = write_series(tmp_path / "a.nc", turned=turned)
    with h5py.File(path, "r+") as file:
        file[axis][...] = file[axis][...][::-1]
    with pytest.raises(InputError, match=f"{axis} runs from .* north above"):
        open_scene(path, day=date(2023, 5, 11))


def test_coordinates_may_be_the_middles_of_cells(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.nc")
    with h5py.File(path, "r+") as file:
        file["x"][...] += 5
        file["y"][...] -= 5
    scene = open_scene(path, day=date(2023, 5, 11))
    assert (scene.transform.c, scene.transform.f) == (700_000, 4_900_000)


def test_what_is_no_data_is_unknown_though_the_file_does_not_declare_it(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.nc")
    with stored(path, "B02") as file:
        for name in ("B02", "B04"):
            file[name][1, 5, 4] = 0  # column 5, row 4: 0 in all bands
        file["B02"][1, 7, 2] = 0  # dark in one band, after the offset was taken off
        file["B04"][1, 9, 3] = -9999
        file["DEM"][1, 3, 3] = -9999
    scene = open_scene(path, day=date(2023, 5, 11))
    blue, red, height = read(scene, "B02"), read(scene, "B04"), read(scene, "elevation")
    unknown = np.zeros(SHAPE, np.bool_)
    unknown[4, 5] = True
    np.testing.assert_array_equal(np.isnan(blue), unknown)
    assert blue[2, 7] == 0
    unknown[3, 9] = True
    np.testing.assert_array_equal(np.isnan(red), unknown)
    assert list(np.argwhere(np.isnan(height))[0]) == [3, 3]
    assert np.nanmax(read(scene, "slope")) < 80


def test_a_date_that_still_carries_the_offset_is_refused(tmp_path: Path) -> None:
    path = write_series(tmp_path / "a.nc")
    with stored(path, "B02") as file:
        for name in ("B02", "B04"):
            file[name][2] += 1000
    assert read(open_scene(path, day=date(2023, 5, 11)), "B02").max() < 0.1
    with pytest.raises(InputError, match="offset of processing baseline"):
        open_scene(path, day=date(2023, 5, 23))


@pytest.mark.skipif(not PATCH.exists(), reason="the shared Sentinel-2 patch is not here")
def test_the_real_patch_is_read_right_side_up() -> None:
    """Proven by another source: the DEM of the region, whose north is known."""
    own = open_scene(PATCH, day=date(2023, 5, 23))
    other = open_scene(PATCH, day=date(2023, 5, 23), dem=SHARED / "apennines" / "dem_30m.tif")
    here, there = read(own, "elevation"), read(other, "elevation")
    assert np.corrcoef(here.ravel(), there.ravel())[0, 1] > 0.99
    assert np.corrcoef(here.T.ravel(), there.ravel())[0, 1] < 0.6
    near, red = read(own, "B08"), read(own, "B04")
    assert 0.2 < np.nanmean(near) < 0.5
    assert np.nanmean((near - red) / (near + red)) == pytest.approx(0.77, abs=0.005)
