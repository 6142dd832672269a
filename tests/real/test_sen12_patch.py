"""The real Sentinel-2 patch of May 2023: read right side up, on the first clear day after the landslides."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.detection.scene import open_scene
from trainer.detection.data import Patch
from trainer.detection.data_pictures import natural_colour
from trainer.detection.sen12 import Sen12Dates, read_dates, read_image, read_mask
from trainer.detection.sen12_set import Sen12Patches, open_sen12landslides

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
PATCH = SHARED / "apennines" / "sentinel2_patch_4120.nc"
CLEAR = date(2023, 5, 23)

pytestmark = pytest.mark.skipif(
    not PATCH.is_file(), reason=f"no real data at {PATCH}; set COLLUVIUM_SHARED_DATA"
)


@pytest.fixture(scope="module")
def dates() -> Sen12Dates:
    return read_dates(PATCH)


@pytest.fixture(scope="module")
def patches() -> Sen12Patches:
    return open_sen12landslides(PATCH)


@pytest.fixture(scope="module")
def patch(patches: Sen12Patches) -> Patch:
    return patches.read(0)


def share_in_boxes(mask: npt.NDArray[np.uint8], dates: Sen12Dates) -> float:
    """Return the share of landslide pixels that touch a box of the file's own annotations."""
    rows, columns = np.nonzero(mask)
    west, north = dates.transform * (columns, rows)
    touching = np.zeros(len(rows), bool)
    for left, bottom, right, top in dates.boxes:
        touching |= (west < right) & (west + 10 > left) & (north - 10 < top) & (north > bottom)
    return float(touching.mean())


def test_the_first_clear_day_after_the_event_is_chosen(patches: Sen12Patches, dates: Sen12Dates) -> None:
    (chosen,) = patches.chosen
    assert (chosen.day, dates.event) == (CLEAR, date(2023, 5, 16))
    assert len(dates.dates) == 15
    # The two dates around the event are under cloud; the last clear one before is of April.
    assert [dates.clear[number] for number in (7, 8)] == [0.0, 0.0]
    before = dates.last_clear_before(0.9)
    assert before is not None
    assert dates.dates[before] == date(2023, 4, 28)


def test_it_holds_631_landslide_pixels_the_same_on_every_date(patch: Patch) -> None:
    assert patch.mask is not None
    assert patch.mask.sum() == 631
    for number in range(15):
        np.testing.assert_array_equal(read_mask(PATCH, number), patch.mask)


def test_landslides_lie_in_the_boxes_of_the_file_right_side_up_and_no_other_way(
    patch: Patch, dates: Sen12Dates
) -> None:
    assert patch.mask is not None
    assert len(dates.boxes) == 41
    assert share_in_boxes(patch.mask, dates) == 1.0
    for turned in (patch.mask.T, patch.mask[::-1], patch.mask[:, ::-1], patch.mask[::-1, ::-1]):
        assert share_in_boxes(np.ascontiguousarray(turned), dates) < 0.2


def test_every_box_holds_a_landslide_pixel(patch: Patch, dates: Sen12Dates) -> None:
    assert patch.mask is not None
    rows, columns = np.nonzero(patch.mask)
    west, north = dates.transform * (columns, rows)
    empty = [
        box
        for box in dates.boxes
        if not ((west < box[2]) & (west + 10 > box[0]) & (north - 10 < box[3]) & (north > box[1])).any()
    ]
    assert empty == []


def test_where_it_slid_is_less_green_after_the_event_and_was_as_green_before(patch: Patch) -> None:
    assert patch.mask is not None
    slid = patch.mask == 1
    ndvi = {}
    for name, number in (("before", 6), ("after", 9)):
        red, near = read_image(PATCH, number, ("B04", "B08"))
        index = (near - red) / (near + red)
        ndvi[name] = (np.nanmean(index[slid]), np.nanmean(index[~slid]))
    assert ndvi["after"] == (pytest.approx(0.54, abs=0.005), pytest.approx(0.78, abs=0.005))
    assert ndvi["before"][1] - ndvi["before"][0] < 0.08


def test_values_are_reflectance_with_the_offset_taken_off(patch: Patch, patches: Sen12Patches) -> None:
    blue = patch.image[patches.bands.index("B02")]
    # Dark ground in May 2023: with the offset of 0.1 still in them no pixel could be below it.
    assert np.nanquantile(blue, 0.01) < 0.02
    assert np.nanmedian(blue) == pytest.approx(0.0226, abs=5e-4)


def test_slopes_are_those_of_hills(patch: Patch, patches: Sen12Patches) -> None:
    slope = patch.image[patches.bands.index("slope")]
    assert np.isnan(slope).mean() == pytest.approx(1 - (126 / 128) ** 2)
    assert 5 < np.nanmedian(slope) < 30
    assert np.nanmax(slope) < 60


def test_a_date_under_cloud_is_not_known() -> None:
    image = read_image(PATCH, 8, ("B02", "elevation"))
    assert np.isnan(image[0]).all()
    assert np.isfinite(image[1]).all()


def test_its_natural_colour_is_green(patch: Patch, patches: Sen12Patches) -> None:
    colour = natural_colour(patch.image, patches.bands).mean(axis=(0, 1))
    assert colour[1] > colour[0]
    assert colour[1] > colour[2]


def test_the_service_sees_the_same_ground(patch: Patch, patches: Sen12Patches, dates: Sen12Dates) -> None:
    scene = open_scene(PATCH, day=CLEAR)
    assert scene.transform == dates.transform
    for name, source in scene.bands.items():
        np.testing.assert_allclose(
            source.values * source.scale, patch.image[patches.bands.index(name)], rtol=1e-5
        )
