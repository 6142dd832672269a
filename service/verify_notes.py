"""What a reader of a verification must know beside its figures, in words."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from exporters.verification import Verification

_FEW = 30  # landslides, below which a figure is called small
_VERY_FEW = 10


def notes_of(record: Verification, *, may_warn: bool, seen: AbstractSet[str]) -> tuple[str, ...]:
    """Return the notes of a record, the gravest first. `seen` are the landslides in looked ground."""
    decided = record.hits + record.misses
    notes = [
        _on_numbers(decided),
        _on_chance(record, decided),
        _on_looks(record, may_warn=may_warn),
    ]
    if record.hindsight:
        notes.append(
            "hits and misses judged by a map that was made after their day, which nobody had on display "
            f"then: {record.hindsight} of {decided}"
        )
    if withdrawn := sum(event.withdrawn for event in record.events):
        notes.append(f"judged by a map that was on display on their day and withdrawn later: {withdrawn}")
    if record.undecided:
        notes.append(
            f"undecided, since the day is not known well enough for the maps of its span: {record.undecided}"
        )
    if record.unknown:
        notes.append(
            f"unknown, neither hit nor miss, for want of a map or of a value at the place: {record.unknown}"
        )
    if not may_warn and record.maps:
        notes.append("the model may not warn, so there were no levels to judge")
    if record.reliability:
        without = sum(event.uid in seen and event.susceptibility is None for event in record.events)
        if without:
            notes.append(
                "landslides in ground that was looked at whose index is not known, and which the "
                f"reliability lacks: {without}"
            )
    if record.curves and (record.curves[0].auc_low is None):
        notes.append(
            "the landslides fall on fewer than three days: one storm is one witness, and the curve has no "
            "interval"
        )
    return tuple(note for note in notes if note)


def notes_on_maps(*, late_levels: int, maps_lost: int) -> list[str]:
    """Return notes on days whose levels came too late, and on looked days whose map is gone."""
    notes = []
    if late_levels:
        notes.append(
            "days whose warning levels were decided after they had ended, by a map made later, so that "
            f"nobody was warned by them; levels and durations count them: {late_levels}"
        )
    if maps_lost:
        notes.append(
            "days that somebody looked at whose map cannot be read any more, and which reliability and "
            f"looked ground lack, so that landslides seem more frequent there than they were: {maps_lost}"
        )
    return notes


def _on_numbers(decided: int) -> str:
    if decided == 0:
        return "no landslide could be held against a map: this says nothing about the map"
    one = "1 landslide" if decided == 1 else f"{decided} landslides"
    if decided < _VERY_FEW:
        return f"{one}: this says little"
    if decided < _FEW:
        return f"{one}: read the intervals, not the figures"
    return ""


def _on_chance(record: Verification, decided: int) -> str:
    if record.chance_hit_rate is None or not decided:
        return ""
    return (
        f"outlines and accuracy circles of the same sizes at random places of the same maps would have been "
        f"{record.chance_hit_rate:.0%} hits: a hit is the highest class within the circle, and wide circles "
        "hit easily"
    )


def _on_looks(record: Verification, *, may_warn: bool) -> str:
    if not record.looks:
        return (
            "nobody looked where no landslide was reported, so no false alarm can be counted; close the "
            "review of scenes ('colluvium detections close') or accept visits on which nothing was seen"
        )
    alarms = sum(level.false_alarms + level.rightly_quiet for level in record.levels[:1])
    if may_warn and not alarms:
        return "no zone was looked at well enough to count false alarms in (half of it, or a visit)"
    return ""
