"""Promises of the daily surface: what a point is given on a day, from which gauges, and how it is marked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from service.forcing import (
    MAX_GAP_DAYS,
    GaugeDay,
    bridge_gaps,
    daily_surfaces,
    gauge_days,
    surface_of_day,
)
from service.reading_values import Readings, Series, SeriesDay
from service.settings import ForcingSettings
from service.surfaces import Kind, Surface, SurfaceStore
from tests.fix_windows import NoRasters

UTM = CRS.from_epsg(32633)
DAY = date(2024, 5, 1)
NAN = float("nan")
SETTINGS = ForcingSettings(max_distance_km=10, neighbours=3)


def gauges(*rows: tuple[float, float, float], day: date = DAY) -> GaugeDay:
    """Gauges as (x, y, value)."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    return GaugeDay(
        day=day,
        series=tuple(f"feed/g{number}" for number in range(len(table))),
        xy=table[:, :2],
        value=table[:, 2].astype(np.float32),
        interpolated=np.zeros(len(table), dtype=bool),
    )


def at(x: float, y: float) -> npt.NDArray[np.float64]:
    return np.array([[x, y]])


class Shelf:
    """An archive in memory, which notes the days that it was asked for."""

    rasters = NoRasters()

    def __init__(self, series: Sequence[Series], first: date, value: npt.NDArray[np.float32]) -> None:
        self.listed, self.first, self.table = tuple(series), first, value
        self.asked: set[date] = set()

    def values(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        suspects: Collection[SeriesDay] = (),
    ) -> Readings:
        self.asked.update(days)
        value = np.full((len(days), len(self.listed)), np.nan, dtype=np.float32)
        for row, day in enumerate(days):
            if 0 <= (day - self.first).days < len(self.table):
                value[row] = self.table[(day - self.first).days]
        return Readings(variable, tuple(days), self.listed, value, None, (None,) * len(days))


def series_at(
    x: float, y: float, identity: str, since: date | None = None, until: date | None = None
) -> Series:
    (lon,), (lat,) = transform(UTM, CRS.from_epsg(4326), [x], [y])
    return Series(
        id=identity,
        feed="feed",
        variable="rain",
        lon=lon,
        lat=lat,
        elevation_m=None,
        valid_from=since,
        valid_to=until,
    )


def test_inverse_distance_is_that_of_shepard() -> None:
    surface = surface_of_day(gauges((1000, 0, 10), (-2000, 0, 40)), at(0, 0), SETTINGS)
    assert surface.values[0] == pytest.approx((10 / 1 + 40 / 4) / (1 / 1 + 1 / 4))
    assert surface.kind[0] == Kind.OBSERVED
    assert surface.distance_km[0] == pytest.approx(1)
    assert surface.nearest[0] == 0


def test_a_gauge_at_the_point_gives_its_own_value() -> None:
    surface = surface_of_day(gauges((0, 0, 7.25), (50, 0, 90)), at(0, 0), SETTINGS)
    assert surface.values[0] == np.float32(7.25)


def test_only_the_nearest_gauges_count() -> None:
    near = [(100.0, 0.0, 1.0), (0.0, 100.0, 2.0), (-100.0, 0.0, 3.0)]
    surface = surface_of_day(gauges(*near, (0, -101, 500)), at(0, 0), SETTINGS)
    assert surface.values[0] == pytest.approx(2)


def test_a_point_out_of_range_is_missing_and_not_zero() -> None:
    surface = surface_of_day(gauges((10_001, 0, 5)), at(0, 0), SETTINGS)
    assert np.isnan(surface.values[0])
    assert np.isnan(surface.distance_km[0])
    assert surface.kind[0] == Kind.MISSING
    assert surface.nearest[0] == -1


def test_the_limit_itself_is_in_range() -> None:
    surface = surface_of_day(gauges((6000, 8000, 5)), at(0, 0), SETTINGS)
    assert surface.values[0] == 5
    assert surface.kind[0] == Kind.OBSERVED


@pytest.mark.parametrize("rows", [[], [(0.0, 0.0, NAN)], [(0.0, 0.0, NAN), (10.0, 0.0, NAN)]])
def test_a_day_on_which_nobody_reported_is_missing(rows: list[tuple[float, float, float]]) -> None:
    surface = surface_of_day(gauges(*rows), at(0, 0), SETTINGS)
    assert np.isnan(surface.values[0])
    assert surface.kind[0] == Kind.MISSING


def test_a_failed_nearest_gauge_turns_observed_into_filled_from_the_same_day() -> None:
    points = np.array([[0.0, 0.0], [5000.0, 0.0]])
    before = surface_of_day(gauges((100, 0, 3), (5100, 0, 30)), points, SETTINGS)
    after = surface_of_day(gauges((100, 0, NAN), (5100, 0, 30)), points, SETTINGS)
    assert before.kind.tolist() == [Kind.OBSERVED, Kind.OBSERVED]
    assert after.kind.tolist() == [Kind.FILLED, Kind.OBSERVED]
    assert after.values[0] == 30
    assert after.distance_km[0] == pytest.approx(5.1)
    assert after.nearest.tolist() == [1, 1]


def test_a_failed_farther_gauge_leaves_the_point_observed() -> None:
    surface = surface_of_day(gauges((100, 0, 3), (5000, 0, NAN)), at(0, 0), SETTINGS)
    assert surface.kind[0] == Kind.OBSERVED
    assert surface.values[0] == 3


def test_two_series_at_one_place_make_it_observed_when_either_reports() -> None:
    surface = surface_of_day(gauges((100, 0, NAN), (100, 0, 4)), at(0, 0), SETTINGS)
    assert surface.kind[0] == Kind.OBSERVED


coordinates = st.integers(-15_000, 15_000).map(float)
rains = st.one_of(st.just(NAN), st.floats(0, 500, width=32))
networks = st.lists(st.tuples(coordinates, coordinates, rains), max_size=12)
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=8).map(np.array)


@given(rows=networks, xy=points)
def test_values_lie_between_those_of_the_reporting_gauges_in_range(
    rows: list[tuple[float, float, float]], xy: npt.NDArray[np.float64]
) -> None:
    today = gauges(*rows)
    surface = surface_of_day(today, xy, SETTINGS)
    for number, point in enumerate(xy):
        squared = ((today.xy - point) ** 2).sum(axis=1)
        said = today.value[(squared <= 10_000**2) & today.reporting]
        if len(said):
            assert said.min() <= surface.values[number] <= said.max()
            nearest = np.sqrt(squared[today.reporting].min())
            assert surface.distance_km[number] == pytest.approx(nearest / 1000, abs=1e-3)
        else:
            assert np.isnan(surface.values[number])
            assert surface.kind[number] == Kind.MISSING


@given(rows=networks, xy=points)
def test_a_point_is_given_the_same_bytes_alone_as_among_others(
    rows: list[tuple[float, float, float]], xy: npt.NDArray[np.float64]
) -> None:
    together = surface_of_day(gauges(*rows), xy, SETTINGS)
    for number in range(len(xy)):
        alone = surface_of_day(gauges(*rows), xy[number : number + 1], SETTINGS)
        assert alone.values.tobytes() == together.values[number : number + 1].tobytes()
        assert alone.kind[0] == together.kind[number]


@given(rows=networks, xy=points)
def test_a_surface_from_the_store_is_the_one_that_would_be_made(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float, float, float]],
    xy: npt.NDArray[np.float64],
) -> None:
    store = SurfaceStore(tmp_path_factory.mktemp("surfaces"))
    made = list(daily_surfaces([gauges(*rows)], "rain", xy, SETTINGS, store))
    read = list(daily_surfaces([gauges(*rows)], "rain", xy, SETTINGS, store))
    assert as_bytes(made[0]) == as_bytes(read[0])


def test_a_stored_surface_is_read_and_a_damaged_one_rebuilt(tmp_path: Path) -> None:
    store = SurfaceStore(tmp_path)
    (made,) = daily_surfaces([gauges((0, 0, 4))], "rain", at(10, 0), SETTINGS, store)
    (path,) = store.days()
    written = path.stat().st_mtime_ns
    list(daily_surfaces([gauges((0, 0, 4))], "rain", at(10, 0), SETTINGS, store))
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"PK\x03\x04 and then nothing")
    (rebuilt,) = daily_surfaces([gauges((0, 0, 4))], "rain", at(10, 0), SETTINGS, store)
    assert as_bytes(rebuilt) == as_bytes(made)
    assert store.days().keys() == {path}
    (again,) = daily_surfaces([gauges((0, 0, 4))], "rain", at(10, 0), SETTINGS, store)
    assert as_bytes(again) == as_bytes(made)


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": gauges((0, 0, 5))},
        {"rows": gauges((1, 0, 4))},
        {"rows": gauges((0, 0, 4), (9000, 0, NAN))},
        {"rows": gauges((0, 0, 4), day=DAY + timedelta(days=1))},
        {"xy": at(11, 0)},
        {"variable": "snow"},
        {"settings": ForcingSettings(max_distance_km=11, neighbours=3)},
        {"settings": ForcingSettings(max_distance_km=10, neighbours=3, power=3)},
    ],
)
def test_whatever_goes_into_a_surface_gives_it_another_file(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    store = SurfaceStore(tmp_path)
    usual = {"rows": gauges((0, 0, 4)), "variable": "rain", "xy": at(10, 0), "settings": SETTINGS}
    for values in (usual, usual | changed):
        list(daily_surfaces([values["rows"]], values["variable"], values["xy"], values["settings"], store))  # type: ignore[list-item,arg-type]
    assert len(store.days()) == 2


def as_bytes(surface: Surface) -> list[object]:
    arrays = (surface.values, surface.kind, surface.distance_km, surface.nearest)
    return [surface.series, *(array.tobytes() for array in arrays)]


def test_a_gauge_in_degrees_lands_on_its_place_in_metres() -> None:
    shelf = Shelf([series_at(512_345, 4_700_000, "a")], DAY, np.array([[3.0]], dtype=np.float32))
    (today,), _ = gauge_days(shelf, "rain", [DAY], UTM, SETTINGS)  # type: ignore[arg-type]
    assert today.xy.tolist() == [[512_345, 4_700_000]]
    assert today.series == ("feed/a",)


def test_a_moved_gauge_stands_where_it_stood_on_the_day() -> None:
    moved = date(2024, 5, 2)
    old = series_at(0, 4_700_000, "a", until=DAY)
    new = series_at(900, 4_700_000, "a", since=moved)
    shelf = Shelf([old, new], DAY, np.array([[1, NAN], [NAN, 2]], dtype=np.float32))
    days, _ = gauge_days(shelf, "rain", [DAY, moved], UTM, SETTINGS)  # type: ignore[arg-type]
    assert [today.xy[:, 0].tolist() for today in days] == [[0], [900]]
    assert [today.value.tolist() for today in days] == [[1], [2]]


def test_a_gauge_without_a_position_is_left_out() -> None:
    lost = replace(series_at(0, 4_700_000, "a"), lon=NAN, lat=NAN)
    shelf = Shelf([lost, series_at(900, 4_700_000, "b")], DAY, np.array([[1, 2]], dtype=np.float32))
    (today,), _ = gauge_days(shelf, "rain", [DAY], UTM, SETTINGS)  # type: ignore[arg-type]
    assert today.series == ("feed/b",)
    assert surface_of_day(today, at(0, 4_700_000), SETTINGS).values.tolist() == [2]


def test_by_default_no_gauge_speaks_for_another_day() -> None:
    table = np.array([[4], [NAN], [8]], dtype=np.float32)
    shelf = Shelf([series_at(0, 4_700_000, "a")], DAY, table)
    days = [DAY + timedelta(days=number) for number in range(3)]
    result, _ = gauge_days(shelf, "rain", days, UTM, SETTINGS)  # type: ignore[arg-type]
    assert [bool(today.reporting[0]) for today in result] == [True, False, True]
    assert shelf.asked == set(days)


def test_linear_filling_bridges_a_gap_and_marks_it_filled() -> None:
    settings = ForcingSettings(max_distance_km=10, fill="linear")
    table = np.array([[4], [NAN], [8], [NAN]], dtype=np.float32)
    shelf = Shelf([series_at(0, 4_700_000, "a")], DAY, table)
    days = [DAY + timedelta(days=number) for number in range(1, 4)]
    result, _ = gauge_days(shelf, "rain", days, UTM, settings)  # type: ignore[arg-type]
    surfaces = [surface_of_day(today, at(0, 4_700_000), settings) for today in result]
    assert [surface.kind[0] for surface in surfaces] == [Kind.FILLED, Kind.OBSERVED, Kind.MISSING]
    assert surfaces[0].values[0] == 6
    assert np.isnan(surfaces[2].values[0])


def test_linear_filling_never_looks_beyond_the_last_day() -> None:
    settings = ForcingSettings(max_distance_km=10, fill="linear")
    shelf = Shelf([series_at(0, 4_700_000, "a")], DAY, np.array([[4], [NAN], [8]], dtype=np.float32))
    days = [DAY, DAY + timedelta(days=1)]
    result, _ = gauge_days(shelf, "rain", days, UTM, settings)  # type: ignore[arg-type]
    assert not result[1].reporting[0]
    assert max(shelf.asked) == days[-1]


def test_a_gap_is_bridged_up_to_the_longest_and_open_ends_never() -> None:
    column = [NAN, 1.0, *[NAN] * 3, 5.0, *[NAN] * 4, 9.0, NAN]
    value = np.array(column, dtype=np.float64)[:, None]
    bridged, mask = bridge_gaps(value, 3)
    assert bridged[1:6, 0].tolist() == [1, 2, 3, 4, 5]
    assert np.flatnonzero(mask[:, 0]).tolist() == [2, 3, 4]
    assert np.isnan(bridged[[0, 6, 7, 8, 9, 11], 0]).all()


@given(st.lists(st.one_of(st.just(NAN), st.floats(0, 900, width=32)), min_size=1, max_size=80))
def test_bridging_changes_no_reading_and_stays_between_its_sides(column: list[float]) -> None:
    value = np.array(column, dtype=np.float32)[:, None]
    bridged, mask = bridge_gaps(value, MAX_GAP_DAYS)
    known = np.isfinite(value)
    assert (bridged[known] == value[known]).all()
    assert not (mask & known).any()
    assert (np.isfinite(bridged) == (known | mask)).all()
    if mask.any():
        assert value[known].min() <= bridged[mask].min()
        assert bridged[mask].max() <= value[known].max()
