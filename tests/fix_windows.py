"""A small forcing grid, an archive in memory and windows made of both, for tests of windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from service.manifest import VariableSpec
from service.reading_values import Readings, Series, SeriesDay
from service.readings import Archive
from service.region import ForcingGrid, Grid, Region
from service.reservoirs import Reservoirs
from service.sequences import PointWindows, WindowSet, build_windows, point_windows
from service.settings import Settings, parse_settings

UTM = CRS.from_epsg(32633)
FIRST = date(2024, 3, 1)
LEFT, TOP = 500_000.0, 4_700_000.0
NAN = float("nan")
K, CELL = 4, 30.0
STEP = K * CELL
RAIN = VariableSpec(name="rain", unit="mm", minimum=0, maximum=100)
BELOW = VariableSpec(name="level_below_full", unit="m", minimum=-50, maximum=0, unlinked=-99.0)
CHANGE = VariableSpec(name="level_change_1d", unit="m", minimum=-5, maximum=5)


def make_region(rows: int = 3, columns: int = 4, active: Sequence[tuple[int, int]] | None = None) -> Region:
    everywhere = [(row, column) for row in range(rows) for column in range(columns)]
    grid = Grid(UTM, LEFT, TOP, CELL, rows * K, columns * K)
    forcing = ForcingGrid(grid, K, np.array(active or everywhere, dtype=np.int32))
    return Region("test", grid, forcing, Path("mask.tif"), Path("zones.tif"), (), "", "")


def make_settings(folder: Path, **forcing: object) -> Settings:
    lines = "\n".join(f"{key} = {value!r}" for key, value in forcing.items())
    text = f"""
    [region]
    id = "test"
    name = "Test"
    data_dir = "data"
    [grid]
    crs = "EPSG:32633"
    extent = [500000.0, 4690000.0, 510000.0, 4700000.0]
    [bundle]
    path = "bundle"
    [forcing]
    {lines}
    """
    return parse_settings(text, base=folder, origin="test")


class NoRasters:
    """The rasters of an archive that has none."""

    def days(self, variable: str, days: Sequence[date], as_of: datetime | None = None) -> list[tuple[()]]:
        return [()] * len(days)


@dataclass
class Shelf(Archive):
    """An archive in memory: gauges as (x, y) metres from the grid's origin, rain[day][gauge], levels."""

    gauges: Sequence[tuple[float, float]]
    rain: npt.NDArray[np.float32]  # (days from FIRST, gauges)
    levels: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)  # (days from FIRST,)
    asked: set[date] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rasters = NoRasters()  # type: ignore[assignment]

    def values(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        suspects: Collection[SeriesDay] = (),
    ) -> Readings:
        self.asked.update(days)
        if variable == "rain":
            x = [LEFT + gauge[0] for gauge in self.gauges]
            y = [TOP - gauge[1] for gauge in self.gauges]
            lon, lat = transform(UTM, CRS.from_epsg(4326), x, y) if x else ([], [])
            names = [f"g{number}" for number in range(len(x))]
            table = self.rain
        else:
            names, lon, lat = list(self.levels), [0.0] * len(self.levels), [0.0] * len(self.levels)
            table = np.stack(list(self.levels.values()), axis=1)
        series = tuple(
            Series(name, "feed", variable, lon[number], lat[number], None, None, None)
            for number, name in enumerate(names)
        )
        value = np.full((len(days), len(series)), np.nan, dtype=np.float32)
        for row, day in enumerate(days):
            if 0 <= (day - FIRST).days < len(table):
                value[row] = table[(day - FIRST).days]
        return Readings(variable, tuple(days), series, value, None, (None,) * len(days))


def lake(*shapes: shapely.Geometry) -> Reservoirs:
    names = tuple(f"r{number}" for number in range(len(shapes)))
    return Reservoirs(names, names, np.full(len(shapes), 100.0), shapes, STEP / 4, 1e6)


def build(
    folder: Path,
    archive: Archive,
    day: int,
    *,
    region: Region | None = None,
    length: int = 3,
    variables: Sequence[VariableSpec] = (RAIN,),
    reservoirs: Reservoirs | None = None,
    as_of: datetime | None = None,
    **forcing: object,
) -> WindowSet:
    return build_windows(
        make_settings(folder, **{"max_distance_km": 5.0} | forcing),
        region or make_region(),
        archive,
        variables,
        FIRST + timedelta(days=day),
        window_days=length,
        lag_days=1,
        as_of=as_of,
        reservoirs=reservoirs,
    )


def contents(windows: WindowSet) -> list[object]:
    arrays = (windows.windows, windows.corner_rows, windows.observed, windows.filled, windows.carried,
              windows.forecast, windows.distance_km, windows.basis)  # fmt: skip
    partial = {index: inside.tolist() for index, inside in windows.partial.items()}
    return [windows.digest, windows.coverage, partial, *((a.dtype, a.shape, a.tobytes()) for a in arrays)]


def steady(days: int, *values: float) -> npt.NDArray[np.float32]:
    return np.tile(np.array(values, dtype=np.float32), (days, 1))


def points(
    folder: Path,
    archive: Archive,
    xy: npt.NDArray[np.float64],
    days: Sequence[int],
    *,
    region: Region | None = None,
    length: int = 3,
    variables: Sequence[VariableSpec] = (RAIN,),
    reservoirs: Reservoirs | None = None,
    **forcing: object,
) -> PointWindows:
    return point_windows(
        make_settings(folder, **{"max_distance_km": 5.0} | forcing),
        region or make_region(),
        archive,
        variables,
        xy,
        [FIRST + timedelta(days=day) for day in days],
        window_days=length,
        lag_days=1,
        reservoirs=reservoirs,
    )
