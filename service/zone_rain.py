"""How much rain fell on a zone before a layer, against what had fallen a week earlier.

Rain is that of the layer's own window rule, by the same interpolation, at the centres of the forcing cells
that lie in the zone. Only points with every day of both windows count, so that the two sums compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import shapely

from service.forcing import RAIN, gauge_days, surface_of_day
from service.readings import Archive
from service.region import ForcingGrid
from service.sequences import window_days as days_behind
from service.settings import ForcingSettings

WEEK_DAYS = 7
SHORT_DAYS = 3
_MOST_POINTS = 256  # a mean over more says the same


@dataclass(frozen=True)
class ZoneRain:
    """Mean sums of rain in mm over a zone: of the window behind a layer, and of its last three days."""

    window_mm: float
    short_mm: float
    window_mm_week_before: float
    short_mm_week_before: float
    points: int


def zone_rain(
    settings: ForcingSettings,
    forcing: ForcingGrid,
    archive: Archive,
    zone: shapely.Geometry,
    day: date,
    *,
    window_days: int,
    lag_days: int,
    as_of: datetime | None = None,
) -> ZoneRain | None:
    """Return the rain before a layer of `day` on a zone in the grid's CRS.

    None where no point of the zone has a reporting gauge in reach on every day.
    """
    now = days_behind(day, window_days, lag_days)
    days = [*(now[0] - timedelta(days=back) for back in range(WEEK_DAYS, 0, -1)), *now]
    points = _points(forcing, zone)
    gauges, _ = gauge_days(archive, RAIN, days, forcing.grid.crs, settings, as_of)
    rain = np.stack([surface_of_day(today, points, settings).values for today in gauges])
    rain = rain[:, np.isfinite(rain).all(axis=0)].astype(np.float64)
    if rain.shape[1] == 0:
        return None
    daily = rain.mean(axis=1)
    short = min(SHORT_DAYS, window_days)
    before = daily[:-WEEK_DAYS]
    return ZoneRain(
        window_mm=float(daily[-window_days:].sum()),
        short_mm=float(daily[-short:].sum()),
        window_mm_week_before=float(before[-window_days:].sum()),
        short_mm_week_before=float(before[-short:].sum()),
        points=rain.shape[1],
    )


def _points(forcing: ForcingGrid, zone: shapely.Geometry) -> npt.NDArray[np.float64]:
    """Return centres of the active forcing cells in the zone, thinned evenly; a point in it where none is."""
    step = forcing.k * forcing.grid.cell_size_m
    x = forcing.grid.left + (forcing.active[:, 1] + 0.5) * step
    y = forcing.grid.top - (forcing.active[:, 0] + 0.5) * step
    left, bottom, right, top = zone.bounds
    near = np.flatnonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
    shapely.prepare(zone)
    inside = near[shapely.contains_xy(zone, x[near], y[near])]
    if not len(inside):
        point = shapely.point_on_surface(zone)
        return np.array([[point.x, point.y]])
    chosen = inside[:: -(-len(inside) // _MOST_POINTS)]
    return np.stack([x[chosen], y[chosen]], axis=1)
