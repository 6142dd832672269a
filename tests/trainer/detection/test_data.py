"""Sets of patches: joined, relative to their own ground, counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.errors import InputError
from tests.trainer.detection.fix_patches import HeldPatches, held, quiet
from trainer.detection.data import check_bands, facts, join, relative_elevation


def test_joined_parts_keep_their_order_names_and_masks() -> None:
    first, second = held(3, regions=["a"]), held(2, part="test", regions=["b"], seed=1, judged=False)
    both = join([first, second])
    assert len(both) == 5
    assert both.ids == ("train/1", "train/2", "train/3", "test/1", "test/2")
    assert both.regions == ("a", "a", "a", "b", "b")
    assert both.judged == (True, True, True, False, False)
    for index in range(5):
        part, within = (first, index) if index < 3 else (second, index - 3)
        np.testing.assert_array_equal(both.read(index).image, part.images[within])
    assert both.read(4).mask is None
    for wrong in (5, -1):
        with pytest.raises(IndexError):
            both.read(wrong)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radiometry": "landslide4sense"}, "radiometry is reflectance and landslide4sense"),
        ({"bands": ("B02", "B03")}, "bands is"),
        ({"pixel_size_m": 20.0}, "pixel_size_m is 10.0 and 20.0"),
        ({"elevation": "relative"}, "elevation is absolute and relative"),
    ],
)
def test_sets_that_mean_different_things_are_not_joined(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        join([held(2), replace(held(2, part="test"), **change)])


def test_one_patch_twice_is_no_set() -> None:
    with pytest.raises(InputError, match="same name are in both"):
        join([held(2), held(3)])
    with pytest.raises(InputError, match="nothing to join"):
        join([])


def test_relative_elevation_forgets_how_high_a_patch_lies_and_keeps_its_shape() -> None:
    patches = held(2)
    patches.images[0, 13] += 1000
    patches.images[0, 13, 0, 0] = np.nan
    before = patches.images.copy()
    relative = relative_elevation(patches)
    plane = relative.read(0).image[13]
    assert abs(np.nanmean(plane)) < 1e-3
    np.testing.assert_allclose(np.diff(plane[1]), np.diff(before[0, 13, 1]), atol=1e-3)
    np.testing.assert_array_equal(relative.read(0).image[:13], before[0, :13])
    np.testing.assert_array_equal(patches.images, before)
    assert (patches.elevation, relative.elevation) == ("absolute", "relative")
    assert relative_elevation(relative) is relative


def test_relative_elevation_needs_elevation() -> None:
    with pytest.raises(InputError, match="has no elevation; it has B02, slope"):
        relative_elevation(held(2, bands=("B02", "slope")))


def test_a_patch_without_any_elevation_stays_unknown() -> None:
    patches = held(1)
    patches.images[0, 13] = np.nan
    assert np.isnan(relative_elevation(patches).read(0).image[13]).all()


def test_facts_count_what_is_there() -> None:
    patches: HeldPatches = held(4, bands=("B02", "slope"), side=4)
    patches.masks[:] = 0
    patches.masks[1, 0] = 1
    patches.images[0, 1, :2] = np.nan
    unjudged = replace(patches, judged=(True, True, True, False))
    counted = facts(unjudged, quiet)
    assert (counted.patches, counted.judged, counted.with_landslides) == (4, 3, 1)
    assert (counted.landslide_pixels, counted.landslide_share) == (4, 4 / 48)
    assert counted.unknown == {"B02": 0.0, "slope": 8 / 64}
    assert facts(replace(patches, judged=(False,) * 4), quiet).landslide_share is None


def test_bands_are_asked_for_by_name() -> None:
    assert check_bands(["slope", "B02"], ("B02", "B03", "slope"), "it") == ("slope", "B02")
    with pytest.raises(InputError, match="no band of it was asked for"):
        check_bands([], ("B02",), "it")
