"""Moments as text that sorts: UTC, `YYYY-MM-DDTHH:MM:SS.ffffffZ`."""

from __future__ import annotations

from datetime import UTC, datetime

END_OF_TIME = "9999-12-31T23:59:59.999999Z"


def utc_now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return datetime.now(UTC)


def to_stamp(moment: datetime) -> str:
    """Return an aware moment as text. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; give an aware datetime")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def from_stamp(stamp: str) -> datetime:
    """Return the moment that `to_stamp` wrote."""
    return datetime.fromisoformat(stamp)


def moment_of(as_of: datetime | None) -> str:
    """Return the stamp up to which a view knows: of a moment, or (None) of all there is."""
    return END_OF_TIME if as_of is None else to_stamp(as_of)
