"""Splits: no place, storm or patch on both sides, both labels everywhere, the shares as stated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from service.errors import InputError
from tests.trainer.fix_dataset import made_up
from trainer.dataset import Dataset
from trainer.folds import Blocks, Fold, SpaceTime, SplitPlan, Stratified, Years, Zones, make_folds, words_of
from trainer.samples import Kind

PATCH_M = 150.0  # 5 cells of 30 m


def sides(fold: Fold) -> list[np.ndarray]:
    return [fold.train, fold.validation, fold.test, fold.left_out]


def distance(data: Dataset, one: np.ndarray, other: np.ndarray) -> float:
    """Return the least distance along an axis between two sets of rows."""
    apart = np.abs(data.xy[one][:, None] - data.xy[other][None]).max(axis=-1)
    return float(apart.min())


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), count=st.integers(120, 300))
def test_every_row_is_on_one_side_at_most(seed: int, count: int) -> None:
    data = made_up(count, seed=seed)

    for fold in make_folds(Blocks(block_km=4, folds=4), data, seed):
        everywhere = np.concatenate(sides(fold))
        assert sorted(everywhere.tolist()) == list(range(count))


def test_a_random_split_has_the_stated_shares_of_each_label() -> None:
    data = made_up(1438, extent_m=200_000, days=3000)
    plan = Stratified(test=0.15, validation=0.15 / 0.85, keep=())

    (fold,) = make_folds(plan, data, 7)

    assert [len(part) for part in sides(fold)] == pytest.approx([1006, 216, 216, 0], abs=2)
    for part in sides(fold)[:3]:
        assert data.label[part].mean() == pytest.approx(0.5, abs=0.01)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_one_place_or_one_storm_is_never_on_both_sides(seed: int) -> None:
    data = made_up(400, seed=seed, places=150, extent_m=100_000)

    try:
        (fold,) = make_folds(Stratified(place_distance_m=30.0), data, seed)
    except InputError:
        reject()  # so entangled that a side stays without one of the labels, which is said

    for key in ("place", "storm"):
        train, validation, test = (
            {getattr(data.samples[row], key) for row in part} for part in sides(fold)[:3]
        )
        assert train.isdisjoint(validation)
        assert test.isdisjoint(train | validation)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), block_km=st.sampled_from([2.0, 3.0, 5.0]))
def test_no_training_patch_sees_the_ground_of_a_test_block(seed: int, block_km: float) -> None:
    data = made_up(300, seed=seed)

    for fold in make_folds(Blocks(block_km=block_km, folds=3), data, seed):
        seen = np.concatenate([fold.train, fold.validation])
        assert distance(data, seen, fold.test) >= PATCH_M


def test_a_buffer_narrower_than_a_patch_is_refused() -> None:
    with pytest.raises(InputError, match=r"buffer of 60 m is narrower than a patch \(150 m\)"):
        make_folds(Blocks(block_km=4, buffer_m=60), made_up(), 0)


def test_every_sample_is_tested_once_over_the_folds_of_blocks() -> None:
    data = made_up(300)

    tests = np.concatenate([fold.test for fold in make_folds(Blocks(block_km=3, folds=5), data, 1)])

    assert sorted(tests.tolist()) == list(range(300))


def test_each_zone_is_left_out_in_turn() -> None:
    data = made_up(300)

    folds = make_folds(Zones(), data, 0)

    assert [fold.name for fold in folds] == ["zone east", "zone west"]
    for fold in folds:
        assert {data.zone[row] for row in fold.test} == {fold.name.removeprefix("zone ")}
        assert len({data.zone[row] for row in fold.train}) == 1


def test_patches_of_two_zones_do_not_overlap_across_a_corner_either() -> None:
    data = made_up(3000, extent_m=6_000)

    folds = make_folds(Zones(place_distance_m=0), data, 0)

    for fold in folds:
        seen = data.xy[np.concatenate([fold.train, fold.validation])]
        apart = np.abs(seen[:, None] - data.xy[fold.test][None]).max(axis=2)
        assert apart.min() >= data.patch * data.cell_size_m


def test_space_and_time_that_leave_no_part_to_test_on_say_so() -> None:
    data = made_up(60)
    early = {n for n, sample in enumerate(data.samples) if sample.day.year < 2018}
    parted = tuple(
        replace(sample, label=int(n in early), kind=Kind.EVENT if n in early else Kind.SPATIAL)
        for n, sample in enumerate(data.samples)
    )

    with pytest.raises(InputError, match="none of the 16 parts of ground and years"):
        make_folds(SpaceTime(block_km=10, folds=4), replace(data, samples=parted), 0)


def test_later_years_are_never_trained_on() -> None:
    data = made_up(300)

    (fold,) = make_folds(Years(test_from=2020, keep=("storm",)), data, 0)

    assert min(data.samples[row].day.year for row in fold.test) == 2020
    assert max(data.samples[row].day.year for row in np.concatenate([fold.train, fold.validation])) < 2020


def test_space_and_time_together_share_neither_ground_nor_years() -> None:
    data = made_up(900)

    folds = make_folds(SpaceTime(block_km=5, folds=3, keep=("place",)), data, 0)

    assert len(folds) > 3
    for fold in folds:
        seen = np.concatenate([fold.train, fold.validation])
        years = [{data.samples[row].day.year for row in rows} for rows in (seen, fold.test)]
        assert not years[0] & years[1]
        assert distance(data, seen, fold.test) >= PATCH_M


def test_the_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    data = made_up(300)
    plan = Blocks(block_km=3, folds=4)

    one, again, other = (make_folds(plan, data, seed) for seed in (3, 3, 4))

    assert all(np.array_equal(a.test, b.test) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(one, other, strict=True))


def test_fewer_blocks_than_folds_say_so() -> None:
    with pytest.raises(InputError, match="1 blocks of 1000 km are too few for 5 folds"):
        make_folds(Blocks(block_km=1000, folds=5), made_up(), 0)


def test_one_label_alone_cannot_be_split() -> None:
    data = made_up(100)
    data = replace(data, samples=tuple(replace(sample, label=1) for sample in data.samples))

    with pytest.raises(InputError, match="both labels are needed"):
        make_folds(Stratified(keep=()), data, 0)


def test_one_storm_that_holds_everything_says_what_to_change() -> None:
    data = made_up(100)
    data = replace(data, samples=tuple(replace(sample, storm="storm-x") for sample in data.samples))

    with pytest.raises(InputError, match="test side of random has 0 landslides"):
        make_folds(Stratified(), data, 0)


def test_no_zones_say_what_to_set() -> None:
    with pytest.raises(InputError, match=r"set zones\.path"):
        make_folds(Zones(), replace(made_up(), zone=()), 0)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"kind": "stratified"}, "70%/15%/15%"),
        ({"kind": "blocks", "block_km": 10}, "the same storm may be"),
        ({"kind": "years", "test_from": 2011}, "test from 2011; one place and one storm never on both sides"),
    ],
)
def test_a_split_says_in_words_what_it_keeps_together(told: dict[str, object], words: str) -> None:
    assert words in words_of(TypeAdapter(SplitPlan).validate_python(told))
