"""Rows of the index of raster days, and what stands after them: service.readings_rule, by digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime

from service.quality import Quality
from service.stamps import from_stamp, to_stamp

COLUMNS = (
    "row",
    "feed",
    "variable",
    "day",
    "known_at",
    "issued_at",
    "member",
    "product_version",
    "quality",
    "reason",
    "known_at_assumed",
    "digest",
    "path",
    "source",
)


@dataclass(frozen=True)
class RasterRow:
    """One row of the index: a raster of a day as it became known, good or not."""

    number: int  # 0: not in the index yet
    feed: str
    variable: str
    day: date
    known_at: datetime
    issued_at: datetime | None
    member: int | None
    version: str
    quality: Quality
    reason: str  # why it is not good; of a good one: who accepted it, and why
    known_at_assumed: bool
    digest: str
    path: str  # relative to the archive's folder
    source: str

    @property
    def accepted(self) -> bool:
        """Whether a person took it as good."""
        return self.quality is Quality.GOOD and bool(self.reason)

    @classmethod
    def of(  # one argument for each of COLUMNS
        cls,
        number: int,
        feed: str,
        variable: str,
        day: str,
        known_at: str,
        issued_at: str | None,
        member: int | None,
        version: str,
        quality: str,
        reason: str,
        assumed: int,
        digest: str,
        path: str,
        source: str,
    ) -> RasterRow:
        """Return a row from its columns."""
        return cls(
            number,
            feed,
            variable,
            date.fromisoformat(day),
            from_stamp(known_at),
            from_stamp(issued_at) if issued_at else None,
            member,
            version,
            Quality(quality),
            reason,
            bool(assumed),
            digest,
            path,
            source,
        )

    def to_columns(self) -> tuple[object, ...]:
        """Return the columns, without the row's number."""
        return (
            self.feed,
            self.variable,
            self.day.isoformat(),
            to_stamp(self.known_at),
            stamp_or_none(self.issued_at),
            self.member,
            self.version,
            self.quality.value,
            self.reason,
            self.known_at_assumed,
            self.digest,
            self.path,
            self.source,
        )


def standing(rows: Iterable[RasterRow]) -> RasterRow | None:
    """Return what stands after the rows of one day, which are ordered by known_at, then row."""
    said = list(rows)
    verdict: dict[str, RasterRow] = {}
    for row in said:
        if row.quality is Quality.SUSPECT:
            verdict.setdefault(row.digest, row)
        elif row.quality is Quality.REJECTED or row.accepted:
            verdict[row.digest] = row
    stands = None
    for row in said:
        sound = row.digest not in verdict or verdict[row.digest].quality is Quality.GOOD
        if row.quality is Quality.GOOD and sound:
            stands = row
    return stands


def standing_if_believed(rows: Iterable[RasterRow]) -> RasterRow | None:
    """Return what would stand if no check had doubted anything; rows as in `standing`."""
    said: list[RasterRow] = []
    for row in rows:
        if row.quality is not Quality.SUSPECT:
            said.append(row)
        elif all(item.digest != row.digest for item in said):
            # Doubted when it came in: the doubt is all that there is of it.
            said.append(replace(row, quality=Quality.GOOD, reason=""))
    return standing(said)


def stamp_or_none(moment: datetime | None) -> str | None:
    """Return a moment as the archive writes it; no moment stays none."""
    return to_stamp(moment) if moment else None
