"""Which map was on display on a day, as the ledger tells afterwards.

On display on day D was the newest revision that was issued before the end of D in the region's time zone,
unless it had been withdrawn by then. Where every revision came later (a backfill), the newest one stands in,
in hindsight: nobody had it on display, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from exporters.layer import ClassScheme
from service.files import digest_of
from service.sqlite import Database
from service.stamps import from_stamp

_SELECT = (
    "SELECT id, day, revision, digest, issued_at, withdrawn_at, removed_at,"
    " json_extract(record, '$.folder') AS folder, json_extract(record, '$.classes.breaks') AS breaks,"
    " json_extract(record, '$.model.name') AS name, json_extract(record, '$.model.version') AS version,"
    " json_extract(record, '$.model.digest') AS model, json_extract(record, '$.model.may_warn') AS may_warn,"
    " json_extract(record, '$.warnings') AS warnings FROM layer"
    " WHERE lead = ? AND day BETWEEN ? AND ? ORDER BY day, revision"
)


@dataclass(frozen=True)
class Display:
    """The map of a day. `why` says why there is none, or why its values cannot be read."""

    day: date
    layer_id: str | None = None
    digest: str = ""
    issued_at: datetime | None = None
    hindsight: bool = False  # made after the day
    withdrawn: bool = False  # on display on that day, taken back later
    folder: Path | None = None  # of its rasters; None: they are not kept
    scheme: ClassScheme | None = None
    model: str = ""  # name, version, digest
    may_warn: bool = False
    levels: Mapping[str, int] = field(default_factory=dict)  # by zone; one that is not known is absent
    why: str = ""


class Displays:
    """The part of the ledger that tells what was on display."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._db, self._folder = database, folder

    def between(self, since: date, until: date, timezone: ZoneInfo, *, lead: int = 0) -> dict[date, Display]:
        """Return what was on display by day; days that never had a layer of that lead are absent."""
        by_day: dict[date, list[Any]] = {}
        for row in self._db.execute(_SELECT, (lead, since.isoformat(), until.isoformat())):
            by_day.setdefault(date.fromisoformat(row["day"]), []).append(row)
        return {day: self._of_day(day, rows, timezone) for day, rows in by_day.items()}

    def span(self) -> tuple[date, date] | None:
        """Return the first and the last day that ever had a nowcast."""
        row = self._db.execute("SELECT min(day), max(day) FROM layer WHERE lead = 0").fetchone()
        return (date.fromisoformat(row[0]), date.fromisoformat(row[1])) if row[0] else None

    def leads(self) -> tuple[int, ...]:
        """Return the leads of forecasts that were ever made."""
        rows = self._db.execute("SELECT DISTINCT lead FROM layer WHERE lead > 0 ORDER BY lead")
        return tuple(int(row[0]) for row in rows)

    def state(self) -> str:
        """Return what changes whenever a layer comes, is withdrawn, or loses its files: 64 hex digits."""
        rows = self._db.execute("SELECT id, issued_at, withdrawn_at, removed_at FROM layer ORDER BY id")
        return digest_of([list(row) for row in rows])

    def _of_day(self, day: date, rows: Sequence[Any], timezone: ZoneInfo) -> Display:
        end = datetime.combine(day + timedelta(days=1), time_of_day(), timezone)
        in_time = [row for row in rows if from_stamp(row["issued_at"]) < end]
        row = (in_time or rows)[-1]
        withdrawn_at = from_stamp(row["withdrawn_at"]) if row["withdrawn_at"] else None
        if withdrawn_at is not None and (not in_time or withdrawn_at < end):
            return Display(day, why=f"the map of {day} ({row['id']}) was withdrawn and not on display")
        removed = row["removed_at"] is not None
        return Display(
            day=day,
            layer_id=row["id"],
            digest=row["digest"],
            issued_at=from_stamp(row["issued_at"]),
            hindsight=not in_time,
            withdrawn=withdrawn_at is not None,
            folder=None if removed else self._folder / row["folder"],
            scheme=ClassScheme(breaks=json.loads(row["breaks"])),
            model=f"{row['name']} {row['version']} {row['model']}",
            may_warn=bool(row["may_warn"]),
            levels=_levels(row["warnings"]) if row["may_warn"] else {},
            why=f"the files of {row['id']} are no longer kept (retention); '--rebuild' makes it again"
            if removed
            else "",
        )


def _levels(text: str | None) -> dict[str, int]:
    found = json.loads(text) if text else []
    return {item["zone"]: int(item["level"]) for item in found if item["level"] is not None}
