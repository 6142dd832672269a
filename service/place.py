"""One place: its cell, the window of its forcing cell with what stands behind each day, and its past.

What a refresh builds for the whole region is built here for four nodes, by the same functions, so that a
place can be explained in a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from service.errors import RegionError
from service.forcing import RAIN, gauge_days, neighbours, surface_of_day
from service.manifest import VariableSpec
from service.reading_values import NOTHING_MORE, Selection
from service.readings import Archive
from service.region import ForcingGrid, Grid, Region, Zone
from service.reservoirs import Reservoirs, check_variables, level_variables, read_levels
from service.sequences import window_days as days_behind
from service.settings import ForcingSettings
from service.surfaces import Kind

_GEOGRAPHIC = CRS.from_epsg(4326)

# The weakest of what stands behind a value that several corners make: rightmost counts.
_WEAKER = (Kind.OBSERVED, Kind.FILLED, Kind.CARRIED, Kind.FORECAST, Kind.MISSING)


@dataclass(frozen=True)
class Cell:
    """A cell of the region's grid, and what the region says of it."""

    row: int
    column: int
    lon: float  # of its centre, EPSG:4326
    lat: float
    inside: bool  # the mask holds it
    zone: Zone | None
    forcing_cell: (
        int | None
    )  # an index into `forcing.active`; None where that square holds no cell of the mask
    number: int  # row-major inside its forcing cell


@dataclass(frozen=True)
class PlaceWindow:
    """The window behind one cell. Corners are NW NE SW SE of its forcing cell, N days, V variables."""

    days: tuple[date, ...]  # oldest first
    variables: tuple[str, ...]
    corners: npt.NDArray[np.float32]  # (4, N, V), physical units, NaN where missing
    kinds: npt.NDArray[np.uint8]  # (N, V), Kind: the weakest of the corners'; constants are observed
    in_range: npt.NDArray[np.bool_]  # (N,) a gauge that reported is in range of the cell's centre
    weights: npt.NDArray[np.float32]  # (4,) of the corners at the cell's centre
    nearest: tuple[str | None, ...]  # (N,) feed/series of the reporting gauge nearest to the centre
    nearest_km: npt.NDArray[np.float32]  # (N,) how far it is; NaN without one
    reservoir: int | None  # an index into the region's reservoirs; None where none is linked

    @property
    def complete(self) -> bool:
        """Whether a layer has a value here, as far as the window decides."""
        return bool(np.isfinite(self.corners).all() and self.in_range.all())

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """What a cell's own window would hold: bilinear at its centre, NaN where missing, (N, V)."""
        own = np.tensordot(self.weights, self.corners, axes=1)
        return np.where(self.kinds == Kind.MISSING, np.nan, own).astype(np.float32)


def find_cell(region: Region, lon: float, lat: float) -> Cell | None:
    """Return the cell at a point in EPSG:4326 degrees; None outside the grid.

    Raises RegionError where the rasters of mask and zones cannot be read.
    """
    grid, forcing = region.grid, region.forcing
    west, south, east, north = lonlat_bounds(grid)
    if not (west <= lon <= east and south <= lat <= north):
        return None
    (x,), (y,) = transform(_GEOGRAPHIC, grid.crs, [lon], [lat])
    left, bottom, right, top = grid.bounds
    if not (math.isfinite(x + y) and left <= x < right and bottom < y <= top):
        return None
    rows, columns = grid.cells_at(np.array([x]), np.array([y]))
    # A point on the rim may round to the row below the last.
    row, column = min(int(rows[0]), grid.height - 1), min(int(columns[0]), grid.width - 1)
    code = _pixel(region.zones_path, row, column)
    (centre_lon,), (centre_lat,) = transform(grid.crs, _GEOGRAPHIC, *_centre(grid, row, column))
    k = forcing.k
    return Cell(
        row=row,
        column=column,
        lon=centre_lon,
        lat=centre_lat,
        inside=_pixel(region.mask_path, row, column) == 1,
        zone=next((zone for zone in region.zones if zone.code == code), None),
        forcing_cell=_forcing_cell(forcing, row // k, column // k),
        number=(row % k) * k + column % k,
    )


def lonlat_bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return west, south, east, north of a grid in degrees, with a twentieth to spare.

    Projections of what lies far outside fail, or fold it onto places that it is not.
    """
    west, south, east, north = transform_bounds(grid.crs, _GEOGRAPHIC, *grid.bounds)
    if west > east:  # across the antimeridian
        west, east = -180.0, 180.0
    margin = 0.05 * max(east - west, north - south)
    return west - margin, south - margin, east + margin, north + margin


def place_window(
    settings: ForcingSettings,
    forcing: ForcingGrid,
    archive: Archive,
    variables: Sequence[VariableSpec],
    cell: Cell,
    day: date,
    *,
    window_days: int,
    lag_days: int,
    as_of: datetime | None = None,
    reservoirs: Reservoirs | None = None,
    selection: Selection = NOTHING_MORE,
) -> PlaceWindow:
    """Return the window of a cell for a layer of `day`, as it was known at `as_of`.

    Corners equal those of `build_windows` to the bit. Raises ValueError for a cell outside every active
    forcing cell, SettingsError where the model needs reservoir levels and the region has no reservoirs.
    """
    if cell.forcing_cell is None:
        raise ValueError(f"cell {cell.row}, {cell.column} lies in no forcing cell of the mask")
    check_variables(variables, reservoirs)
    days = days_behind(day, window_days, lag_days)
    names = tuple(spec.name for spec in variables)
    square = ForcingGrid(forcing.grid, forcing.k, forcing.active[[cell.forcing_cell]])
    corners = np.empty((4, len(days), len(names)), dtype=np.float32)
    kinds = np.full((len(days), len(names)), Kind.OBSERVED, dtype=np.uint8)
    in_range = np.ones(len(days), dtype=bool)
    nearest: list[str | None] = [None] * len(days)
    nearest_km = np.full(len(days), np.nan, dtype=np.float32)
    if RAIN in names:
        column = names.index(RAIN)
        points = np.concatenate([square.node_xy, square.cell_centres(0)[[cell.number]]])
        gauges, _ = gauge_days(archive, RAIN, days, forcing.grid.crs, settings, as_of, selection)
        network, near = None, None
        for number, today in enumerate(gauges):
            # The same gauges stand on most days, and finding the nearest is most of the work.
            if network is None or not np.array_equal(network, today.xy):
                network, near = today.xy, neighbours(today.xy, points, settings)
            surface = surface_of_day(today, points, settings, near)
            corners[:, number, column] = surface.values[:4]
            kinds[number, column] = _weakest(surface.kind)
            in_range[number] = surface.kind[4] != Kind.MISSING
            if surface.nearest[4] >= 0:
                nearest[number] = surface.series[surface.nearest[4]]
                nearest_km[number] = surface.distance_km[4]
    linked = None
    level_names = [name for name in names if name != RAIN]
    if level_names and reservoirs is not None:
        found = int(reservoirs.link(square.active, forcing)[0])
        linked = found if found >= 0 else None
        axis = [number for number, name in enumerate(names) if name != RAIN]
        if linked is None:
            corners[:, :, axis] = [spec.unlinked for spec in variables if spec.name != RAIN]
        else:
            readings = read_levels(archive, reservoirs, days[0], days[-1], as_of, selection)
            ahead = selection.forecast.first if selection.forecast else None
            levels = level_variables(readings, reservoirs, level_names, days, settings, ahead)
            corners[:, :, axis] = levels.value[:, linked]
            kinds[:, axis] = levels.kind[:, linked]
    return PlaceWindow(
        days=days,
        variables=names,
        corners=corners,
        kinds=kinds,
        in_range=in_range,
        weights=forcing.corner_weights[cell.number],
        nearest=tuple(nearest),
        nearest_km=nearest_km,
        reservoir=linked,
    )


def _weakest(kinds: npt.NDArray[np.uint8]) -> Kind:
    present = set(kinds.tolist())
    return next(kind for kind in reversed(_WEAKER) if kind in present)


def _centre(grid: Grid, row: int, column: int) -> tuple[list[float], list[float]]:
    size = grid.cell_size_m
    return [grid.left + (column + 0.5) * size], [grid.top - (row + 0.5) * size]


def _forcing_cell(forcing: ForcingGrid, row: int, column: int) -> int | None:
    found = np.flatnonzero((forcing.active[:, 0] == row) & (forcing.active[:, 1] == column))
    return int(found[0]) if len(found) else None


def _pixel(path: object, row: int, column: int) -> int:
    try:
        with rasterio.open(path, sharing=False) as dataset:
            return int(dataset.read(1, window=Window(column, row, 1, 1))[0, 0])
    except rasterio.errors.RasterioIOError as error:
        raise RegionError(f"{path} cannot be read: {error}") from error
