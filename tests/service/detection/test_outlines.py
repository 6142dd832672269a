"""Outlines from stored probabilities: which cells count at a threshold."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from service.detection.outlines import TOP, UNSEEN, Place, find_outlines, store

PLACE = Place(CRS.from_epsg(32632), Affine(10, 0, 700_000, 0, -10, 4_900_000), "scene", "0" * 64)


@pytest.mark.parametrize("threshold", [k / 200 for k in range(1, 200, 7)])
def test_a_probability_counts_from_the_threshold_on_to_half_a_step(threshold: float) -> None:
    probability = np.full((40, 40), np.nan, np.float32)
    half = 0.5 / TOP
    probability[3:9, 3:9] = max(threshold - 3 * half, 0)  # below, whichever way it is rounded
    probability[20:28, 20:28] = min(threshold + 3 * half, 1)
    (found,) = find_outlines(store(probability), threshold, 0, PLACE)
    assert found.detection.area_m2 == 64 * 100
    assert found.detection.touches_unseen


def test_a_threshold_below_the_smallest_step_does_not_outline_what_has_none() -> None:
    stored = store(np.zeros((20, 20), np.float32))
    assert not find_outlines(stored, 1e-9, 0, PLACE)
    stored[4:6, 4:6] = UNSEEN
    assert not find_outlines(stored, 1e-9, 0, PLACE)
