"""Events and a verification of them, small enough to be read at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from exporters.event import Event
from exporters.outcomes import Outcomes
from exporters.verification import (
    ClassTally,
    DurationMatrix,
    LevelTally,
    Rate,
    RateCurve,
    ReliabilityBin,
    Verification,
    VerifiedEvent,
    ZoneTally,
)

DAY = date(2026, 3, 1)
MADE = datetime(2026, 3, 9, 7, 0, tzinfo=UTC)
PLACE = (9.01, 45.14)  # in the toy region
WHO, WHY, WORDS = "Ada Rossi", "seen from the road", "in the garden of number 7"
NO_RATE = Rate(value=None, low=None, high=None)


def square(lon: float, lat: float, side: float = 0.002) -> dict[str, Any]:
    """Return a small outline as GeoJSON."""
    ring = [[lon, lat], [lon + side, lat], [lon + side, lat + side], [lon, lat + side], [lon, lat]]
    return {"type": "Polygon", "coordinates": [ring]}


def event(uid: str, **changes: Any) -> Event:
    """Return a landslide that somebody reported."""
    lon, lat = changes.pop("place", PLACE)
    said: dict[str, Any] = {
        "uid": uid, "kind": "landslide", "source": "reported", "day_from": DAY, "day": DAY, "lon": lon,
        "lat": lat, "accuracy_m": 50.0, "note": WORDS, "by": WHO, "reason": WHY, "recorded_at": MADE,
        **changes,
    }  # fmt: skip
    return Event(**said)


def detected(uid: str, **changes: Any) -> Event:
    """Return a landslide that a detector drew and somebody accepted."""
    lon, lat = changes.get("place", PLACE)
    said: dict[str, Any] = {
        "source": "detected", "outline": square(lon, lat), "area_m2": 34_900.0, "confidence": 0.8,
        "detector": "unet 1 (0a1b2c3d)", "scene": "S2A_MSIL2A_20260303", **changes,
    }  # fmt: skip
    return event(uid, **said)


def judged(of: Event, outcome: str, **changes: Any) -> VerifiedEvent:
    """Return what a verification says of an event."""
    known = outcome in ("hit", "miss")
    index = {"hit": 0.71, "miss": 0.12}.get(outcome)
    said: dict[str, Any] = {
        "uid": of.uid, "source": of.source, "day_from": of.day_from, "day": of.day, "lon": of.lon,
        "lat": of.lat, "zone": "west", "outcome": outcome,
        "layer_id": None if outcome == "unknown" else f"toy-{of.day}-l0-r1",
        "issued_at": None if outcome == "unknown" else datetime(2026, 3, 1, 6, 0, tzinfo=UTC),
        "hindsight": False, "susceptibility": index,
        "class_label": {"hit": "very_high", "miss": "low"}.get(outcome), "rank": 0.93 if known else None,
        "level": {"hit": "orange", "miss": "green"}.get(outcome),
        "why": "" if known else f"why it is {outcome}", **changes,
    }  # fmt: skip
    return VerifiedEvent(**said)


def tally(level: str, **changes: Any) -> LevelTally:
    """Return how a warning level did."""
    said: dict[str, Any] = {
        "level": level, "hits": 1, "misses": 2, "false_alarms": 3, "rightly_quiet": 4, "not_known": 5,
        "not_looked": 6, "detection_rate": Rate(value=1 / 3, low=0.06, high=0.79),
        "false_alarm_ratio": Rate(value=0.75, low=0.3, high=0.95), **changes,
    }  # fmt: skip
    return LevelTally(**said)


def verification(events: Sequence[VerifiedEvent] = (), **changes: Any) -> Verification:
    """Return a record of events; tallies of classes, levels and zones are made up."""
    count = {
        one: sum(event.outcome == one for event in events) for one in ("hit", "miss", "undecided", "unknown")
    }
    decided = count["hit"] + count["miss"]
    said: dict[str, Any] = {
        "region": "toy", "made_at": MADE, "since": None, "until": None, "model": "toy, version 1 (69f972a1)",
        "synthetic": True, "events": tuple(events), "hits": count["hit"], "misses": count["miss"],
        "undecided": count["undecided"], "unknown": count["unknown"],
        "hit_rate": Rate(value=count["hit"] / decided, low=0.1, high=0.9) if decided else NO_RATE,
        "hindsight": sum(event.hindsight for event in events), "looks": 2,
        "classes": tuple(
            ClassTally(
                label=label, landslides=n, landslide_share=0.25, ground_share=share,
                frequency_ratio=0.25 / share, looked_km2_days=1.5, landslides_looked=0,
            )
            for label, n, share in (
                ("low", 1, 0.5), ("moderate", 0, 0.3), ("high", 0, 0.15), ("very_high", 1, 0.05),
            )
        ),
        "levels": tuple(tally(level) for level in ("yellow", "orange", "red")),
        "zones": (
            ZoneTally(
                zone="west", name="West", landslides=4, hits=1, misses=1, unknown=2,
                levels=(tally("yellow", false_alarms=0, false_alarm_ratio=NO_RATE),),
            ),
        ),
        "duration": DurationMatrix(
            event_classes=("none", "small", "intermediate", "large"), limits=(0, 1, 2, 5),
            levels=("green", "yellow", "orange", "red"),
            days=((6.0, 1.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
            criteria=(
                ("TN", "TN", "FA", "FA"), ("CA", "CA", "CA", "FA"), ("MA", "CA", "CA", "CA"),
                ("MA", "MA", "CA", "CA"),
            ),
            indices={"efficiency": 0.9, "hit_rate": None}, not_looked_days=3.0,
        ),
        "curves": (
            RateCurve(
                period="all", landslides=2, area_share=(0.0, 0.05, 0.2, 0.5, 1.0),
                landslide_share=(0.0, 0.5, 0.5, 1.0, 1.0), auc=0.78, auc_low=0.5, auc_high=0.95,
            ),
        ),
        "reliability": (
            ReliabilityBin(
                low=0.0, high=0.2, mean_index=None, cell_days=0.0, landslides=0,
                landslides_per_km2_year=NO_RATE,
            ),
        ),
        "notes": ("2 landslides were decided: too few for more than a first look.",), **changes,
    }  # fmt: skip
    return Verification(**said)


def inventory(*places: tuple[float, float]) -> list[Event]:
    """Return a hit, a miss, one of an unknown day, one without a map, one not verified, and a visit."""
    at = [*places, *[PLACE] * (6 - len(places))]
    return [
        detected("hit", place=at[0], day_from=date(2026, 3, 5), day=date(2026, 3, 5)),
        event("miss", place=at[1], source="added", day_from=date(2026, 3, 4), day=date(2026, 3, 4)),
        detected("undecided", place=at[2], day_from=date(2026, 3, 1), day=date(2026, 3, 3)),
        event("unknown", place=at[3], source="imported", day_from=date(2026, 2, 1), day=date(2026, 2, 1)),
        event("new", place=at[4], day_from=date(2026, 3, 6), day=date(2026, 3, 6)),
        event("visit", place=at[5], kind="nothing_seen", day_from=date(2026, 3, 2), day=date(2026, 3, 2)),
    ]


def verified(events: Sequence[Event]) -> Verification:
    """Return the record of an `inventory`: the one not verified and the visit are not in it."""
    return verification([judged(one, one.uid) for one in events if one.uid not in ("new", "visit")])


def outcomes(region: str = "toy") -> Outcomes:
    """Return what outlets are told of an `inventory`."""
    events = inventory()
    return Outcomes.of(events, verified(events).model_copy(update={"region": region}))
