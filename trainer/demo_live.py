"""`colluvium demo --live`: the SYNTHETIC region with its weather moved in time, for a daemon that runs today.

    prepare_live(folder, storm=False) -> the summary, a dict that is printed as JSON

The folder holds all that a daemon needs: settings, bundle, source files, factors, and the layers of a calm
week. The weather is moved so that the demo's storm falls on the day before `today`, all of it on that day.
Until the storm is asked for, the feeds end a day earlier, as if the night's readings had not come in yet: the
daemon shows yesterday's calm map. Asked again with `storm`, only the feeds' files are written anew.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import InputError, UsageError
from service.files import write_json
from service.ingest import ingest
from service.lock import exclusive
from service.readings import Archive
from service.region import open_region
from service.settings import Settings, load_settings
from service.workshop import archive_path, lock_path
from trainer.demo import backfill, settings_text, shipped
from trainer.factors import derive
from trainer.synthetic.region import LABEL, SyntheticRegion, make_region, write_readings, write_region
from trainer.synthetic.weather import STORM_DAYS, STORM_LAST, Weather

CALM_DAYS = 8  # layers made before the daemon starts: growth over seven days needs them
_HISTORY = timedelta(days=30 + 30 + 35 + CALM_DAYS)
_MARK = "live.json"
_SERVICE = """
[schedule]
ingest = "* * * * *"
refresh = "* * * * *"
catch_up_days = 8
ready_by = "23:59:00" # the storm may come at any hour of the day

[http]
host = "127.0.0.1"
port = 8080
"""

Say = Callable[[str], None]


def prepare_live(
    folder: Path, *, storm: bool, now: datetime, today: date | None = None, say: Say = lambda _: None
) -> dict[str, Any]:
    """Make the live demo in `folder`, or, where it is made already, let the weather go on.

    `today` is the day of the region on which the demo begins (default: that of `now`); a folder keeps it.
    Raises UsageError for a folder that holds something else, InputError where the calm week cannot be made.
    """
    begun = _begun(folder)
    template, bundle = shipped()
    if begun is None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "region.toml"
        shutil.copytree(bundle, folder / "bundle", dirs_exist_ok=True)
        config.write_text(_settings_text(template), "utf-8")
        today = today or now.astimezone(load_settings(config).timezone).date()
    elif today not in (None, begun):
        raise UsageError(
            f"{folder} holds a live demo of {begun}, not of {today}; give another folder with --dir"
        )
    else:
        today = begun
    settings = load_settings(folder / "region.toml")

    region = make_region()
    region = dataclasses.replace(region, weather=_moved(region.weather, today))
    until = (
        now.astimezone(settings.timezone).date() - timedelta(days=1) if storm else today - timedelta(days=2)
    )
    until = max(until, today - timedelta(days=1 if storm else 2))
    region = dataclasses.replace(region, weather=_ended(region.weather, until))
    if begun is None:
        _make(folder, settings, region, today, say)
        write_json(folder / _MARK, {"today": today.isoformat()})
    say(f"writing the readings until {until}")
    write_readings(region, folder / "source", since=today - _HISTORY)
    return {
        "demo": "SYNTHETIC",
        "note": LABEL,
        "folder": str(folder.resolve()),
        "config": str((folder / "region.toml").resolve()),
        "today": today.isoformat(),
        "readings_until": until.isoformat(),
        "storm": storm,
    }


def _begun(folder: Path) -> date | None:
    mark = folder / _MARK
    if mark.exists():
        return date.fromisoformat(json.loads(mark.read_text("utf-8"))["today"])
    # What a run that was killed left behind is made again.
    ours = folder / "source" / "SYNTHETIC.txt"
    if folder.exists() and any(folder.iterdir()) and not (ours.exists() or (folder / "bundle").exists()):
        raise UsageError(f"{folder} holds something that is not a demo; give another folder with --dir")
    return None


def _make(folder: Path, settings: Settings, region: SyntheticRegion, today: date, say: Say) -> None:
    say(f"making a SYNTHETIC region in {folder}")
    write_region(region, folder / "source", since=today - _HISTORY)
    say("deriving factors from terrain, vectors and rasters")
    with exclusive(lock_path(settings), "colluvium demo"):
        derive(settings, open_region(settings))
    say("taking in the readings")
    with (
        exclusive(lock_path(settings), "colluvium demo"),
        Archive(archive_path(settings)) as archive,
    ):
        taken = ingest(settings, archive, datetime.now(UTC))
    if taken.failed:
        raise InputError(f"the demo's own feeds failed: {', '.join(taken.failed)}")
    newest = region.weather.first + timedelta(days=region.weather.days)
    first = newest - timedelta(days=CALM_DAYS - 1)
    say(f"refreshing a calm week, {first} to {newest}")
    backfill(folder / "region.toml", first, newest)


def _settings_text(template: str) -> str:
    """Return the demo's settings without its forecasts and its share, refreshed every minute."""
    text = settings_text(template, Path("bundle"))
    for pattern in (
        r"# A SYNTHETIC ensemble.*?(?=\n\[forcing\])",
        r"\[schedule\].*?(?=\n\[\[exporters\]\])",
        r"\[\[exporters\]\].*\Z",
    ):
        text, found = re.subn(pattern, "", text, flags=re.DOTALL)
        if not found:
            raise UsageError(
                f"config/demo.toml has lost what {pattern!r} finds, which the live demo leaves out"
            )
    return text.rstrip() + "\n" + _SERVICE


def _moved(weather: Weather, today: date) -> Weather:
    """Return the weather with its storm on the day before `today`, the rain of its days on that one."""
    last = weather.index(STORM_LAST)
    storm = slice(last - STORM_DAYS + 1, last + 1)
    rain, gauges = weather.rain_mm.copy(), weather.gauge_mm.copy()
    rain[last] = weather.rain_mm[storm].sum(axis=0)
    # A gauge that was silent on one of the days would miss the storm; it is one storm, told in one day.
    gauges[last] = np.nansum(weather.gauge_mm[storm], axis=0)
    rain[storm.start : last] = 0
    gauges[storm.start : last] = 0
    moved = (today - timedelta(days=1)) - STORM_LAST
    return dataclasses.replace(weather, first=weather.first + moved, rain_mm=rain, gauge_mm=gauges)


def _ended(weather: Weather, until: date) -> Weather:
    """Return the weather without the days after `until`, as far as it goes."""
    days = min(weather.index(until) + 1, weather.days)
    return dataclasses.replace(
        weather,
        rain_mm=weather.rain_mm[:days],
        gauge_mm=weather.gauge_mm[:days],
        below_full_m=weather.below_full_m[:days],
        level_missing=weather.level_missing[:days],
    )
