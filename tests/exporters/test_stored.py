"""How susceptibility is stored as a byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exporters.layer import NODATA, SCALE, TOP, store

UNIT = st.floats(0, 1, width=32)
ANY = st.one_of(UNIT, st.sampled_from([np.nan, np.inf, -np.inf, -0.25, 1.5]).map(float))


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2, max_side=9), elements=ANY))
def test_each_cell_is_stored_by_itself(values: np.ndarray) -> None:
    """Whether the cells beside it are within 0 to 1 or not."""
    alone = [int(store(np.array([value]))[0]) for value in values.ravel()]
    assert store(values).ravel().tolist() == alone
    assert store(values).shape == values.shape


@given(UNIT)
def test_a_stored_value_is_within_half_a_step(value: float) -> None:
    (stored,) = store(np.array([value], np.float32))
    assert abs(int(stored) * SCALE - value) <= SCALE / 2 + 1e-6


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, 0), (1.0, TOP), (-0.3, 0), (7.0, TOP), (np.nan, NODATA), (np.inf, NODATA)]
)
def test_beyond_the_unit_interval_it_is_cut_off_and_unknown_is_no_data(value: float, expected: int) -> None:
    values = np.array([[value, 0.5]], np.float32)
    assert store(values).tolist() == [[expected, 125]]
    assert store(values).dtype == np.uint8


def test_nothing_is_stored_as_nothing() -> None:
    assert store(np.zeros((0, 4), np.float32)).shape == (0, 4)
