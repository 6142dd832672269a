"""Six years of the 18 Kerala dams replayed day by day, the checks on, as a daemon would have read them.

    python tests/benchmarks/replay_kerala.py [--days N] [--source both|raw|table] [--json]

Two archives, because the two sources tell of the same gauges:

- `raw`: the files of two dams as they are published, through the `json` feed (presets kerala_dams_rain and
  kerala_dams_level). On each day the files hold all that was known then, the newest first.
- `table`: the tidy table of 18 dams through the `csv` feed, cut to what was known and the --page-days before.

On every calendar day from the first to the last, those without a report among them, both feeds of a source
are ingested at noon UTC, with the clock injected, and the checks judge what is fresh. What was published is
read here by hand, apart from the feeds, and compared with what the archive then holds. The exit status is 1
if a reading was lost or landed twice.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np
import structlog

from service.progress import progress_bar
from service.reading_values import Suspect
from tests.fix_kerala import (
    DATA,
    VARIABLES,
    Key,
    Replay,
    Source,
    is_whole,
    landing,
    noon,
    read_raw,
    read_table,
    replayed,
    view_days,
)

BANASURA = ("Banasura Sagar", date(2024, 7, 30), 234.6)  # the day of the Wayanad landslides
FOOT = 0.3048  # m
SAME_SHARE = 0.6  # of the dams, from which on a page is called repeated


def rejected_by_reason(replay: Replay) -> dict[str, int]:
    """Count rejected rows, each once, by feed and reason."""
    rows = {
        (variable, item.reason.value, item.series, item.day)
        for variable in VARIABLES
        for item in replay.archive.log.rejections(variable, limit=1_000_000)
    }
    return dict(sorted(Counter(f"{variable} {reason}" for variable, reason, *_ in rows).items()))


def doubted_by_check(suspects: list[Suspect]) -> dict[str, int]:
    """Count doubted readings by variable and check; one that several checks doubt counts for each."""
    found = Counter(f"{item.at.variable} {one.check}" for item in suspects for one in item.findings)
    return dict(sorted(found.items()))


def flat_lines(replay: Replay, suspects: list[Suspect], expected: dict[Key, float]) -> list[dict[str, Any]]:
    """Return the doubted stretches of one value, by variable and dam: days in `from` to `to` that report."""
    doubted = {
        (item.at.variable, item.at.series, item.at.day)
        for item in suspects
        if "flat_line" in {one.check for one in item.findings}
    }
    by_dam: dict[tuple[str, str], list[date]] = defaultdict(list)
    for variable, dam, day in expected:
        by_dam[variable, dam].append(day)
    found = []
    for (variable, dam), days in sorted(by_dam.items()):
        run: list[date] = []
        for day in (*sorted(days), date.max):  # the last one ends the last run
            key = variable, dam, day
            goes_on = key in doubted and (not run or expected[variable, dam, run[-1]] == expected[key])
            if run and not goes_on:
                value = expected[variable, dam, run[0]]
                found.append(
                    {
                        "variable": variable,
                        "dam": dam,
                        "from": run[0].isoformat(),
                        "to": run[-1].isoformat(),
                        "readings": len(run),
                        "value": value,
                    }
                )
                run = []
            if key in doubted:
                run.append(day)
    return found


def feet(source: Source, expected: dict[Key, float], suspects: list[Suspect]) -> dict[str, Any]:
    """Look for levels in feet: times the full level, they would lie near 1 / 0.3048 = 3.28.

    The lowest reservoir level is above 0.75 of its full level; so a level in feet lies above 2.4 of it.
    """
    ratios = {key: value / source.full_level[key[1]] for key, value in expected.items() if key[0] == "level"}
    return {
        "levels": len(ratios),
        "between 2.4 and 3.4 times the full level": sum(2.4 < item < 3.4 for item in ratios.values()),
        "within 10 % of 1 / 0.3048": sum(abs(item * FOOT - 1) < 0.1 for item in ratios.values()),
        "doubted by level_unit": sum("level_unit" in {f.check for f in item.findings} for item in suspects),
        "above 1.05 times the full level": [
            f"{dam} {day} {expected[_, dam, day]:g} m ({ratio:.3g} times)"
            for (_, dam, day), ratio in sorted(ratios.items())
            if ratio > 1.05
        ],
    }


def repeated_pages(source: Source, suspects: list[Suspect]) -> dict[str, Any]:
    """Return days whose page is, dam by dam, that of the day before it; and those that the checks doubted."""
    pages: dict[date, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for record in source.records:
        if record.day is not None:
            values = (value for key, value in record.source.items() if key != "date")
            pages[record.day][record.dam] = tuple(values)
    found = {}
    for before, day in pairwise(sorted(pages)):
        both = [dam for dam in pages[day] if dam in pages[before]]
        same = sum(pages[day][dam] == pages[before][dam] for dam in both)
        if len(both) > 3 and same >= SAME_SHARE * len(both):
            found[day.isoformat()] = f"{same} of {len(both)} dams as on {before}"
    doubted = {
        variable: sorted(
            {
                item.at.day.isoformat()
                for item in suspects
                if item.at.variable == variable and "stale_page" in {one.check for one in item.findings}
            }
        )
        for variable in VARIABLES
    }
    return {"by eye": found, "doubted by stale_page": doubted}


def missing_days(source: Source, days: list[date]) -> dict[str, Any]:
    """Return the days on which no dam was published, as stretches."""
    known = {record.day for record in source.records}
    missing = [day for day in days if day not in known]
    stretches: list[list[date]] = []
    for day in missing:
        if stretches and day - stretches[-1][-1] == timedelta(days=1):
            stretches[-1].append(day)
        else:
            stretches.append([day])
    longest = sorted(stretches, key=len, reverse=True)[:5]
    return {
        "days": len(missing),
        "stretches": len(stretches),
        "longest": [f"{run[0]} to {run[-1]} ({len(run)} days)" for run in longest],
    }


def wayanad(replay: Replay) -> dict[str, Any]:
    """Say what became of 234.6 mm at Banasura Sagar; a doubt, if an extreme one, is answered by a person."""
    dam, day, value = BANASURA
    archive, key = replay.archive, ("rain", dam, day)

    def said(as_of: datetime | None = None) -> float | None:
        found = replay.standing("rain", [day], as_of).get(key)
        return None if found is None else round(found, 4)

    views = {
        f"as of {noon(moment):%Y-%m-%d %H:%M}Z": said(noon(moment))
        for moment in (day + timedelta(days=n) for n in (-1, 0, 1, 30))
    }
    doubts = [item for item in archive.suspects("rain", day, day, open_only=False) if item.at.series == dam]
    result: dict[str, Any] = {"published": value, "stands": said(), **views}
    if not doubts:
        return result | {"verdict": "good: no check doubts it"}
    suspect = doubts[0]
    result["doubted by"] = [f"{one.check}: {one.detail}" for one in suspect.findings]
    if not suspect.extreme:
        return result | {"verdict": "doubted, and not only as an extreme"}
    archive.accept(suspect.number, "A. Person", "the landslides of that night", replay.now)
    return result | {"verdict": "doubted as an extreme, then accepted", "stands, accepted": said()}


def results(replay: Replay, days: list[date]) -> dict[str, Any]:
    """Return all figures of one source."""
    expected = replay.source.values()
    suspects = replay.archive.suspects(open_only=False)
    times = np.array(replay.seconds)
    differing = sum(
        replay.standing(variable, view_days(day), noon(day)) != seen
        for (variable, day), seen in replay.views.items()
    )
    found = {
        "days": f"{len(days)}: {days[0]} to {days[-1]}",
        "ingests": len(times),
        "feeds read": len(replay.reports),
        "feeds that failed": sum(report.outcome == "failed" for report in replay.reports),
        "seconds": {
            "all ingests": round(float(times.sum()), 1),
            "median": round(float(np.median(times)), 4),
            "longest": round(float(times.max()), 4),
        },
        **{variable: landing(replay, variable, expected) for variable in VARIABLES},
        "rejected by reason": rejected_by_reason(replay),
        "readings doubted": len(suspects),
        "doubted by check": doubted_by_check(suspects),
        "windows seen on a day, that differ when asked for as of it": f"{differing} of {len(replay.views)}",
        "missing days": missing_days(replay.source, days),
        "flat lines": flat_lines(replay, suspects, expected),
        "levels in feet": feet(replay.source, expected, suspects),
        "repeated pages": repeated_pages(replay.source, suspects),
    }
    if days[0] <= BANASURA[1] <= days[-1]:
        found["Banasura Sagar, 2024-07-30"] = wayanad(replay)
    return found


def show(values: Any, indent: int = 2) -> Iterator[str]:
    """Yield lines."""
    pad = " " * indent
    if isinstance(values, list):
        for item in values:
            yield pad + ("  ".join(map(str, item.values())) if isinstance(item, dict) else str(item))
        return
    for key, value in values.items():
        if isinstance(value, dict | list) and value:
            yield f"{pad}{key}"
            yield from show(value, indent + 2)
        else:
            yield f"{pad}{key}: {value if value not in ({}, []) else 'none'}"


@click.command()
@click.option("--days", type=click.IntRange(min=1), help="Only the last N days (default: all).")
@click.option(
    "--page-days", default=40, show_default=True, help="How many days the table goes back (0: all)."
)
@click.option("--source", type=click.Choice(["both", "raw", "table"]), default="both", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(days: int | None, page_days: int, source: str, as_json: bool) -> None:
    """Replay the Kerala dams day by day, the checks on, and compare with what was published."""
    if not DATA.is_dir():
        raise click.ClickException(f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA")
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    found = {}
    for read in (read_raw, read_table):
        published = read()
        if source not in ("both", published.name):
            continue
        first, last = published.records[0].known, published.records[-1].known
        if days:
            first = max(first, last - timedelta(days=days - 1))
            published.records = [item for item in published.records if item.known >= first]
        span = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        with (
            tempfile.TemporaryDirectory(prefix="replay-kerala-") as name,
            progress_bar(f"days of {published.name}") as progress,
            replayed(published, Path(name), span, page_days if read is read_table else 0, progress) as replay,
        ):
            found[published.name] = results(replay, span)
    whole = all(is_whole(item) for item in found.values())
    if as_json:
        click.echo(json.dumps(found | {"every reading landed once": whole}))
    else:
        for name, item in found.items():
            click.echo(f"{name}\n" + "\n".join(show(item)))
        click.echo(f"every reading landed once: {'yes' if whole else 'NO'}")
    if not whole:
        sys.exit(1)


if __name__ == "__main__":
    main()
