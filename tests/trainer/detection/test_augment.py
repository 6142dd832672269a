"""Augmentation: the mask moves with the ground, and brightness leaves terrain alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputError
from trainer.detection.augment import SYMMETRIES, Augmentation, augment, turned, turned_back
from trainer.fit_augment import turn

BANDS = ("B02", "B08", "slope", "elevation")


def numbered(side: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return an image each of whose cells is its own number, and a mask cut from it by value."""
    cells = np.arange(side * side, dtype=np.float32).reshape(side, side)
    image = np.stack([cells + 100 * band for band in range(len(BANDS))])
    return image, (cells % 3 == 0).astype(np.uint8)


@given(st.integers(0, 2**31))
def test_the_mask_moves_along(seed: int) -> None:
    image, mask = numbered()
    moved, moved_mask = augment(image, mask, np.random.default_rng(seed))
    np.testing.assert_array_equal(moved_mask, moved[0] % 3 == 0)
    for band in range(len(BANDS)):
        np.testing.assert_array_equal(moved[band], moved[0] + 100 * band)
    assert sorted(moved[0].ravel()) == sorted(image[0].ravel())


def test_all_eight_symmetries_come_and_are_different() -> None:
    image, mask = numbered()
    rng = np.random.default_rng(0)
    seen = {augment(image, mask, rng)[0][0].tobytes() for _ in range(200)}
    assert seen == {turned(image, number)[0].tobytes() for number in range(SYMMETRIES)}
    assert len(seen) == 8


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
def test_a_turn_is_undone_and_is_the_one_of_the_susceptibility_model(symmetry: int) -> None:
    image, _ = numbered()
    there = turned(image, symmetry)
    np.testing.assert_array_equal(turned_back(there, symmetry), image)
    np.testing.assert_array_equal(there, turn(image[None], BANDS, np.array([symmetry]))[0])
    assert there.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("symmetry", [-1, 8])
def test_there_are_no_more_symmetries(symmetry: int) -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        turned(numbered()[0], symmetry)


def test_brightness_changes_each_optical_band_by_one_factor_and_no_terrain() -> None:
    image, mask = numbered()
    image += 1
    changed, changed_mask = Augmentation(BANDS, "reflectance", 0.1)(image, mask, np.random.default_rng(3))
    plain, plain_mask = augment(image, mask, np.random.default_rng(3))
    np.testing.assert_array_equal(changed_mask, plain_mask)
    np.testing.assert_array_equal(changed[2:], plain[2:])
    factors = changed[:2] / plain[:2]
    assert np.ptp(factors, axis=(1, 2)).max() < 1e-6
    assert abs(factors[0, 0, 0] - 1) > 1e-3
    assert abs(factors[0, 0, 0] - factors[1, 0, 0]) > 1e-3
    assert changed.dtype == np.float32


def test_without_brightness_values_stay() -> None:
    image, mask = numbered()
    changed, _ = Augmentation(BANDS, "landslide4sense")(image, mask, np.random.default_rng(1))
    assert sorted(changed.ravel()) == sorted(image.ravel())


def test_brightness_of_values_that_are_no_reflectance_is_refused() -> None:
    with pytest.raises(InputError, match="landslide4sense"):
        Augmentation(BANDS, "landslide4sense", 0.1)
    with pytest.raises(InputError, match=r"brightness is -0\.1"):
        Augmentation(BANDS, "reflectance", -0.1)
