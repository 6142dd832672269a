"""Flat and undated negatives, and so many negatives of each kind in all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import InputError
from trainer.inventory import Event
from trainer.samples import Kind, Sample, SampleSet, Sampling, Shares, draw_samples

START = date(2010, 1, 1)
DAYS = [START + timedelta(days=n) for n in range(1500)]
SIDE_M = 100_000.0
FLAT_FROM_M = 90_000.0  # the ground east of here is flat


def elsewhere(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    return generator.uniform(0, SIDE_M, (count, 2))


def plain(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    return generator.uniform((FLAT_FROM_M, 0), SIDE_M, (count, 2))


def showers(x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
    """Rain of 12 mm on every eleventh day, everywhere."""
    return np.array([12.0 if day.toordinal() % 11 == 0 else 1.0 for day in days], np.float32)


def events(count: int, seed: int = 0) -> list[Event]:
    random = np.random.default_rng(seed)
    return [
        Event(
            f"e{n}",
            *random.uniform(0, SIDE_M, 2),
            START + timedelta(days=int(random.integers(60, 1400))),
            30.0,
        )
        for n in range(count)
    ]


def draw(found: Sequence[Event], sampling: Sampling, days: Sequence[date] = DAYS) -> SampleSet:
    return draw_samples(
        found, found, days=days, elsewhere=elsewhere, rain=showers, sampling=sampling, flat=plain
    )


def of_kind(drawn: SampleSet, kind: Kind) -> list[Sample]:
    return [sample for sample in drawn.samples if sample.kind == kind]


def test_teng_has_as_many_negatives_elsewhere_as_landslides() -> None:
    drawn = draw(events(719), Sampling(ratio=1.0, shares=Shares(spatial=1), minimum_distance_m=500), days=[])
    assert drawn.counts() == {Kind.EVENT: 719, Kind.SPATIAL: 719}
    assert drawn.shortfalls == {}


def test_undated_negatives_get_a_day_of_their_own_clear_of_every_landslide() -> None:
    found = events(60)
    sampling = Sampling(ratio=2.0, shares=Shares(both=1), minimum_distance_m=800, storm_days=0)
    others = of_kind(draw(found, sampling), Kind.BOTH)
    assert len(others) == 120
    assert len({sample.day for sample in others}) > 80
    assert {sample.day for sample in others} <= set(DAYS)
    assert all(np.hypot(s.x - e.x, s.y - e.y) >= 800 for s in others for e in found)
    assert len({sample.place for sample in others}) == 120


def test_undated_negatives_keep_out_of_storms_where_a_split_by_storm_is_wanted() -> None:
    found = events(3)
    sampling = Sampling(ratio=20.0, shares=Shares(both=1), storm_days=25)
    days = [sample.day for sample in of_kind(draw(found, sampling), Kind.BOTH)]
    assert len(days) == 60
    assert all(abs((day - event.day).days) > 25 for day in days for event in found)


def test_azarafza_has_112_flat_places_and_43_others_for_222_landslides() -> None:
    shares = Shares(flat=0.7226, spatial=0.2774)
    drawn = draw(events(222), Sampling(ratio=0.6982, shares=shares, minimum_distance_m=500), days=[])
    assert drawn.counts() == {Kind.EVENT: 222, Kind.FLAT: 112, Kind.SPATIAL: 43}
    flat = of_kind(drawn, Kind.FLAT)
    assert all(sample.x >= FLAT_FROM_M for sample in flat)
    assert {sample.storm for sample in flat} <= {sample.storm for sample in of_kind(drawn, Kind.EVENT)}


def test_flat_places_for_each_event_stay_clear_of_landslides_and_of_other_negatives() -> None:
    found = events(4)
    drawn = draw(found, Sampling(spatial=3, flat=3, random=0, season=0, wet=0))
    assert drawn.counts() == {Kind.EVENT: 4, Kind.SPATIAL: 12, Kind.FLAT: 12}
    for flat in of_kind(drawn, Kind.FLAT):
        assert flat.x >= FLAT_FROM_M
        assert all(np.hypot(flat.x - event.x, flat.y - event.y) >= 2_000 for event in found)
        beside = [s for s in drawn.samples if s.day == flat.day and s is not flat]
        assert all(np.hypot(flat.x - s.x, flat.y - s.y) >= 690 for s in beside)


def test_flat_negatives_without_flat_places_are_refused() -> None:
    found = events(2)
    with pytest.raises(InputError, match="no flat places are given"):
        draw_samples(
            found, found, days=DAYS, elsewhere=elsewhere, rain=showers,
            sampling=Sampling(ratio=1.0, shares=Shares(flat=1)),
        )  # fmt: skip


def test_a_kind_that_runs_out_is_counted_and_the_others_stay_exact() -> None:
    nowhere = Sampling(ratio=1.0, shares=Shares(spatial=0.5, random=0.5), minimum_distance_m=1e6)
    drawn = draw(events(10), nowhere)
    assert drawn.counts() == {Kind.EVENT: 10, Kind.TEMPORAL_RANDOM: 5}
    assert drawn.shortfalls == {Kind.SPATIAL: 5}


def test_an_event_without_a_day_left_passes_its_turn_to_the_others() -> None:
    unknown, known = (Event(name, x, 50_000.0, date(2011, 6, 1), 30.0) for name, x in (("a", 0), ("b", 5e4)))

    def rain(x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
        return showers(x, y, days) if x else np.full(len(days), np.nan, np.float32)

    drawn = draw_samples(
        [unknown, known], [unknown, known], days=DAYS, elsewhere=elsewhere, rain=rain,
        sampling=Sampling(ratio=4.0, shares=Shares(wet=1)),
    )  # fmt: skip
    assert [sample.event for sample in of_kind(drawn, Kind.TEMPORAL_WET)] == ["b"] * 8
    assert drawn.shortfalls == {}


def test_no_day_of_a_place_is_drawn_twice_over_all_kinds() -> None:
    drawn = draw(events(3), Sampling(ratio=30.0, shares=Shares(wet=0.2, season=0.3, random=0.5)))
    taken = [(sample.place, sample.day) for sample in drawn.samples]
    assert len(taken) == len(set(taken)) == 93


def test_an_outline_keeps_negatives_off_its_ground_on_every_day() -> None:
    slide = Event("a", 50_000.0, 50_000.0, date(2011, 6, 1), 30_000.0, "day", 1e9)
    other = Event("b", 1_000.0, 1_000.0, date(2013, 6, 1), 30.0)
    sampling = Sampling(ratio=10.0, shares=Shares(spatial=1), minimum_distance_m=100)
    drawn = draw([slide, other], sampling)
    away = [s for s in of_kind(drawn, Kind.SPATIAL) if s.event == "b"]
    assert away
    assert all(np.hypot(s.x - slide.x, s.y - slide.y) >= 30_100 for s in away)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"ratio": 1.0}, "ratio and shares go together"),
        ({"shares": {"spatial": 1}}, "ratio and shares go together"),
        ({"ratio": 1.0, "shares": {"spatial": 1}, "wet": 2}, "wet says how many for each event"),
        ({"ratio": 1.0, "shares": {"spatial": 0.5, "wet": 0.4}}, "add up to 1, not to 0.9"),
    ],
)
def test_two_ways_of_counting_at_once_are_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Sampling.model_validate(given)


kinds = ("spatial", "flat", "both", "random", "season", "wet")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any), st.floats(0.01, 5), st.integers(1, 800)
)
def test_counts_of_kinds_add_up_to_the_ratio_and_follow_their_shares(
    parts: list[int], ratio: float, positives: int
) -> None:
    shares = {kind: part / sum(parts) for kind, part in zip(kinds, parts, strict=True)}
    sampling = Sampling(ratio=ratio, shares=Shares(**shares))
    counts = sampling.counts(positives)
    total = sum(counts.values())
    assert abs(total - ratio * positives) <= 0.5 + 1e-9
    wanted = Shares(**shares).by_kind
    assert all(abs(count - wanted[kind] * total) < 1 for kind, count in counts.items())


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.integers(0, 9), st.sampled_from([0.5, 1.0, 2.5]))
def test_what_is_drawn_and_what_is_short_make_up_what_is_wanted_and_repeat(
    count: int, seed: int, ratio: float
) -> None:
    shares = Shares(spatial=0.2, flat=0.2, both=0.2, random=0.2, season=0.1, wet=0.1)
    sampling = Sampling(ratio=ratio, shares=shares, seed=seed)
    drawn = draw(events(count, seed), sampling)
    counts = drawn.counts()
    for kind, wanted in sampling.counts(count).items():
        assert counts.get(kind, 0) + drawn.shortfalls.get(kind, 0) == wanted
    assert counts[Kind.EVENT] == count
    assert draw(events(count, seed), sampling) == drawn


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(spatial=3, flat=3, random=0, season=0, wet=0),
        Sampling(ratio=6.0, shares=Shares(spatial=0.5, flat=0.5)),
    ],
)
def test_negatives_of_one_day_never_share_a_patch_however_narrow_the_ground(sampling: Sampling) -> None:
    def narrow(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
        return generator.uniform(0, 2_500, (count, 2))

    day = date(2011, 6, 1)
    found = [Event("a", 50_000.0, 50_000.0, day, 30.0)]
    for seed in range(5):
        drawn = draw_samples(
            found, found, days=DAYS, elsewhere=narrow, rain=showers, flat=narrow,
            sampling=sampling.model_copy(update={"seed": seed}),
        )  # fmt: skip
        xy = np.array([(sample.x, sample.y) for sample in drawn.samples if sample.label == 0])
        apart = np.hypot(*(xy[:, None] - xy[None]).T)
        assert len(xy) >= 5
        assert apart[np.triu_indices(len(xy), 1)].min() >= 690
