"""Reservoirs: which forcing cells they stand beside, and how their levels make a window's variables.

A forcing cell is linked to one reservoir at most, and levels are never mixed between reservoirs: a water
level on the other side of a mountain says nothing about this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.windows import Window

from service.errors import RegionError, SettingsError
from service.factor_stack import FactorStack
from service.forcing import MAX_GAP_DAYS, bridge_gaps
from service.manifest import VariableSpec
from service.reading_values import NOTHING_MORE, Selection
from service.readings import Archive
from service.region import ForcingGrid, Region, read_vectors
from service.settings import ForcingSettings, ReservoirSettings
from service.surfaces import Kind

LEVEL = "level"  # the archive's variable; a level series' id is its reservoir's
# Days back of each change; level_below_full has none.
CHANGE_DAYS = {"level_change_1d": 1, "level_change_7d": 7, "level_change_30d": 30}
LEVEL_VARIABLES = ("level_below_full", *CHANGE_DAYS)
# What a window needs before its first day: the longest change, and the longest gap before that.
MARGIN_DAYS = max(CHANGE_DAYS.values()) + MAX_GAP_DAYS + 1

# Lowest elevation of forcing cells, int32 (n, 2) (row, column) -> float64 (n,) metres; NaN where unknown.
LowestElevation = Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Reservoirs:
    """The region's R reservoirs, in the order of their file."""

    ids: tuple[str, ...]
    names: tuple[str, ...]
    full_level_m: npt.NDArray[np.float64]  # (R,) above sea level
    geometries: tuple[shapely.Geometry, ...] = field(repr=False)  # in the grid's CRS
    link_distance_m: float
    link_height_m: float
    lowest: LowestElevation | None = field(default=None, repr=False)

    def link(self, cells: npt.NDArray[np.int32], forcing: ForcingGrid) -> npt.NDArray[np.int32]:
        """Return the reservoir of each forcing cell: int32 (n,), an index into `ids`; -1 where none.

        `cells` is int32 (n, 2), (row, column) on the forcing grid, inside the region or not. The reservoir is
        the nearest whose distance from the square is at most `link_distance_m` and above whose full level the
        square's lowest cell rises at most `link_height_m`. Where the elevation is not known, the distance
        alone decides.
        """
        step = forcing.k * forcing.grid.cell_size_m
        left = forcing.grid.left + cells[:, 1].astype(np.float64) * step
        top = forcing.grid.top - cells[:, 0].astype(np.float64) * step
        linked = np.full(len(cells), -1, dtype=np.int32)
        nearest = np.full(len(cells), np.inf)
        reach = self.link_distance_m
        for number, geometry in enumerate(self.geometries):
            west, south, east, north = geometry.bounds
            near = np.flatnonzero(
                (left <= east + reach)
                & (left + step >= west - reach)
                & (top >= south - reach)
                & (top - step <= north + reach)
            )
            x, y = left[near], top[near]
            distance = shapely.distance(shapely.box(x, y - step, x + step, y), geometry)
            nearer = (distance <= reach) & (distance < nearest[near])
            near, distance = near[nearer], distance[nearer]
            if self.lowest is not None and len(near):
                low = ~(self.lowest(cells[near]) > self.full_level_m[number] + self.link_height_m)
                near, distance = near[low], distance[low]
            linked[near] = number
            nearest[near] = distance
        return linked


@dataclass(frozen=True)
class LevelReadings:
    """Levels of R reservoirs on T consecutive days as they were read, NaN where there is none."""

    first: date
    level: npt.NDArray[np.float64]  # (T, R), metres above sea level
    known_at: str | None


@dataclass(frozen=True)
class Levels:
    """Level variables of R reservoirs over N days. Missing is NaN."""

    value: npt.NDArray[np.float32]  # (N, R, V), metres
    kind: npt.NDArray[np.uint8]  # (N, R, V), Kind: the weakest of the levels that a value was made from


def open_reservoirs(
    settings: ReservoirSettings, region: Region, lowest: LowestElevation | None = None
) -> Reservoirs:
    """Read the reservoir polygons in the region's CRS.

    Raises RegionError for a reservoir without id or full level, and for ids that occur twice.
    """
    fields = (settings.id_field, settings.name_field, settings.full_level_field)
    ids: list[str] = []
    names: list[str] = []
    levels: list[float] = []
    geometries = []
    for number, (geometry, values) in enumerate(
        read_vectors(settings.path, region.grid.crs, fields), start=1
    ):
        identity, name, level = (values[key] for key in fields)
        if identity in (None, ""):
            raise RegionError(f"reservoir {number} of {settings.path} has no {settings.id_field!r}")
        try:
            full = float(level)
        except (TypeError, ValueError):
            full = float("nan")
        if not np.isfinite(full):
            raise RegionError(
                f"reservoir {identity!r} of {settings.path} has no number in {settings.full_level_field!r}; "
                "give its full reservoir level in metres above sea level"
            )
        ids.append(str(identity))
        names.append(str(identity if name is None else name))
        levels.append(full)
        geometries.append(geometry)
    twice = sorted({identity for identity in ids if ids.count(identity) > 1})
    if twice:
        raise RegionError(f"reservoir ids of {settings.path} must be unique; twice: {', '.join(twice)}")
    return Reservoirs(
        ids=tuple(ids),
        names=tuple(names),
        full_level_m=np.array(levels),
        geometries=tuple(geometries),
        link_distance_m=settings.link_distance_m,
        link_height_m=settings.link_height_m,
        lowest=lowest,
    )


def check_variables(variables: Sequence[VariableSpec], reservoirs: Reservoirs | None) -> None:
    """Raise SettingsError where a model's variables need reservoirs and there are none."""
    levels = [spec.name for spec in variables if spec.name in LEVEL_VARIABLES]
    if levels and reservoirs is None:
        raise SettingsError(
            f"the model uses reservoir levels ({', '.join(levels)}) and the settings name no reservoirs; "
            "either add a [reservoirs] section or use a bundle of rain alone"
        )


def lowest_in_stack(stack: FactorStack, region: Region, band: str = "elevation") -> LowestElevation:
    """Return the lowest elevation of the region's forcing cells, read from the factor stack by need.

    Outside the grid, and where every cell is no-data, it is NaN.
    """
    forcing = region.forcing

    def lowest(cells: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        result = np.full(len(cells), np.nan)
        inside = (cells >= 0).all(axis=1) & (cells[:, 0] < forcing.rows) & (cells[:, 1] < forcing.columns)
        for row in np.unique(cells[inside, 0]):
            here = np.flatnonzero(inside & (cells[:, 0] == row))
            strip = stack.read(
                [band], Window(0, int(row) * forcing.k, forcing.columns * forcing.k, forcing.k)
            )[0]
            depth = np.where(np.isnan(strip), np.inf, strip).min(axis=0)
            by_cell = depth.reshape(forcing.columns, forcing.k).min(axis=1)
            result[here] = by_cell[cells[here, 1]]
        result[np.isinf(result)] = np.nan
        return result

    return lowest


def read_levels(
    archive: Archive,
    reservoirs: Reservoirs,
    first: date,
    last: date,
    as_of: datetime | None = None,
    selection: Selection = NOTHING_MORE,
) -> LevelReadings:
    """Read what windows whose days lie in `first` to `last` may need: levels from well before `first`."""
    start = first - timedelta(days=MARGIN_DAYS)
    days = [start + timedelta(days=n) for n in range((last - start).days + 1)]
    readings = archive.values(LEVEL, days, as_of, selection.suspects)
    level = np.full((len(days), len(reservoirs.ids)), np.nan)
    for column, series in enumerate(readings.series):
        if series.id in reservoirs.ids:
            target = level[:, reservoirs.ids.index(series.id)]
            # Where two feeds tell of one reservoir, the first that did so on the day counts.
            empty = np.isnan(target)
            target[empty] = readings.value[empty, column]
    return LevelReadings(start, level, readings.known_at)


def level_variables(
    readings: LevelReadings,
    reservoirs: Reservoirs,
    variables: Sequence[str],
    days: Sequence[date],
    settings: ForcingSettings,
    forecast_from: date | None = None,
) -> Levels:
    """Return level variables (of LEVEL_VARIABLES) of every reservoir on `days`, consecutive and ascending.

    A change over b days is level(day) - level(day - b). Levels inside a gap of at most MAX_GAP_DAYS are
    interpolated linearly (filled); after the last reading they persist `max_carry_days` (carried); else they
    are missing. No reading later than the last of `days` is used.

    From `forecast_from` on, the forecast of a level is its persistence: the last one, as far as it would be
    carried to the day before. A reading of such a day is still a reading.
    """
    start = (days[0] - readings.first).days
    if start < MARGIN_DAYS:
        raise ValueError(f"levels were read from {readings.first}, too late for a window from {days[0]}")
    # The same stretch before each window, so that a gap is bridged alike however much was read.
    level = readings.level[start - MARGIN_DAYS : start + len(days)]
    ahead = 0 if forecast_from is None else max(0, (days[-1] - forecast_from).days + 1)
    level, kind = _complete(level, settings.max_carry_days, ahead)
    here = slice(MARGIN_DAYS, MARGIN_DAYS + len(days))
    value = np.full((len(days), len(reservoirs.ids), len(variables)), np.nan, dtype=np.float32)
    kinds = np.zeros(value.shape, dtype=np.uint8)
    for number, name in enumerate(variables):
        if name == "level_below_full":
            value[..., number] = level[here] - reservoirs.full_level_m
            kinds[..., number] = kind[here]
        else:
            shift = CHANGE_DAYS[name]
            before = slice(here.start - shift, here.stop - shift)
            value[..., number] = level[here] - level[before]
            both = np.stack([kind[here], kind[before]])
            # Kinds rise from observed to forecast, so the weakest is the largest, unless one is missing.
            kinds[..., number] = np.where((both == Kind.MISSING).any(axis=0), Kind.MISSING, both.max(axis=0))
    return Levels(value, kinds)


def _complete(
    level: npt.NDArray[np.float64], max_carry_days: int, ahead: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Bridge gaps and let levels persist past their last reading; the last `ahead` rows are forecast."""
    observed = np.isfinite(level)
    complete, bridged = bridge_gaps(level, MAX_GAP_DAYS)
    rows = np.arange(len(level))[:, None]
    last = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    # A day of forecast does not make the last reading older than it was when the forecast began.
    age = np.minimum(rows, len(level) - ahead - 1) - last
    persists = np.isnan(complete) & (last >= 0) & (age <= max_carry_days)
    complete = np.where(persists, np.take_along_axis(level, np.maximum(last, 0), axis=0), complete)
    kind = np.where(observed, Kind.OBSERVED, np.where(bridged, Kind.FILLED, Kind.MISSING))
    beyond = np.where(rows >= len(level) - ahead, Kind.FORECAST, Kind.CARRIED)
    return complete, np.where(persists, beyond, kind).astype(np.uint8)
