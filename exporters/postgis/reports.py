"""Reports from the field, as people put them into table event_report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import psycopg


@dataclass(frozen=True)
class EventReport:
    """One report. `id` counts in the order of arrival; position in EPSG:4326 degrees."""

    id: int
    uid: str
    reported_at: datetime
    observed_on: date
    lon: float
    lat: float
    kind: Literal["landslide", "nothing_seen"]
    accuracy_m: float | None
    note: str
    reporter: str  # the login that sent it


def reports_after(
    connection: psycopg.Connection[tuple[Any, ...]], schema: str, after: int
) -> list[EventReport]:
    """Return the reports with an id above `after`, in order of arrival.

    Waits until reports that are being written have ended, so that no lower id can appear later.
    """
    connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('colluvium event_report ' || %s, 0))", [schema]
    )
    rows = connection.execute(
        "SELECT id, uid::text, reported_at, observed_on, ST_X(geom), ST_Y(geom), kind, accuracy_m,"
        " coalesce(note, ''), reporter FROM event_report WHERE id > %s ORDER BY id",
        [after],
    )
    return [EventReport(*row) for row in rows]
