"""Judging what came into the archive: run the checks on what is fresh, and write down what they doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import structlog
from rasterio.crs import CRS

from service.checks.base import Hit
from service.checks.findings import Findings, find
from service.checks.names import CheckName
from service.checks.panel import Panel, Values
from service.errors import StorageError
from service.quality import Quality
from service.raster_sampling import RasterSampler
from service.reading_values import Doubt, Finding, Fresh, Reading, Readings, Series, SeriesDay, Suspect
from service.readings import Archive
from service.settings import Settings
from service.settings_quality import QualitySettings

_log = structlog.get_logger()

VARIABLES = ("rain", "level")
# Days before the judged ones that the checks look back upon: rain the longest block and lag, levels a flat
# line with the habit before it.
CONTEXT_DAYS = {"rain": 30, "level": 125}
# A late reading changes what the days after it are compared with, for so many days.
_REACH_DAYS = 30
# Where rasters come in, the days before are judged again: a satellite's day comes after the gauges'.
_RASTER_DAYS = 5
_BLOCKS_BACK = 9  # contexts: of levels, three years
_MOST_CELLS = 600_000  # days x series in memory at a time
_GEOGRAPHIC = CRS.from_epsg(4326)

Progress = Callable[[int, int], None]
Known = tuple[datetime, bool]  # known_at, and whether it is assumed


@dataclass(frozen=True)
class CheckCount:
    """How many readings of a feed one check doubts; one reading may be doubted by several."""

    feed: str
    check: CheckName
    count: int


@dataclass(frozen=True)
class JudgeReport:
    """What was looked at, and what is doubted since."""

    readings: int  # values on the judged days
    doubted: int
    counts: tuple[CheckCount, ...]  # by feed and check


def ensure_judged(
    archive: Archive, settings: Settings, now: datetime, progress: Progress | None = None
) -> JudgeReport:
    """Judge what no earlier run has judged; for whoever makes windows. Cheap where there is nothing."""
    if archive.newest_row() == archive.judged_row():
        return JudgeReport(0, 0, ())
    return judge(archive, settings, now, progress)


def judge(
    archive: Archive, settings: Settings, now: datetime, progress: Progress | None = None
) -> JudgeReport:
    """Run the checks on all readings that came since the last time; write what they doubt.

    Running it again doubts nothing more. Memory is bounded: days are taken in pieces. A run that is killed
    is redone from its start by the next one. `progress` is told days done and days in all.
    """
    newest = archive.newest_row()
    jobs = list(_jobs(archive, archive.judged_row()))
    earlier = _Earlier.of(archive, now)
    total = sum(len(piece) for _, piece in jobs)
    done = readings = doubted = 0
    counts: Counter[tuple[str, CheckName]] = Counter()
    for variable, piece in jobs:
        panel = load_panel(archive, settings.quality, variable, piece, settings.forcing.rasters)
        if panel is not None:
            readings += int(np.isfinite(panel.value[panel.first :]).sum())
            found = find(panel, settings.quality)
            doubts = list(_doubts(archive, found, settings.forcing.rasters, earlier))
            doubted += archive.doubt(doubts, now)
            counts.update(
                (doubt.at.feed, CheckName(item.check)) for doubt in doubts for item in doubt.findings
            )
        done += len(piece)
        if progress is not None:
            progress(done, total)
    archive.set_judged_row(newest)
    report = JudgeReport(
        readings,
        doubted,
        tuple(CheckCount(feed, check, count) for (feed, check), count in sorted(counts.items())),
    )
    for item in report.counts:
        _log.warning("readings doubted", feed=item.feed, check=item.check.value, count=item.count)
    return report


def _jobs(archive: Archive, after: int) -> Iterator[tuple[str, tuple[date, ...]]]:
    """Yield variable and consecutive days to judge, no more at a time than memory allows."""
    for variable in VARIABLES:
        fresh = archive.fresh(variable, after)
        if fresh is None:
            continue
        newest = archive.newest_day(variable) or fresh.last
        width = max(len(archive.series(variable)), 1)
        at_once = max(_MOST_CELLS // width - CONTEXT_DAYS[variable], CONTEXT_DAYS[variable] // 4)
        again = _RASTER_DAYS if archive.rasters.newest_day(variable=variable) else 0
        for stretch in _stretches(fresh, max(newest, fresh.last), again):
            for start in range(0, len(stretch), at_once):
                yield variable, tuple(stretch[start : start + at_once])


def _stretches(fresh: Fresh, newest: date, again: int) -> Iterator[list[date]]:
    """Yield runs of consecutive days: the fresh ones, `again` days before, and those that they reach."""
    stretch: list[date] = []
    for day in fresh.days:
        begin = day - timedelta(days=again)
        if stretch and begin > stretch[-1] + timedelta(days=1):
            yield stretch
            stretch = []
        begin = max(begin, stretch[-1] + timedelta(days=1)) if stretch else begin
        end = min(day + timedelta(days=_REACH_DAYS), newest)
        stretch += [begin + timedelta(days=n) for n in range((end - begin).days + 1)]
    if stretch:
        yield stretch


def load_panel(
    archive: Archive,
    settings: QualitySettings,
    variable: str,
    judged: Sequence[date],
    rasters: Sequence[str] = (),
) -> Panel | None:
    """Return consecutive days of a variable with their context, doubted values among them.

    None where nothing was read. What a person rejected counts as missing.
    """
    context = CONTEXT_DAYS[variable]
    start = judged[0] - timedelta(days=context)
    days = [start + timedelta(days=n) for n in range(context + len(judged))]
    suspects = archive.suspects(variable, since=days[0], until=days[-1])
    readings = archive.values(variable, days, suspects=frozenset(item.at for item in suspects))
    if not readings.series or not np.isfinite(readings.value).any():
        return None
    series, value = _one_column_each(readings)
    feeds = tuple(dict.fromkeys(item.feed for item in series))

    def numbers(name: str) -> Values:
        values = [getattr(item, name) for item in series]
        return np.array([np.nan if item is None else item for item in values], dtype=np.float64)

    lon, lat = numbers("lon"), numbers("lat")
    return Panel(
        variable=variable,
        start=start,
        first=context,
        feeds=feeds,
        rules=tuple(settings.rules(variable, feed) for feed in feeds),
        feed=np.array([feeds.index(item.feed) for item in series], dtype=np.intp),
        ids=tuple(item.id for item in series),
        value=value,
        lon=lon,
        lat=lat,
        elevation_m=numbers("elevation_m"),
        lowest=numbers("lowest"),
        highest=numbers("highest"),
        satellite=_satellite(archive, variable, days, rasters, lon, lat),
        believed=_believed(archive, variable, series, value[:context], start, suspects),
    )


def _believed(
    archive: Archive,
    variable: str,
    series: Sequence[Series],
    context: Values,
    start: date,
    suspects: Sequence[Suspect],
) -> Values:
    """Return the last value that stood before the context, of series whose first in it is doubted: (n,).

    Else that value would be the reference: one mistake would, as it leaves the context, put the right ones
    after it in doubt, and a fault that nobody acts on be taken for the usual state.
    """
    found = np.full(len(series), np.nan)
    doubted = {(item.at.feed, item.at.series, item.at.day) for item in suspects}
    said = np.isfinite(context)
    open_columns = {
        (item.feed, item.id): column
        for column, item in enumerate(series)
        if said[:, column].any()
        and (item.feed, item.id, start + timedelta(days=int(said[:, column].argmax()))) in doubted
    }
    for _ in range(_BLOCKS_BACK):
        if not open_columns:
            break
        start -= _days(context)
        days = [start + timedelta(days=n) for n in range(len(context))]
        older, value = _one_column_each(archive.values(variable, days))
        for column, item in enumerate(older):
            stood = value[np.isfinite(value[:, column]), column]
            if len(stood) and (item.feed, item.id) in open_columns:
                found[open_columns.pop((item.feed, item.id))] = stood[-1]
    return found


def _days(rows: Values) -> timedelta:
    return timedelta(days=len(rows))


def _one_column_each(readings: Readings) -> tuple[list[Series], Values]:
    """Join the columns of a series that moved; where it stands now counts."""
    columns: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(readings.series):
        columns.setdefault((item.feed, item.id), []).append(index)
    value = np.full((len(readings.days), len(columns)), np.nan)
    for column, own in enumerate(columns.values()):
        for index in own:
            np.fmax(value[:, column], readings.value[:, index], out=value[:, column])
    return [readings.series[own[-1]] for own in columns.values()], value


def _satellite(
    archive: Archive, variable: str, days: Sequence[date], rasters: Sequence[str], lon: Values, lat: Values
) -> Values | None:
    if variable != "rain":
        return None
    products = archive.rasters.days(variable, days, feeds=tuple(rasters))
    placed = np.isfinite(lon) & np.isfinite(lat)
    if not any(products) or not placed.any():
        return None
    found = np.full((len(days), len(lon)), np.nan)
    sampler = RasterSampler(np.stack([lon[placed], lat[placed]], axis=1), _GEOGRAPHIC)
    for row, of_day in enumerate(products):
        for product in reversed(of_day):  # the preferred one last, over the others
            try:
                values = sampler.sample(product.values, product.transform, product.crs).values
            except StorageError as error:
                # Whoever makes windows of it is stopped; the checks have their other references.
                _log.warning("raster not used by the checks", feed=product.feed, problem=str(error))
                continue
            found[row, placed] = np.where(np.isfinite(values), values, found[row, placed])
    return found


@dataclass(frozen=True)
class _Earlier:
    """Readings that were used undoubted before this run: what is said of them now was not known then."""

    judged: int  # rows up to this one were found sound by an earlier run, until `fresh` readings came
    fresh: datetime
    unchecked: int  # rows up to this one came before there were checks, which run `now`
    now: datetime

    @classmethod
    def of(cls, archive: Archive, now: datetime) -> _Earlier:
        after = archive.judged_row()
        return cls(after, archive.fresh_since(after) or now, archive.unchecked_row(), now)

    def known(self, row: int, known: Known) -> Known:
        """Return since when a doubt of a row can have been had, whose evidence is known since `known`."""
        if row <= self.unchecked:
            return max(known, (self.now, False))
        return max(known, (self.fresh, known[1])) if row <= self.judged else known


def _doubts(
    archive: Archive, findings: Findings, rasters: Sequence[str], earlier: _Earlier
) -> Iterator[Doubt]:
    """Yield what is said for the first time of values on which no person has decided."""
    panel = findings.panel
    evidence = _Evidence(archive, panel, rasters)
    days = [panel.day(row) for row, _ in findings.found]
    said = {}
    if days:
        for item in archive.suspects(panel.variable, since=min(days), until=max(days)):
            said[item.at, item.value] = {finding.check for finding in item.findings}
    for cell, hits in sorted(findings.found.items()):
        rows = evidence.rows_of(cell)
        if not rows:
            continue
        reading = rows[-1]
        at = SeriesDay(reading.feed, reading.variable, reading.series, reading.day)
        known = said.get((at, reading.value), set())
        new = [(check, hit) for check, hit in hits if check.name.value not in known]
        if new:
            # From the earliest evidence on, and never before the reading itself is known.
            proven = min(evidence.known(hit) for _, hit in new)
            known_at, assumed = earlier.known(min(item.row for item in rows), proven)
            yield Doubt(
                at,
                reading.value,
                tuple(Finding(check.name.value, hit.detail, check.extreme) for check, hit in new),
                known_at,
                assumed,
            )


class _Evidence:
    """Since when the readings behind a doubt are known."""

    def __init__(self, archive: Archive, panel: Panel, rasters: Sequence[str]) -> None:
        self._archive = archive
        self._panel = panel
        self._rasters = rasters
        self._histories: dict[tuple[int, int], list[Reading]] = {}
        self._of_cell: dict[tuple[int, int], Known | None] = {}
        self._of_group: dict[int, Known | None] = {}
        self._of_day: dict[int, Known | None] = {}

    def rows_of(self, cell: tuple[int, int]) -> list[Reading]:
        """Return the good rows that a doubt is about; none where a person has accepted their value."""
        value = np.float32(self._panel.value[cell])
        rows = [item for item in self._history(cell) if np.float32(item.value) == value]
        good = [item for item in rows if item.quality is Quality.GOOD]
        return [] if any(item.reason for item in good) else good

    def known(self, hit: Hit) -> Known:
        """Return the moment from which all that a hit rests on is known."""
        group = id(hit.evidence)  # shared by the hits of a page; the findings keep it alive
        if group not in self._of_group:
            known = [self._cell(cell) for cell in hit.evidence]
            self._of_group[group] = max(filter(None, known), default=None)
        parts = [self._cell(hit.cell), self._of_group[group]]
        if hit.satellite:
            parts += [self._day(row) for row in {hit.row, *(row for row, _ in hit.evidence)}]
        return max(item for item in parts if item is not None)

    def _cell(self, cell: tuple[int, int]) -> Known | None:
        if cell not in self._of_cell:
            value = np.float32(self._panel.value[cell])
            rows = [item for item in self._history(cell) if np.float32(item.value) == value]
            self._of_cell[cell] = _known(rows[0]) if rows else None
        return self._of_cell[cell]

    def _day(self, row: int) -> Known | None:
        if row not in self._of_day:
            products = self._archive.rasters.days("rain", [self._panel.day(row)], feeds=tuple(self._rasters))
            self._of_day[row] = max(((item.known_at, False) for item in products[0]), default=None)
        return self._of_day[row]

    def _history(self, cell: tuple[int, int]) -> list[Reading]:
        if cell not in self._histories:
            row, column = cell
            panel = self._panel
            feed = panel.feeds[panel.feed[column]]
            rows = self._archive.history(feed, panel.variable, panel.ids[column], panel.day(row))
            self._histories[cell] = [item for item in rows if item.issued_at is None]
        return self._histories[cell]


def _known(reading: Reading) -> Known:
    assert reading.known_at is not None  # noqa: S101 - a row of the archive has one
    return reading.known_at, reading.known_at_assumed
