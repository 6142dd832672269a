"""Levels of zones and what they were decided from, as the ledger's records of layers hold them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic import TypeAdapter

from exporters.layer import Layer, ZoneArea, ZoneWarning
from service.sqlite import Database
from service.stamps import to_stamp

_WARNINGS = TypeAdapter(tuple[ZoneWarning, ...])
_AREAS = TypeAdapter(tuple[ZoneArea, ...])
_SELECT = (
    "SELECT a.id, a.day, a.lead, a.basis, json_extract(a.record, '$.warnings') AS warnings,"
    " json_extract(a.record, '$.areas') AS areas, json_extract(a.record, '$.unconfirmed') AS unconfirmed,"
    " json_extract(a.record, '$.model.may_warn') AS may_warn FROM layer a"
)
# A layer stands that was not withdrawn by then, and that no later revision of its day had replaced.
_STANDS = (
    "(a.withdrawn_at IS NULL OR a.withdrawn_at > :bound) AND a.issued_at <= :bound AND NOT EXISTS"
    " (SELECT 1 FROM layer b WHERE b.day = a.day AND b.lead = a.lead AND b.revision > a.revision"
    " AND b.issued_at <= :bound)"
)


@dataclass(frozen=True)
class Decided:
    """The levels that were decided with one layer."""

    layer_id: str
    day: date
    lead: int
    warnings: tuple[ZoneWarning, ...]

    @classmethod
    def of_layer(cls, layer: Layer) -> Decided:
        """Return the same of a whole record."""
        return cls(layer.id, layer.day, layer.lead, layer.warnings)

    def of(self, zone: str) -> ZoneWarning | None:
        """Return the zone's; None where the layer says nothing of it."""
        return next((item for item in self.warnings if item.zone == zone), None)


@dataclass(frozen=True)
class DayRecord:
    """What a replay of levels needs of the nowcast shown for a day."""

    layer_id: str
    day: date
    unconfirmed: bool
    may_warn: bool
    areas: tuple[ZoneArea, ...]
    warnings: tuple[ZoneWarning, ...]
    basis: dict[str, str]


class Levels:
    """Reads levels. Files that were removed change nothing: the record of a layer stays."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def before(self, day: date, as_of: datetime | None = None) -> Decided | None:
        """Return the levels of the nowcast that stands for the newest day before `day`."""
        row = self._db.execute(
            "SELECT a.id, a.day, a.lead, json_extract(a.record, '$.warnings') AS warnings FROM layer a"  # noqa: S608
            f" WHERE a.lead = 0 AND a.day < :day AND {_STANDS} ORDER BY a.day DESC LIMIT 1",
            {"day": day.isoformat(), "bound": _bound(as_of)},
        ).fetchone()
        return _decided(row) if row else None

    def changes(self, since: date, until: date, lead: int = 0) -> list[Decided]:
        """Return the levels of a lead's layers that stand for the days `since` to `until`, oldest first."""
        rows = self._db.execute(
            "SELECT a.id, a.day, a.lead, json_extract(a.record, '$.warnings') AS warnings FROM layer a"  # noqa: S608
            f" WHERE a.lead = :lead AND a.day BETWEEN :since AND :until AND {_STANDS} ORDER BY a.day",
            {"since": since.isoformat(), "until": until.isoformat(), "lead": lead, "bound": _bound(None)},
        )
        return [_decided(row) for row in rows]

    def cited(self) -> set[str]:
        """Return the layers a warning rests on: nowcasts that raised a level, and what a message names."""
        rows = self._db.execute(
            "SELECT layer_id FROM zone_warning WHERE lead = 0"
            " AND level > coalesce(json_extract(record, '$.previous'), 0)"
            " UNION SELECT layer_id FROM cap_message WHERE layer_id IS NOT NULL"
        )
        return {row["layer_id"] for row in rows}

    def days(self, since: date, until: date) -> list[DayRecord]:
        """Return the nowcasts that stand for the days `since` to `until`, oldest first."""
        rows = self._db.execute(
            "SELECT a.id, a.day, a.basis, json_extract(a.record, '$.areas') AS areas,"  # noqa: S608
            " json_extract(a.record, '$.warnings') AS warnings,"
            " json_extract(a.record, '$.status') AS status,"
            " json_extract(a.record, '$.unconfirmed') AS unconfirmed,"
            " json_extract(a.record, '$.model.may_warn') AS may_warn FROM layer a"
            f" WHERE a.lead = 0 AND a.day BETWEEN :since AND :until AND {_STANDS} ORDER BY a.day",
            {"since": since.isoformat(), "until": until.isoformat(), "bound": _bound(None)},
        )
        return [_day_of(row) for row in rows]


def _decided(row: sqlite3.Row) -> Decided:
    return Decided(row["id"], date.fromisoformat(row["day"]), row["lead"], _warnings(row["warnings"]))


def _day_of(row: Any) -> DayRecord:
    return DayRecord(
        layer_id=row["id"],
        day=date.fromisoformat(row["day"]),
        unconfirmed=bool(row["unconfirmed"]),
        may_warn=bool(row["may_warn"]),
        areas=_AREAS.validate_json(row["areas"]),
        warnings=_warnings(row["warnings"]),
        basis=dict(json.loads(row["basis"])),
    )


def _warnings(text: str | None) -> tuple[ZoneWarning, ...]:
    """Layers of earlier versions have none."""
    return _WARNINGS.validate_json(text) if text else ()


def _bound(as_of: datetime | None) -> str:
    return to_stamp(as_of) if as_of else "9999"
