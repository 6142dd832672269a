"""Samples: dated places with a landslide (1) and without one (0).

    storms_of(events, gap_days) -> dict[event id, storm id]
    draw_samples(positives, all_events, days, elsewhere, rain, sampling, flat=None) -> SampleSet
    SampleSet.samples: tuple[Sample, ...]; .shortfalls: dict[Kind, int]; .counts()
    Sample(x, y, place, day, label, kind, storm, accuracy_m, event)

Callbacks, so that the sampler knows neither archive nor region:
    elsewhere(generator, n) -> float64 (n, 2)           candidate places, in the region's CRS, metres
    flat(generator, n) -> float64 (n, 2)                the same, on ground below `flat_degrees`
    rain(x, y, days) -> float32 (len(days),)            mm of each day at a place, NaN where unknown
`trainer.sample_places` makes the first two from a factor stack.

Every negative has a date. Kinds of negatives:
    spatial           elsewhere on the event's day, `minimum_distance_m` from every event, and farther from
                      events of those weeks by the accuracy of their places
    flat              as spatial, on ground too flat to slide (Azarafza et al. 2021: below 2 degrees)
    both              elsewhere as spatial, on a day of its own (Teng et al. 2026 do not say which day)
    temporal_random   the same place on another day
    temporal_season   the same place in another year, within `season_days` of the event's day of the year
    temporal_wet      the same place on a day whose last window day (lag_days before it) had `wet_mm` or more

A negative's window never overlaps that of an event which may have been at that place:
|day - event day| >= window_days. Days within `storm_days` of any storm are not drawn for temporal negatives
and `both`, so that a split by storm leaves more than one group.

How many: so many of each kind for each event, or, with `ratio` and `shares`, exactly so many in all, dealt
out among the events in an order drawn from the seed. So Teng's 719 and 719 are ratio 1 with shares of spatial
or both alone, and 222 events with 112 flat places and 43 others ratio 0.6982 with shares of flat 0.7226 and
spatial 0.2774.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import numpy as np

from service.errors import InputError
from trainer.inventory import Event
from trainer.sample_kinds import DayRain, Elsewhere, Kind, Sample, SampleSet, Sampling, Shares
from trainer.sample_ratio import draw_by_ratio
from trainer.sample_rules import Calendar, EventField, Ground, OtherDays

_NEED_DAYS = (Kind.TEMPORAL_WET, Kind.TEMPORAL_SEASON, Kind.TEMPORAL_RANDOM, Kind.BOTH)


def storms_of(events: Sequence[Event], gap_days: int = 3) -> dict[str, str]:
    """Return the storm of each event, by id: days at most `gap_days` apart chain into one storm.

    A storm is called by its first day, such as `storm-2010-03-04`.
    """
    storms: dict[str, str] = {}
    name, last = "", date.min
    for event in sorted(events, key=lambda event: (event.day, event.id)):
        if (event.day - last).days > gap_days:
            name = f"storm-{event.day.isoformat()}"
        storms[event.id], last = name, event.day
    return storms


def draw_samples(
    positives: Sequence[Event],
    all_events: Sequence[Event],
    *,
    days: Sequence[date],
    elsewhere: Elsewhere,
    rain: DayRain,
    sampling: Sampling,
    flat: Elsewhere | None = None,
) -> SampleSet:
    """Draw dated negatives for the positives; the same inputs and seed give the same samples.

    `positives` become samples; `all_events` (which holds them) are what negatives stay clear of. `days` are
    the days that a temporal negative may have; of these, only days whose whole window has known rain at the
    place are drawn. What cannot be found is counted in `shortfalls`, never made up.

    Raises InputError for positives that are not among the events, without any day to draw from, or without
    `flat` where flat ground is wanted.
    """
    missing = sorted({event.id for event in positives} - {event.id for event in all_events})
    if missing:
        raise InputError(f"positives must be among the events; not there: {', '.join(missing[:5])}")
    wanted = sampling.counts(len(positives))
    if not days and (sampling.ratio is None or any(kind in wanted for kind in _NEED_DAYS)):
        raise InputError("no day to draw temporal negatives from; give the days whose readings are known")
    if flat is None and Kind.FLAT in wanted:
        raise InputError("flat negatives are wanted, but no flat places are given; see trainer.sample_places")
    generator = np.random.default_rng(sampling.seed)
    storms = storms_of(all_events, sampling.storm_gap_days)
    ground = Ground(EventField.of(all_events), rain, sampling)
    ordered = sorted(set(days))
    events = sorted(positives, key=lambda event: (event.day, event.id))
    if sampling.ratio is not None:
        sources = {Kind.SPATIAL: elsewhere, Kind.FLAT: flat or elsewhere, Kind.BOTH: elsewhere}
        return draw_by_ratio(events, wanted, ordered, ground, sources, storms, generator)
    return _draw_for_each(events, ordered, ground, elsewhere, flat, storms, generator)


def _draw_for_each(
    events: Sequence[Event],
    days: Sequence[date],
    ground: Ground,
    elsewhere: Elsewhere,
    flat: Elsewhere | None,
    storms: dict[str, str],
    generator: np.random.Generator,
) -> SampleSet:
    """Draw the same number of negatives of each kind for each event."""
    sampling = ground.sampling
    samples: list[Sample] = []
    short: Counter[Kind] = Counter()
    calendar = Calendar(days, ground)
    calm = calendar.calm if sampling.both else []
    for event in events:
        storm, place = storms[event.id], f"event-{event.id}"
        samples.append(
            Sample(event.x, event.y, place, event.day, 1, Kind.EVENT, storm, event.accuracy_m, event.id)
        )
        found = ground.places(event.day, sampling.spatial, elsewhere, generator)
        level = [] if flat is None else ground.places(event.day, sampling.flat, flat, generator, found)
        for kind, places, wanted in (
            (Kind.SPATIAL, found, sampling.spatial),
            (Kind.FLAT, level, sampling.flat),
        ):
            short[kind] += wanted - len(places)
            samples.extend(
                Sample(x, y, f"{kind}-{event.id}-{n}", event.day, 0, kind, storm, 0.0, event.id)
                for n, (x, y) in enumerate(places)
            )
        others = OtherDays(event, ground, calendar)
        # The scarcer kinds choose first.
        for kind, wanted in (
            (Kind.TEMPORAL_WET, sampling.wet),
            (Kind.TEMPORAL_SEASON, sampling.season),
            (Kind.TEMPORAL_RANDOM, sampling.random),
        ):
            drawn = others.take(kind, wanted, generator)
            short[kind] += wanted - len(drawn)
            samples.extend(
                Sample(event.x, event.y, place, day, 0, kind, None, event.accuracy_m, event.id)
                for day in drawn
            )
        away = ground.places_and_days(calm, sampling.both, elsewhere, generator)
        short[Kind.BOTH] += sampling.both - len(away)
        samples.extend(
            Sample(x, y, f"both-{event.id}-{n}", day, 0, Kind.BOTH, None, 0.0, event.id)
            for n, ((x, y), day) in enumerate(away)
        )
    return SampleSet(tuple(samples), {kind: count for kind, count in short.items() if count})


__all__ = [
    "DayRain",
    "Elsewhere",
    "Kind",
    "Sample",
    "SampleSet",
    "Sampling",
    "Shares",
    "draw_samples",
    "storms_of",
]
