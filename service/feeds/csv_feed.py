"""Readings from CSV: a file, a folder or a glob of them, in long or wide form."""

from __future__ import annotations

import csv
import glob
import math
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from service.feed_log import Problem
from service.feeds.base import Batch, FeedFault
from service.feeds.lines import Line, find_separator, is_text, read_header, read_lines, split
from service.feeds.parsing import UNITS, CellFault, Days, Numbers
from service.quality import Observation, Reason, Rejection, limits_of
from service.reading_values import SeriesPosition
from service.settings import CsvFeed

_SUFFIXES = {".csv", ".txt", ".tsv"}

RowReader = Callable[[Line, list[str]], Iterator[Observation | Rejection]]


class CsvFeedReader:
    """Reads what a `[[feeds]]` section of kind csv describes."""

    def __init__(self, settings: CsvFeed, region_timezone: ZoneInfo) -> None:
        self.name = settings.name
        self.variable = settings.variable
        self._settings = settings
        self._region = region_timezone

    def fetch(self, since: date | None, until: date | None) -> Batch:  # noqa: ARG002 - files hold what they hold
        """Return every row of every file as a stream.

        A file that cannot be used becomes a Problem and does not stop the others.

        Raises FeedFault where there is no file, or the series file or the settings cannot be used.
        """
        settings = self._settings
        units = UNITS[settings.variable]
        if settings.unit not in units:
            raise FeedFault(
                "settings",
                f"feed {self.name}: {settings.unit!r} is no unit of {settings.variable}; "
                f"set 'unit' to one of {', '.join(units)}",
            )
        if settings.series_file is None and settings.variable == "rain":
            raise FeedFault(
                "settings",
                f"feed {self.name}: rain needs to know where its gauges stand; "
                "set 'series_file' to a table of id, lon and lat",
            )
        if len(settings.separator) != 1:
            raise FeedFault(
                "settings", f"feed {self.name}: 'separator' is one character, not {settings.separator!r}"
            )
        files = self._files()
        problems: list[Problem] = []
        series = self._positions(problems) if settings.series_file else None
        return Batch(
            rows=self._rows(files, {item.id for item in series} if series is not None else None),
            series=series,
            problems=tuple(problems),
            limits=limits_of(settings.variable, settings.minimum, settings.maximum),
            latency=settings.latency_hours if settings.assume_history else None,
        )

    def _files(self) -> list[Path]:
        given = self._settings.path
        path = Path(given)
        if path.is_file():
            return [path]
        if path.is_dir():
            found = [item for item in path.iterdir() if item.suffix.lower() in _SUFFIXES]
            what = f"the folder {path} holds no .csv, .txt or .tsv file"
        elif any(letter in given for letter in "*?["):
            found = [Path(item) for item in glob.glob(given, recursive=True)]  # noqa: PTH207 - `given` may be absolute
            what = f"no file matches {given}"
        else:
            raise FeedFault(
                "missing", f"feed {self.name}: no such file or folder: {path}; correct the feed's 'path'"
            )
        own = self._settings.series_file
        files = sorted(
            item
            for item in found
            if item.is_file()
            and not item.name.startswith(".")
            and not (own and own.exists() and item.samefile(own))
        )
        if not files:
            raise FeedFault("missing", f"feed {self.name}: {what}")
        return files

    def _rows(self, files: list[Path], known: set[str] | None) -> Iterator[Observation | Rejection | Problem]:
        for path in files:
            try:
                yield from self._rows_of(path, known)
            except FeedFault as fault:
                yield Problem(fault.reason, str(fault))

    def _rows_of(self, path: Path, known: set[str] | None) -> Iterator[Observation | Rejection]:
        settings = self._settings
        lines = read_lines(path, settings.encoding, self.name)
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
                    detail = f"the column {name!r} is no series of {settings.series_file}"
                    yield Rejection(str(path), header.row, name, Reason.UNKNOWN_SERIES, detail, name)
            columns = [item for item in columns if known is None or item[1] in known]
            read = self._wide(path, names.index(wanted[0]), columns, len(names) - 1)
        for line in lines:
            try:
                yield from read(line, self._cells(line, len(names)))
            except CellFault as fault:
                yield Rejection(str(path), line.row, line.text, fault.reason, fault.detail)

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

    def _long(self, path: Path, at_series: int, at_day: int, at_value: int, last_column: int) -> RowReader:
        file, days, numbers = str(path), self._days(), self._numbers()
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

    def _wide(self, path: Path, at_day: int, columns: list[tuple[int, str]], last_column: int) -> RowReader:
        file, days, numbers = str(path), self._days(), self._numbers()

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
        return Numbers(UNITS[settings.variable][settings.unit], settings.decimal, settings.nodata)

    def _days(self) -> Days:
        settings = self._settings
        try:
            zone = ZoneInfo(settings.timezone) if settings.timezone else self._region
        except (KeyError, ValueError, OSError) as error:
            raise FeedFault(
                "settings",
                f"feed {self.name}: unknown time zone {settings.timezone!r}; use a name such as Europe/Rome",
            ) from error
        return Days(settings.day_format, zone, settings.day_boundary, self._region)

    def _positions(self, problems: list[Problem]) -> tuple[SeriesPosition, ...]:
        """Read the series file. A row that cannot be used becomes a Problem; without any, FeedFault."""
        settings = self._settings
        path = settings.series_file
        assert path is not None  # noqa: S101 - for the type checker
        wanted = [settings.series_id_column, settings.lon_column, settings.lat_column]
        if settings.elevation_column:
            wanted.append(settings.elevation_column)
        try:
            lines = read_lines(path, settings.encoding, self.name)
            header = next(lines)
            separator = find_separator(header.text, settings.separator, wanted)
            names = read_header(header, separator, wanted, path, settings.encoding, self.name)
        except FeedFault as fault:
            raise FeedFault("series_file", f"{fault} (the feed's series_file)") from fault
        places = [names.index(name) for name in wanted]
        found: dict[str, tuple[SeriesPosition, int]] = {}
        contradicted: set[str] = set()
        for line in lines:
            where = f"feed {self.name}: series file {path} row {line.row}"
            try:
                cells = split(line.text, separator)
                position = _position([cells[place].strip() for place in places])
            except (IndexError, ValueError, csv.Error) as error:
                why = "too few cells" if isinstance(error, IndexError) else str(error)
                problems.append(Problem("series_file", f"{where}: {why}; this series is left out"))
                continue
            before = found.setdefault(position.id, (position, line.row))
            if before[0] != position and position.id not in contradicted:
                contradicted.add(position.id)
                problems.append(
                    Problem(
                        "series_file",
                        f"{where}: {position.id!r} stands elsewhere in row {before[1]}; left out",
                    )
                )
        series = tuple(position for position, _ in found.values() if position.id not in contradicted)
        if not series:
            raise FeedFault("series_file", f"feed {self.name}: the series file {path} names no usable series")
        return series


_CUT = "the file ends without a newline, so this row may be cut"


def _position(cells: list[str]) -> SeriesPosition:
    identity, *numbers = cells
    if not identity or not is_text(identity):
        raise ValueError("names no series that can be read")
    try:
        lon, lat, *rest = (float(cell.replace(",", ".")) if cell else math.nan for cell in numbers)
    except ValueError as error:
        raise ValueError(
            f"{identity!r} has a position that is not in numbers: {', '.join(numbers)}"
        ) from error
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(
            f"{identity!r} has lon {lon:g} and lat {lat:g}; degrees of EPSG:4326 are needed "
            "(are they swapped, missing or projected?)"
        )
    elevation = rest[0] if rest and math.isfinite(rest[0]) else None
    return SeriesPosition(identity, lon, lat, elevation)
