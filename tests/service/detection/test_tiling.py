"""Cut and blended: no borders, no seams, nothing lost at the edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.tiling import Predict, ReadRows, Rows, Tiling, blended
from tests.fix_detection import pattern

Values = npt.NDArray[np.float32]


def rows_of(image: Values, seen: npt.NDArray[np.bool_] | None = None) -> ReadRows:
    asked = [0]

    def read(first: int, stop: int) -> Rows:
        assert first == asked[0], "each row is read once, in order"
        asked[0] = stop
        part = np.ones((stop - first, image.shape[2]), np.bool_) if seen is None else seen[first:stop]
        return Rows(image[:, first:stop], part)

    return read


def whole(
    image: Values, tiling: Tiling, predict: Predict, seen: npt.NDArray[np.bool_] | None = None
) -> Values:
    strips = list(blended(rows_of(image, seen), tiling, predict))
    expected = 0
    for first, strip in strips:
        assert first == expected
        expected += len(strip)
    return np.concatenate([strip for _, strip in strips])


@given(
    st.tuples(st.integers(1, 75), st.integers(1, 75)),
    st.sampled_from([8, 12, 32]),
    st.sampled_from([0.5, 0.75, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_what_looks_at_single_cells_gives_what_it_gives_without_patches(
    shape: tuple[int, int], patch: int, part: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    image = random.random((2, *shape), np.float32)
    seen = random.random(shape) < 0.7
    found = whole(
        image, Tiling(shape, patch, int(patch * part)), lambda batch: batch[:, 0] * batch[:, 1], seen
    )
    assert found.shape == shape
    np.testing.assert_array_equal(np.isfinite(found), seen)
    np.testing.assert_allclose(found[seen], (image[0] * image[1])[seen], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("part", [0.5, 0.75])
def test_the_weights_of_all_patches_at_a_cell_sum_up_to_one(part: float) -> None:
    tiling = Tiling((100, 90), 32, int(32 * part))
    total = np.zeros((400, 400))
    for top in tiling.starts(0):
        for left in tiling.starts(1):
            total[100 + top : 132 + top, 100 + left : 132 + left] += tiling.window
    np.testing.assert_allclose(total[100:200, 100:190], 1, atol=1e-6)
    assert (tiling.window > 0).all()


def placed(batch: Values) -> Values:
    """A network whose result depends on where in the patch a cell lies."""
    return np.asarray(0.5 + 0.5 * pattern(batch.shape[-1]) + 0 * batch[:, 0], np.float32)


def steps(found: Values) -> float:
    """The largest jump between neighbouring cells."""
    return float(max(np.abs(np.diff(found, axis=0)).max(), np.abs(np.diff(found, axis=1)).max()))


@pytest.mark.parametrize("part", [0.5, 0.75])
def test_a_mosaic_of_1024_x_1024_has_no_step_at_patch_borders(part: float) -> None:
    shape, patch = (1024, 1024), 128
    tiling = Tiling(shape, patch, int(patch * part))
    found = whole(np.zeros((1, *shape), np.float32), tiling, placed)
    unblended = whole(np.zeros((1, *shape), np.float32), Tiling(shape, patch, patch), placed)
    assert steps(unblended) > 0.15
    # Between cells of one patch the pattern itself changes by so much.
    inside = steps(placed(np.zeros((1, 1, patch, patch), np.float32))[0])
    assert steps(found) <= 1.5 * inside
    # Across a border, on average, no more than elsewhere.
    jumps = np.abs(np.diff(found, axis=1)).mean(axis=0)
    assert jumps.max() < 3 * np.median(jumps) + 1e-3


def test_beyond_the_edge_the_scene_is_mirrored() -> None:
    image = np.arange(40, dtype=np.float32).reshape(1, 1, 40).repeat(40, axis=1)
    patches: list[Values] = []

    def predict(batch: Values) -> Values:
        patches.extend(batch[:, 0])
        return batch[:, 0]

    whole(image, Tiling((40, 40), 16, 8), predict)
    np.testing.assert_array_equal(patches[0][8], [7, 6, 5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7])
    assert all(np.isfinite(patch).all() for patch in patches)


def test_patches_without_a_wanted_cell_are_left_out_and_change_nothing() -> None:
    random = np.random.default_rng(1)
    image = random.random((1, 96, 96), np.float32)
    seen = np.zeros((96, 96), np.bool_)
    seen[:20, :20] = True
    counted: list[int] = []

    def predict(batch: Values) -> Values:
        counted.append(len(batch))
        return batch[:, 0]

    found = whole(image, Tiling((96, 96), 16, 8), predict, seen)
    assert sum(counted) == 4 * 4  # three that begin in the corner, and the one before
    np.testing.assert_allclose(found[seen], image[0][seen], rtol=1e-5)
    assert np.isnan(found[~seen]).all()


def test_steps_that_leave_gaps_or_hold_a_cell_too_often_are_refused() -> None:
    for step in (0, 15, 33):
        with pytest.raises(ValueError, match="do not cut"):
            Tiling((64, 64), 32, step)
