"""Each landslide held against the map before it: hit, miss, undecided or unknown.

Pure: what was read from the layers comes in as counts by stored value (service.verify_values).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from exporters.event import Event
from exporters.layer import CLASS_LABELS, LEVEL_LABELS, SCALE, TOP
from exporters.verification import Outcome, VerifiedEvent
from service.ledger_displays import Display
from service.verify_values import Counts, DayValues

_HIGH = CLASS_LABELS.index("high") + 1  # the code of class.tif
# Shares of ground at which success-rate curves are drawn.
AREA_SHARES = np.linspace(0, 1, 101)

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standing:
    """How a landslide's ground stood on the maps of its days, all of them equally likely.

    Of the ground of an outline or accuracy circle each cell counts the same, and all of it one: a wide
    circle favours no class. `curve` is the share of it within the most susceptible ground of the map, at
    AREA_SHARES, cells of equal value taken in proportion; `auc` the area under it (Chung and Fabbri, 2003).
    """

    curve: Shares
    auc: float
    classes: Shares  # (4,): share of it by class, low to very high
    ground: Shares  # (4,): share of the map by class
    index: int  # the median stored value of it


@dataclass(frozen=True)
class Judged:
    """One landslide: what is shown of it, and what tallies are made of."""

    verified: VerifiedEvent
    days: tuple[date, ...]  # empty: its span is too wide to be held against maps
    highest_class: int | None  # 1..4; of several days, of the one that is shown
    standing: Standing | None  # None: no map, or no value
    chance: tuple[int, int]  # random places of the same size, and how many were high


def days_of(event: Event, max_window_days: int) -> tuple[date, ...]:
    """Return the days on which it may have happened; none where the last is farther from the first."""
    width = (event.day - event.day_from).days
    if width > max_window_days:
        return ()
    return tuple(event.day_from + timedelta(days=offset) for offset in range(width + 1))


@dataclass(frozen=True)
class _Day:
    """One of an event's days: its map, and the highest stored value there."""

    display: Display
    highest: int | None
    counts: Counts | None
    values: DayValues | None
    why: str

    @property
    def class_code(self) -> int | None:
        """Class 1..4 by that layer's own breaks."""
        if self.highest is None or self.display.scheme is None:
            return None
        return int(self.display.scheme.classify(np.array([self.highest], np.uint8))[0])

    @property
    def is_hit(self) -> bool | None:
        """Whether high or very high stood there; None: not known."""
        return None if self.class_code is None else self.class_code >= _HIGH


def judge_events(
    events: Iterable[Event],
    displays: Mapping[date, Display],
    values: Mapping[date, DayValues | str],
    zones: Mapping[str, str | None],
    max_window_days: int,
) -> tuple[Judged, ...]:
    """Judge landslides, in the order of their days.

    `values` are by day: what was read, or why it could not be. `zones` are by uid.
    """
    found = [judge_event(event, displays, values, zones.get(event.uid), max_window_days) for event in events]
    return tuple(sorted(found, key=lambda item: (item.verified.day, item.verified.uid)))


def judge_event(
    event: Event,
    displays: Mapping[date, Display],
    values: Mapping[date, DayValues | str],
    zone: str | None,
    max_window_days: int,
) -> Judged:
    """Judge one landslide on each of its days."""
    days = days_of(event, max_window_days)
    if not days:
        why = (
            f"it happened between {event.day_from} and {event.day}, and only days at most {max_window_days} "
            "apart are held against maps (detection.max_window_days)"
        )
        return _judged(event, zone, (), "undecided", None, why, {})
    seen = [_of_day(event.uid, day, displays.get(day), values.get(day)) for day in days]
    levels = {day: _level(displays.get(day), zone) for day in days}
    hits = [item.is_hit for item in seen]
    if all(hits):
        outcome: Outcome = "hit"
        why = ""
    elif all(item is None for item in hits):
        outcome = "unknown"
        why = seen[-1].why
    elif not any(item is None or item for item in hits):
        outcome, why = "miss", ""
    else:
        outcome = "undecided"
        missing = next((item.why for item in seen if item.is_hit is None), None)
        why = f"one of its days has no value: {missing}" if missing else "the maps of its days differ"
    known = [item for item in seen if item.highest is not None]
    # Of several days the one that speaks least for the map.
    shown = min(known, key=lambda item: item.highest or 0) if known else seen[-1]
    return _judged(event, zone, days, outcome, shown, why, levels, known)


def _of_day(uid: str, day: date, display: Display | None, values: DayValues | str | None) -> _Day:
    if display is None:
        return _Day(Display(day), None, None, None, f"there was no map of {day}")
    if isinstance(values, str) or values is None:
        return _Day(display, None, None, None, values or display.why or f"there was no map of {day}")
    counts = values.events.get(uid)
    if counts is None:
        return _Day(display, None, None, None, "it lies outside the region's grid")
    known = np.flatnonzero(counts)
    if not len(known):
        return _Day(display, None, None, None, "the map had no value there (unknown)")
    return _Day(display, int(known[-1]), counts, values, "")


def _judged(
    event: Event,
    zone: str | None,
    days: tuple[date, ...],
    outcome: Outcome,
    shown: _Day | None,
    why: str,
    levels: Mapping[date, str | None],
    known: list[_Day] | None = None,
) -> Judged:
    display = shown.display if shown is not None else None
    code = shown.class_code if shown is not None else None
    highest = shown.highest if shown is not None else None
    verified = VerifiedEvent(
        uid=event.uid,
        source=event.source,
        day_from=event.day_from,
        day=event.day,
        lon=event.lon,
        lat=event.lat,
        zone=zone,
        outcome=outcome,
        layer_id=display.layer_id if display else None,
        issued_at=display.issued_at if display else None,
        hindsight=bool(display and display.hindsight),
        susceptibility=round(highest * SCALE, 3) if highest is not None else None,
        class_label=CLASS_LABELS[code - 1] if code else None,
        rank=_rank(shown),
        level=levels.get(display.day) if display else None,
        why=why,
        withdrawn=bool(display and display.withdrawn),
    )
    throws = [day.values.chance.get(event.uid, (0, 0)) for day in known or () if day.values is not None]
    chance = sum(item[0] for item in throws), sum(item[1] for item in throws)
    return Judged(verified, days, code, _standing(known or []), chance)


def _rank(shown: _Day | None) -> float | None:
    if shown is None or shown.values is None or shown.highest is None:
        return None
    total = int(shown.values.ground.sum())
    return float(shown.values.ground[: shown.highest].sum() / total) if total else None


def _level(display: Display | None, zone: str | None) -> str | None:
    level = display.levels.get(zone) if display is not None and zone is not None else None
    return LEVEL_LABELS[level] if level is not None else None


def _standing(known: list[_Day]) -> Standing | None:
    curves, aucs, classes, grounds = [], [], [], []
    together = np.zeros(TOP + 1)
    for day in known:
        if day.values is None or day.counts is None or day.display.scheme is None:
            continue
        total = int(day.values.ground.sum())
        if not total:
            continue
        share = day.counts / day.counts.sum()
        ground = day.values.ground / total
        above = 1 - np.cumsum(ground)  # share of the map with a higher value
        there = np.flatnonzero(share)
        equal = np.maximum(ground[there], 1e-12)  # share of the map with the same value
        within = np.clip((AREA_SHARES[:, None] - above[there]) / equal, 0, 1)
        curves.append(within @ share[there])
        aucs.append(float(share @ (1 - above - ground / 2)))
        of_value = day.display.scheme.classify(np.arange(TOP + 1, dtype=np.uint8))
        classes.append(np.bincount(of_value, share, minlength=5)[1:])
        grounds.append(np.bincount(of_value, ground, minlength=5)[1:])
        together += share
    if not curves:
        return None
    middle = int(np.searchsorted(np.cumsum(together), together.sum() / 2 - 1e-12))
    return Standing(
        np.mean(curves, axis=0),
        float(np.mean(aucs)),
        np.mean(classes, axis=0),
        np.mean(grounds, axis=0),
        min(middle, TOP),
    )
