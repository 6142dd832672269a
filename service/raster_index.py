"""Days of raster products, indexed in the archive as readings are: nothing is overwritten.

What stands for a day is what stands for readings (service.readings_rule), by digest in place of value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from service.errors import StorageError, UsageError
from service.feed_log import FeedLog, Problem
from service.feeds.base import Grid
from service.quality import Quality
from service.raster_checks import STALE, STALE_DAYS, UNIT, is_wet, unit_factor
from service.raster_files import RasterDay, digest_of_grid, keep_raster, place_of, read_raster
from service.raster_rows import COLUMNS, RasterRow, stamp_or_none, standing, standing_if_believed
from service.reading_values import AddReport, ForecastIssue
from service.sqlite import Database, transaction
from service.stamps import from_stamp, moment_of, to_stamp


@dataclass(frozen=True)
class RasterReport(AddReport):
    """What became of grids: `rejected` counts those kept as suspect, `problems` says why."""

    problems: tuple[Problem, ...] = ()
    newest_day: date | None = None  # of what was given


class RasterIndex:
    """The table raster_day of an archive, and the files that it names, under `folder`/rasters/<feed>/."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._db = database
        self.folder = folder

    # --- writing ---

    def add(
        self,
        feed: str,
        variable: str,
        grids: Iterable[Grid | Problem],
        now: datetime,
        latency: timedelta | None = None,
        watched_since: datetime | None = None,
    ) -> RasterReport:
        """Take in grids, all or none; what is known already adds no row. Problems among them are handed on.

        A grid is known from `now`. With `latency`, the first one of its day is taken to have been known from
        the day's end + latency (the grid's own, where it has one), if that was before the feed was first
        watched. A grid that repeats a wet day before it is kept as suspect, one that a person rejected stays
        rejected.
        """
        watched = min(watched_since or now, now)
        counts: Counter[str] = Counter()
        kept: Counter[tuple[str, str]] = Counter()
        problems: list[Problem] = []
        newest: date | None = None
        place = None
        with self._transaction():
            for grid in grids:
                if isinstance(grid, Problem):
                    problems.append(grid)
                    continue
                before, place = place or self._place_before(feed), place_of(grid)
                if before is not None and place != before:
                    problems.append(
                        Problem(
                            "place",
                            f"feed {feed}: {grid.source}: its pixels lie elsewhere than before: {place}, "
                            f"where it was {before}; right if the region's extent or the product was changed",
                            is_error=False,
                        )
                    )
                newest = max(newest or grid.day, grid.day)
                stood = standing(self._rows_of(feed, grid.day, None, None)) if not grid.issued_at else None
                outcome, rows = self._add(feed, variable, grid, now, latency, watched)
                counts[outcome] += 1
                if outcome == "corrected" and stood is not None:
                    problems += self._other_unit(feed, grid, stood)
                for row in rows:
                    kept[feed, row.quality.value] += 1
                    if row.quality is Quality.SUSPECT:
                        what = f"feed {feed}: {row.source}: {row.day}: {row.reason}; kept as suspect"
                        problems.append(Problem(STALE, what))
            FeedLog(self._db).count(kept)
        return RasterReport(
            counts["new"],
            counts["corrected"],
            counts["unchanged"],
            counts["suspect"],
            tuple(problems),
            newest,
        )

    def _add(
        self,
        feed: str,
        variable: str,
        grid: Grid,
        now: datetime,
        latency: timedelta | None,
        watched: datetime,
    ) -> tuple[str, list[RasterRow]]:
        digest = digest_of_grid(grid)
        issued_at = from_stamp(grid.issued_at) if grid.issued_at else None
        before = self._rows_of(feed, grid.day, issued_at, grid.member)
        same = [row for row in before if row.digest == digest]
        stands = standing(before)
        if stands is not None and (stands.digest, stands.version) == (digest, grid.version):
            keep_raster(self.folder, feed, grid, digest)  # its file may have been lost
            return "unchanged", []
        if same and same[-1].quality is Quality.REJECTED:
            return "unchanged", []
        repeated = None
        if issued_at is None and not any(row.accepted for row in same):
            repeated = self._repeated(feed, grid, digest)
        doubted = bool(same) and same[-1].quality is Quality.SUSPECT and same[-1].version == grid.version
        if repeated is not None and doubted:
            return "unchanged", []
        known_at, assumed = now, False
        if before:
            # Never before the row that it corrects, or that row would go on standing.
            known_at = max(now, before[-1].known_at)
        elif latency is not None and issued_at is None:
            then = from_stamp(grid.ends_at) + (grid.latency or latency)
            known_at, assumed = (then, True) if then < watched else (now, False)
        row = RasterRow(
            number=0,
            feed=feed,
            variable=variable,
            day=grid.day,
            known_at=known_at,
            issued_at=issued_at,
            member=grid.member,
            version=grid.version,
            quality=Quality.GOOD if repeated is None else Quality.SUSPECT,
            reason="" if repeated is None else _stale_reason(repeated),
            known_at_assumed=assumed,
            digest=digest,
            path=keep_raster(self.folder, feed, grid, digest),
            source=grid.source,
        )
        row = self._insert(row)
        if repeated is not None:
            return "suspect", [row]
        return "corrected" if before else "new", [row, *self._doubt_later(row, grid)]

    def _other_unit(self, feed: str, grid: Grid, before: RasterRow) -> Iterator[Problem]:
        """Yield a problem where a day was said again in another unit. Nobody knows which of them is right."""
        try:
            factor = unit_factor(read_raster(self.folder / before.path, before.digest)[0], grid.values)
        except StorageError:
            return  # nothing to compare with
        if factor is not None:
            times = f"{factor:g} times" if factor > 1 else f"1/{1 / factor:g} of"
            yield Problem(
                UNIT,
                f"feed {feed}: {grid.source}: {grid.day} has {times} what was said of it before: its unit or "
                "scale has changed; look at the product, correct the feed's 'unit' or 'scale', and read the "
                "days before again (colluvium ingest --since)",
            )

    def _repeated(self, feed: str, grid: Grid, digest: str) -> date | None:
        """Return the newest day before a wet grid's that had the same values, whatever became of it."""
        if not is_wet(grid.values):
            return None
        since = grid.day - timedelta(days=STALE_DAYS)
        (newest,) = self._db.execute(
            "SELECT max(day) FROM raster_day WHERE feed = ? AND day >= ? AND day < ? AND digest = ?"
            " AND issued_at IS NULL",
            (feed, since.isoformat(), grid.day.isoformat(), digest),
        ).fetchone()
        return date.fromisoformat(newest) if newest else None

    def _doubt_later(self, row: RasterRow, grid: Grid) -> Iterator[RasterRow]:
        """Doubt days that repeat this one, which has come later than they did."""
        if row.issued_at is not None or not is_wet(grid.values):
            return
        last = row.day + timedelta(days=STALE_DAYS)
        later = self._select(
            "feed = ? AND day > ? AND day <= ? AND issued_at IS NULL",
            (row.feed, row.day.isoformat(), last.isoformat()),
        )
        for _, group in groupby(later, key=lambda item: item.day):
            rows = list(group)
            # Not only where it stands: one that a correction has replaced may stand again.
            same = [item for item in rows if item.digest == row.digest]
            if not same or any(item.quality is not Quality.GOOD or item.accepted for item in same):
                continue
            evidence = max(row, rows[-1], key=lambda item: item.known_at)
            doubt = replace(
                same[-1],
                known_at=evidence.known_at,
                known_at_assumed=evidence.known_at_assumed,
                quality=Quality.SUSPECT,
                reason=_stale_reason(row.day),
            )
            yield self._insert(doubt)

    def accept(self, number: int, by: str, reason: str, now: datetime) -> RasterRow:
        """Take a suspect raster as good from now on; a new row, nothing is edited. Raises UsageError."""
        return self._decide(number, by, reason, now, Quality.GOOD)

    def reject(self, number: int, by: str, reason: str, now: datetime) -> RasterRow:
        """Take a raster, suspect or accepted or good, as wrong from now on. Raises UsageError."""
        return self._decide(number, by, reason, now, Quality.REJECTED)

    def _decide(self, number: int, by: str, reason: str, now: datetime, quality: Quality) -> RasterRow:
        if not by.strip() or not reason.strip():
            raise UsageError("a decision needs a name (--by) and a reason (--reason)")
        with self._transaction():
            found = self._select("row = ?", (number,))
            if not found:
                raise UsageError(f"there is no raster day {number}")
            rows = self._rows_of(found[0].feed, found[0].day, found[0].issued_at, found[0].member)
            newest = [row for row in rows if row.digest == found[0].digest][-1]
            if newest.quality is quality:
                why = f" ({newest.reason})" if newest.reason else ""
                raise UsageError(
                    f"raster day {number} of feed {newest.feed}, {newest.day}, is {newest.quality.value} "
                    f"already{why}"
                )
            decision = replace(
                newest,
                known_at=max(now, rows[-1].known_at),
                known_at_assumed=False,
                quality=quality,
                reason=f"{by.strip()}: {reason.strip()}",
            )
            FeedLog(self._db).count({(newest.feed, quality.value): 1})
            return self._insert(decision)

    def _insert(self, row: RasterRow) -> RasterRow:
        columns = ", ".join(COLUMNS[1:])
        places = ", ".join("?" * len(COLUMNS[1:]))
        cursor = self._db.execute(
            f"INSERT INTO raster_day ({columns}) VALUES ({places})",  # noqa: S608
            row.to_columns(),
        )
        return replace(row, number=int(cursor.lastrowid or 0))

    def _transaction(self) -> AbstractContextManager[None]:
        return nullcontext() if self._db.in_transaction else transaction(self._db)

    def _place_before(self, feed: str) -> Any:
        row = self._db.execute(
            "SELECT path, digest FROM raster_day WHERE feed = ? ORDER BY row DESC LIMIT 1", (feed,)
        ).fetchone()
        try:
            return None if row is None else read_raster(self.folder / row[0], row[1])[1]
        except StorageError:
            return None  # nothing to compare with; whoever reads that day is told

    # --- reading ---

    def days(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        feeds: Sequence[str] = (),
    ) -> list[tuple[RasterDay, ...]]:
        """Return, for each of `days`, the raster of each feed that stood at `as_of`; no forecasts.

        Feeds named in `feeds` come first, in that order; the others follow by name.
        """
        found = self._standing_days(variable, days, as_of, "issued_at IS NULL", ())
        order = {name: place for place, name in enumerate(feeds)}
        return [
            tuple(sorted(found.get(day, []), key=lambda item: (order.get(item.feed, len(order)), item.feed)))
            for day in days
        ]

    def forecast_days(
        self, variable: str, days: Sequence[date], issue: ForecastIssue, as_of: datetime | None = None
    ) -> list[RasterDay | None]:
        """Return, for each of `days`, the raster that one issue (and member) of a forecast gave for it."""
        found = self._standing_days(
            variable,
            days,
            as_of,
            "feed = ? AND issued_at = ? AND member IS ?",
            (issue.feed, to_stamp(issue.issued_at), issue.member),
        )
        return [found[day][0] if day in found else None for day in days]

    def _standing_days(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None,
        where: str,
        parameters: tuple[object, ...],
    ) -> dict[date, list[RasterDay]]:
        if not days:
            return {}
        wanted = set(days)
        moment = moment_of(as_of)
        rows = self._select(
            f"variable = ? AND day BETWEEN ? AND ? AND known_at <= ? AND {where}",
            (variable, min(days).isoformat(), max(days).isoformat(), moment, *parameters),
        )
        found: dict[date, list[RasterDay]] = {}
        for (_, day), group in groupby(rows, key=lambda row: (row.feed, row.day)):
            stands = standing(group)
            if stands is not None and day in wanted:
                found.setdefault(day, []).append(self._raster_day(stands))
        return found

    def _raster_day(self, row: RasterRow) -> RasterDay:
        path = self.folder / row.path
        return RasterDay(
            row.feed, row.day, row.digest, row.version, row.known_at, path, row.issued_at, row.member
        )

    def known_days(self, feed: str) -> dict[date, str]:
        """Return the days of a feed for which a raster stands, with their product version, newest first.

        A day whose file is gone is not among them, so that its feed brings it again.
        """
        found = {}
        rows = self._select("feed = ? AND issued_at IS NULL", (feed,))
        for day, group in groupby(rows, key=lambda row: row.day):
            stands = standing(group)
            if stands is not None and (self.folder / stands.path).exists():
                found[day] = stands.version
        return dict(sorted(found.items(), reverse=True))

    def newest_day(self, feed: str | None = None, variable: str | None = None) -> date | None:
        """Return the newest day for which a raster stands, of a feed, a variable, or any."""
        return self._outermost("DESC", feed, variable)

    def first_day(self, feed: str | None = None, variable: str | None = None) -> date | None:
        """Return the oldest day for which a raster stands, of a feed, a variable, or any."""
        return self._outermost("ASC", feed, variable)

    def _outermost(self, order: str, feed: str | None, variable: str | None) -> date | None:
        days = self._db.execute(
            "SELECT DISTINCT feed, day FROM raster_day WHERE (? IS NULL OR feed = ?)"  # noqa: S608
            f" AND (? IS NULL OR variable = ?) AND issued_at IS NULL ORDER BY day {order}, feed",
            (feed, feed, variable, variable),
        )
        for name, text in days:
            day = date.fromisoformat(text)
            if standing(self._rows_of(name, day, None, None)) is not None:
                return day
        return None

    def suspects(self, feed: str | None = None, *, open_only: bool = True) -> list[RasterRow]:
        """Return the suspect rows by feed and day; those that would stand if nobody doubted them, or all."""
        rows = self._select("quality = ? AND (? IS NULL OR feed = ?)", (Quality.SUSPECT.value, feed, feed))
        return [row for row in rows if not open_only or self._is_open(row)]

    def _is_open(self, row: RasterRow) -> bool:
        rows = self._rows_of(row.feed, row.day, row.issued_at, row.member)
        would_stand = standing_if_believed(rows)
        last = [item for item in rows if item.digest == row.digest][-1]
        return last.number == row.number and would_stand is not None and would_stand.digest == row.digest

    def history(self, feed: str, day: date) -> list[RasterRow]:
        """Return every row of a feed's day, oldest knowledge first."""
        return self._select("feed = ? AND day = ?", (feed, day.isoformat()))

    def _rows_of(
        self, feed: str, day: date, issued_at: datetime | None, member: int | None
    ) -> list[RasterRow]:
        return self._select(
            "feed = ? AND day = ? AND issued_at IS ? AND member IS ?",
            (feed, day.isoformat(), stamp_or_none(issued_at), member),
        )

    def _select(self, where: str, parameters: tuple[object, ...]) -> list[RasterRow]:
        """Return rows by feed, day, known_at, row."""
        rows = self._db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM raster_day WHERE {where}"  # noqa: S608
            " ORDER BY feed, day, known_at, row",
            parameters,
        )
        return [RasterRow.of(*row) for row in rows]


def _stale_reason(day: date) -> str:
    return f"{STALE}: the same values as on {day.isoformat()}, though it rained"
