"""Seconds to read the archive of readings when it is large, beside a plain way of reading the same.

    python tests/benchmarks/bench_archive.py [--rows 50000000] [--folder FOLDER] [--json]

The archive holds 5000 days of `rows` / 5000 gauges, taken in day by day as in operation: one reading in fifty
was corrected, one in two thousand is suspect. Beside them lie 10 issues of a forecast with 51 members. A
figure is the second of two runs; `cold` is the first, after the system was told to forget the file. The plain
way takes the same rows through Python one by one and keeps them by series and day in a dictionary.

50 million readings take 11 GB of the temporary folder while they are made, 7 GB then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np

from service.quality import Quality
from service.reading_values import Doubt, Finding, ForecastIssue, Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from service.stamps import to_stamp

DAYS = 5000
FIRST = date(2012, 1, 1)
LAST = FIRST + timedelta(days=DAYS - 1)
ENDS = (FIRST.isoformat(), LAST.isoformat())
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = [LAST - timedelta(days=back) for back in range(29, -1, -1)]
CORRECTED_EACH, SUSPECT_EACH = 50, 2000
ISSUES, MEMBERS, LEADS, POINTS = 10, 51, 4, 50
GOAL_S = 1.0  # of the window


@click.command()
@click.option("--rows", default=50_000_000, show_default=True, help="Readings.")
@click.option("--folder", type=click.Path(path_type=Path), help="For the archive; default: a temporary one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--measure-only", is_flag=True, hidden=True)
def main(rows: int, folder: Path | None, as_json: bool, measure_only: bool) -> None:
    """Measure the archive."""
    if measure_only and folder is not None:
        click.echo(json.dumps(measure(folder / "readings.sqlite")))
        return
    with tempfile.TemporaryDirectory(prefix="bench-archive-", dir=folder) as name:
        begin = time.perf_counter()
        make_archive(Path(name) / "readings.sqlite", max(1, rows // DAYS))
        made_s = time.perf_counter() - begin
        # Another process, so that its memory is that of reading alone.
        command = [sys.executable, __file__, "--measure-only", "--folder", name]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found["made_s"] = round(made_s)
    if as_json:
        click.echo(json.dumps(found))
        return
    for what, value in found.items():
        click.echo(f"{what:>34}  {value:,}" if isinstance(value, int | float) else f"{what:>34}  {value}")


def make_archive(path: Path, series: int) -> None:
    """Write the archive. Indexes are built at the end: the same ones, in a fraction of the time."""
    with Archive(path, lambda: NOW) as archive:
        archive.add_series(
            "gauges", "rain", [SeriesPosition(f"g{n}", 70 + n / series, 20.0) for n in range(series)], NOW
        )
        archive.add_series("dams", "level", [SeriesPosition(f"d{n}", 70.0, 20.0) for n in range(10)], NOW)
        points = [SeriesPosition(f"p{n}", 70.0 + n / POINTS, 20.0) for n in range(POINTS)]
        archive.add_series("forecast", "rain", points, NOW)
        database = archive._db
        indexes = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'reading'"
        ).fetchall()
        for pragma in ("synchronous = OFF", "foreign_keys = OFF", "cache_size = -1000000"):
            database.execute(f"PRAGMA {pragma}")
        for name, _ in indexes:
            database.execute(f"DROP INDEX {name}")
        for start in range(0, DAYS, 100):
            with archive.transaction():
                for n in range(start, min(start + 100, DAYS)):
                    _add_day(archive, FIRST + timedelta(days=n))
        for _, sql in indexes:
            database.execute(sql)
        database.execute(
            "UPDATE series SET first_day = ?, last_day = ? WHERE feed IN ('gauges', 'dams')", ENDS
        )
        _add_doubts(archive)
        _add_forecasts(archive)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _add_day(archive: Archive, day: date) -> None:
    known = datetime(day.year, day.month, day.day, 6, tzinfo=UTC) + timedelta(days=1)
    insert = (
        "INSERT INTO reading (series, day, value, known_at, product_version, quality, reason,"
        " known_at_assumed) SELECT number, ?, {value}, ?, '', 'good', '', 0 FROM series"
        " WHERE feed IN ('gauges', 'dams') {some}"
    )
    # Halves: a value that is doubted below is never the one that stood before it.
    value = "(number * 7919 + ?) % 400 / 4.0"
    archive._db.execute(
        insert.format(value=value, some=""), (day.isoformat(), day.toordinal(), to_stamp(known))
    )
    archive._db.execute(
        insert.format(value=f"{value} + 0.1", some=f"AND (number + ?) % {CORRECTED_EACH} = 0"),
        (day.isoformat(), day.toordinal(), to_stamp(known + timedelta(days=2)), day.toordinal()),
    )


def _add_doubts(archive: Archive) -> None:
    findings = (Finding("step", "more than neighbours", extreme=True),)
    rows = archive._db.execute(
        "SELECT s.feed, s.variable, s.id, r.day, r.value FROM reading r JOIN series s ON s.number = r.series"
        " WHERE r.row % ? = 0",
        (SUSPECT_EACH,),
    ).fetchall()
    archive.doubt(
        (
            Doubt(SeriesDay(feed, variable, series, date.fromisoformat(day)), value, findings)
            for feed, variable, series, day, value in rows
        ),
        NOW,
    )


def _add_forecasts(archive: Archive) -> None:
    for back in range(ISSUES):
        issued_at = NOW - timedelta(days=back)
        days = [LAST + timedelta(days=lead - back) for lead in range(LEADS)]
        archive.add(
            (
                Reading("forecast", "rain", f"p{point}", day, float(point), NOW, issued_at, member)
                for member in range(MEMBERS)
                for day in days
                for point in range(POINTS)
            ),
            NOW,
        )


def measure(path: Path) -> dict[str, Any]:
    """Return the figures of an archive."""
    found: dict[str, Any] = {}
    with Archive(path, lambda: NOW, make=False) as archive:
        found["readings"] = archive._db.execute("SELECT count(*) FROM reading").fetchone()[0]
        found["series"] = len(archive.series("rain"))
        found["file_gb"] = round(path.stat().st_size / 1e9, 2)
        month_ago = NOW - timedelta(days=30)
        issue = ForecastIssue("forecast", NOW, LAST, member=7)
        newest = archive.newest_row()
        plan: dict[str, Callable[[], object]] = {
            "window_30_days_s": lambda: archive.values("rain", WINDOW),
            "window_30_days_as_of_s": lambda: archive.values("rain", WINDOW, month_ago),
            "newest_day_s": lambda: archive.newest_day("rain"),
            "first_day_s": lambda: archive.first_day("rain"),
            "suspects_of_30_days_s": lambda: archive.suspects(since=WINDOW[0]),
            "suspect_counts_s": archive.suspect_counts,
            "open_suspects_s": archive.open_suspects,
            "fresh_of_a_day_s": lambda: archive.fresh("rain", newest - found["series"]),
            "issues_s": lambda: archive.issues("rain"),
            "forecast_values_s": lambda: archive.forecast_values("rain", WINDOW[-LEADS:], issue),
            "latest_readings_s": lambda: archive.latest_readings("rain", LAST),
            "feed_statistics_s": archive.feed_statistics,
        }
        for what, act in plan.items():
            forget(path)
            _forget_peak()
            before = _peak_mib()
            cold, warm = _timed(act), _timed(act)
            found[what] = round(warm, 4)
            found[what.replace("_s", "_cold_s") if what.startswith("window") else f"{what[:-2]}_cold_s"] = (
                round(cold, 4)
            )
            if what == "window_30_days_s":
                found["window_memory_mib"] = round(_peak_mib() - before, 1)
        plain_window(archive)
        _forget_peak()
        before = _peak_mib()
        plain = _timed(lambda: plain_window(archive))
        found["plain_window_memory_mib"] = round(_peak_mib() - before, 1)
        found["plain_window_s"] = round(plain, 4)
        found["plain_over_window"] = round(plain / found["window_30_days_s"], 2)
        found["same_values"] = bool(
            np.array_equal(
                np.nan_to_num(plain_window(archive), nan=-1),
                np.nan_to_num(archive.values("rain", WINDOW).value, nan=-1),
            )
        )
    with Archive(path, lambda: NOW) as archive:
        again = [
            Reading(item.feed, item.variable, item.series, item.day, item.value)
            for item in archive.latest_readings("rain", LAST)
        ]
        found["delivered_again_s"] = round(_timed(lambda: archive.add(again, NOW)), 3)
        tomorrow = [Reading(item.feed, "rain", item.series, LAST + timedelta(days=1), 1.0) for item in again]
        found["a_new_day_s"] = round(_timed(lambda: archive.add(tomorrow, NOW)), 3)
    found["goal_met"] = found["window_30_days_s"] < GOAL_S
    return found


def plain_window(archive: Archive) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the values of the window, row by row through Python: the rule, spelt out."""
    said: dict[tuple[int, str], list[tuple[str, int, float, str, str]]] = {}
    rows = archive._db.execute(
        "SELECT r.series, r.day, r.known_at, r.row, r.value, r.quality, r.reason FROM series s"
        " JOIN reading r ON r.series = s.number WHERE s.variable = 'rain' AND r.day BETWEEN ? AND ?"
        " AND r.quality = 'good' AND r.issued_at IS NULL UNION ALL"
        " SELECT r.series, r.day, r.known_at, r.row, r.value, r.quality, r.reason FROM reading r"
        " WHERE r.day BETWEEN ? AND ? AND r.quality <> 'good' AND r.issued_at IS NULL",
        (WINDOW[0].isoformat(), WINDOW[-1].isoformat()) * 2,
    )
    for series, day, *row in rows:
        said.setdefault((series, day), []).append(tuple(row))
    column = {
        number: at
        for at, (number,) in enumerate(
            archive._db.execute(
                "SELECT number FROM series WHERE variable = 'rain' AND feed = 'gauges' ORDER BY id"
            )
        )
    }
    index = {day.isoformat(): row for row, day in enumerate(WINDOW)}
    value = np.full((len(WINDOW), len(column)), np.nan, dtype=np.float32)
    for (series, day), items in said.items():
        wrong = {item[2] for item in items if item[3] != Quality.GOOD}
        good = [item[2] for item in sorted(items) if item[3] == Quality.GOOD and item[2] not in wrong]
        if good and series in column:
            value[index[day], column[series]] = good[-1]
    return value


def forget(path: Path) -> None:
    """Ask the system to drop a file from its cache."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def _timed(act: Callable[[], object]) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def _peak_mib() -> float:
    """Return the most memory that this process has had since it was last forgotten (Linux)."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


if __name__ == "__main__":
    main()
