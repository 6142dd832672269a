"""Promises of reservoirs: which forcing cells they are linked to, and what their levels become."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.errors import RegionError
from service.forcing import MAX_GAP_DAYS
from service.reading_values import Readings, Series, SeriesDay
from service.readings import Archive
from service.region import ForcingGrid, Grid, Region
from service.reservoirs import Levels, Reservoirs, level_variables, open_reservoirs, read_levels
from service.settings import ForcingSettings, ReservoirSettings
from service.surfaces import Kind

UTM = CRS.from_epsg(32633)
DAY = date(2024, 6, 1)
NAN = float("nan")
# 10 x 10 forcing cells of 100 m, from (0, 1000) to (1000, 0).
FORCING = ForcingGrid(
    Grid(UTM, 0.0, 1000.0, 25.0, 40, 40),
    4,
    np.array([(r, c) for r in range(10) for c in range(10)], np.int32),
)


def make_reservoirs(*shapes: shapely.Geometry, full: float = 100.0, **more: Any) -> Reservoirs:
    return Reservoirs(
        ids=tuple(f"r{number}" for number in range(len(shapes))),
        names=tuple(f"Lake {number}" for number in range(len(shapes))),
        full_level_m=np.full(len(shapes), full),
        geometries=shapes,
        **{"link_distance_m": 150.0, "link_height_m": 50.0} | more,
    )


class Levelled(Archive):
    """An archive of levels in memory: series -> days from DAY -> metres."""

    def __init__(self, levels: Mapping[str, Mapping[int, float]], feed: str = "dams") -> None:
        self.levels, self.feed = levels, feed
        self.asked: set[date] = set()

    def values(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        suspects: Collection[SeriesDay] = (),
    ) -> Readings:
        assert variable == "level"
        self.asked.update(days)
        listed = tuple(Series(name, self.feed, "level", 0, 0, None, None, None) for name in self.levels)
        rows = [[known.get((day - DAY).days, NAN) for known in self.levels.values()] for day in days]
        value = np.array(rows, dtype=np.float32).reshape(len(days), len(listed))
        return Readings(variable, tuple(days), listed, value, None, (None,) * len(days))


def levels_of(
    known: Mapping[int, float],
    days: range,
    *names: str,
    max_carry_days: int = 3,
    read_until: int | None = None,
) -> Levels:
    reservoirs = make_reservoirs(shapely.box(0, 0, 100, 100))
    wanted = [DAY + timedelta(days=number) for number in days]
    last = DAY + timedelta(days=days[-1] if read_until is None else read_until)
    readings = read_levels(Levelled({"r0": known}), reservoirs, wanted[0], last)
    settings = ForcingSettings(max_carry_days=max_carry_days)
    return level_variables(readings, reservoirs, names or ("level_below_full",), wanted, settings)


# --- linking ---


def test_a_forcing_cell_is_linked_by_the_distance_from_its_square() -> None:
    reservoirs = make_reservoirs(shapely.box(0, 0, 100, 100))  # the cell in the south-west corner
    linked = reservoirs.link(FORCING.active, FORCING).reshape(10, 10)
    # 150 m from the square: the neighbour touches it, the next is 100 m away, the third 200 m.
    assert (linked == 0).sum(axis=0).tolist() == [3, 3, 3, 0, 0, 0, 0, 0, 0, 0]
    assert (linked[7:, :3] == 0).all()
    assert linked[6, 0] == -1


def test_a_forcing_cell_belongs_to_the_nearest_reservoir_alone() -> None:
    reservoirs = make_reservoirs(shapely.box(0, 0, 100, 100), shapely.box(390, 0, 400, 100))
    linked = reservoirs.link(FORCING.active, FORCING)[90:]
    assert linked.tolist() == [0, 0, 1, 1, 1, 1, -1, -1, -1, -1]


def test_a_forcing_cell_high_above_the_rim_is_not_linked_and_an_unknown_height_does_not_matter() -> None:
    heights = {(9, 0): 150.0, (9, 1): 150.1, (9, 2): NAN}
    reservoirs = make_reservoirs(
        shapely.box(0, 0, 100, 100),
        lowest=lambda cells: np.array([heights[row, column] for row, column in cells.tolist()]),
    )
    cells = np.array([(9, 0), (9, 1), (9, 2)], dtype=np.int32)
    assert reservoirs.link(cells, FORCING).tolist() == [0, -1, 0]


def test_a_cell_too_high_above_the_nearest_reservoir_may_belong_to_a_higher_one() -> None:
    reservoirs = make_reservoirs(
        shapely.box(0, 0, 100, 100),
        shapely.box(150, 0, 200, 100),
        lowest=lambda cells: np.full(len(cells), 200.0),
    )
    reservoirs.full_level_m[1] = 180
    assert reservoirs.link(np.array([(9, 0)], dtype=np.int32), FORCING).tolist() == [1]


def test_squares_outside_the_region_are_linked_alike() -> None:
    reservoirs = make_reservoirs(shapely.box(-500, 0, -400, 100))
    cells = np.array([(9, -4), (9, -3), (9, -2)], dtype=np.int32)
    assert reservoirs.link(cells, FORCING).tolist() == [0, 0, -1]


# --- levels ---


def test_the_variables_are_the_level_below_full_and_its_changes() -> None:
    known = {day: 60.0 + day * 0.5 for day in range(-40, 3)}
    names = ("level_change_7d", "level_below_full", "level_change_30d", "level_change_1d")
    levels = levels_of(known, range(3), *names)
    assert levels.value[:, 0].tolist() == [
        [3.5, -40.0, 15.0, 0.5],
        [3.5, -39.5, 15.0, 0.5],
        [3.5, -39, 15, 0.5],
    ]
    assert (levels.kind == Kind.OBSERVED).all()


def test_a_level_is_interpolated_inside_a_gap_and_marked_filled() -> None:
    levels = levels_of({0: 90.0, 4: 98.0}, range(5))
    assert levels.value[:, 0, 0].tolist() == [-10, -8, -6, -4, -2]
    assert levels.kind[:, 0, 0].tolist() == [Kind.OBSERVED, *[Kind.FILLED] * 3, Kind.OBSERVED]


def test_a_level_persists_for_the_days_allowed_and_is_then_missing() -> None:
    levels = levels_of({0: 90.0}, range(6), max_carry_days=3)
    assert levels.value[:4, 0, 0].tolist() == [-10] * 4
    assert np.isnan(levels.value[4:, 0, 0]).all()
    assert levels.kind[:, 0, 0].tolist() == [Kind.OBSERVED, *[Kind.CARRIED] * 3, *[Kind.MISSING] * 2]


def test_before_its_first_reading_a_level_is_missing() -> None:
    levels = levels_of({2: 90.0}, range(3))
    assert np.isnan(levels.value[:2, 0, 0]).all()


def test_a_gap_that_closes_after_the_window_is_an_open_end() -> None:
    known = {0: 90.0, 5: 95.0}
    open_end = levels_of(known, range(4), max_carry_days=2, read_until=8)
    assert open_end.value[:3, 0, 0].tolist() == [-10, -10, -10]
    assert np.isnan(open_end.value[3, 0, 0])


def test_no_level_of_a_day_after_the_last_is_asked_for() -> None:
    archive = Levelled({"r0": {0: 1.0}})
    read_levels(archive, make_reservoirs(shapely.box(0, 0, 1, 1)), DAY - timedelta(days=29), DAY)
    assert max(archive.asked) == DAY


@pytest.mark.parametrize(("silent", "bridged"), [(MAX_GAP_DAYS, True), (MAX_GAP_DAYS + 1, False)])
@pytest.mark.parametrize("start", [-60, -30, -1])
def test_a_gap_is_bridged_by_its_length_wherever_the_window_begins(
    silent: int, bridged: bool, start: int
) -> None:
    known = {0: 90.0, -silent - 1: 60.0, **{-silent - 1 - day: 60.0 for day in range(1, 80)}}
    levels = levels_of(known, range(start, 1), max_carry_days=0)
    gap = levels.kind[max(0, -silent - start) : -1, 0, 0]
    assert len(gap)
    assert (gap == (Kind.FILLED if bridged else Kind.MISSING)).all()


def test_a_change_is_no_better_known_than_either_of_its_days() -> None:
    levels = levels_of({0: 90.0, 2: 92.0, 3: 93.0}, range(1, 6), "level_change_1d", max_carry_days=1)
    kinds = [Kind.FILLED, Kind.FILLED, Kind.OBSERVED, Kind.CARRIED, Kind.MISSING]
    assert levels.kind[:, 0, 0].tolist() == kinds
    assert levels.value[:4, 0, 0].tolist() == [1, 1, 1, 0]
    assert np.isnan(levels.value[4, 0, 0])


def test_no_reservoir_speaks_for_another() -> None:
    reservoirs = make_reservoirs(shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6), shapely.box(8, 8, 9, 9))
    readings = read_levels(
        Levelled({"r2": {0: 70.0}, "r0": {0: 90.0}, "other": {0: 1.0}}), reservoirs, DAY, DAY
    )
    levels = level_variables(readings, reservoirs, ["level_below_full"], [DAY], ForcingSettings())
    assert levels.value[0, [0, 2], 0].tolist() == [-10, -30]
    assert np.isnan(levels.value[0, 1, 0])


@given(
    known=st.dictionaries(st.integers(-70, 12), st.floats(0, 2000, width=32), max_size=40),
    later=st.dictionaries(st.integers(1, 12), st.floats(0, 2000, width=32), max_size=5),
    carry=st.integers(0, 10),
)
def test_a_window_is_the_same_whatever_is_read_after_its_last_day(
    known: dict[int, float], later: dict[int, float], carry: int
) -> None:
    names = ("level_below_full", "level_change_30d")
    before = {day: level for day, level in known.items() if day <= 0}
    alone = levels_of(before, range(-5, 1), *names, max_carry_days=carry)
    after = levels_of(before | later, range(-5, 1), *names, max_carry_days=carry, read_until=12)
    assert alone.value.tobytes() == after.value.tobytes()
    assert alone.kind.tobytes() == after.kind.tobytes()
    assert (np.isnan(alone.value) == (alone.kind == Kind.MISSING)).all()


# --- reading the polygons ---


def write_polygons(path: Path, *properties: dict[str, object]) -> ReservoirSettings:
    features = [
        {
            "type": "Feature",
            "properties": values,
            "geometry": shapely.geometry.mapping(shapely.box(n, 0, n + 1, 1)),
        }
        for n, values in enumerate(properties)
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return ReservoirSettings(path=path)


def a_region(folder: Path) -> Region:
    return Region("r", FORCING.grid, FORCING, folder / "mask.tif", folder / "zones.tif", (), "", "")


def test_reservoirs_are_read_in_the_order_of_their_file(tmp_path: Path) -> None:
    settings = write_polygons(
        tmp_path / "r.geojson",
        {"id": "idukki", "name": "Idukki", "full_level_m": 732.43},
        {"id": "banasura", "name": None, "full_level_m": 775.6},
    )
    reservoirs = open_reservoirs(settings, a_region(tmp_path))
    assert reservoirs.ids == ("idukki", "banasura")
    assert reservoirs.names == ("Idukki", "banasura")
    assert reservoirs.full_level_m.tolist() == [732.43, 775.6]
    assert reservoirs.geometries[1].bounds == (1, 0, 2, 1)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ([{"id": "", "name": "x", "full_level_m": 1.0}], "reservoir 1 of .* has no 'id'"),
        ([{"id": "a", "name": "x", "full_level_m": None}], "reservoir 'a' .* 'full_level_m'"),
        ([{"id": "a", "name": "x", "full_level_m": "high"}], "reservoir 'a' .* 'full_level_m'"),
        ([{"id": "a", "name": "x"}], "no field 'full_level_m'"),
        ([{"id": "a", "name": "x", "full_level_m": 1.0}] * 2, "twice: a"),
    ],
)
def test_a_reservoir_that_cannot_be_used_is_named(
    tmp_path: Path, properties: list[dict[str, object]], said: str
) -> None:
    settings = write_polygons(tmp_path / "r.geojson", *properties)
    with pytest.raises(RegionError, match=said):
        open_reservoirs(settings, a_region(tmp_path))
