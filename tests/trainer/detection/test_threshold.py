"""The threshold of the best F1, found from counts alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InputError
from trainer.detection.threshold import STEPS, Histogram, all_or_nothing_f1


def f1_at(probability: np.ndarray, mask: np.ndarray, threshold: float) -> float:  # type: ignore[type-arg]
    found = probability.astype(np.float64) >= threshold
    return 2 * (found & (mask == 1)).sum() / (found.sum() + (mask == 1).sum())


@given(seed=st.integers(0, 10_000), parts=st.integers(1, 4))
def test_no_other_candidate_has_a_better_f1_however_the_pixels_came_in(seed: int, parts: int) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random(400) < 0.2).astype(np.uint8)
    mask[0] = 1
    probability = np.clip(0.3 * mask + random.normal(0.35, 0.15, 400), 0, 1).astype(np.float32)
    known = random.random(400) < 0.9
    known[0] = True
    counts = Histogram()
    for part in np.array_split(np.arange(400), parts):
        counts.add(probability[part], mask[part], known[part])
    best = counts.best()
    seen, labelled = probability[known], mask[known]
    candidates = [f1_at(seen, labelled, k / STEPS) for k in range(1, STEPS)]
    assert best.f1 == pytest.approx(max(candidates))
    assert f1_at(seen, labelled, best.threshold) == pytest.approx(best.f1)


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken() -> None:
    counts = Histogram()
    mask = np.array([1, 1, 0, 0])
    counts.add(np.array([0.95, 0.9, 0.1, 0.05]), mask, mask >= 0)
    assert counts.best() == (0.5, 1.0, 1.0, 1.0)


def test_without_a_landslide_no_threshold_is_made_up() -> None:
    counts = Histogram()
    counts.add(np.array([0.2, 0.7]), np.array([0, 1]), np.array([True, False]))
    with pytest.raises(InputError, match="no labelled landslide pixel"):
        counts.best()


def test_a_probability_of_one_and_of_zero_are_counted() -> None:
    counts = Histogram()
    counts.add(np.array([1.0, 0.0]), np.array([1, 0]), np.array([True, True]))
    assert counts.best().f1 == 1.0


def test_calling_everything_a_landslide_has_the_f1_of_their_share() -> None:
    mask = np.array([1, 0, 0, 0, 1])
    assert all_or_nothing_f1(mask, np.array([True, True, True, True, False])) == pytest.approx(2 / 5)
