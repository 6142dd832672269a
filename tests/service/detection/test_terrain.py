"""Slope from elevation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detection.terrain import slope_degrees


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(1, 90))
def test_a_plane_has_its_own_slope_everywhere(east: float, south: float, size: float) -> None:
    row, column = np.indices((7, 9), dtype=np.float64) * size
    found = slope_degrees(100 + east * column + south * row, size)
    assert found.shape == (5, 7)
    np.testing.assert_allclose(found, np.degrees(np.arctan(np.hypot(east, south))), atol=1e-3)


def test_differences_are_weighted_as_horn_did() -> None:
    # Horn (1981): dz/dx = ((c + 2 f + i) - (a + 2 d + g)) / 8, cells one metre apart.
    z = np.array([[1.0, 2, 4], [3, 5, 9], [2, 6, 7]])
    east, south = ((4 + 18 + 7) - (1 + 6 + 2)) / 8, ((2 + 12 + 7) - (1 + 4 + 4)) / 8
    expected = np.degrees(np.arctan(np.hypot(east, south)))
    assert slope_degrees(z, 1)[0, 0] == pytest.approx(expected, rel=1e-6)


def test_an_unknown_cell_has_no_slope_and_an_unknown_neighbour_counts_as_level() -> None:
    z = np.add.outer(np.zeros(5), 10.0 * np.arange(5))
    z[2, 2] = np.nan
    found = slope_degrees(z, 10)
    assert np.isnan(found[1, 1])
    assert found[0, 1] == pytest.approx(45, abs=1e-4)  # the gap lies south of it, level along x
    assert 0 < found[1, 0] < 45


def test_a_strip_with_its_halo_gives_what_the_whole_gives() -> None:
    z = np.random.default_rng(0).random((40, 30)) * 100
    whole = slope_degrees(z, 10)
    strips = [slope_degrees(z[first : first + 10 + 2], 10) for first in (0, 10, 20)]
    np.testing.assert_array_equal(np.concatenate(strips), whole[:30])
    with pytest.raises(ValueError, match="3 x 3"):
        slope_degrees(z[:2], 10)
