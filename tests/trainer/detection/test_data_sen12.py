"""Sen12Landslides files: turned the right way, one date each, hidden where clouds were."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from service.detection.bands import SEN12LANDSLIDES
from service.errors import InputError
from trainer.detection.sen12 import SEN12_BANDS, read_dates, read_image, read_mask
from trainer.detection.sen12_set import open_sen12landslides
from trainer.terrain import terrain_bands

SIDE, WEST, NORTH = 12, 700_000.0, 4_900_000.0
DAYS = (0, 10, 15, 25, 40)  # since 2023-05-01: before 15 May two, after it three
CLOUDY = 2  # the first date after the event


def truth(seed: int = 0) -> dict[str, np.ndarray]:
    """Return what the ground is like, right side up: (time, y, x)."""
    rng = np.random.default_rng(seed)
    ground = {
        name: rng.integers(200, 3000, (len(DAYS), SIDE, SIDE)).astype(np.int16) for name in SEN12LANDSLIDES
    }
    ground["SCL"] = np.full((len(DAYS), SIDE, SIDE), 4, np.int16)
    ground["SCL"][CLOUDY] = 9
    ground["DEM"] = np.broadcast_to(
        (500 + 7 * np.arange(SIDE)[:, None] + 2 * np.arange(SIDE)[None, :]).astype(np.int16),
        (len(DAYS), SIDE, SIDE),
    ).copy()
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[1:3, 5:11] = 1
    ground["MASK"] = np.broadcast_to(mask, (len(DAYS), SIDE, SIDE)).copy()
    return ground


def write(
    path: Path,
    ground: dict[str, np.ndarray],
    *,
    order: str = "txy",
    y_rises: bool = False,
    middles: bool = False,
    **attributes: Any,
) -> Path:
    """Write a file as netCDF-4 does, dimension scales and all; `order` is that of its dimensions."""
    shift = 5.0 if middles else 0.0
    x = WEST + shift + 10.0 * np.arange(SIDE)
    y = NORTH - shift - 10.0 * np.arange(SIDE)
    with h5py.File(path, "w") as file:
        file["time"] = np.array(DAYS, np.int64)
        file["time"].attrs["units"] = np.bytes_(b"days since 2023-05-01")
        file["x"], file["y"] = x, y[::-1] if y_rises else y
        for name in ("time", "x", "y"):
            file[name].make_scale(name)
        for name, values in ground.items():
            turned = values[:, ::-1] if y_rises else values
            axes = ["tyx".index(letter) for letter in order]
            file[name] = np.transpose(turned, axes)
            for place, letter in enumerate(order):
                file[name].dims[place].attach_scale(file[{"t": "time", "x": "x", "y": "y"}[letter]])
        file["spatial_ref"] = 0
        file["spatial_ref"].attrs["GeoTransform"] = np.bytes_(f"{WEST} 10.0 0.0 {NORTH} 0.0 -10.0".encode())
        said = {
            "event_date": "2023-05-15",
            "pre_post_dates": "{'pre': 1, 'post': 2}",
            "ann_bbox": f"({WEST + 50}, {NORTH - 30}, {WEST + 110}, {NORTH - 10})",
            "crs": "EPSG:32632",
        } | attributes
        for name, text in said.items():
            file.attrs[name] = np.bytes_(str(text).encode())
    return path


@pytest.mark.parametrize("order", ["txy", "tyx", "xyt", "yxt"])
@pytest.mark.parametrize("y_rises", [False, True])
def test_a_file_comes_out_right_side_up_however_it_is_stored(
    tmp_path: Path, order: str, y_rises: bool
) -> None:
    ground = truth()
    path = write(tmp_path / "italy_s2_1.nc", ground, order=order, y_rises=y_rises)
    np.testing.assert_array_equal(read_mask(path, 3), ground["MASK"][3])
    image = read_image(path, 3, ("B08", "B02", "elevation", "slope"))
    np.testing.assert_allclose(image[0], ground["B08"][3] / 10_000, rtol=1e-6)
    np.testing.assert_allclose(image[1], ground["B02"][3] / 10_000, rtol=1e-6)
    np.testing.assert_array_equal(image[2], ground["DEM"][3])
    np.testing.assert_array_equal(
        image[3], terrain_bands(ground["DEM"][3].astype(np.float32), 10.0, ["slope"])["slope"]
    )
    assert np.nanmedian(image[3]) == pytest.approx(np.degrees(np.arctan(np.hypot(0.7, 0.2))), rel=1e-5)
    # The file's own box lies around what slid.
    dates = read_dates(path)
    rows, columns = np.nonzero(read_mask(path, 3))
    (box,) = dates.boxes
    x, y = dates.transform * (columns + 0.5, rows + 0.5)
    assert ((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).all()


@pytest.mark.parametrize("middles", [False, True])
def test_coordinates_may_be_edges_or_middles_and_the_geotransform_tells(
    tmp_path: Path, middles: bool
) -> None:
    dates = read_dates(write(tmp_path / "a.nc", truth(), middles=middles))
    assert (dates.transform.c, dates.transform.f, dates.transform.a) == (WEST, NORTH, 10.0)
    assert dates.crs == "EPSG:32632"


def test_the_first_clear_date_after_the_event_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "italy_s2_17.nc", truth())
    patches = open_sen12landslides(path)
    (chosen,) = patches.chosen
    assert (chosen.day, chosen.number) == (date(2023, 5, 26), 3)
    assert patches.bands == SEN12_BANDS
    assert (patches.ids, patches.regions, patches.pixel_size_m) == (("italy_s2_17",), ("italy",), 10.0)
    assert patches.judged == (True,)
    assert patches.radiometry == "reflectance"
    dates = read_dates(path)
    assert dates.event == date(2023, 5, 15)
    assert dates.last_clear_before(0.9) == 1


def test_a_day_can_be_named_and_before_the_event_there_is_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", truth())
    later = open_sen12landslides(path, day=date(2023, 6, 10))
    assert (later.judged, later.chosen[0].number) == ((True,), 4)
    before = open_sen12landslides(path, day=date(2023, 5, 11))
    assert before.judged == (False,)
    assert before.read(0).mask is None
    with pytest.raises(InputError, match="has no 2023-05-12; it has 2023-05-01, 2023-05-11"):
        open_sen12landslides(path, day=date(2023, 5, 12))


@pytest.mark.parametrize("code", [0, 1, 3, 8, 9, 10])
def test_cloud_and_shadow_are_not_known_but_the_ground_below_is(tmp_path: Path, code: int) -> None:
    ground = truth()
    ground["SCL"][3, 4, 5] = code
    image = read_image(write(tmp_path / "a.nc", ground), 3, ("B02", "B12", "elevation"))
    assert np.isnan(image[:2, 4, 5]).all()
    assert np.isnan(image).sum() == 2
    assert image[2, 4, 5] == ground["DEM"][3, 4, 5]


def test_no_data_is_not_known_and_a_single_band_clipped_to_zero_is(tmp_path: Path) -> None:
    ground = truth()
    ground["B02"][3, 1, 1] = -9999
    ground["B03"][3, 2, 2] = 0  # its neighbours in other bands are not
    for name in SEN12LANDSLIDES:
        ground[name][3, 6, 6] = 0
    ground["DEM"][3, 8, 8] = -9999
    image = read_image(write(tmp_path / "a.nc", ground), 3, (*SEN12LANDSLIDES, "slope", "elevation"))
    assert np.isnan(image[0, 1, 1])
    assert image[1, 2, 2] == 0
    assert np.isnan(image[:10, 6, 6]).all()
    assert np.isnan(image[:10]).sum() == 11
    assert np.isnan(image[11, 8, 8])
    assert np.isnan(image[10, 7:10, 7:10]).all()


def test_values_that_still_carry_the_offset_are_refused(tmp_path: Path) -> None:
    ground = truth()
    for name in SEN12LANDSLIDES:
        ground[name] += 1000
    path = write(tmp_path / "a.nc", ground)
    with pytest.raises(InputError, match=r"all values of 2023-05-26 are 1000 or more.*harmonised"):
        read_image(path, 3, ("B02", "B03"))


def test_a_band_that_the_files_have_not_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nc", truth())
    with pytest.raises(InputError, match=r"has no B01, B10; it has B02.*B12, slope, elevation"):
        open_sen12landslides(path, ("B01", "B02", "B10"))


def test_a_folder_is_a_set_and_says_what_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "italy_s2_1.nc", truth(1))
    clouded = truth(2)
    clouded["SCL"][:] = 8
    write(tmp_path / "nepal_s2_2.nc", clouded)
    write(tmp_path / "other.nc", truth(3))
    patches = open_sen12landslides(tmp_path, regions={"other": "japan"})
    assert patches.ids == ("italy_s2_1", "other")
    assert patches.regions == ("italy", "japan")
    (why,) = patches.left_out
    assert why.startswith("nepal_s2_2.nc: no date from 2023-05-16 on is 90% clear")
    assert patches.read(1).image.shape == (12, SIDE, SIDE)
    with pytest.raises(InputError, match="name a day of one file"):
        open_sen12landslides(tmp_path, day=date(2023, 5, 26))
    with pytest.raises(InputError, match="is 90% clear"):
        open_sen12landslides(tmp_path / "nepal_s2_2.nc")


def test_a_file_without_event_is_read_at_its_first_clear_date(tmp_path: Path) -> None:
    calm = truth() | {"MASK": np.zeros((len(DAYS), SIDE, SIDE), np.uint8)}
    path = write(tmp_path / "a.nc", calm, pre_post_dates="None", event_date="None", ann_bbox="")
    patches = open_sen12landslides(path)
    assert (patches.chosen[0].number, patches.judged) == (0, (True,))
    assert read_dates(path).event is None
    assert read_dates(path).boxes == ()


def test_landslides_of_which_nobody_says_when_they_happened_are_no_truth_for_a_date(tmp_path: Path) -> None:
    patches = open_sen12landslides(write(tmp_path / "a.nc", truth(), pre_post_dates="None"))
    assert (patches.chosen[0].number, patches.judged) == (0, (False,))
    assert patches.read(0).mask is None


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"pre_post_dates": "__import__('os')"}, "pre_post_dates is"),
        ({"pre_post_dates": "{'pre': 3, 'post': 2}"}, "of 5 dates"),
        ({"ann_bbox": "(1.0, 2.0, 3.0)"}, "four a box"),
    ],
)
def test_attributes_that_cannot_be_understood_are_refused(
    tmp_path: Path, attributes: dict[str, str], words: str
) -> None:
    path = write(tmp_path / "a.nc", truth(), **attributes)
    with pytest.raises(InputError, match=words):
        read_dates(path)


def test_what_is_no_such_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(b"CDF\x01")
    with pytest.raises(InputError, match=r"a\.nc cannot be read as NetCDF-4"):
        open_sen12landslides(path)
    ground = truth()
    del ground["SCL"]
    with pytest.raises(InputError, match="has no SCL; it has"):
        open_sen12landslides(write(tmp_path / "b.nc", ground))
    masked = truth()
    masked["MASK"][3, 0, 0] = 7
    with pytest.raises(InputError, match=r"MASK holds \[0, 1, 7\]"):
        read_mask(write(tmp_path / "c.nc", masked), 3)
    with pytest.raises(InputError, match="is not there"):
        open_sen12landslides(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no file with the ending \.nc"):
        open_sen12landslides(tmp_path / "empty")
