"""One JSON document into readings, as the settings' expressions say."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from service.feeds.base import FeedFault
from service.feeds.compressed import open_unpacked
from service.feeds.expressions import Picker, shown
from service.feeds.parsing import CellFault, Days, Numbers
from service.feeds.points import position_of
from service.feeds.polling import Source
from service.feeds.rating import Ratings
from service.quality import Observation, Reason, Rejection
from service.reading_values import SeriesPosition
from service.settings_json import JsonFeed
from service.stamps import to_stamp


@dataclass(frozen=True)
class Moment:
    """When a fetch happens: what a forecast's issue, and the end of a day, are measured by."""

    now: datetime
    issued_at: str  # of a forecast that does not say itself; "" for readings
    first_day: date | None  # of a forecast that does not say itself


class ReplyReader:
    """Reads documents of one feed."""

    def __init__(
        self, settings: JsonFeed, days: Days, numbers: Numbers, ratings: Ratings | None, moment: Moment
    ) -> None:
        self._settings = settings
        self._days = days
        self._numbers = numbers
        self._ratings = ratings
        self._moment = moment
        self._now = to_stamp(moment.now)
        self._units = {settings.unit, *(name.casefold() for name in settings.unit_names)}
        self._refused = frozenset(settings.quality_refused)
        self._accepted = None if settings.quality_accepted is None else frozenset(settings.quality_accepted)
        self._members = re.compile(settings.member_pattern) if settings.member_pattern else None
        self._pickers = {
            key: Picker(key, expression)
            for key in _EXPRESSIONS
            if isinstance(expression := getattr(settings, key), str)
        }
        self._next = Picker("paging.next", settings.paging.next) if settings.paging.next else None

    def load(self, source: Source) -> Any:
        """Return a document. Raises FeedFault where it is no JSON."""
        feed, label = self._settings.name, source.label
        with (
            open_unpacked(source.path, self._settings.http.max_bytes, label, feed) as raw,
            io.TextIOWrapper(raw, "utf-8-sig") as file,
        ):
            try:
                text = file.read()
            except UnicodeError as error:
                raise FeedFault(
                    "wrong_type", f"feed {feed}: {label} is not text in utf-8: {error}"
                ) from error
        start = " ".join(text[:200].split())[:120]
        if not start:
            raise FeedFault("empty", f"feed {feed}: {label} is empty")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            cut = isinstance(error, json.JSONDecodeError) and (
                error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
            )
            reason, what = ("truncated", "ends in the middle") if cut else ("wrong_type", "is not JSON")
            raise FeedFault(
                reason, f"feed {feed}: {label} {what} ({error}); it begins: {start!r}; fetch it again"
            ) from error

    def groups(self, document: Any, source: Source) -> list[Any]:
        """Return the groups of a document. Raises FeedFault where there is no list of them."""
        picker = self._pickers["groups"]
        groups = picker.find(document)
        if not isinstance(groups, list):
            raise picker.fault(document, source.label)
        if self._settings.series is None and source.places and len(groups) != len(source.places):
            raise FeedFault(
                "shape",
                f"{source.label}: {len(source.places)} places were asked for, "
                f"and {picker} finds {len(groups)}",
            )
        return groups

    def next_page(self, document: Any) -> str | None:
        """Return the address of the next page that a reply names."""
        found = None if self._next is None else self._next.find(document)
        return found if isinstance(found, str) and found else None

    def rows(self, document: Any, source: Source) -> Iterator[Observation | Rejection | FeedFault]:
        """Yield what a document holds. A fault of one group is yielded and spares the others.

        Raises FeedFault where the document as a whole cannot be used.
        """
        for number, group in enumerate(self.groups(document, source)):
            try:
                place = source.places[number] if source.places and self._settings.series is None else None
                yield from self._group(group, place, source.label, number)
            except FeedFault as fault:
                yield fault

    def positions(self, document: Any, source: Source) -> Iterator[SeriesPosition | FeedFault]:
        """Yield where the series of a document stand, by what it says itself."""
        pick = self._pickers
        for group in self.groups(document, source):
            try:
                identity = _text(self._wanted("series", group, source.label))
                try:
                    lowest, highest = self._bound("lowest", group), self._bound("highest", group)
                except CellFault as fault:
                    lowest = highest = None
                    yield FeedFault("series", f"{source.label}: {identity!r}, its operating range: {fault}")
                # A reservoir's level counts wherever it stands; rain needs its place.
                if self._settings.variable == "level" and pick["lon"].find(group) is None:
                    yield SeriesPosition(identity, math.nan, math.nan, None, lowest, highest)
                    continue
                texts = [_text(self._wanted(key, group, source.label)) for key in ("lon", "lat")]
                elevation = _text(pick["elevation"].find(group)) if "elevation" in pick else ""
                place = position_of(identity, texts, (elevation, "", ""))
                yield SeriesPosition(place.id, place.lon, place.lat, place.elevation_m, lowest, highest)
            except ValueError as error:
                yield FeedFault("series", f"{source.label}: {error}; this series is left out")
            except FeedFault as fault:
                yield fault

    def _bound(self, key: str, group: Any) -> float | None:
        if key not in self._pickers:
            return None
        text = _text(self._pickers[key].find(group))
        return self._numbers.read(text) if text else None

    def _wanted(self, key: str, value: Any, where: str) -> Any:
        found = self._pickers[key].find(value)
        if found is None:
            raise self._pickers[key].fault(value, where)
        return found

    def _group(
        self, group: Any, place: SeriesPosition | None, label: str, number: int
    ) -> Iterator[Observation | Rejection]:
        if "series" in self._pickers:
            series = _text(self._wanted("series", group, label))
        elif place is not None:
            series = place.id
            self._check_place(group, place, label)
        else:
            raise FeedFault(
                "settings",
                f"{label}: nothing says which series this is; set 'series', the expression of its id",
            )
        where = f"{label}, series {series!r}"
        self._check_unit(group, where)
        issued_at, first_day = self._issue(group, where)
        version = _text(self._pickers["version"].find(group)) if "version" in self._pickers else ""
        cells = (
            self._columns(group, where) if self._settings.form == "columns" else self._records(group, where)
        )
        for row, cell in enumerate(cells, start=number + 1):
            try:
                day, ends_at = self._days.read(cell.day)
                if first_day is not None:
                    if day < first_day:
                        continue
                elif self._settings.only_ended_days and ends_at > self._now:
                    continue
                value = self._value(cell.value, series)
                if value is None:
                    continue
                self._check_flags(cell.flags, cell.value)
            except CellFault as fault:
                yield Rejection(label, row, cell.raw, fault.reason, fault.detail, series, cell.day)
                continue
            yield Observation(
                series, day, value, ends_at, label, row, cell.raw, version, issued_at, cell.member
            )

    def _records(self, group: Any, where: str) -> Iterator[_Cell]:
        pick = self._pickers
        records = self._wanted("records", group, where)
        if not isinstance(records, list):
            raise pick["records"].fault(group, where)
        for key in ("day", "value"):
            # One record without it is a fault of that record, all of them are one of the reply.
            if records and all(pick[key].lacks(record) for record in records):
                raise pick[key].fault(records[0], where)
        for record in records:
            day, value = pick["day"].find(record), pick["value"].find(record)
            if value is None and pick["value"].lacks(record):
                value = _LACKING
            member = pick["member"].find(record) if "member" in pick else None
            if "member" in pick and (isinstance(member, bool) or not str(member).isdecimal()):
                raise FeedFault(
                    "shape", f"{where}: {pick['member']} finds no member's number: {shown(member)}"
                )
            flags = pick["quality"].find(record) if "quality" in pick else None
            yield _Cell(_text(day), value, flags, None if member is None else int(member))

    def _columns(self, group: Any, where: str) -> Iterator[_Cell]:
        days = self._wanted("day", group, where)
        if not isinstance(days, list):
            raise self._pickers["day"].fault(group, where)
        flags = self._pickers["quality"].find(group) if "quality" in self._pickers else None
        if not isinstance(flags, list):
            flags = [flags] * len(days)
        for member, values in self._arrays(group, where):
            if not isinstance(values, list):
                raise FeedFault("shape", f"{where}: an array of values is expected; there is {shown(values)}")
            if not len(values) == len(days) == len(flags):
                raise FeedFault(
                    "shape", f"{where}: {len(days)} days, {len(values)} values, {len(flags)} flags"
                )
            for day, value, flag in zip(days, values, flags, strict=True):
                yield _Cell(_text(day), value, flag, member)

    def _arrays(self, group: Any, where: str) -> Iterator[tuple[int | None, Any]]:
        if self._members is None:
            yield None, self._wanted("value", group, where)
            return
        arrays = self._wanted("members", group, where)
        found = 0
        for name, values in arrays.items() if isinstance(arrays, dict) else ():
            if match := self._members.fullmatch(name):
                found += 1
                yield int(match[1] or 0), values
        if not found:
            raise FeedFault(
                "shape",
                f"{where}: member_pattern = {self._members.pattern!r} matches nothing; "
                f"there is {shown(arrays)}",
            )

    def _value(self, value: Any, series: str) -> float | None:
        if value is _LACKING:
            raise CellFault(Reason.FIELDS, f"{self._pickers['value']} finds nothing in this record")
        if value is None:
            return None
        if isinstance(value, str):
            number = self._numbers.read(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = self._numbers.take(_float(value))
        else:
            raise CellFault(Reason.NUMBER, f"{shown(value)} is not a number")
        if number is None or self._ratings is None:
            return number
        return self._ratings.level(series, number)

    def _check_flags(self, flags: Any, value: Any) -> None:
        for flag in flags if isinstance(flags, list) else (flags,):
            text = _text(flag)
            if text and (
                text in self._refused or (self._accepted is not None and text not in self._accepted)
            ):
                raise CellFault(Reason.FLAGGED, f"the source doubts {value!r} itself: quality flag {text!r}")

    def _check_unit(self, group: Any, where: str) -> None:
        if "unit_stated" not in self._pickers:
            return
        stated = _text(self._wanted("unit_stated", group, where))
        if stated.casefold() not in self._units:
            raise FeedFault(
                "unit",
                f"{where}: the unit there is {stated!r}, and the feed's is {self._settings.unit!r}; nothing "
                "of it is taken; if that is how it is written there, add it to 'unit_names'",
            )

    def _check_place(self, group: Any, place: SeriesPosition, label: str) -> None:
        """A reply for another place, from a mixed up cache or order, must not count here."""
        if "lon" not in self._pickers or math.isnan(place.lon):
            return
        try:
            lon, lat = (float(self._wanted(key, group, label)) for key in ("lon", "lat"))
        except (TypeError, ValueError) as error:
            raise FeedFault("shape", f"{label}: its position is no number: {error}") from error
        away = max(abs((lon - place.lon + 180) % 360 - 180), abs(lat - place.lat))
        if not away <= self._settings.place_tolerance_degrees:
            raise FeedFault(
                "place",
                f"{label}: asked for {place.id!r} at lon {place.lon:g}, lat {place.lat:g}, and the reply is "
                f"of lon {lon:g}, lat {lat:g}; nothing of it is taken",
            )

    def _issue(self, group: Any, where: str) -> tuple[str, date | None]:
        if "issued_at" not in self._pickers:
            return self._moment.issued_at, self._moment.first_day
        text = _text(self._wanted("issued_at", group, where))
        try:
            moment = (
                datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else datetime.fromisoformat(text)
            )
        except (ValueError, OverflowError, OSError) as error:
            raise FeedFault(
                "shape", f"{where}: {self._pickers['issued_at']} is no moment: {text[:40]!r}"
            ) from error
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment > self._moment.now + _CLOCKS_DIFFER:
            raise FeedFault("shape", f"{where}: issued at {moment.isoformat()}, which is still to come")
        return to_stamp(moment), self._days.region_day(moment)


_CLOCKS_DIFFER = timedelta(hours=1)
_LACKING = object()
_EXPRESSIONS = (
    "groups",
    "records",
    "series",
    "day",
    "value",
    "member",
    "members",
    "unit_stated",
    "quality",
    "version",
    "issued_at",
    "lon",
    "lat",
    "elevation",
    "lowest",
    "highest",
)


@dataclass(frozen=True, slots=True)
class _Cell:
    """What is said of one day, as it came."""

    day: str
    value: Any
    flags: Any
    member: int | None

    @property
    def raw(self) -> str:
        value = "" if self.value is _LACKING else self.value
        return f"{self.day} {value if isinstance(value, str) else json.dumps(value)}"


def _text(value: Any) -> str:
    """Return a scalar as text; blank for null."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise CellFault(Reason.NOT_FINITE, "the number is beyond what can be stored") from error
