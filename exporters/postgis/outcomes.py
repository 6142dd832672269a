"""Events and the newest verification in the database, brought in line with what is given.

Every function works in the caller's transaction, with the region's schema first in search_path. What is the
same stays as it is, row by row.
"""

from __future__ import annotations

from typing import Any

import psycopg
import shapely
from psycopg.types.json import Jsonb

from exporters.outcomes import Outcomes, PublicEvent
from exporters.verification import LevelTally, Verification, VerifiedEvent

_Connection = psycopg.Connection[tuple[Any, ...]]

_ONE = 1  # the only verification that is kept: the newest
_WORDS = ("uid", "kind", "source", "day_from", "day", "accuracy_m", "area_m2", "confidence", "detector",
          "scene", "recorded_at")  # fmt: skip
_TYPES = ("text", "text", "text", "date", "date", "float8", "float8", "float8", "text", "text", "timestamptz",
          "float8", "float8", "text")  # fmt: skip


def bring_outcomes_in_line(connection: _Connection, outcomes: Outcomes) -> None:
    """Make events and verification those that are given: what is not among them goes."""
    _bring_events(connection, outcomes.events)
    _bring_verification(connection, outcomes.verification)


def _bring_events(connection: _Connection, events: tuple[PublicEvent, ...]) -> None:
    connection.execute("DELETE FROM event WHERE uid <> ALL (%s::text[])", [[event.uid for event in events]])
    rows = [
        (*(getattr(event, name) for name in _WORDS), event.lon, event.lat, _outline(event))
        for event in events
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in _TYPES]
    words = ", ".join(_WORDS)
    given = ", ".join(f"%s::{kind}[]" for kind in _TYPES)
    same = ", ".join(f"event.{name}" for name in _WORDS)
    wanted = ", ".join(f"excluded.{name}" for name in _WORDS)
    updates = ", ".join(f"{name} = excluded.{name}" for name in (*_WORDS[1:], "geom", "outline"))
    # Only names of columns and types of ours are put into the statement; values travel as parameters.
    statement = (
        f"INSERT INTO event ({words}, geom, outline) SELECT {words},"  # noqa: S608
        " ST_SetSRID(ST_MakePoint(lon, lat), 4326), outline::geometry"
        f" FROM unnest({given}) AS given ({words}, lon, lat, outline)"
        f" ON CONFLICT (uid) DO UPDATE SET {updates}"
        f" WHERE ({same}, ST_AsBinary(event.geom), ST_AsBinary(event.outline)) IS DISTINCT FROM"
        f" ({wanted}, ST_AsBinary(excluded.geom), ST_AsBinary(excluded.outline))"
    )
    connection.execute(statement.encode(), columns)


def _outline(event: PublicEvent) -> str | None:
    """Return an outline as EWKB of a MultiPolygon, hexadecimal."""
    if event.outline is None:
        return None
    shape = shapely.force_2d(shapely.geometry.shape(event.outline))
    if isinstance(shape, shapely.Polygon):
        shape = shapely.MultiPolygon([shape])
    return str(shapely.to_wkb(shapely.set_srid(shape, 4326), hex=True, include_srid=True))


def _bring_verification(connection: _Connection, verification: Verification | None) -> None:
    if verification is None:
        connection.execute("DELETE FROM verification")
        return
    record = Jsonb(verification.model_dump(mode="json"))
    there = connection.execute(
        "SELECT record = %s FROM verification WHERE id = %s", [record, _ONE]
    ).fetchone()
    if there is not None and there[0]:
        return
    connection.execute("DELETE FROM verification")  # and with it what refers to it
    said = verification
    connection.execute(
        "INSERT INTO verification (id, region, made_at, since, until, model, synthetic, hits, misses,"
        " undecided, unknown, hindsight, looks, hit_rate, hit_rate_low, hit_rate_high, chance_hit_rate,"
        " notes, record)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            _ONE, said.region, said.made_at, said.since, said.until, said.model, said.synthetic, said.hits,
            said.misses, said.undecided, said.unknown, said.hindsight, said.looks, said.hit_rate.value,
            said.hit_rate.low, said.hit_rate.high, said.chance_hit_rate, list(said.notes), record,
        ],
    )  # fmt: skip
    _copy(
        connection,
        "COPY verified_event (uid, verification, outcome, zone, layer_id, issued_at, hindsight,"
        " withdrawn, susceptibility, class, rank, level, why) FROM STDIN",
        [_event_row(event) for event in said.events],
    )
    _copy(
        connection,
        "COPY verification_class (verification, class, landslides, landslide_share, ground_share,"
        " frequency_ratio, looked_km2_days, landslides_looked) FROM STDIN",
        [
            (
                _ONE, one.label, one.landslides, one.landslide_share, one.ground_share, one.frequency_ratio,
                one.looked_km2_days, one.landslides_looked,
            )
            for one in said.classes
        ],
    )  # fmt: skip
    levels = [("", "", said.levels), *((zone.zone, zone.name, zone.levels) for zone in said.zones)]
    _copy(
        connection,
        "COPY verification_level (verification, zone, name, level, hits, misses, false_alarms, rightly_quiet,"
        " not_known, not_looked, detection_rate, false_alarm_ratio) FROM STDIN",
        # Of a region without zones the one zone has no id: it is all of them.
        list({(zone, one.level): _level_row(zone, name, one) for zone, name, all_ in levels for one in all_}
             .values()),
    )  # fmt: skip


def _event_row(event: VerifiedEvent) -> tuple[object, ...]:
    return (
        event.uid, _ONE, event.outcome, event.zone, event.layer_id, event.issued_at, event.hindsight,
        event.withdrawn, event.susceptibility, event.class_label, event.rank, event.level, event.why,
    )  # fmt: skip


def _level_row(zone: str, name: str, tally: LevelTally) -> tuple[object, ...]:
    return (
        _ONE, zone, name, tally.level, tally.hits, tally.misses, tally.false_alarms, tally.rightly_quiet,
        tally.not_known, tally.not_looked, tally.detection_rate.value, tally.false_alarm_ratio.value,
    )  # fmt: skip


def _copy(connection: _Connection, statement: str, rows: list[tuple[object, ...]]) -> None:
    with connection.cursor().copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)
