"""Promises of rain from raster products: where gauges are silent, and only there; and of days of forecast."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rasterio.crs import CRS
from rasterio.transform import from_origin

from service.feeds.base import Grid
from service.forcing import GaugeDay, daily_surfaces, gauge_days, surface_of_day
from service.reading_values import ForecastIssue, Reading, Selection, SeriesDay, SeriesPosition
from service.readings import Archive
from service.settings import ForcingSettings
from service.stamps import to_stamp
from service.surfaces import Kind, SurfaceStore

UTM = CRS.from_epsg(32632)
DAY = date(2024, 5, 1)
NOW = datetime(2024, 5, 10, tzinfo=UTC)
SETTINGS = ForcingSettings(max_distance_km=10, neighbours=3)
# 100 x 100 km of 10 km pixels; the gauge stands in the middle of it.
PIXELS = from_origin(450_000, 4_950_000, 10_000, 10_000)
GAUGE = (9.0, 44.25)  # about 500 000, 4 899 800
NEAR, FAR = (500_000.0, 4_900_000.0), (530_000.0, 4_900_000.0)


def points(*xy: tuple[float, float]) -> npt.NDArray[np.float64]:
    return np.array(xy)


def grid(value: float, day: date = DAY) -> Grid:
    return Grid(
        day=day,
        values=np.full((10, 10), value, np.float32),
        transform=PIXELS,
        crs=UTM,
        ends_at=to_stamp(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)),
        source="test",
    )


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Gauge A said 7 mm on the first of May; the satellite says 20, and on the second, too."""
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as archive:
        archive.add_series("gauges", "rain", [SeriesPosition("A", *GAUGE)], NOW)
        archive.add([Reading("gauges", "rain", "A", DAY, 7.0)], NOW)
        with archive.transaction():
            archive.rasters.add("satellite", "rain", [grid(20), grid(21, DAY + timedelta(days=1))], NOW)
        yield archive


def of_day(archive: Archive, day: date = DAY, settings: ForcingSettings = SETTINGS) -> GaugeDay:
    (gauges,), _ = gauge_days(archive, "rain", [day], UTM, settings)
    return gauges


def test_a_gauge_in_range_counts_and_the_raster_is_there_where_none_is(archive: Archive) -> None:
    surface = surface_of_day(of_day(archive), points(NEAR, FAR), SETTINGS)
    assert surface.values.tolist() == [7, 20]
    assert surface.kind.tolist() == [Kind.OBSERVED, Kind.OBSERVED]
    assert [surface.series[number] for number in surface.nearest] == ["gauges/A", "satellite/raster"]


def test_where_the_gauge_in_range_is_silent_the_raster_fills(archive: Archive) -> None:
    surface = surface_of_day(of_day(archive, DAY + timedelta(days=1)), points(NEAR, FAR), SETTINGS)
    assert surface.values.tolist() == [21, 21]
    assert surface.kind.tolist() == [Kind.FILLED, Kind.OBSERVED]


def test_a_day_without_gauge_and_raster_is_missing(archive: Archive) -> None:
    surface = surface_of_day(of_day(archive, DAY + timedelta(days=2)), points(NEAR, FAR), SETTINGS)
    assert np.isnan(surface.values).all()
    assert set(surface.kind.tolist()) == {Kind.MISSING}


def test_of_two_products_the_preferred_one_counts_where_it_has_a_value(archive: Archive) -> None:
    holed = grid(50)
    holed.values[:, 8:] = np.nan
    with archive.transaction():
        archive.rasters.add("better", "rain", [holed], NOW)
    settings = SETTINGS.model_copy(update={"rasters": ("satellite", "better")})
    east = (535_000.0, 4_900_000.0)
    assert surface_of_day(of_day(archive), points(FAR, east), SETTINGS).values.tolist() == [20, 20]
    # By name, "better" comes first; its hole is the other's.
    by_name = surface_of_day(of_day(archive), points((525_000.0, 4_900_000.0)), SETTINGS)
    assert by_name.values.tolist() == [50]
    preferred = surface_of_day(of_day(archive, settings=settings), points((525_000.0, 4_900_000.0)), settings)
    assert preferred.values.tolist() == [20]


def test_a_corrected_raster_makes_another_surface(archive: Archive, tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path / "surfaces")
    (before,) = daily_surfaces([of_day(archive)], "rain", points(FAR), SETTINGS, store)
    with archive.transaction():
        archive.rasters.add("satellite", "rain", [grid(33)], NOW + timedelta(hours=1))
    (after,) = daily_surfaces([of_day(archive)], "rain", points(FAR), SETTINGS, store)
    assert (before.values[0], after.values[0]) == (20, 33)
    (again,), _ = gauge_days(archive, "rain", [DAY], UTM, SETTINGS, NOW)
    assert surface_of_day(again, points(FAR), SETTINGS).values[0] == 20


def test_days_of_forecast_are_the_forecasts_and_marked(archive: Archive) -> None:
    issued, ahead = datetime(2024, 5, 2, tzinfo=UTC), DAY + timedelta(days=1)
    archive.add_series("forecast", "rain", [SeriesPosition("P", *GAUGE)], NOW)
    said = Reading("forecast", "rain", "P", ahead, 4.0, issued_at=issued, member=2)
    archive.add([said], NOW)
    issue = ForecastIssue("forecast", issued, first=ahead, member=2, factors=((ahead, 1.5),))
    days, _ = gauge_days(archive, "rain", [DAY, ahead], UTM, SETTINGS, None, Selection(forecast=issue))
    measured, foretold = (surface_of_day(day, points(NEAR, FAR), SETTINGS) for day in days)
    assert measured.kind[0] == Kind.OBSERVED
    assert foretold.values[0] == 6
    assert foretold.kind.tolist() == [Kind.FORECAST, Kind.MISSING]


def test_without_a_selection_no_forecast_and_no_suspect_is_in_a_day(archive: Archive) -> None:
    issued = datetime(2024, 5, 1, tzinfo=UTC)
    archive.add_series("forecast", "rain", [SeriesPosition("P", *GAUGE)], NOW)
    archive.add([Reading("forecast", "rain", "P", DAY, 90.0, issued_at=issued)], NOW)
    assert surface_of_day(of_day(archive), points(NEAR), SETTINGS).values.tolist() == [7]


def test_a_suspect_counts_where_it_is_selected(archive: Archive) -> None:
    from service.reading_values import Doubt, Finding

    at = SeriesDay("gauges", "rain", "A", DAY)
    archive.doubt([Doubt(at, 7.0, (Finding("spatial", "far above its neighbours", True),))], NOW)
    silent = surface_of_day(of_day(archive), points(NEAR), SETTINGS)
    assert silent.values.tolist() == [20]
    selected = Selection(suspects=frozenset({at}))
    (believed,), _ = gauge_days(archive, "rain", [DAY], UTM, SETTINGS, None, selected)
    assert surface_of_day(believed, points(NEAR), SETTINGS).values.tolist() == [7]


def test_a_surface_without_rasters_has_the_digest_that_it_had(archive: Archive, tmp_path: Path) -> None:
    """Stored surfaces of a region of gauges outlive the arrival of rasters in the code."""
    plain = replace(of_day(archive), rasters=(), crs=None)
    store = SurfaceStore(tmp_path)
    list(daily_surfaces([plain], "rain", points(NEAR), SETTINGS, store))
    (path,) = store.days()
    list(daily_surfaces([replace(plain, crs=UTM)], "rain", points(NEAR), SETTINGS, store))
    assert list(store.days()) == [path]
