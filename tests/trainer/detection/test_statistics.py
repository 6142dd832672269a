"""Statistics of bands: one pass, the training part alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from tests.trainer.detection.fix_patches import held, quiet
from trainer.detection.statistics import fit_statistics


@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from([0.0, 1e4]))
@settings(max_examples=40, deadline=None)
def test_one_pass_gives_what_all_pixels_together_give(seed: int, count: int, offset: float) -> None:
    patches = held(count, bands=("B02", "elevation"), seed=seed)
    patches.images[:, 1] += offset
    holes = np.random.default_rng(seed).random(patches.images.shape) < 0.3
    patches.images[holes] = np.nan
    found = fit_statistics(patches, range(count), quiet)
    for band, name in enumerate(("B02", "elevation")):
        values = patches.images[:, band].astype(np.float64)
        assert found[band].name == name
        assert found[band].mean == pytest.approx(np.nanmean(values), rel=1e-9)
        assert found[band].std == pytest.approx(np.nanstd(values), rel=1e-6)


def test_validation_patches_move_nothing_and_are_not_even_read() -> None:
    patches = held(8)
    train = [0, 2, 3, 7]
    before = fit_statistics(patches, train, quiet)
    assert sorted(patches.reads) == train
    for index in (1, 4, 5, 6):
        patches.images[index] = 1e9
    assert fit_statistics(patches, train, quiet) == before
    patches.images[2] += 1
    assert fit_statistics(patches, train, quiet) != before


def test_patches_may_be_of_different_sizes_of_the_known() -> None:
    patches = held(2, bands=("B02",), side=4)
    patches.images[0, 0] = 1.0
    patches.images[1, 0] = np.nan
    patches.images[1, 0, 0, 0] = 18.0
    (band,) = fit_statistics(patches, [0, 1], quiet)
    assert band.mean == pytest.approx((16 * 1 + 18) / 17)


def test_a_band_that_says_nothing_is_refused_by_name() -> None:
    patches = held(3, bands=("B02", "B10"))
    patches.images[:, 1] = 0.002
    with pytest.raises(InputError, match=r"B10 is 0\.002 everywhere in the training part"):
        fit_statistics(patches, range(3), quiet)
    patches.images[:, 1] = np.nan
    with pytest.raises(InputError, match="B10 is unknown in every training patch"):
        fit_statistics(patches, range(3), quiet)


def test_no_patches_have_no_statistics() -> None:
    with pytest.raises(InputError, match="training part is empty"):
        fit_statistics(held(2), [], quiet)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    fit_statistics(held(3), [0, 2], lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
