"""`colluvium demo`: from nothing to a map of a SYNTHETIC region, in one folder.

    run_demo(folder, days, say) -> the summary, a dict that is printed as JSON

The region is made, its factors derived, its readings taken in, `days` layers refreshed in one child process,
and two pictures drawn. The bundle is the one in config/demo/bundle; no torch is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from service.delivery import deliver_all
from service.errors import InputError, UsageError
from service.ingest import ingest
from service.lock import exclusive
from service.readings import Archive
from service.region import open_region, read_vectors
from service.settings import Settings, load_settings
from service.settings_outlets import FolderExporter
from service.stamps import utc_now
from service.workshop import archive_path, lock_path
from trainer.demo_forecast import make_forecasts
from trainer.factors import derive
from trainer.pictures import DayAreas, MapView, before_and_after, class_areas_by_day
from trainer.synthetic.region import LABEL, make_region, write_region
from trainer.synthetic.weather import LAST_DAY, STORM_LAST

CONFIG = Path(__file__).resolve().parents[1] / "config"
# A window, the change over 30 days before it, and a gap of readings before that.
_HISTORY = timedelta(days=30 + 30 + 35)
_BEFORE = STORM_LAST - timedelta(days=2)  # its window ends the day before the storm's first rain
_MARK = "SYNTHETIC.txt"

Say = Callable[[str], None]


def run_demo(folder: Path, days: int = 60, say: Say = lambda _: None) -> dict[str, Any]:
    """Make the demo in `folder` and return its summary, which JSON can hold.

    Running it again renews the region's files and finds the layers unchanged. Raises UsageError for a folder
    that holds something else, or without the demo's settings and bundle; InputError where the backfill fails.
    """
    started = time.monotonic()
    seconds: dict[str, float] = {}
    template, bundle = shipped()
    if folder.exists() and any(folder.iterdir()) and not (folder / "source" / _MARK).exists():
        raise UsageError(f"{folder} holds something that is not a demo; give another folder with --dir")
    first = LAST_DAY - timedelta(days=days - 1)

    say(f"making a SYNTHETIC region in {folder}")
    with _timed(seconds, "region"):
        region_files = make_region()
        write_region(region_files, folder / "source", since=first - _HISTORY)
        config = folder / "region.toml"
        config.write_text(settings_text(template, bundle), "utf-8")
    settings = load_settings(config)
    for exporter in settings.exporters:
        if isinstance(exporter, FolderExporter):
            exporter.path.mkdir(parents=True, exist_ok=True)

    say("deriving factors from terrain, vectors and rasters")
    with _timed(seconds, "factors"), exclusive(lock_path(settings), "colluvium demo"):
        region = open_region(settings)
        report = derive(settings, region)
    say("taking in the readings of ten gauges and two reservoirs")
    with (
        _timed(seconds, "ingest"),
        exclusive(lock_path(settings), "colluvium demo"),
        Archive(archive_path(settings)) as archive,
    ):
        taken = ingest(settings.without_forecasts(), archive, datetime.now(UTC))
    if taken.failed:
        raise InputError(f"the demo's own feeds failed: {', '.join(taken.failed)}")

    say(f"refreshing {days} days, {first} to {LAST_DAY}")
    with _timed(seconds, "refreshes"):
        filled = backfill(config, first, LAST_DAY)
    layers = [result for result in filled["results"] if result["class_area_ratio"]]
    if not layers:
        raise InputError("the demo's backfill made no layer; try: colluvium check -c " + str(config))

    say(f"forecasting {settings.forecast.leads} days ahead, on the last mornings")
    with _timed(seconds, "forecasts"):
        ahead = make_forecasts(settings, config, folder / "source" / "forecast.json", LAST_DAY, say)
        deliver_all(settings, utc_now, "colluvium demo")

    say("drawing the maps")
    with _timed(seconds, "pictures"):
        pictures, shown = _pictures(settings, folder, layers, region_files.weather.gauge_mm)
    return {
        "demo": "SYNTHETIC",
        "note": LABEL,
        "folder": str(folder.resolve()),
        "config": str(config.resolve()),
        "outcomes": filled["outcomes"],
        "days": len(layers),
        "first_day": layers[0]["day"],
        "last_day": layers[-1]["day"],
        "cells": layers[-1]["cells"],
        "forecasts": [item.layer.id for item in ahead if item.layer is not None][-settings.forecast.leads :],
        "before": shown[0],
        "after": shown[1],
        "class_area_ratio_by_day": {item["day"]: item["class_area_ratio"] for item in layers},
        "factors_digest": report.digest,
        "model": layers[-1]["model"],
        "pictures": [str(path.resolve()) for path in pictures],
        "peak_rss_bytes": filled["peak_rss_bytes"],
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "seconds_total": round(time.monotonic() - started, 2),
    }


def shipped() -> tuple[str, Path]:
    """Return the text of config/demo.toml and the folder of the demo's bundle."""
    config, bundle = CONFIG / "demo.toml", CONFIG / "demo" / "bundle"
    if not config.exists():
        raise UsageError(
            f"the demo's settings are not at {config}: it runs from a checkout, where config/ stands beside "
            "the packages. Clone the repository and use 'make demo', or pip install -e ."
        )
    if not (bundle / "manifest.json").exists():
        raise UsageError(f"no bundle at {bundle}; train it with: colluvium train -c {config}")
    return config.read_text("utf-8"), bundle


def settings_text(template: str, bundle: Path) -> str:
    """Return the settings of the demo's folder: those of config/demo.toml with their paths moved."""
    text = template.split("\n# How the demo bundle was trained", 1)[0]
    for before, after in (
        ('data_dir = "../build/demo"', 'data_dir = "data"'),
        ('"../build/demo/', '"'),
        ('path = "demo/bundle"', f"path = {json.dumps(str(bundle))}"),
    ):
        if before not in text:
            raise UsageError(f"config/demo.toml has lost {before!r}, which the demo puts in its place")
        text = text.replace(before, after)
    return text + "\n"


def backfill(config: Path, since: date, until: date) -> dict[str, Any]:
    """Refresh the days in one child process and return what it reports."""
    command = [
        sys.executable, "-m", "service", "backfill", "-c", str(config.resolve()),
        "--since", since.isoformat(), "--until", until.isoformat(), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    try:
        summary = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise InputError(
            f"the backfill ended with exit status {done.returncode} and no report; try it by hand: "
            + " ".join(command)
        ) from error
    if done.returncode != 0:
        reasons = {result["reason"] for result in summary["results"] if result["reason"]}
        raise InputError(f"the backfill ended as {summary['outcome']}: {'; '.join(sorted(reasons))}")
    return dict(summary)


def _pictures(
    settings: Settings, folder: Path, layers: Sequence[dict[str, Any]], gauge_mm: Any
) -> tuple[list[Path], list[dict[str, Any]]]:
    """Draw the map before the storm and at its worst after it, and the class areas of all days."""
    earlier = [item for item in layers if item["day"] <= _BEFORE.isoformat()]
    later = [item for item in layers if item["day"] > _BEFORE.isoformat()]
    before = (earlier or later)[-1]
    after = max(later or earlier, key=_dangerous)
    region = open_region(settings)
    water = []
    if settings.reservoirs is not None:
        water = [shape for shape, _ in read_vectors(settings.reservoirs.path, region.grid.crs)]
    if settings.grid.dem is None:
        raise InputError("the demo's settings have no grid.dem, which its maps are shaded with")
    maps, areas = folder / "map_before_after.png", folder / "class_areas_by_day.png"
    before_and_after(
        maps,
        _view(before),
        _view(after),
        title="landslide susceptibility before and after a storm",
        synthetic=settings.region.synthetic,
        dem=settings.grid.dem,
        outlines=[(zone.geometry, zone.name.removesuffix(" (synthetic)")) for zone in region.zones],
        water=water,
    )
    class_areas_by_day(
        areas,
        [_day_areas(item, gauge_mm) for item in layers],
        title="susceptibility classes by day",
        synthetic=settings.region.synthetic,
    )
    chosen = [{key: item[key] for key in ("layer", "day", "class_area_ratio")} for item in (before, after)]
    return [maps, areas], chosen


def _dangerous(item: dict[str, Any]) -> float:
    ratio = item["class_area_ratio"]
    return float((ratio["high"] or 0) + (ratio["very_high"] or 0))


def _view(item: dict[str, Any]) -> MapView:
    return MapView(
        day=date.fromisoformat(item["day"]),
        data_until=date.fromisoformat(item["data_until"]),
        class_path=Path(item["path"]) / "class.tif",
        shares={label: share or 0.0 for label, share in item["class_area_ratio"].items()},
    )


def _day_areas(item: dict[str, Any], gauge_mm: Any) -> DayAreas:
    day = date.fromisoformat(item["day"])
    # Row -1 is LAST_DAY; a layer sees the day before its own.
    measured = gauge_mm[len(gauge_mm) - 2 - (LAST_DAY - day).days]
    rain = float(np.nanmean(measured)) if np.isfinite(measured).any() else None
    shares = {label: share or 0.0 for label, share in item["class_area_ratio"].items()}
    return DayAreas(day, shares, rain)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = time.monotonic() - start
