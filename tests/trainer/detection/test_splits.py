"""Splits of patches: what is tested on was never learnt from, and validation comes out of training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from tests.trainer.detection.fix_patches import HeldPatches, held
from trainer.detection.data import PatchSet, join
from trainer.detection.splits import (
    Split,
    regions_of,
    split_official,
    split_reference,
    split_regions,
)

REGIONS = ("hokkaido", "kodagu", "rasuwa", "taitung")


def named(count: int, **other: object) -> HeldPatches:
    """Return a set of names alone: nothing here reads a patch."""
    few = held(1, bands=("B02",))
    return replace(
        few,
        ids=tuple(f"train/{number + 1}" for number in range(count)),
        regions=tuple(REGIONS[number % 4] for number in range(count)),
        judged=(True,) * count,
        **other,
    )


def disjoint(split: Split) -> None:
    sets = [set(part.tolist()) for part in (split.train, split.valid, split.test)]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    assert all(sets)
    for part in (split.train, split.valid, split.test):
        assert (np.diff(part) > 0).all()


def official(masks_of: tuple[str, ...] = ("test",)) -> PatchSet:
    return join(
        [held(20)] + [held(6, part=part, judged=part in masks_of, seed=2) for part in ("valid", "test")]
    )


def test_the_official_split_learns_from_train_data_and_tests_on_test_data() -> None:
    patches = official()
    split = split_official(patches)
    disjoint(split)
    assert {patches.ids[index].split("/")[0] for index in split.test} == {"test"}
    assert {patches.ids[index].split("/")[0] for index in [*split.train, *split.valid]} == {"train"}
    assert (len(split.test), len(split.train), len(split.valid)) == (6, 17, 3)


def test_without_the_masks_of_the_test_part_the_other_one_is_named() -> None:
    with pytest.raises(InputError, match="part test has no masks to be judged by; valid has: ask for it"):
        split_official(official(("valid",)))
    assert len(split_official(official(("valid",)), test_part="valid").test) == 6
    with pytest.raises(InputError, match="no other part has either"):
        split_official(official(()))


def test_the_reference_split_has_the_reference_sizes_and_says_that_it_is_a_draw() -> None:
    split = split_reference(named(3799))
    disjoint(split)
    assert (len(split.train) + len(split.valid), len(split.test)) == (959, 2840)
    assert "reference's own patches are not published" in split.says
    assert "not the official split" in split.says
    assert "shares" not in split.says


def test_of_a_smaller_set_the_reference_split_takes_the_same_shares() -> None:
    split = split_reference(named(100))
    assert (len(split.train) + len(split.valid), len(split.test)) == (25, 75)
    assert "the shares of 959 and 2840" in split.says


def test_patches_of_the_test_folder_are_in_no_reference_split() -> None:
    patches = official()
    split = split_reference(patches)
    assert max(map(max, (split.train, split.valid, split.test))) < 20


def test_leaving_a_region_out_learns_nothing_of_it() -> None:
    patches = named(40)
    assert regions_of(patches) == REGIONS
    for region in REGIONS:
        split = split_regions(patches, region)
        disjoint(split)
        assert {patches.regions[index] for index in split.test} == {region}
        assert len(split.test) == 10
        elsewhere = {patches.regions[index] for index in [*split.train, *split.valid]}
        assert elsewhere == set(REGIONS) - {region}
        # Each region gives its share to validation.
        assert {patches.regions[index] for index in split.valid} == elsewhere


def test_a_region_nobody_named_and_one_that_is_not_there_are_refused() -> None:
    with pytest.raises(InputError, match=r"region of train/2 is not known \(4 such\); name it in a CSV"):
        split_regions(held(8, regions=["kodagu", None]), "kodagu")
    with pytest.raises(InputError, match="no region 'italy'; it has hokkaido, kodagu"):
        split_regions(named(8), "italy")
    with pytest.raises(InputError, match="only the region kodagu"):
        split_regions(held(8, regions=["kodagu"]), "kodagu")


@given(st.integers(8, 300), st.integers(0, 10_000), st.floats(0.02, 0.6))
@settings(max_examples=60, deadline=None)
def test_no_split_leaks(count: int, seed: int, share: float) -> None:
    patches = named(count)
    for split in (
        split_reference(patches, seed=seed, valid_share=share),
        split_regions(patches, "rasuwa", seed=seed, valid_share=share),
    ):
        disjoint(split)
        learnt = len(split.train) + len(split.valid)
        assert len(split.valid) == min(max(round(share * learnt), 1), learnt - 1)


def test_the_same_seed_draws_the_same_and_another_one_another() -> None:
    patches = named(200)
    first, same, other = (split_reference(patches, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.test, same.test)
    np.testing.assert_array_equal(first.valid, same.valid)
    assert set(first.test.tolist()) != set(other.test.tolist())


def test_a_split_with_a_patch_in_two_parts_cannot_be_made() -> None:
    one, two = np.array([0, 1]), np.array([1, 2])
    with pytest.raises(InputError, match="a patch is in two parts"):
        Split("official", "", one, two, np.array([3]))
    with pytest.raises(InputError, match="its test part is empty"):
        Split("official", "", one, np.array([2]), np.array([], np.int64))


def test_too_few_patches_are_refused() -> None:
    with pytest.raises(InputError, match="1 training patches with masks; two are needed"):
        split_reference(named(4))
    with pytest.raises(InputError, match=r"share of validation patches is 1\.0"):
        split_reference(named(40), valid_share=1.0)
