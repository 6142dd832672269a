"""Pixels and patches: what the scores count, and where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.errors import InputError
from trainer.detection.judge import Judged, Tally, join_judged, ratios

SIDE = 12


def patch(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """A mask with ones in boxes (top, left, height, width)."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = 1
    return mask


def judge(*pairs: tuple[np.ndarray, np.ndarray], regions: tuple[str | None, ...] = ()) -> Judged:
    tally = Tally(10.0)
    for number, (predicted, mask) in enumerate(pairs):
        tally.add(f"image_{number}", regions[number] if regions else None, predicted == 1, mask)
    return tally.judged()


def test_scores_are_those_of_the_counts() -> None:
    # 4 x 4 mapped, predicted two columns to the right: 8 hit, 8 too many, 8 missed.
    scores = judge((patch((2, 4, 4, 4)), patch((2, 2, 4, 4)))).pixels()
    assert (scores.tp, scores.fp, scores.fn, scores.tn) == (8, 8, 8, SIDE**2 - 24)
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.5, 0.5)
    assert scores.iou == pytest.approx(1 / 3)


def test_nothing_mapped_and_nothing_predicted_is_undefined_not_perfect() -> None:
    judged = judge((patch(), patch()))
    scores = judged.pixels()
    assert (scores.precision, scores.recall, scores.f1, scores.iou) == (None, None, None, None)
    means = judged.patch_means()
    assert set(means) == {"f1", "precision", "recall", "iou"}
    assert all((mean.mean, mean.patches) == (None, 0) for mean in means.values())


def test_landslides_of_which_none_is_seen_score_zero_without_a_precision() -> None:
    scores = judge((patch(), patch((0, 0, 2, 2)))).pixels()
    assert (scores.precision, scores.recall, scores.f1, scores.iou) == (None, 0.0, 0.0, 0.0)


def test_empty_patches_that_are_left_empty_do_not_lift_the_mean_over_patches() -> None:
    half = (patch((2, 4, 4, 4)), patch((2, 2, 4, 4)))
    means = judge(half, *[(patch(), patch())] * 9).patch_means()
    assert means["f1"].mean == 0.5
    assert means["f1"].patches == 1


def test_pooled_scores_and_the_mean_over_patches_are_two_things() -> None:
    big = (patch((0, 0, 10, 10)), patch((0, 0, 10, 10)))
    small = (patch((11, 11, 1, 1)), patch((0, 0, 1, 1)))
    judged = judge(big, small)
    assert judged.pixels().f1 == pytest.approx(2 * 100 / (2 * 100 + 1 + 1))
    assert judged.patch_means()["f1"].mean == 0.5


def test_unknown_ground_is_judged_neither_way_and_counted() -> None:
    tally = Tally(10.0)
    known = np.ones((SIDE, SIDE), bool)
    known[:, :6] = False
    tally.add("image_1", None, patch((0, 0, 4, 8)) == 1, patch((0, 4, 4, 6)), known)
    scores = tally.judged().pixels()
    assert (scores.tp, scores.fp, scores.fn, scores.unknown) == (8, 0, 8, SIDE * 6)


def test_regions_are_judged_apart_and_add_up() -> None:
    good = (patch((2, 2, 4, 4)), patch((2, 2, 4, 4)))
    bad = (patch((8, 8, 2, 2)), patch((2, 2, 4, 4)))
    judged = judge(good, bad, good, regions=("Hokkaido", "Kodagu", None))
    regions = judged.by_region()
    assert {name: part.pixels().f1 for name, part in regions.items()} == {
        "Hokkaido": 1.0, "Kodagu": 0.0, "unknown": 1.0
    }  # fmt: skip
    assert sum(part.pixels().tp for part in regions.values()) == judged.pixels().tp
    assert sum(part.objects().objects for part in regions.values()) == judged.objects().objects == 3
    assert regions["Kodagu"].objects().false_objects == 0  # 400 m², under the least that is counted
    assert regions["Kodagu"].objects(least_false_m2=400).false_objects == 1


def test_where_no_region_is_known_there_are_no_regions() -> None:
    assert judge((patch(), patch((1, 1, 2, 2)))).by_region() == {}


def test_a_mask_that_is_no_mask_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"image_0: the mask holds \[0, 255\]"):
        judge((patch(), patch((0, 0, 2, 2)) * 255))


def test_a_patch_in_two_test_parts_is_refused() -> None:
    part = judge((patch(), patch((1, 1, 2, 2))))
    with pytest.raises(InputError, match="two test parts"):
        join_judged([part, part])


masks = arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, 1))


@given(st.lists(st.tuples(masks, masks), min_size=2, max_size=5))
def test_parts_joined_score_as_the_whole(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    whole = judge(*pairs)
    first, second = (whole.rows(np.arange(len(pairs))[half::2]) for half in (0, 1))
    joined = join_judged([second, first])
    assert joined.pixels() == whole.pixels()
    assert joined.objects() == whole.objects()


@given(masks, masks)
def test_scores_are_within_bounds_and_f1_is_never_below_iou(predicted: np.ndarray, mask: np.ndarray) -> None:
    scores = judge((predicted, mask)).pixels()
    found = [value for value in (scores.precision, scores.recall, scores.f1, scores.iou) if value is not None]
    assert all(0 <= value <= 1 for value in found)
    assert scores.tp + scores.fp + scores.fn + scores.tn == SIDE**2
    assert (scores.f1 is None) == (scores.iou is None)
    if scores.f1 is not None and scores.iou is not None:
        assert scores.f1 >= scores.iou
        assert scores.f1 == pytest.approx(2 * scores.iou / (1 + scores.iou))


def test_ratios_of_nothing_are_undefined() -> None:
    assert ratios(0, 0, 0) == (None, None, None, None)
