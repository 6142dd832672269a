"""Scenes as they come: products of Sentinel-2, folders of rasters; and what is refused, with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from service.detection.reading import open_reader
from service.detection.scene import Scene, open_scene
from service.errors import InputError
from tests.fix_detection import LEFT, TOP, scarred, write_raster, write_safe, write_scene

Values = npt.NDArray[Any]


def read(scene: Scene, name: str, window: Window | None = None) -> npt.NDArray[np.float32]:
    with open_reader(scene) as reader:
        return reader.band(name, window or Window(0, 0, scene.shape[1], scene.shape[0]))


def seen(scene: Scene) -> npt.NDArray[np.bool_]:
    with open_reader(scene) as reader:
        return reader.seen(Window(0, 0, scene.shape[1], scene.shape[0]))


def ramp(_band: str, cells: int) -> Values:
    """Stored numbers that rise from west to east by 100 for each 10 m, whatever the cells' size."""
    ratio = 36 // cells
    return (2000 + 100 * ratio * (np.arange(cells)[None, :] + 0.5)).repeat(cells, axis=0).astype(np.uint16)


def test_a_level_2a_product_has_its_bands_at_their_finest_with_offsets_taken_off(tmp_path: Path) -> None:
    scene = open_scene(write_safe(tmp_path, stored=ramp))
    assert scene.product == "Sentinel-2 Level-2A"
    assert scene.id == "S2A_MSIL2A_20230523T101601_N0509_R065_T32TPP_20230523T135000"
    assert (scene.sensed_on, scene.after) == (date(2023, 5, 23), None)
    assert (scene.shape, scene.pixel_size_m) == ((36, 36), 10)
    assert set(scene.bands) == {
        "B01",
        "B02",
        "B03",
        "B04",
        "B05",
        "B06",
        "B07",
        "B08",
        "B8A",
        "B09",
        "B11",
        "B12",
    }
    assert scene.bands["B02"].name.endswith("R10m/T32TPP_20230523T101601_B02_10m.jp2")
    assert scene.bands["B11"].name.endswith("_B11_20m.jp2")
    expected = (2000 + 100 * (np.arange(36) + 0.5) - 1000) / 10_000
    np.testing.assert_allclose(read(scene, "B02"), np.tile(expected, (36, 1)), rtol=1e-6)
    assert not scene.notes


@pytest.mark.parametrize(("band", "edge"), [("B11", 1), ("B09", 3)])
def test_coarse_bands_are_interpolated_between_the_centres_of_their_cells(
    tmp_path: Path, band: str, edge: int
) -> None:
    scene = open_scene(write_safe(tmp_path, stored=ramp))
    found = read(scene, band)
    expected = (1000 + 100 * (np.arange(36) + 0.5)) / 10_000
    np.testing.assert_allclose(found[:, edge:-edge], np.tile(expected, (36, 1))[:, edge:-edge], rtol=1e-5)
    # Beyond the outermost centres the outermost cell goes on.
    np.testing.assert_allclose(found[:, 0], expected[: edge * 2].mean(), rtol=1e-5)
    parts = [read(scene, band, Window(7, first, 20, 5)) for first in range(0, 35, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), found[:35, 7:27])


def test_no_data_stays_unknown_cell_by_cell_and_gives_nothing_to_its_neighbours(tmp_path: Path) -> None:
    def stored(band: str, cells: int) -> Values:
        values = np.full((cells, cells), 3000, np.uint16)
        values[2, 3] = 0
        values[4, 4] = 65535
        return values

    scene = open_scene(write_safe(tmp_path, stored=stored))
    unknown = np.zeros((36, 36), np.bool_)
    unknown[4:6, 6:8] = unknown[8:10, 8:10] = True
    found = read(scene, "B05")
    np.testing.assert_array_equal(np.isnan(found), unknown)
    np.testing.assert_allclose(found[~unknown], 0.2, rtol=1e-5)


def test_cloud_shadow_snow_water_and_what_is_no_data_or_defective_are_not_seen(tmp_path: Path) -> None:
    classes = np.arange(18 * 18, dtype=np.uint8).reshape(18, 18) % 12
    scene = open_scene(write_safe(tmp_path, classes=classes))
    expected = np.isin(classes, (4, 5, 7)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(seen(scene), expected)


def test_a_level_1c_product_has_b10_no_classes_and_says_what_it_is(tmp_path: Path) -> None:
    scene = open_scene(write_safe(tmp_path, "1C"))
    assert "B10" in scene.bands
    assert scene.classes is None
    assert "top of the atmosphere" in scene.notes[0]
    np.testing.assert_allclose(read(scene, "B10"), 0.1, rtol=1e-6)


def test_products_of_an_old_baseline_have_no_offset(tmp_path: Path) -> None:
    scene = open_scene(write_safe(tmp_path, baseline="02.14", offset=None))
    np.testing.assert_allclose(read(scene, "B04"), 0.2, rtol=1e-6)


def test_offsets_are_each_band_s_own(tmp_path: Path) -> None:
    path = write_safe(tmp_path, xml=lambda text: text.replace('band_id="3">-1000', 'band_id="3">-500'))
    scene = open_scene(path)
    np.testing.assert_allclose(read(scene, "B04"), 0.15, rtol=1e-6)  # number 3 is the fourth, B04
    np.testing.assert_allclose(read(scene, "B03"), 0.1, rtol=1e-6)


def test_offsets_are_told_by_the_names_that_the_product_gives_its_numbers(tmp_path: Path) -> None:
    names = "".join(
        f'<Spectral_Information bandId="{number}" physicalBand="B{band}"/>'
        for number, band in ((3, 5), (4, 4))
    )
    path = write_safe(
        tmp_path, xml=lambda text: text.replace('band_id="3">-1000', 'band_id="3">-500').replace(
            "</Special_Values>", f"</Special_Values>{names}"
        ),
    )  # fmt: skip
    scene = open_scene(path)
    np.testing.assert_allclose(read(scene, "B05"), 0.15, rtol=1e-6)
    np.testing.assert_allclose(read(scene, "B04"), 0.1, rtol=1e-6)


@pytest.mark.parametrize("number", ["3", "12"])
def test_a_band_whose_offset_is_not_named_beside_others_is_refused(tmp_path: Path, number: str) -> None:
    path = write_safe(
        tmp_path,
        xml=lambda text: text.replace(f'<BOA_ADD_OFFSET band_id="{number}">-1000</BOA_ADD_OFFSET>', ""),
    )
    with pytest.raises(InputError, match=f"none of {'B04' if number == '3' else 'B12'}; .* brighter"):
        open_scene(path)


def test_a_number_of_no_band_is_refused(tmp_path: Path) -> None:
    path = write_safe(tmp_path, xml=lambda text: text.replace('band_id="12"', 'band_id="-1"'))
    with pytest.raises(InputError, match="band '-1'"):
        open_scene(path)


def test_metadata_that_is_endless_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = write_safe(tmp_path)
    with (path / "MTD_MSIL2A.xml").open("r+b") as file:
        file.truncate(2**40)  # a hole: reading it whole would take a terabyte of memory
    with pytest.raises(InputError, match="larger than 8 MiB"):
        open_scene(path)


@pytest.mark.parametrize("kind", ["safe", "folder"])
def test_the_day_is_the_region_s(tmp_path: Path, kind: str) -> None:
    if kind == "safe":
        path = write_safe(tmp_path, moment="2023-05-23T22:16:01.024Z")
    else:
        path = tmp_path
        write_raster(path / "T59GLL_20230523T221601_B02_10m.tif", np.full((9, 9), 0.1, np.float32))
    assert open_scene(path).sensed_on == date(2023, 5, 23)
    assert open_scene(path, zone=ZoneInfo("Pacific/Auckland")).sensed_on == date(2023, 5, 24)


def _bomb(text: str) -> str:
    entities = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    return text.replace("<n1:Level", f"{entities}<n1:Level", 1).replace("05.09<", "&b;<")


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        (_bomb, "declares entities"),
        (lambda text: text[:200], "no XML"),
        (lambda text: text.replace("10000", ""), "BOA_QUANTIFICATION_VALUE is missing"),
        (lambda text: text.replace("10000", "-1"), "cannot be"),
        (lambda text: text.replace("BOA_ADD_OFFSET", "OTHER"), "names no BOA_ADD_OFFSET"),
        (lambda text: text.replace(">-1000<", ">much<"), "not a number"),
        (lambda text: text.replace("2023-05-23T10:16:01.024Z", "yesterday"), "is a moment"),
    ],
)
def test_metadata_that_cannot_be_trusted_is_refused(
    tmp_path: Path, xml: Callable[[str], str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        open_scene(write_safe(tmp_path, xml=xml))


def test_another_day_than_the_metadata_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was sensed on 2023-05-23"):
        open_scene(write_safe(tmp_path), day=date(2023, 5, 24))


def test_a_product_of_many_granules_is_refused(tmp_path: Path) -> None:
    path = write_safe(tmp_path)
    (path / "GRANULE" / "another").mkdir()
    with pytest.raises(InputError, match="2 granules"):
        open_scene(path)


def test_a_folder_of_rasters_is_a_scene(tmp_path: Path) -> None:
    scene = open_scene(
        write_scene(tmp_path / "s", scarred(), said={"after": "2026-03-01", "synthetic": True})
    )
    assert (scene.id, scene.sensed_on, scene.after) == ("toy-scene", date(2026, 3, 4), date(2026, 3, 1))
    assert scene.synthetic
    np.testing.assert_array_equal(read(scene, "B04"), scarred()["B04"])
    assert seen(scene).all()


def test_names_of_products_and_scales_in_the_files_are_understood(tmp_path: Path) -> None:
    stored = np.full((12, 12), 3000, np.uint16)
    write_raster(tmp_path / "T32TPP_20230523T101601_B02_10m.tif", stored, scale=1e-4, offset=-0.1)
    write_raster(tmp_path / "T32TPP_20230523T101601_B11_20m.tif", stored[:6, :6], size=20, scale=1e-4)
    scene = open_scene(tmp_path)
    assert scene.sensed_on == date(2023, 5, 23)
    assert scene.id == f"{tmp_path.name}-2023-05-23"
    np.testing.assert_allclose(read(scene, "B02"), 0.2, rtol=1e-5)
    np.testing.assert_allclose(read(scene, "B11"), 0.3, rtol=1e-5)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"sensed_on": "2026-03-04"}, "holds whole numbers"),
        ({"scale": 1e-4, "offset": -0.1}, "does not say on which day"),
        ({"scale": 0, "sensed_on": "2026-03-04"}, "scale: Input should be greater than 0"),
        ({"scales": 1, "sensed_on": "2026-03-04"}, "scales: Extra inputs"),
        ({"scale": 1e-4, "sensed_on": "2026-03-04", "after": "2026-03-04"}, "cannot all have happened after"),
    ],
)
def test_what_a_folder_leaves_open_is_asked_for(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    write_raster(tmp_path / "B02.tif", np.full((9, 9), 3000, np.uint16))
    (tmp_path / "scene.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match=words):
        open_scene(tmp_path)


def test_a_scale_that_is_said_twice_and_differs_is_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "B02.tif", np.full((9, 9), 3000, np.uint16), scale=1e-3)
    (tmp_path / "scene.json").write_text('{"scale": 0.0001, "sensed_on": "2026-03-04"}')
    with pytest.raises(InputError, match="take one of them out"):
        open_scene(tmp_path)


def test_a_band_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_scene(tmp_path, scarred())
    write_raster(tmp_path / "other_B04.tif", scarred()["B04"])
    with pytest.raises(InputError, match="holds B04 twice"):
        open_scene(tmp_path)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"crs": "EPSG:4326", "size": 1e-4, "left": 11, "top": 44}, "does not count in metres.*gdalwarp"),
        ({"crs": "EPSG:2225"}, "does not count in metres"),
        ({"crs": None}, "does not say its CRS"),
    ],
)
def test_a_grid_that_is_not_in_metres_is_refused_with_what_to_do(
    tmp_path: Path, profile: dict[str, Any], words: str
) -> None:
    write_raster(tmp_path / "B02.tif", np.full((9, 9), 0.1, np.float32), **profile)
    with pytest.raises(InputError, match=words):
        open_scene(tmp_path, day=date(2026, 3, 4))


def test_a_dem_on_another_grid_gives_elevation_and_slopes_without_seams(tmp_path: Path) -> None:
    scene_folder = write_scene(tmp_path / "s", scarred())
    # A plane that falls 30 m on 100 m to the east, in cells of 30 m, larger than the scene.
    east = np.arange(60) * 30.0 + 15
    plane = (900 - 0.3 * east)[None, :].repeat(60, axis=0).astype(np.float32)
    dem = write_raster(tmp_path / "dem.tif", plane, size=30, left=LEFT - 300, top=TOP + 300)
    scene = open_scene(scene_folder, dem=dem)
    assert {"slope", "elevation"} <= set(scene.available)
    elevation, slope = read(scene, "elevation"), read(scene, "slope")
    expected = 900 - 0.3 * (300 + 10 * (np.arange(112) + 0.5))
    np.testing.assert_allclose(elevation, np.tile(expected, (96, 1)), atol=0.01)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.3)), atol=0.01)
    strips = [read(scene, "slope", Window(0, first, 112, 32)) for first in (0, 32, 64)]
    np.testing.assert_array_equal(np.concatenate(strips), slope)


@pytest.mark.parametrize("given", [True, False])
def test_elevation_in_decimetres_that_says_so_is_read_in_metres(tmp_path: Path, given: bool) -> None:
    folder = write_scene(tmp_path / "s", scarred())
    place = tmp_path / "dem.tif" if given else folder / "DEM.tif"
    write_raster(place, np.full((96, 112), 5120, np.int16), scale=0.1, offset=10.0)
    scene = open_scene(folder, dem=place if given else None)
    np.testing.assert_allclose(read(scene, "elevation"), 522, rtol=1e-5)


def test_ground_beyond_the_dem_is_unknown(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", np.full((10, 10), 500, np.float32), size=30)
    scene = open_scene(write_scene(tmp_path / "s", scarred()), dem=dem)
    assert np.isfinite(read(scene, "slope")[:28, :28]).all()
    assert np.isnan(read(scene, "slope")[32:, 32:]).all()


def test_a_dem_elsewhere_is_refused(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", np.zeros((9, 9), np.float32), left=LEFT + 1e5)
    with pytest.raises(InputError, match="lies elsewhere"):
        open_scene(write_scene(tmp_path / "s", scarred()), dem=dem)


def test_what_is_no_scene_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "S2A.SAFE.zip").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("S2A.SAFE.zip", "unpack"),
        ("notes.txt", "is no scene"),
        ("nowhere", "no scene at"),
        ("empty", "holds no band"),
    ):
        with pytest.raises(InputError, match=words):
            open_scene(tmp_path / name)


@pytest.mark.parametrize("name", ["B04.tif", "DEM.tif"])
def test_a_raster_that_is_a_list_of_other_files_is_not_followed(tmp_path: Path, name: str) -> None:
    folder = write_scene(tmp_path / "scene", scarred())
    hidden = (folder / "B04.tif").rename(tmp_path / "elsewhere.tif")
    write_list(folder / "B04.tif", hidden)
    if name == "DEM.tif":
        hidden.replace(folder / "B04.tif")
        write_list(folder / name, folder / "B04.tif")

    with pytest.raises(InputError, match=f"{name} cannot be read"):
        open_scene(folder)


def write_list(path: Path, of: Path) -> None:
    """Write GDAL's list of rasters (VRT), whatever the file is called."""
    with rasterio.open(of) as dataset, WarpedVRT(dataset) as made:
        rasterio.shutil.copy(made, path, driver="VRT")


def test_a_damaged_band_is_named(tmp_path: Path) -> None:
    folder = write_scene(tmp_path, scarred())
    (folder / "B04.tif").write_bytes((folder / "B04.tif").read_bytes()[:400])
    with pytest.raises(InputError, match=r"B04\.tif cannot be read"):
        read(open_scene(folder), "B04")
