"""The storm that kills the gauges that should measure it: never a calm map."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from prometheus_client import CollectorRegistry
from rasterio.warp import transform as warp
from rasterio.warp import transform_bounds

from exporters.layer import Layer, LayerStatus
from exporters.metrics import ServiceCollector
from service.errors import Outcome
from service.feed_log import SILENT_AFTER_DAYS
from service.figures import read_figures
from service.refreshed import Refreshed
from service.settings_feeds import PRESETS
from service.simulator.faults import DyingGauges, FaultScript
from service.simulator.paste import as_toml, section
from service.simulator.server import Simulator
from service.simulator.stations import ArpaeCsv
from service.simulator.truth import Gauge
from service.simulator.weather import SyntheticTruth, days_of_most_rain
from service.status import read_status
from tests.fix_region import LEFT, SETTINGS, SHAPE, TOP, Clock, ToyRegion

BOUNDS = transform_bounds("EPSG:32632", "EPSG:4326", LEFT, TOP - 30 * SHAPE[0], LEFT + 30 * SHAPE[1], TOP)
TRUTH = SyntheticTruth(BOUNDS, seed=2, gauge_count=5, reservoir_count=0)
STORM = days_of_most_rain(TRUTH, date(2026, 2, 1), 60)[0]


UNKNOWN = 0  # of class.tif
ALL, CORE = 10.0, 20.0  # mm at which gauges die: all of them, or those in the storm's core


class Place(NamedTuple):
    """The toy region under the storm, with the simulator that its only feed reads."""

    toy: ToyRegion
    simulator: Simulator

    def next_day(self) -> Refreshed:
        """Let a day pass, ingest, and make the map of the day."""
        self.toy.clock.now += timedelta(days=1)
        self.toy.ingest()
        (result,) = self.toy.refresh(self.toy.clock().date())
        return result


@contextmanager
def storm(toy: ToyRegion, deadly_mm: float) -> Iterator[Place]:
    """Yield the region on the morning of the storm; gauges that die are silent for ten days."""
    toy.data.rename(toy.folder / "before")
    toy.clock = Clock(datetime.combine(STORM, datetime.min.time(), UTC) + timedelta(hours=8))
    dying = DyingGauges(feed="arpae", since=STORM, until=STORM + timedelta(days=10), mm=deadly_mm)
    services = [ArpaeCsv(latency=timedelta(hours=2), history_days=60)]
    with Simulator(TRUTH, services, toy.clock, FaultScript(faults=(dying,))) as simulator:
        preset = tomllib.loads((PRESETS / "arpae.toml").read_text("utf-8"))
        values = section(simulator, "arpae", preset, toy.folder) | {"latency_hours": 6}
        text = re.sub(r"\[\[feeds\]\].*?\n\n", as_toml(values) + "\n", SETTINGS, flags=re.DOTALL)
        # A gauge stands for its own surroundings alone, so that a dead one leaves a hole.
        toy.config.write_text(text.replace("max_distance_km = 5", "max_distance_km = 0.8"), "utf-8")
        toy.ingest()
        yield Place(toy, simulator)


def classes(layer: Layer) -> npt.NDArray[np.uint8]:
    with rasterio.open(layer.folder / "class.tif") as raster:
        return np.asarray(raster.read(1))


def distance(gauges: list[Gauge]) -> npt.NDArray[np.float64]:
    """Return the distance of each cell's centre from the nearest of some gauges, m."""
    x, y = warp("EPSG:4326", "EPSG:32632", [item.lon for item in gauges], [item.lat for item in gauges])
    rows, columns = np.indices(SHAPE)
    across = LEFT + (columns[..., None] + 0.5) * 30 - np.array(x)
    down = TOP - (rows[..., None] + 0.5) * 30 - np.array(y)
    return np.asarray(np.hypot(across, down).min(axis=-1))


def sample(toy: ToyRegion, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: read_figures(toy.settings, toy.clock)))
    return registry.get_sample_value(f"colluvium_{name}", labels)


def test_where_the_storm_kills_the_gauges_the_map_is_degraded_and_unknown_and_says_so(toy: ToyRegion) -> None:
    dead = [gauge for gauge in TRUTH.gauges if TRUTH.gauge_rain(STORM, gauge) >= CORE]
    alive = [gauge for gauge in TRUTH.gauges if gauge not in dead]
    assert dead
    assert alive
    with storm(toy, CORE) as place:
        (before,) = toy.refresh(STORM)
        assert before.layer is not None
        assert before.layer.status == LayerStatus.COMPLETE
        was = classes(before.layer) != UNKNOWN

        for days in range(1, 10):
            layer = place.next_day().layer
            assert layer is not None
            assert layer.status == LayerStatus.DEGRADED
            assert layer.coverage < before.layer.coverage
            lost = was & (classes(layer) == UNKNOWN)  # unknown, not low
            assert lost.sum() == before.layer.cells - layer.cells > 0.1 * before.layer.cells
            # They lie where a gauge died, and nowhere else.
            assert (distance(dead)[lost] < distance(alive)[lost]).mean() > 0.9
            report = read_status(toy.settings, toy.clock())
            assert report.verdict == "DEGRADED"
            assert sample(toy, "layer_status", status="degraded") == 1
            if days > SILENT_AFTER_DAYS:
                assert report.feeds[0].silent == tuple(gauge.id for gauge in dead)
                assert sample(toy, "feed_silent_series", feed="arpae") == len(dead)

        # The gauges are repaired, and their memory holds the storm: nobody has to do anything.
        place.next_day()
        back = place.next_day().layer
        assert back is not None
        assert back.status == LayerStatus.COMPLETE
        assert back.cells == before.layer.cells
        assert read_status(toy.settings, toy.clock()).verdict == "FRESH"
        (made_good,) = toy.refresh(STORM + timedelta(days=1))
        assert made_good.layer is not None
        assert made_good.layer.status == LayerStatus.COMPLETE
        assert (classes(made_good.layer) != UNKNOWN).sum() == was.sum()


def test_where_all_gauges_die_no_map_is_made_and_the_old_one_is_called_stale(toy: ToyRegion) -> None:
    with storm(toy, ALL) as place:
        (before,) = toy.refresh(STORM)
        assert before.layer is not None
        for days in range(1, 4):
            result = place.next_day()
            assert result.outcome == Outcome.HELD
            assert result.layer is None
            assert toy.latest() == toy.latest() | {"day": STORM.isoformat()}  # type: ignore[operator]
            report = read_status(toy.settings, toy.clock())
            assert (report.verdict, report.behind_days) == ("STALE", days)
            assert report.feeds[0].late_days == days
            assert "feed arpae: late by" in report.to_text()
            newest = sample(toy, "feed_newest_reading_timestamp_seconds", feed="arpae")
            assert newest == datetime.combine(STORM - timedelta(days=1), datetime.min.time(), UTC).timestamp()
