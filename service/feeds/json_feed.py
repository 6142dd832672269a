"""Readings and forecasts from JSON: an HTTP API, polled place by place or in bulk, or files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from service.feed_log import Problem
from service.feeds.base import Batch, FeedContext, FeedFault
from service.feeds.http import Http
from service.feeds.http_secrets import Masker
from service.feeds.json_reply import Moment, ReplyReader
from service.feeds.local import local_files
from service.feeds.parsing import UNITS, Days, Numbers
from service.feeds.points import places_of
from service.feeds.polling import (
    Getter,
    Request,
    Source,
    ask,
    bare,
    download,
    next_address,
    requests_for,
    with_feed,
    zone_of,
)
from service.feeds.rating import read_ratings
from service.quality import Observation, Rejection, limits_of
from service.reading_values import SeriesPosition
from service.settings_json import JsonFeed
from service.stamps import to_stamp

_SUFFIXES = {".json", ".geojson"}


class JsonFeedReader:
    """Reads what a `[[feeds]]` section of kind json describes."""

    def __init__(self, settings: JsonFeed, context: FeedContext, http: Getter | None = None) -> None:
        self.name = settings.name
        self.variable = settings.variable
        self._settings = settings
        self._context = context
        self._http = http

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Return every row of every reply or file as a stream.

        A reply that cannot be used becomes a Problem and does not stop the others.

        Raises FeedFault where there is nothing to read, or the settings cannot be used.
        """
        settings = self._settings
        self._check_settings()
        problems: list[Problem] = []
        places = places_of(settings, self._context.bounds, problems)
        reader = self._reader()
        if settings.path is not None:
            found = local_files(settings.path, _SUFFIXES, settings.series_file, self.name)
            sources = [Source(str(path), path) for path in found]
        else:
            http = self._http or Http(settings.name, settings.http, self._context)
            requests = requests_for(settings, self._context, places, since, until, problems)

            def pages(request: Request, first: Source) -> Iterator[Source]:
                return self._pages(reader, http, request, first)

            sources, failed = download(settings, http, requests, "json", self._context.folder, pages)
            problems += failed
        series = places
        if settings.lon is not None and settings.series is not None and settings.series_file is None:
            series = self._positions(reader, sources, problems)
        elif settings.series_ids:
            # Ids alone tell nothing of positions: what the archive has of them stays.
            series = None
        return Batch(
            rows=self._rows(reader, sources),
            series=series,
            problems=tuple(problems),
            limits=limits_of(settings.variable, settings.minimum, settings.maximum),
            latency=settings.latency_hours if settings.assume_history and not settings.forecast else None,
        )

    def _check_settings(self) -> None:
        settings = self._settings
        units = UNITS[settings.variable]
        if settings.unit not in units and settings.rating_file is None:
            raise FeedFault(
                "settings",
                f"feed {self.name}: {settings.unit!r} is no unit of {settings.variable}; "
                f"set 'unit' to one of {', '.join(units)}",
            )
        if settings.rating_file is not None and settings.variable != "level":
            raise FeedFault(
                "settings", f"feed {self.name}: a 'rating_file' makes levels, not {settings.variable}"
            )
        placed = settings.series_file or settings.grid_degrees or (settings.lon and settings.series)
        if settings.variable == "rain" and not placed:
            raise FeedFault(
                "settings",
                f"feed {self.name}: rain needs to know where it is measured; set 'series_file' to a table of "
                "id, lon and lat, or 'grid_degrees', or the expressions 'lon' and 'lat' with 'series'",
            )

    def _reader(self) -> ReplyReader:
        settings, region = self._settings, self._context.region_timezone
        zone = zone_of(settings, region)
        days = Days(settings.day_format, zone, settings.day_boundary, region, settings.interval_shift)
        factor = 1.0 if settings.rating_file else UNITS[settings.variable][settings.unit]
        numbers = Numbers(factor, settings.decimal, settings.nodata, settings.scale)
        ratings = read_ratings(settings.rating_file, self.name) if settings.rating_file else None
        now = self._context.clock()
        issue = _issue_of(now, settings.issue_hours) if settings.forecast else None
        moment = Moment(
            now=now,
            issued_at=to_stamp(issue) if issue else "",
            first_day=days.region_day(issue) if issue else None,
        )
        return ReplyReader(settings, days, numbers, ratings, moment)

    def _pages(self, reader: ReplyReader, http: Getter, request: Request, first: Source) -> Iterator[Source]:
        """Yield the replies that follow a first one. Raises FeedFault where they do not end."""
        paging = self._settings.paging
        if paging.next is None and paging.parameter is None:
            return
        source, current, seen = first, request, {request.url}
        for number in range(1, paging.at_most + 1):
            document = self._loaded(reader, source)
            if paging.next is not None:
                found = reader.next_page(document)
                if found is None:
                    return
                address = next_address(current.url, found, self._settings)
                if address in seen:
                    raise FeedFault(
                        "paging", f"feed {self.name}: {bare(address)} names a page that was read as the next"
                    )
                seen.add(address)
                current = Request(address, {}, request.places)
            else:
                count = len(reader.groups(document, source))
                if count == 0 or (paging.page_size is not None and count < paging.page_size):
                    return
                value = str(paging.first + number * paging.step)
                assert paging.parameter is not None  # noqa: S101 - for the type checker
                current = Request(request.url, {**request.params, paging.parameter: value}, request.places)
            if number == paging.at_most:
                break
            source = ask(http, current, "json")
            yield source
        raise FeedFault(
            "paging",
            f"feed {self.name}: {request.label} goes on after {paging.at_most} pages; either ask for fewer "
            "days or places, or raise paging.at_most",
        )

    def _loaded(self, reader: ReplyReader, source: Source) -> object:
        try:
            return reader.load(source)
        except FeedFault:
            source.forget()
            raise

    def _rows(
        self, reader: ReplyReader, sources: list[Source]
    ) -> Iterator[Observation | Rejection | Problem]:
        mask = self._masker()
        for source in sources:
            faults = _Faults(self.name, source.label, mask)
            try:
                for row in reader.rows(self._loaded(reader, source), source):
                    if isinstance(row, FeedFault):
                        faults.note(row)
                    else:
                        yield row
            except FeedFault as fault:
                source.forget()
                faults.note(fault)
            yield from faults.problems()

    def _positions(
        self, reader: ReplyReader, sources: list[Source], problems: list[Problem]
    ) -> tuple[SeriesPosition, ...]:
        """Return where the series stand by the replies. A reply of no use is told of with its rows."""
        found: dict[str, SeriesPosition] = {}
        mask = self._masker()
        for source in sources:
            faults = _Faults(self.name, source.label, mask)
            try:
                for place in reader.positions(self._loaded(reader, source), source):
                    if isinstance(place, FeedFault):
                        faults.note(place)
                    else:
                        found.setdefault(place.id, place)
            except FeedFault:
                continue
            problems += faults.problems()
        return tuple(found.values())

    def _masker(self) -> Masker:
        """A service may repeat our key in its reply."""
        http = self._settings.http
        secrets = [secret.read() for secret in (http.token, http.password) if secret is not None]
        return Masker(secrets, http.token_parameter)


class _Faults:
    """The faults of one document: one Problem a reason, with the first of them and their number."""

    def __init__(self, feed: str, label: str, mask: Masker) -> None:
        self._feed = feed
        self._label = label
        self._mask = mask
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = {}

    def note(self, fault: FeedFault) -> None:
        self._first.setdefault(fault.reason, str(fault))
        self._count[fault.reason] = self._count.get(fault.reason, 0) + 1

    def problems(self) -> Iterator[Problem]:
        for reason, message in self._first.items():
            others = self._count[reason] - 1
            more = f" (and {others} more parts of {self._label})" if others else ""
            yield Problem(reason, self._mask(with_feed(self._feed, message) + more))


def _issue_of(now: datetime, hours: int) -> datetime:
    """Return the moment of fetching, cut to whole issues of so many hours from midnight UTC."""
    moment = now.astimezone(UTC)
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(
        hours=moment.hour // hours * hours
    )
