"""The Kerala dams as they were published, and an archive that is fed with them day after day."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from pydantic import TypeAdapter

from service.feeds.base import Feed
from service.feeds.csv_feed import CsvFeedReader
from service.feeds.json_feed import JsonFeedReader
from service.ingest import FeedReport, ingest
from service.progress import ProgressCallback
from service.quality import DEFAULT_LIMITS, Quality
from service.readings import Archive
from service.settings_feeds import FeedSettings
from tests.fix_feeds import context_for, region_settings
from tests.fix_json import json_settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DATA = SHARED / "kerala"
ZONE = "Asia/Kolkata"
VARIABLES = ("rain", "level")
VIEW_EVERY, VIEW_DAYS = 60, 40  # every so many ingests, the window of so many days is kept

Key = tuple[str, str, date]  # variable, dam, day


class Record(NamedTuple):
    """One dam on one day, as it was published; `day` is None where nobody can say which is meant."""

    dam: str
    known: date  # the day on which it appears
    day: date | None
    text: dict[str, str]  # by variable
    source: dict[str, str]  # all of it


@dataclass
class Source:
    """What was published, by hand, and how it is laid before the feeds."""

    name: str
    records: list[Record]  # oldest first
    full_level: dict[str, float]  # m, by dam
    dams: dict[str, dict[str, Any]]  # head of the file, or first row, by dam

    def values(self) -> dict[Key, float]:
        """Return what a day of a dam said, believable or not; once each, or KeyError."""
        found: dict[Key, float] = {}
        for record in self.records:
            for variable, text in record.text.items():
                if record.day is None or text == "":
                    continue
                key = variable, record.dam, record.day
                if key in found:
                    raise KeyError(f"{key} is published twice")
                found[key] = float(text)
        return found


def read_raw() -> Source:
    """Return the two files; a record whose day is broken came with the one below it, else above it."""
    records: list[Record] = []
    full, dams = {}, {}
    for path in sorted(DATA.glob("dam_*.json")):
        file = json.loads(path.read_text("utf-8"))
        name = file["name"]
        dams[name] = {key: value for key, value in file.items() if key != "data"}
        full[name] = float(file["MWL"])
        known = next(filter(None, (day_of(item["date"]) for item in reversed(file["data"]))))
        for item in reversed(file["data"]):
            day = day_of(item["date"])
            known = day or known
            records.append(
                Record(name, known, day, {"rain": item["rainfall"], "level": item["waterLevel"]}, item)
            )
    return Source("raw", sorted(records, key=lambda item: item.known), full, dams)


def day_of(text: str) -> date | None:
    """Return the day of DD.MM.YYYY, a leading zero left out or not; None for anything else."""
    parts = text.split(".")
    if len(parts) != 3 or len(parts[2]) != 4:
        return None
    return date(int(parts[2]), int(parts[1]), int(parts[0]))


def read_table() -> Source:
    """Return the tidy table."""
    with (DATA / "dams_daily.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    records = []
    for row in rows:
        day = date.fromisoformat(row["date"])
        records.append(
            Record(row["dam"], day, day, {"rain": row["rain_mm"], "level": row["water_level"]}, row)
        )
    dams: dict[str, dict[str, Any]] = {}
    for row in rows:
        dams.setdefault(row["dam"], row)
    full = {name: float(row["FRL"]) for name, row in dams.items()}
    return Source("table", sorted(records, key=lambda item: item.known), full, dams)


@dataclass
class Replay:
    """An archive that is fed day after day, at noon UTC of the day."""

    source: Source
    folder: Path
    now: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    reports: list[FeedReport] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of each ingest
    views: dict[tuple[str, date], dict[Key, float]] = field(default_factory=dict)
    delivered: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Open the archive and the feeds."""
        self.pages = self.folder / "pages"
        self.pages.mkdir(parents=True)
        self.settings = region_settings(self.folder, ZONE)
        self.archive = Archive(self.folder / "readings.sqlite", lambda: self.now)
        context = context_for(ZoneInfo(ZONE), self.folder / "replies", lambda: self.now)
        self.feeds: list[Feed] = []
        if self.source.name == "raw":
            for variable in VARIABLES:
                section = json_settings(
                    preset=f"kerala_dams_{variable}", name=variable, url="", path=str(self.pages)
                )
                self.feeds.append(JsonFeedReader(section, context))
            return
        places = self.folder / "dams.csv"
        with places.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("dam", "lat", "lon", "FRL"))
            writer.writerows([row[key] for key in ("dam", "lat", "lon", "FRL")] for row in self._heads())
        for variable, unit, column in (("rain", "mm", "rain_mm"), ("level", "m", "water_level")):
            section = {
                "name": variable,
                "variable": variable,
                "path": str(self.pages / "page.csv"),
                "unit": unit,
                "series_column": "dam",
                "day_column": "date",
                "value_column": column,
                "nodata": [""],
                "series_file": places,
                "series_id_column": "dam",
                "highest_column": "FRL",
            }
            settings: Any = TypeAdapter(FeedSettings).validate_python(section)
            self.feeds.append(CsvFeedReader(settings, context))

    def _heads(self) -> list[dict[str, Any]]:
        return list(self.source.dams.values())

    def run(self, days: list[date], page_days: int, progress: ProgressCallback) -> None:
        """Ingest on every day what the page of that day held: `page_days` back, or all (0)."""
        records, first, known = self.source.records, 0, 0
        for number, day in enumerate(days):
            while known < len(records) and records[known].known <= day:
                known += 1
            while page_days and first < known and records[first].known < day - timedelta(days=page_days):
                first += 1
            self._write_page(records[first:known])
            self.now = noon(day)
            began = time.perf_counter()
            report = ingest(self.settings, self.archive, self.now, feeds=self.feeds)
            self.seconds.append(time.perf_counter() - began)
            self.reports += report.feeds
            if number % VIEW_EVERY == 0:
                for variable in VARIABLES:
                    self.views[variable, day] = self.standing(variable, view_days(day))
            progress(number + 1, len(days))

    def _write_page(self, shown: list[Record]) -> None:
        for record in shown:
            for variable, text in record.text.items():
                self.delivered[f"{variable} {'blank' if text == '' else 'given'}"] += 1
        if self.source.name == "raw":
            for name, head in self.source.dams.items():
                page = [record.source for record in reversed(shown) if record.dam == name]
                (self.pages / f"{name}.json").write_text(json.dumps(head | {"data": page}), "utf-8")
            return
        with (self.pages / "page.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(self._heads()[0]))
            writer.writeheader()
            writer.writerows(record.source for record in shown)

    def standing(self, variable: str, days: list[date], as_of: datetime | None = None) -> dict[Key, float]:
        """Return what stands."""
        read = self.archive.values(variable, days, as_of)
        found = np.argwhere(np.isfinite(read.value))
        return {(variable, read.series[s].id, days[d]): float(read.value[d, s]) for d, s in found}


def noon(day: date) -> datetime:
    """Return when a day's ingest runs."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def view_days(day: date) -> list[date]:
    """Return the days that a window made on a day would look at."""
    return [day - timedelta(days=back) for back in range(VIEW_DAYS, -1, -1)]


@contextmanager
def replayed(
    source: Source, folder: Path, days: list[date], page_days: int, progress: ProgressCallback
) -> Iterator[Replay]:
    """Replay a source and close its archive in the end."""
    replay = Replay(source, folder)
    try:
        replay.run(days, page_days, progress)
        yield replay
    finally:
        replay.archive.close()


def landing(replay: Replay, variable: str, expected: dict[Key, float]) -> dict[str, int]:
    """Compare one variable with what was published; see `lost` and `twice`."""
    own = {key: value for key, value in expected.items() if key[0] == variable}
    log = replay.archive.log.rejections(variable, limit=1_000_000)
    turned_away = {(variable, item.series, item.day) for item in log}
    limits = DEFAULT_LIMITS[variable]
    counts: Counter[str] = Counter()
    for key, value in own.items():
        history = replay.archive.history(variable, variable, key[1], key[2])
        good = [item for item in history if item.quality is Quality.GOOD and not item.reason]
        counts["landed"] += len(good) == 1 and good[0].value == value
        counts["twice"] += len(good) > 1
        counts["changed"] += len(good) == 1 and good[0].value != value
        if not good:
            listed = (variable, key[1], key[2].isoformat()) in turned_away
            outside = not limits.minimum <= value <= limits.maximum
            counts["rejected" if listed and outside else "lost"] += 1
    reports = [report for report in replay.reports if report.variable == variable]
    unasked = sum(report.new for report in reports) - counts["landed"] - counts["changed"]
    names = ("landed", "rejected", "lost", "twice", "changed")
    return {
        "records": len(replay.source.records),
        "blank": sum(item.text[variable] == "" for item in replay.source.records),
        "of a day nobody can tell": sum(item.day is None for item in replay.source.records),
        "readings": len(own),
        **{name: counts[name] for name in names},
        "never published, yet in the archive": unasked,
        "corrected": sum(report.corrected for report in reports),
        "deliveries of a value": replay.delivered[f"{variable} given"],
        "deliveries of a blank": replay.delivered[f"{variable} blank"],
        "deliveries known already": sum(report.unchanged for report in reports),
        "deliveries rejected": sum(report.rejected for report in reports),
    }


def is_whole(found: dict[str, Any]) -> bool:
    """Whether every reading landed once, or was rejected with a reason that holds."""
    bad = ("lost", "twice", "changed", "corrected", "never published, yet in the archive")
    return not any(found[variable][name] for variable in VARIABLES for name in bad)
