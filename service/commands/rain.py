"""Commands that say what the map's rain rests on: coverage by day, and how wrong a filled place is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np

from service.bundle import read_manifest
from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.errors import InputError, UsageError
from service.factor_stack import FactorStack
from service.forcing import RAIN, GaugeDay, gauge_days
from service.interpolation import WET_MM, errors, leave_one_out
from service.progress import progress_bar
from service.readings import Archive
from service.region import make_grid, open_region
from service.sequences import WindowSet, build_windows
from service.serving import serving_path
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.workshop import archive_path, reservoirs_of

_DEFAULT_DAYS = 60


@click.command(epilog="Example: colluvium coverage -c region.toml --since 2026-03-01 --until 2026-03-31")
@config_option
@click.option("--since", type=DAY, help=f"First layer day (default: {_DEFAULT_DAYS} days before the last).")
@click.option("--until", type=DAY, help="Last layer day (default: the newest that the readings allow).")
@json_option
def coverage(config: Path, since: date | None, until: date | None, as_json: bool) -> None:
    """Show, day by day, what a layer's windows would rest on.

    Coverage is the share of (forcing node, window day) that was observed or filled from gauges of the same
    day; known is the share of forcing cells that get a value. Below forcing.min_coverage a layer is degraded,
    and cells without a window are unknown, never low.
    """
    settings = load_settings(config)
    manifest, _ = read_manifest(serving_path(settings))
    with Archive(archive_path(settings), utc_now, make=False) as archive:
        newest = archive.newest_day(RAIN)
        if newest is None:
            raise InputError("the archive holds no rain; bring some with 'colluvium ingest'")
        last = until or newest + timedelta(days=manifest.lag_days)
        first = since or last - timedelta(days=_DEFAULT_DAYS - 1)
        if first > last:
            raise UsageError(f"--since {first} is after --until {last}")
        region = open_region(settings)
        reservoirs = None
        if settings.reservoirs is not None:
            with FactorStack.open(settings.stack_path, region.grid) as stack:
                reservoirs = reservoirs_of(settings, region, stack)
        rows = []
        with progress_bar("days") as progress:
            count = (last - first).days + 1
            for number in range(count):
                windows = build_windows(
                    settings,
                    region,
                    archive,
                    manifest.variables,
                    first + timedelta(days=number),
                    window_days=manifest.window_days,
                    lag_days=manifest.lag_days,
                    reservoirs=reservoirs,
                )
                rows.append(_coverage_row(settings, windows))
                progress(number + 1, count)
    if as_json:
        print_json({"min_coverage": settings.forcing.min_coverage, "days": rows})
        return
    click.echo("day          coverage  observed  filled  carried  known cells")
    for row in rows:
        mark = "" if row["enough"] else "  degraded"
        click.echo(
            f"{row['day']}   {row['coverage']:7.1%}  {row['observed']:7.1%} {row['filled']:7.1%} "
            f"{row['carried']:8.1%}  {row['known']:10.1%}{mark}"
        )


@click.command(epilog="Example: colluvium interpolation -c region.toml --since 2010-01-01 --until 2019-12-31")
@config_option
@click.option("--since", type=DAY, help="First day (default: the first with a reading).")
@click.option("--until", type=DAY, help="Last day (default: the last with a reading).")
@click.option("--wet-mm", default=WET_MM, show_default=True, help="Wet days are judged apart from this on.")
@json_option
def interpolation(config: Path, since: date | None, until: date | None, wet_mm: float, as_json: bool) -> None:
    """Measure how wrong the rain of a place without a gauge is: each gauge is left out in turn.

    The service's own rule (inverse distance, gauges of the same day) stands beside the nearest gauge and
    beside linear filling along time. Errors are in mm, with 95 % intervals by months.
    """
    settings = load_settings(config)
    with Archive(archive_path(settings), utc_now, make=False) as archive, progress_bar("gauges") as progress:
        gauges = _gauges(settings, archive, since, until)
        left = leave_one_out(gauges, settings.forcing, progress)
    found = errors(left, wet_mm)
    if not found:
        raise InputError(
            f"no reading of {gauges[0].day} to {gauges[-1].day} could be estimated by every way; take a "
            "longer span, or look at forcing.max_distance_km"
        )
    if as_json:
        print_json(
            {
                "since": gauges[0].day,
                "until": gauges[-1].day,
                "gauges": len(gauges[0].series),
                "errors": [asdict(row) for row in found],
            }
        )
        return
    click.echo(f"{len(gauges[0].series)} gauges, {gauges[0].day} to {gauges[-1].day}; errors in mm")
    click.echo(
        "days              way                readings   mean absolute (95 %)    rmse    bias  no estimate"
    )
    for row in found:
        one_month = row.low_mm is None or row.high_mm is None
        interval = "(one month)" if one_month else f"({row.low_mm:.2f}-{row.high_mm:.2f})"
        click.echo(
            f"{row.days:<17} {row.method:<18} {row.readings:8,}   "
            f"{row.mean_absolute_mm:6.2f} {interval}".ljust(71)
            + f"{row.root_mean_square_mm:7.2f} {row.bias_mm:7.2f}  {row.not_estimated:8,}"
        )


def _coverage_row(settings: Settings, windows: WindowSet) -> dict[str, Any]:
    cells = max(1, len(windows.complete))
    known = float(windows.complete.sum() / cells)
    least = settings.forcing.min_coverage
    return {
        "day": windows.day.isoformat(),
        "coverage": round(windows.coverage, 4),
        "observed": round(float(windows.observed.mean()), 4),
        "filled": round(float(windows.filled.mean()), 4),
        "carried": round(float(windows.carried.mean()), 4),
        "known": round(known, 4),
        "enough": bool(windows.coverage >= least and known >= least),
    }


def _gauges(
    settings: Settings, archive: Archive, since: date | None, until: date | None
) -> Sequence[GaugeDay]:
    first, last = since or archive.first_day(RAIN), until or archive.newest_day(RAIN)
    if first is None or last is None:
        raise InputError("the archive holds no rain; bring some with 'colluvium ingest'")
    if first > last:
        raise UsageError(f"--since {first} is after --until {last}")
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    plain = settings.forcing.model_copy(update={"fill": "same_day"})
    found, _ = gauge_days(archive, RAIN, days, make_grid(settings).crs, plain)
    gauges = [replace(today, rasters=()) for today in found]  # a gauge is estimated from gauges
    if len(gauges[0].series) < 2:
        raise InputError(
            "the archive holds rain of less than two gauges: there is nothing to estimate one from"
        )
    for before, today in pairwise(gauges):
        if today.series != before.series or not np.array_equal(today.xy, before.xy):
            raise UsageError(
                f"a gauge moved on {today.day}; take a span in which none does: "
                f"--until {before.day}, or --since {today.day}"
            )
    return gauges


COMMANDS = (coverage, interpolation)
