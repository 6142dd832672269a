"""Exactly so many negatives of each kind in all, dealt out among the events."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from trainer.inventory import Event
from trainer.sample_kinds import Elsewhere, Kind, Sample, SampleSet
from trainer.sample_rules import Calendar, Ground, OtherDays, Place


def draw_by_ratio(
    events: Sequence[Event],
    wanted: Mapping[Kind, int],
    days: Sequence[date],
    ground: Ground,
    sources: Mapping[Kind, Elsewhere],
    storms: Mapping[str, str],
    generator: np.random.Generator,
) -> SampleSet:
    """Draw `wanted` negatives of each kind, one event after the other in a drawn order, one at a turn.

    `sources` gives the places of the kinds that lie elsewhere. An event that has no more of a kind leaves
    the round, so a count is missed only where no event has any left; what is missing then is counted.
    """
    dealer = _Dealer(days, ground, sources, storms, generator)
    drawn: dict[str, list[Sample]] = {event.id: [] for event in events}
    short: dict[Kind, int] = {}
    for kind, count in wanted.items():
        # Each kind has its own order: with fewer negatives than events, not all kinds go to the same ones.
        turn = deque(events[index] for index in generator.permutation(len(events)))
        missing = count
        while missing and turn:
            event = turn.popleft()
            sample = dealer.draw(kind, event, len(drawn[event.id]))
            if sample is not None:
                drawn[event.id].append(sample)
                turn.append(event)
                missing -= 1
        if missing:
            short[kind] = missing
    samples: list[Sample] = []
    for event in events:
        place, storm = f"event-{event.id}", storms[event.id]
        samples.append(
            Sample(event.x, event.y, place, event.day, 1, Kind.EVENT, storm, event.accuracy_m, event.id)
        )
        samples.extend(drawn[event.id])
    return SampleSet(tuple(samples), short)


class _Dealer:
    """Draws one negative at a time and remembers what is taken."""

    def __init__(
        self,
        days: Sequence[date],
        ground: Ground,
        sources: Mapping[Kind, Elsewhere],
        storms: Mapping[str, str],
        generator: np.random.Generator,
    ) -> None:
        self._calendar = Calendar(days, ground)
        self._calm = self._calendar.calm
        self._ground = ground
        self._sources = sources
        self._storms = storms
        self._generator = generator
        self._taken: defaultdict[date, list[Place]] = defaultdict(list)
        self._others: dict[str, OtherDays] = {}

    def draw(self, kind: Kind, event: Event, number: int) -> Sample | None:
        """Return a negative against an event, the `number`th of its own; None where it has no more."""
        if kind not in self._sources:
            return self._same_place(kind, event)
        place = f"{kind}-{event.id}-{number}"
        source = self._sources[kind]
        if kind == Kind.BOTH:
            away = self._ground.places_and_days(self._calm, 1, source, self._generator)
            if not away:
                return None
            (x, y), day = away[0]
            return Sample(x, y, place, day, 0, kind, None, 0.0, event.id)
        taken = self._taken[event.day]
        found = self._ground.places(event.day, 1, source, self._generator, taken)
        if not found:
            return None
        taken.extend(found)
        x, y = found[0]
        return Sample(x, y, place, event.day, 0, kind, self._storms[event.id], 0.0, event.id)

    def _same_place(self, kind: Kind, event: Event) -> Sample | None:
        if event.id not in self._others:
            self._others[event.id] = OtherDays(event, self._ground, self._calendar)
        days = self._others[event.id].take(kind, 1, self._generator)
        if not days:
            return None
        accuracy = event.accuracy_m
        return Sample(event.x, event.y, f"event-{event.id}", days[0], 0, kind, None, accuracy, event.id)
