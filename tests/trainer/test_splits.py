from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from trainer.samples import Kind, Sample
from trainer.splits import group_samples, spatial_blocks, spatial_folds, split_samples

START = date(2010, 1, 1)


def sample(place: str, day: int, *, storm: str | None = None, x: float = 0.0, label: int = 0) -> Sample:
    kind = Kind.EVENT if label else Kind.TEMPORAL_RANDOM
    return Sample(x, 0.0, place, START + timedelta(days=day), label, kind, storm, 100.0, "e")


def test_samples_of_one_place_form_one_group() -> None:
    groups = group_samples([sample("a", 0), sample("b", 500, x=9_000), sample("a", 1_000)])
    assert groups[0] == groups[2] != groups[1]


def test_places_nearer_than_a_patch_form_one_group() -> None:
    groups = group_samples([sample("a", 0), sample("b", 500, x=600), sample("c", 900, x=2_000)])
    assert groups[0] == groups[1] != groups[2]


def test_samples_within_thirty_days_of_a_storm_join_it_and_those_beyond_do_not() -> None:
    storm = [sample("a", 100, storm="s", label=1), sample("b", 103, storm="s", x=5_000, label=1)]
    others = [sample(str(day), day, x=10_000 * (day + 1)) for day in (69, 70, 133, 134)]
    groups = group_samples(storm + others)
    assert groups[0] == groups[1]
    assert [bool(group == groups[0]) for group in groups[2:]] == [False, True, True, False]


def test_shares_of_both_labels_come_near_the_wanted_ones() -> None:
    samples = [
        sample(f"p{n}", 100 * n, storm=f"s{n}" if label else None, x=5_000 * n, label=label)
        for n in range(40)
        for label in (1, 0, 0)
    ]
    split = split_samples(samples, shares=(0.5, 0.25, 0.25), seed=3)
    label = np.array([item.label for item in samples])
    for part, share in ((split.train, 0.5), (split.validation, 0.25), (split.test, 0.25)):
        assert part.size == pytest.approx(share * 120, abs=6)
        assert label[part].sum() == pytest.approx(share * 40, abs=2)


def test_too_few_groups_for_the_sides_is_an_error_with_the_figure() -> None:
    with pytest.raises(InputError, match="only 1 groups"):
        split_samples([sample("a", 0), sample("a", 9)])
    with pytest.raises(InputError, match="add up to 1"):
        split_samples([sample("a", 0)], shares=(0.5, 0.5, 0.5))


# A sample: its place, the storm it stands near (every 200 days), days from it, whether it is of the storm.
rows_strategy = st.lists(
    st.tuples(st.integers(0, 25), st.integers(0, 11), st.integers(-60, 60), st.booleans()),
    min_size=8,
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(rows_strategy, st.integers(0, 5))
def test_no_place_and_no_storm_stands_on_two_sides(rows: list[tuple[int, int, int, bool]], seed: int) -> None:
    samples = [
        sample(
            f"p{place}",
            200 * storm + (away // 20 if inside else away),
            storm=f"s{storm}" if inside else None,
            x=3_000.0 * place,
            label=int(inside),
        )
        for place, storm, away, inside in rows
    ]
    try:
        split = split_samples(samples, seed=seed)
    except InputError:
        assert group_samples(samples).max() < 8
        return
    parts = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(samples)))
    sides = [[samples[index] for index in part] for part in parts]
    for one in range(3):
        for other in range(3):
            if one == other:
                continue
            assert not {item.place for item in sides[one]} & {item.place for item in sides[other]}
            for storm_day in (item.day for item in sides[one] if item.storm):
                assert all(abs((item.day - storm_day).days) > 30 for item in sides[other])
    again = split_samples(samples, seed=seed)
    assert all(
        np.array_equal(*pair) for pair in zip(parts, (again.train, again.validation, again.test), strict=True)
    )


def test_blocks_are_squares_of_the_given_size() -> None:
    xy = np.array([[0.0, 0.0], [9_999.0, 9_999.0], [10_000.0, 0.0], [-1.0, 0.0]])
    blocks = spatial_blocks(xy, 10.0)
    assert blocks[0] == blocks[1]
    assert len(set(blocks.tolist())) == 3


def test_a_block_is_never_on_both_sides_of_a_fold() -> None:
    xy = np.random.default_rng(0).uniform(0, 100_000, (400, 2))
    blocks = spatial_blocks(xy, 10.0)
    folds = spatial_folds(xy, 10.0, folds=5)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(400))
    for train, test in folds:
        assert not set(blocks[train].tolist()) & set(blocks[test].tolist())
    with pytest.raises(InputError, match="too few for 5 folds"):
        spatial_folds(xy, 1_000.0)
