"""A small region on disk as a user would have it: settings, zones, gauges, rain, factor stack, bundle.

The bundle has random weights: these tests are about what happens to layers, not about what a model says.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio.warp

from service.ingest import ingest
from service.ledger import Ledger
from service.readings import Archive
from service.refreshed import Refreshed
from service.region import open_region
from service.runs import run_days
from service.settings import Settings, load_settings
from service.workshop import archive_path, ledger_path
from tests.fix_bundle import COVER, ToyNetwork, write_toy_bundle
from tests.fix_scene import smooth_factors, write_stack

SHAPE = (64, 80)
LEFT, TOP = 500_000.0, 5_000_000.0
FIRST_DAY = date(2026, 1, 1)
LAST_DAY = date(2026, 3, 10)
NOW = datetime(2026, 3, 11, 6, 0, tzinfo=UTC)
GAUGES = {"north": (500_600.0, 4_999_700.0), "south": (501_700.0, 4_998_400.0)}

SETTINGS = """
[region]
id = "toy"
name = "Toy valley"
timezone = "UTC"
data_dir = "data"
synthetic = true
attribution = "made up"

[grid]
crs = "EPSG:32632"
cell_size_m = 30
extent = [500000, 4998080, 502400, 5000000]
forcing_cell = 8

[zones]
path = "zones.geojson"

[factors]
stack = "factors.tif"

[[feeds]]
name = "gauges"
variable = "rain"
path = "rain.csv"
unit = "mm"
series_file = "gauges.csv"
latency_hours = 1

[forcing]
max_distance_km = 5
min_coverage = 0.8

[bundle]
path = "bundle"

[hotspots]
min_area_m2 = 2000
"""


class Clock:
    """A clock that tests set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time and let a microsecond pass, so that rows stay in order."""
        self.now += timedelta(microseconds=1)
        return self.now


@dataclass
class ToyRegion:
    """A region below `folder`, and the ways a test uses it."""

    folder: Path
    clock: Clock

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "region.toml"

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return load_settings(self.config)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    def ledger(self) -> Ledger:
        """Open the ledger."""
        return Ledger(ledger_path(self.settings), self.clock)

    def ingest(self) -> None:
        """Take in what rain.csv holds."""
        with Archive(archive_path(self.settings), self.clock) as archive:
            ingest(self.settings, archive, self.clock())

    def refresh(
        self,
        *days: date | None,
        as_of: datetime | None = None,
        on_stage: Callable[[str], None] = lambda _: None,
    ) -> list[Refreshed]:
        """Refresh days (none named: the default day) as the command line does."""
        return run_days(
            self.settings,
            self.config,
            lambda _: list(days) or [None],
            purpose="test",
            clock=self.clock,
            as_of=as_of,
            on_stage=on_stage,
        )

    def set_rain(self, changes: dict[tuple[date, str], float | None]) -> None:
        """Change or (None) remove rows of rain.csv."""
        rain = read_rain(self.folder / "rain.csv")
        for key, value in changes.items():
            if value is None:
                rain.pop(key, None)
            else:
                rain[key] = value
        write_rain(self.folder / "rain.csv", rain)

    def latest(self) -> dict[str, str] | None:
        """Read latest.json."""
        path = self.data / "latest.json"
        return dict(json.loads(path.read_text())) if path.exists() else None


def make_toy_region(folder: Path) -> ToyRegion:
    """Write the region's files; nothing is ingested yet."""
    folder.mkdir(parents=True, exist_ok=True)
    net = ToyNetwork(gain=3.0)
    (folder / "region.toml").write_text(SETTINGS, "utf-8")
    _write_zones(folder / "zones.geojson")
    _write_gauges(folder / "gauges.csv")
    random = np.random.default_rng(7)
    days = [FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]
    rain = {
        (day, gauge): round(float(value), 1)
        for day in days
        for gauge, value in zip(GAUGES, random.gamma(0.5, 12, len(GAUGES)), strict=True)
    }
    write_rain(folder / "rain.csv", rain)
    write_toy_bundle(folder / "bundle", net)
    region = open_region(load_settings(folder / "region.toml"))
    write_stack(folder / "factors.tif", region, net, smooth_factors(net, SHAPE), COVER)
    return ToyRegion(folder, Clock())


def read_rain(path: Path) -> dict[tuple[date, str], float]:
    """Read rain.csv."""
    with path.open(newline="") as file:
        return {
            (date.fromisoformat(row["day"]), row["series"]): float(row["value"])
            for row in csv.DictReader(file)
        }


def write_rain(path: Path, rain: dict[tuple[date, str], float]) -> None:
    """Write rain.csv."""
    lines = [f"{series},{day},{value}" for (day, series), value in sorted(rain.items())]
    path.write_text("\n".join(["series,day,value", *lines]) + "\n", "utf-8")


def _write_gauges(path: Path) -> None:
    lines = ["id,lon,lat"]
    for name, (x, y) in GAUGES.items():
        (lon,), (lat,) = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x], [y])
        lines.append(f"{name},{lon:.7f},{lat:.7f}")
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _write_zones(path: Path) -> None:
    middle, right, bottom = LEFT + 1200, LEFT + 2400, TOP - 1920
    boxes = {"west": (LEFT, middle), "east": (middle, right)}
    features = []
    for name, (left, east) in boxes.items():
        ring = [(left, bottom), (east, bottom), (east, TOP), (left, TOP), (left, bottom)]
        xs, ys = rasterio.warp.transform(
            "EPSG:32632", "EPSG:4326", [x for x, _ in ring], [y for _, y in ring]
        )
        geometry = {"type": "Polygon", "coordinates": [list(zip(xs, ys, strict=True))]}
        properties = {"id": name, "name": name.title()}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
