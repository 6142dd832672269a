"""Landslides as objects: a hit from a stated share on, by size, and false ones per square kilometre."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InputError
from trainer.detection.judge import Judged, Tally


def judge(predicted: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Judged:
    tally = Tally(10.0)
    tally.add("image_1", None, predicted, truth.astype(np.uint8), known)
    return tally.judged()


@pytest.fixture
def truth() -> np.ndarray:
    """A strip of 10 pixels, a block of 144 and, touching it by a corner only, one pixel more."""
    truth = np.zeros((32, 32), bool)
    truth[2, 2:12] = True
    truth[10:22, 10:22] = True
    truth[22, 22] = True
    return truth


def test_pixels_that_touch_by_a_corner_are_one_landslide(truth: np.ndarray) -> None:
    assert sorted(judge(np.zeros_like(truth), truth).true_pixels.tolist()) == [10, 145]


@pytest.mark.parametrize(("seen", "hit"), [(4, False), (5, True), (6, True)])
def test_half_a_landslide_makes_a_hit(truth: np.ndarray, seen: int, hit: bool) -> None:
    predicted = np.zeros_like(truth)
    predicted[2, 2 : 2 + seen] = True
    assert judge(predicted, truth).objects().hits == int(hit)


@pytest.mark.parametrize(("share", "hits"), [(0.3, 1), (0.31, 0), (0.1, 1)])
def test_the_share_that_makes_a_hit_can_be_stated(truth: np.ndarray, share: float, hits: int) -> None:
    predicted = np.zeros_like(truth)
    predicted[2, 2:5] = True
    scores = judge(predicted, truth).objects(share)
    assert (scores.hits, scores.hit_share) == (hits, share)


def test_hits_and_misses_stand_by_size(truth: np.ndarray) -> None:
    predicted = np.zeros_like(truth)
    predicted[10:22, 10:22] = True
    by_size = judge(predicted, truth).objects().by_size
    told = {one.words: (one.objects, one.hits, one.recall) for one in by_size}
    assert told == {
        "under 1,000 m²": (0, 0, None),
        "1,000 to 10,000 m²": (1, 0, 0.0),  # 10 pixels of 100 m²: a value on a limit belongs above
        "10,000 to 100,000 m²": (1, 1, 1.0),
        "100,000 m² and more": (0, 0, None),
    }


def test_what_touches_no_landslide_is_false_per_square_kilometre(truth: np.ndarray) -> None:
    predicted = truth.copy()
    predicted[28:31, 2:5] = True  # nine pixels
    predicted[30, 30] = True  # 100 m²: smaller than what is ever listed
    predicted[2, 12] = True  # beside the strip: the landslide itself, drawn too large
    scores = judge(predicted, truth).objects()
    assert scores.false_objects == 1
    assert scores.judged_km2 == pytest.approx(0.1024)
    assert scores.false_per_km2 == pytest.approx(1 / 0.1024)
    assert judge(predicted, truth).objects(least_false_m2=100).false_objects == 2


def test_a_landslide_on_unknown_ground_is_neither_hit_nor_missed(truth: np.ndarray) -> None:
    known = np.ones_like(truth)
    known[:8] = False
    scores = judge(truth & known, truth, known).objects()
    assert (scores.objects, scores.hits, scores.unseen) == (1, 1, 1)
    assert scores.judged_km2 == pytest.approx(0.1024 * 24 / 32)


def test_no_landslides_have_no_recall() -> None:
    nothing = np.zeros((8, 8), bool)
    scores = judge(nothing, nothing).objects()
    assert (scores.objects, scores.recall, scores.false_per_km2) == (0, None, 0.0)


def test_a_share_that_cannot_be_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(InputError, match="above 0 and at most 1, not 0"):
        judge(truth, truth).objects(0)
