"""The settings that read a simulator, and the files that these settings name."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.files import replacing
from service.settings_feeds import PRESETS
from service.simulator.documents import Publisher
from service.simulator.server import Simulator
from service.simulator.stations import GhcnDaily, station_id
from service.simulator.truth import Truth
from service.simulator.water import ACRE_FEET, UsgsWaterData, storage_m3

RATING_STEPS = 50
UNHURRIED = 60_000
# Where a preset reads a folder, the simulator's files of the same.
_FILES = {"era5_land": "era5_land/{day:%Y%m%d}.nc"}


def sections(simulator: Simulator, folder: Path, feeds: Iterable[str]) -> str:
    """Return a `[[feeds]]` section for each feed that has a preset, and write the files that they name.

    A feed without one is named in a comment, with its address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = []
    for feed in feeds:
        path = PRESETS / f"{feed}.toml"
        if not path.exists():
            blocks.append(f"# {feed}: {simulator.publishers[feed].teaches}\n#   {simulator.address(feed)}/\n")
            continue
        preset = tomllib.loads(path.read_text("utf-8"))
        values = section(simulator, feed, preset, folder)
        blocks.append(f"# {simulator.publishers[feed].teaches}\n{as_toml(values)}")
    return "\n".join(blocks)


def as_toml(values: dict[str, Any]) -> str:
    """Return a `[[feeds]]` section."""
    return "\n".join(["[[feeds]]", *(f"{name} = {_toml(value)}" for name, value in values.items())]) + "\n"


def section(simulator: Simulator, feed: str, preset: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what a section says beside its preset: the simulator's addresses, and the series to ask for."""
    address = simulator.address(feed)
    if "path" in preset:
        # A folder cannot be turned into an address over the preset: its own key would stay.
        own = {name: value for name, value in preset.items() if name != "path"}
        return {"name": feed, **own, "url": f"{address}/{_FILES[feed]}"}
    values: dict[str, Any] = {"name": feed, "preset": feed}
    values |= {name: here for name, value in preset.items() if (here := _here(value, address)) != value}
    if preset.get("kind", "csv") != "raster":
        publisher = simulator.publishers[feed]
        if "url" not in preset:
            values["url"] = f"{address}/{publisher.example(simulator.view(feed))}"
        values |= _series(simulator.truth, publisher, preset, folder)
    if preset.get("unit") in ("acre-ft", "hm3"):
        values["rating_file"] = str(_rating_file(simulator.truth, folder).resolve())
    # What a service asks of its users for politeness' sake, this machine need not.
    values["http"] = {"requests_per_minute": UNHURRIED}
    return values


def _here(value: Any, address: str) -> Any:
    """Return a preset's value with the simulator's address in place of the service's, or of a folder."""
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        parts = urlsplit(value)
        query = f"?{parts.query}" if parts.query else ""
        return f"{address}{parts.path}{query}"
    if isinstance(value, list):
        return [_here(item, address) for item in value]
    if isinstance(value, dict):
        if "path" in value:
            return {name: item for name, item in value.items() if name != "path"} | {
                "url": f"{address}/{value['path']}"
            }
        return {name: _here(item, address) for name, item in value.items()}
    return value


def _of_reservoirs(publisher: Publisher) -> bool:
    return publisher.feed.startswith(("cdec", "usgs", "kerala"))


def _series(truth: Truth, publisher: Publisher, preset: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the series that a feed is asked for, ids as the service writes them; return the keys for it."""
    path = folder / f"{publisher.feed}_series.csv"
    identity = preset.get("series_id_column", "id")
    elevation = preset.get("elevation_column", "elevation_m")
    keys = {"series_file": str(path.resolve())}
    if "elevation_column" not in preset:
        keys["elevation_column"] = elevation
    lines = [f"{identity},lon,lat,{elevation},lowest,highest"]
    if _of_reservoirs(publisher):
        prefix = "USGS-" if isinstance(publisher, UsgsWaterData) else ""
        keys |= (
            {"lowest_column": "lowest", "highest_column": "highest"} if preset["variable"] == "level" else {}
        )
        lines += [
            f"{prefix}{item.id},{item.lon},{item.lat},{item.full_level_m},"
            f"{item.dead_level_m:.2f},{item.full_level_m:.2f}"
            for item in truth.reservoirs
            if math.isfinite(item.lon)
        ]
    else:
        for item in truth.gauges:
            name = station_id(item) if isinstance(publisher, GhcnDaily) else item.id
            lines.append(f"{name},{item.lon},{item.lat},{item.elevation_m},,")
    with replacing(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return keys


def _rating_file(truth: Truth, folder: Path) -> Path:
    """Write each reservoir's table of storage (acre-feet) and level (m)."""
    path = folder / "rating.csv"
    lines = ["series,volume,level"]
    for item in truth.reservoirs:
        for step in range(RATING_STEPS + 1):
            level = item.dead_level_m + (item.full_level_m - item.dead_level_m) * step / RATING_STEPS
            lines.append(f"{item.id},{storage_m3(level, item) * ACRE_FEET:.3f},{level:.4f}")
    with replacing(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def _toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
