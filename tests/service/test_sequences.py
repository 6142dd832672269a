"""Promises of windows: complete or absent, the same however they were made, never from the future."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from service.errors import SettingsError
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.reservoirs import Reservoirs
from service.sequences import window_days
from tests.fix_windows import (
    BELOW,
    CHANGE,
    FIRST,
    LEFT,
    NAN,
    RAIN,
    STEP,
    TOP,
    UTM,
    Shelf,
    build,
    contents,
    lake,
    make_region,
    make_settings,
    points,
    steady,
)

# --- the days ---


def test_a_window_is_the_days_that_end_lag_days_before() -> None:
    days = window_days(date(2024, 3, 2), 3, 1)
    assert days == (date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1))
    assert window_days(date(2024, 3, 2), 1, 0) == (date(2024, 3, 2),)


def test_no_day_after_data_until_is_asked_for(tmp_path: Path) -> None:
    shelf = Shelf([(0, 0)], steady(40, 1.0), {"r0": steady(40, 90.0)[:, 0]})
    reservoirs = lake(shapely.box(LEFT, TOP - 10, LEFT + 10, TOP))
    for fill in ("same_day", "linear"):
        windows = build(
            tmp_path, shelf, 20, fill=fill, variables=(RAIN, BELOW, CHANGE), reservoirs=reservoirs
        )
        assert windows.days[-1] == FIRST + timedelta(days=19)
        assert max(shelf.asked) == windows.days[-1]


# --- values ---


def test_windows_hold_the_rain_of_their_days_oldest_first(tmp_path: Path) -> None:
    shelf = Shelf([(0, 0)], np.array([[1], [2], [3], [4]], dtype=np.float32))
    windows = build(tmp_path, shelf, 3)
    assert windows.windows.dtype == np.float32
    assert windows.windows.shape == (20, 3, 1)  # 4 x 5 nodes
    assert (windows.windows[:, :, 0] == [1, 2, 3]).all()
    assert windows.complete.all()
    assert windows.partial == {}
    assert windows.coverage == 1
    assert (windows.observed == 1).all()


def test_corners_are_north_west_north_east_south_west_south_east(tmp_path: Path) -> None:
    corners = [(0, 0), (STEP, 0), (0, STEP), (STEP, STEP)]
    shelf = Shelf(corners, steady(3, 10, 20, 30, 40))
    windows = build(tmp_path, shelf, 3, region=make_region(1, 1))
    assert windows.windows[windows.corner_rows[0], 0, 0].tolist() == [10, 20, 30, 40]


def test_missing_is_never_zero_and_leaves_its_forcing_cells_without_a_window(tmp_path: Path) -> None:
    rain = steady(3, 5.0)
    rain[1] = NAN
    windows = build(tmp_path, Shelf([(0, 0)], rain), 3)
    assert windows.windows.shape == (0, 3, 1)
    assert (windows.corner_rows == -1).all()
    assert windows.coverage == pytest.approx(2 / 3)
    assert windows.observed == pytest.approx(np.full(12, 2 / 3))


@pytest.mark.parametrize("gauges", [[], [(1e6, 1e6)]])
def test_with_no_gauge_in_range_there_is_no_window_and_no_coverage(
    tmp_path: Path, gauges: list[tuple[float, float]]
) -> None:
    windows = build(tmp_path, Shelf(gauges, steady(3, *[1.0] * len(gauges))), 3)
    assert len(windows.windows) == 0
    assert not windows.complete.any()
    assert windows.coverage == windows.reach == 0
    assert np.isnan(windows.distance_km).all()


def test_one_corner_without_a_window_makes_the_forcing_cell_incomplete(tmp_path: Path) -> None:
    shelf = Shelf([(0, 0)], steady(3, 1))
    windows = build(tmp_path, shelf, 3, region=make_region(1, 3), max_distance_km=STEP * 2.1 / 1000)
    assert windows.corner_rows[0].min() >= 0
    assert (windows.corner_rows[1] >= 0).tolist() == [True, True, True, False]
    assert windows.complete.tolist() == [True, False, False]
    assert np.isfinite(windows.windows).all()


def test_active_cells_alone_have_nodes(tmp_path: Path) -> None:
    region = make_region(3, 4, active=[(0, 0), (2, 3)])
    windows = build(tmp_path, Shelf([(0, 0)], steady(3, 1)), 3, region=region)
    assert windows.corner_rows.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


# --- provenance ---


def test_coverage_and_shares_of_a_window_counted_by_hand(tmp_path: Path) -> None:
    # One forcing cell, four nodes; the gauge at NW reaches all, the one at SE fails on the second of 2 days.
    reach_km = STEP * 1.5 / 1000
    rain = np.array([[1, 2], [1, NAN]], dtype=np.float32)
    shelf = Shelf([(0, 0), (STEP, STEP)], rain)
    windows = build(tmp_path, shelf, 2, length=2, region=make_region(1, 1), max_distance_km=reach_km)
    # Second day: SE is filled from NW; NE and SW are as near to NW as to SE, so they stay observed.
    assert windows.observed.tolist() == [7 / 8]
    assert windows.filled.tolist() == [1 / 8]
    assert windows.coverage == 1
    assert windows.distance_km[0] == pytest.approx(STEP * np.sqrt(2) / 1000, rel=1e-5)
    # Without that reach SE is missing on the second day: 7 of 8 (node, day).
    near = build(tmp_path, shelf, 2, length=2, region=make_region(1, 1), max_distance_km=STEP / 1000)
    assert near.coverage == 7 / 8
    assert near.filled.tolist() == [0]
    assert not near.complete.any()
    assert near.reach == 1


def test_a_gauge_that_never_reports_counts_for_reach_but_not_for_coverage(tmp_path: Path) -> None:
    windows = build(tmp_path, Shelf([(0, 0)], steady(3, NAN)), 3)
    assert windows.reach == 1
    assert windows.coverage == 0


def test_the_basis_names_the_set_of_gauges_and_forgets_their_order(tmp_path: Path) -> None:
    region = make_region(1, 3)
    ends = [(0, 0), (3 * STEP, 0)]

    def basis(*silent: tuple[int, int]) -> list[int]:
        rain = steady(3, 1, 9)
        for day, gauge in silent:
            rain[day, gauge] = NAN
        return [int(code) for code in build(tmp_path, Shelf(ends, rain), 3, region=region).basis]

    west, middle, east = basis()
    assert len({west, middle, east}) == 3  # the first gauge, both, the second
    assert 0 < max(west, middle, east) < 1 << 24
    assert basis((0, 0))[0] == basis((2, 0))[0] == middle
    assert basis((0, 0), (1, 0), (2, 0)) == [east] * 3


# --- the range of each cell ---


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cells_in_range_are_those_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = st.tuples(st.integers(-250, 700), st.integers(-250, 600))
    gauges = data.draw(st.lists(place, min_size=1, max_size=5))
    number = len(gauges)
    reports = data.draw(
        st.lists(st.lists(st.booleans(), min_size=number, max_size=number), min_size=2, max_size=2)
    )
    rain = np.where(np.array(reports), 1.0, np.nan).astype(np.float32)
    region = make_region()
    limit_m = 300.0
    windows = build(
        tmp_path_factory.mktemp("range"), Shelf(gauges, rain), 2, length=2, region=region, max_distance_km=0.3
    )
    xy = np.array([(LEFT + x, TOP - y) for x, y in gauges])

    def in_range(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        squared = ((points[:, None] - xy[None]) ** 2).sum(axis=2)
        by_day = [((squared <= limit_m**2) & np.isfinite(day)).any(axis=1) for day in rain]
        return np.asarray(np.all(by_day, axis=0))

    nodes = in_range(region.forcing.node_xy)
    assert (windows.complete == nodes[region.forcing.corners].all(axis=1)).all()
    assert set(windows.partial) <= set(np.flatnonzero(windows.complete).tolist())
    for index in np.flatnonzero(windows.complete).tolist():
        expected = in_range(region.forcing.cell_centres(index))
        inside = windows.partial.get(index)
        assert (inside is None) == bool(expected.all())
        assert inside is None or (inside == expected).all()


# Four gauges just outside the corners, each reaching its own corner and little more; then one in the middle
# of the western side and one of the eastern, each reaching two corners.
AROUND = [(-20, -20), (STEP + 20, -20), (-20, STEP + 20), (STEP + 20, STEP + 20), (0, 60), (STEP, 60)]
BY_CORNERS = [1, 1, 1, 1, NAN, NAN]
BY_SIDES = [NAN, NAN, NAN, NAN, 1, 1]
CORNER_CELLS = [0, 3, 12, 15]


@pytest.mark.parametrize(
    ("rain", "inside"),
    [
        ([BY_CORNERS], CORNER_CELLS),
        ([BY_SIDES], [0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15]),
        ([BY_CORNERS, BY_SIDES], CORNER_CELLS),
        ([BY_SIDES, BY_CORNERS], CORNER_CELLS),
    ],
)
def test_a_cell_counts_where_it_is_in_range_on_every_day(
    tmp_path: Path, rain: list[list[float]], inside: list[int]
) -> None:
    shelf, days, region = Shelf(AROUND, np.array(rain, dtype=np.float32)), len(rain), make_region(1, 1)
    windows = build(tmp_path, shelf, days, length=days, region=region, max_distance_km=0.06)
    assert windows.complete.all()
    assert np.flatnonzero(windows.partial[0]).tolist() == inside
    centres = region.forcing.cell_centres(0)
    single = points(tmp_path, shelf, centres, [days] * 16, length=days, region=region, max_distance_km=0.06)
    known = np.isfinite(single.windows).all(axis=(1, 2))
    assert np.flatnonzero(known).tolist() == inside


# --- incremental, repeatable ---


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_windows_grown_day_by_day_are_those_made_from_scratch(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = st.tuples(st.integers(-500, 900), st.integers(-500, 900))
    gauges = data.draw(st.lists(place, min_size=1, max_size=5))
    value = st.one_of(st.just(NAN), st.floats(0, 300, width=32))
    rows = st.lists(value, min_size=len(gauges), max_size=len(gauges))
    rain = np.array(data.draw(st.lists(rows, min_size=7, max_size=7)), dtype=np.float32)
    fill = data.draw(st.sampled_from(["same_day", "linear"]))
    grown = tmp_path_factory.mktemp("grown")
    shelf = Shelf(gauges, rain)
    for day in (5, 6, 7):
        fresh = tmp_path_factory.mktemp("fresh")
        step = build(grown, shelf, day, fill=fill, max_distance_km=0.5)
        scratch = build(fresh, shelf, day, fill=fill, max_distance_km=0.5)
        assert contents(step) == contents(scratch)
        assert contents(build(grown, shelf, day, fill=fill, max_distance_km=0.5)) == contents(scratch)
        assert np.isfinite(step.windows).all()


def test_the_next_day_adds_one_surface(tmp_path: Path) -> None:
    shelf = Shelf([(0, 0)], steady(10, 1.0) + np.arange(10, dtype=np.float32)[:, None])
    build(tmp_path, shelf, 5)
    folder = make_settings(tmp_path).data_dir / "surfaces" / "rain"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    build(tmp_path, shelf, 6)
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 3
    assert len(after) == 4
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "change",
    [
        lambda rain: rain.__setitem__((4, 0), 7.5),  # another value
        lambda rain: rain.__setitem__((4, 1), NAN),  # a gauge fails
    ],
)
def test_another_reading_in_the_window_gives_another_digest(
    tmp_path: Path, change: Callable[[npt.NDArray[np.float32]], None]
) -> None:
    rain = steady(10, 1.0, 1.0)
    gauges = [(0.0, 0.0), (300.0, 0.0)]
    usual = build(tmp_path, Shelf(gauges, rain.copy()), 6)
    change(rain)
    assert build(tmp_path, Shelf(gauges, rain), 6).digest != usual.digest
    assert build(tmp_path, Shelf(gauges, rain), 9).digest != usual.digest  # another day of the same rain


def test_readings_outside_the_window_change_nothing(tmp_path: Path) -> None:
    rain = steady(10, 1.0)
    usual = build(tmp_path, Shelf([(0, 0)], rain.copy()), 6)
    rain[[2, 6, 9]] = 55
    assert contents(build(tmp_path, Shelf([(0, 0)], rain), 6)) == contents(usual)


# --- reservoirs ---


def two_lakes() -> Reservoirs:
    west = shapely.box(LEFT, TOP - 10, LEFT + 10, TOP)  # in the first forcing cell of the row
    east = shapely.box(LEFT + 4 * STEP - 10, TOP - 10, LEFT + 4 * STEP, TOP)  # in the fourth
    return lake(west, east)


def test_linked_cells_take_their_own_reservoir_and_unlinked_ones_the_constant(tmp_path: Path) -> None:
    levels = {"r0": steady(3, 90.0)[:, 0], "r1": np.array([50, 51, 52], dtype=np.float32)}
    windows = build(
        tmp_path,
        Shelf([(0, 0)], np.array([[1], [2], [3]], dtype=np.float32), levels),
        3,
        region=make_region(1, 4),
        variables=(BELOW, RAIN),
        reservoirs=two_lakes(),
    )
    assert windows.variables == ("level_below_full", "rain")
    by_cell = windows.windows[windows.corner_rows]  # (cell, corner, day, variable)
    assert (by_cell[..., 1] == [1, 2, 3]).all()
    assert (by_cell[0, :, :, 0] == -10).all()
    assert (by_cell[1:3, :, :, 0] == -99).all()
    assert (by_cell[3, :, :, 0] == [-50, -49, -48]).all()
    # 10 nodes, of which the two on each inner border of a linked cell serve two pairs.
    assert len(windows.windows) == 4 + 6 + 4


def test_a_linked_cell_without_levels_is_unknown_and_its_neighbours_are_not(tmp_path: Path) -> None:
    levels = {"r0": steady(3, NAN)[:, 0], "r1": steady(3, 90.0)[:, 0]}
    shelf = Shelf([(0, 0)], steady(3, 1), levels)
    windows = build(
        tmp_path, shelf, 3, region=make_region(1, 4), variables=(RAIN, BELOW), reservoirs=two_lakes()
    )
    assert windows.complete.tolist() == [False, True, True, True]


def test_coverage_is_the_least_over_variables_and_shares_count_levels(tmp_path: Path) -> None:
    # r0 reports on the first of 4 days and is then carried; r1 has a gap inside.
    levels = {
        "r0": np.array([90, NAN, NAN, NAN], dtype=np.float32),
        "r1": np.array([80, NAN, 82, 83], dtype=np.float32),
    }
    shelf = Shelf([(0, 0)], steady(4, 1), levels)
    windows = build(
        tmp_path,
        shelf,
        4,
        length=4,
        region=make_region(1, 4),
        variables=(RAIN, BELOW),
        reservoirs=two_lakes(),
    )
    assert windows.complete.all()
    assert windows.observed.tolist() == [5 / 8, 1, 1, 7 / 8]
    assert windows.carried.tolist() == [3 / 8, 0, 0, 0]
    assert windows.filled.tolist() == [0, 0, 0, 1 / 8]
    # 4 pairs of r0 with 1 day of 4, and 4 pairs of r1 with 4 of 4.
    assert windows.coverage == 5 / 8


def test_without_a_linked_cell_levels_do_not_count_for_coverage(tmp_path: Path) -> None:
    far = lake(shapely.box(0, 0, 1, 1))
    shelf = Shelf([(0, 0)], steady(3, 1), {"r0": steady(3, NAN)[:, 0]})
    windows = build(tmp_path, shelf, 3, variables=(RAIN, BELOW), reservoirs=far)
    assert windows.coverage == 1
    assert windows.complete.all()
    assert (windows.windows[..., 1] == -99).all()


def test_a_model_of_levels_needs_reservoirs(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"level_below_full.*reservoirs"):
        build(tmp_path, Shelf([(0, 0)], steady(3, 1)), 3, variables=(RAIN, BELOW))


# --- the archive itself ---


def test_as_of_gives_the_window_before_and_after_a_correction(tmp_path: Path) -> None:
    (lon,), (lat,) = transform(UTM, CRS.from_epsg(4326), [LEFT], [TOP])
    first, later = datetime(2024, 3, 5, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)
    with Archive(tmp_path / "readings.sqlite") as archive:
        archive.add_series("feed", "rain", [SeriesPosition("g0", lon, lat)], known_at=first)
        rows = [
            Reading("feed", "rain", "g0", FIRST + timedelta(days=n), 4.0 + n, known_at=first)
            for n in range(3)
        ]
        archive.add(rows)
        before = build(tmp_path, archive, 3)
        archive.add([replace(rows[1], value=40.0, known_at=later)])
        after = build(tmp_path, archive, 3)
        replayed = build(tmp_path, archive, 3, as_of=first + timedelta(hours=1))
    assert (before.windows[:, :, 0] == [4, 5, 6]).all()
    assert (after.windows[:, :, 0] == [4, 40, 6]).all()
    assert contents(replayed) == contents(before)
    assert replayed.newest_known_at == before.newest_known_at == "2024-03-05T00:00:00.000000Z"
    assert after.newest_known_at == "2024-04-01T00:00:00.000000Z"
