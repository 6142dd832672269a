"""Readings from text: files or replies, in long or wide form, or in columns of fixed width."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from datetime import date

from service.feed_log import Problem
from service.feeds.base import Batch, FeedContext, FeedFault
from service.feeds.fixed_width import fixed_width_reader
from service.feeds.http import Expect, Http
from service.feeds.lines import Line, is_text, read_header, read_lines, split
from service.feeds.local import local_files
from service.feeds.parsing import UNITS, CellFault, Days, Numbers
from service.feeds.points import places_of
from service.feeds.polling import Getter, Source, download, requests_for, zone_of
from service.quality import Observation, Reason, Rejection, limits_of
from service.settings import CsvFeed

_SUFFIXES = {".csv", ".txt", ".tsv", ".dly"}

RowReader = Callable[[Line, list[str]], Iterator[Observation | Rejection]]


class CsvFeedReader:
    """Reads what a `[[feeds]]` section of kind csv describes."""

    def __init__(self, settings: CsvFeed, context: FeedContext, http: Getter | None = None) -> None:
        self.name = settings.name
        self.variable = settings.variable
        self._settings = settings
        self._context = context
        self._http = http

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Return every row of every file or reply as a stream.

        A file that cannot be used becomes a Problem and does not stop the others.

        Raises FeedFault where there is nothing to read, or the series file or the settings cannot be used.
        """
        settings = self._settings
        self._check_settings()
        problems: list[Problem] = []
        places = places_of(settings, self._context.bounds, problems, settings.encoding, settings.separator)
        if settings.path is not None:
            found = local_files(settings.path, _SUFFIXES, settings.series_file, settings.name)
            sources = [Source(str(path), path) for path in found]
        else:
            http = self._http or Http(settings.name, settings.http, self._context)
            requests = requests_for(settings, self._context, places, since, until, problems)
            expect: Expect = "text" if settings.fixed else "csv"
            sources, failed = download(settings, http, requests, expect, self._context.folder)
            problems += failed
        # Ids alone tell nothing of positions: what the archive has of them stays.
        series = None if settings.series_ids else places
        return Batch(
            rows=self._rows(sources, {place.id for place in places} if places is not None else None),
            series=series,
            problems=tuple(problems),
            limits=limits_of(settings.variable, settings.minimum, settings.maximum),
            latency=settings.latency_hours if settings.assume_history else None,
        )

    def _check_settings(self) -> None:
        settings = self._settings
        units = UNITS[settings.variable]
        if settings.unit not in units:
            raise FeedFault(
                "settings",
                f"feed {self.name}: {settings.unit!r} is no unit of {settings.variable}; "
                f"set 'unit' to one of {', '.join(units)}",
            )
        if settings.variable == "rain" and settings.series_file is None and settings.grid_degrees is None:
            raise FeedFault(
                "settings",
                f"feed {self.name}: rain needs to know where its gauges stand; "
                "set 'series_file' to a table of id, lon and lat",
            )
        if len(settings.separator) != 1:
            raise FeedFault(
                "settings", f"feed {self.name}: 'separator' is one character, not {settings.separator!r}"
            )

    def _rows(
        self, sources: list[Source], known: set[str] | None
    ) -> Iterator[Observation | Rejection | Problem]:
        for source in sources:
            try:
                if self._settings.fixed is not None:
                    yield from self._fixed_rows_of(source, known)
                else:
                    yield from self._rows_of(source, known)
            except FeedFault as fault:
                source.forget()
                yield Problem(fault.reason, str(fault))

    def _fixed_rows_of(self, source: Source, known: set[str] | None) -> Iterator[Observation | Rejection]:
        fixed = self._settings.fixed
        assert fixed is not None  # noqa: S101 - for the type checker
        read = fixed_width_reader(fixed, source.label, self._settings.encoding, self._days(), self._numbers())
        for line in self._lines(source):
            try:
                for row in read(line):
                    # The whole world's stations may share a file.
                    if known is None or row.series in known:
                        yield row
            except CellFault as fault:
                yield Rejection(source.label, line.row, line.text, fault.reason, fault.detail)

    def _lines(self, source: Source) -> Iterator[Line]:
        settings = self._settings
        if settings.url is None:
            return read_lines(source.path, settings.encoding, self.name, source.label)
        # A reply is bounded packed and unpacked.
        most = settings.http.max_bytes
        return read_lines(source.path, settings.encoding, self.name, source.label, most)

    def _rows_of(self, source: Source, known: set[str] | None) -> Iterator[Observation | Rejection]:
        settings = self._settings
        path = source.label
        lines = self._lines(source)
        header = next(lines)
        wanted = [settings.day_column]
        if settings.form == "long":
            wanted = [settings.series_column, settings.day_column, settings.value_column]
        names = read_header(header, settings.separator, wanted, path, settings.encoding, self.name)
        if header.last:
            raise FeedFault("empty", f"feed {self.name}: {path} has a header (row {header.row}) and no rows")
        read: RowReader
        if settings.form == "long":
            at_series, at_day, at_value = (names.index(name) for name in wanted)
            read = self._long(path, at_series, at_day, at_value, len(names) - 1)
        else:
            columns = [(index, name) for index, name in enumerate(names) if name and name != wanted[0]]
            if not columns:
                raise FeedFault("columns", f"feed {self.name}: {path} has no column but {wanted[0]!r}")
            for _, name in columns:
                if known is not None and name not in known:
                    detail = f"the column {name!r} is no series of {settings.series_file or 'the feed'}"
                    yield Rejection(path, header.row, name, Reason.UNKNOWN_SERIES, detail, name)
            columns = [item for item in columns if known is None or item[1] in known]
            read = self._wide(path, names.index(wanted[0]), columns, len(names) - 1)
        for line in lines:
            try:
                yield from read(line, self._cells(line, len(names)))
            except CellFault as fault:
                yield Rejection(path, line.row, line.text, fault.reason, fault.detail)

    def _cells(self, line: Line, expected: int) -> list[str]:
        """Split a line into the cells its header promises. Raises CellFault."""
        if not is_text(line.text):
            raise CellFault(
                Reason.ENCODING,
                f"holds bytes that are not {self._settings.encoding}; set the feed's 'encoding'",
            )
        try:
            cells = split(line.text, self._settings.separator)
        except csv.Error as error:
            if line.last:
                raise CellFault(Reason.TRUNCATED, "the last row ends inside a quoted cell") from error
            raise CellFault(Reason.FIELDS, str(error)) from error
        if len(cells) == expected:
            return cells
        counts = f"{len(cells)} cells where the header has {expected}"
        if len(cells) < expected:
            if line.last:
                raise CellFault(Reason.TRUNCATED, f"the last row has {counts}")
            raise CellFault(Reason.FIELDS, counts)
        if any(cell.strip() for cell in cells[expected:]):
            hint = ""
            if self._settings.separator == ",":
                hint = "; are there commas for decimal points, or a comma inside a name without quotes?"
            raise CellFault(Reason.FIELDS, counts + hint)
        return cells[:expected]

    def _long(self, file: str, at_series: int, at_day: int, at_value: int, last_column: int) -> RowReader:
        days, numbers = self._days(), self._numbers()
        ends_with_us = last_column in (at_series, at_day, at_value)

        def read(line: Line, cells: list[str]) -> Iterator[Observation | Rejection]:
            if ends_with_us and not line.ended:
                raise CellFault(Reason.TRUNCATED, _CUT)
            series = cells[at_series].strip()
            try:
                if not series:
                    raise CellFault(Reason.UNKNOWN_SERIES, "names no series")
                day, ends_at = days.read(cells[at_day])
                value = numbers.read(cells[at_value])
            except CellFault as fault:
                yield Rejection(
                    file, line.row, line.text, fault.reason, fault.detail, series, cells[at_day].strip()
                )
                return
            if value is not None:
                yield Observation(series, day, value, ends_at, file, line.row, line.text)

        return read

    def _wide(self, file: str, at_day: int, columns: list[tuple[int, str]], last_column: int) -> RowReader:
        days, numbers = self._days(), self._numbers()

        def read(line: Line, cells: list[str]) -> Iterator[Observation | Rejection]:
            if at_day == last_column and not line.ended:
                raise CellFault(Reason.TRUNCATED, _CUT)
            day, ends_at = days.read(cells[at_day])
            for index, series in columns:
                cell = cells[index]
                try:
                    value = numbers.read(cell)
                    if value is not None and index == last_column and not line.ended:
                        raise CellFault(Reason.TRUNCATED, _CUT)
                except CellFault as fault:
                    yield Rejection(
                        file, line.row, cell, fault.reason, fault.detail, series, cells[at_day].strip()
                    )
                    continue
                if value is not None:
                    yield Observation(series, day, value, ends_at, file, line.row, cell)

        return read

    def _numbers(self) -> Numbers:
        settings = self._settings
        factor = UNITS[settings.variable][settings.unit]
        return Numbers(factor, settings.decimal, settings.nodata, settings.scale)

    def _days(self) -> Days:
        settings, region = self._settings, self._context.region_timezone
        zone = zone_of(settings, region)
        return Days(settings.day_format, zone, settings.day_boundary, region, settings.interval_shift)


_CUT = "the file ends without a newline, so this row may be cut"
