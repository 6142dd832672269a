"""Windows of single cells on single days, as a layer of that day would have used them: for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.forcing import RAIN, gauge_days, surface_of_day
from service.manifest import VariableSpec
from service.readings import Archive
from service.region import ForcingGrid, Region
from service.reservoirs import Reservoirs, check_variables, level_variables, read_levels
from service.settings import Settings
from service.surfaces import Kind

_CORNERS = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])  # NW NE SW SE


class PointWindows(NamedTuple):
    """Windows of n samples (a cell on a layer's day), and what they rest on."""

    windows: npt.NDArray[np.float32]  # (n, N, V), physical units, NaN where missing
    observed: npt.NDArray[np.float32]  # (n,) share of (corner, window day, variable) observed
    distance_km: npt.NDArray[np.float32]  # (n,) farthest nearest-reporting gauge over days and corners; NaN


def point_windows(
    settings: Settings,
    region: Region,
    archive: Archive,
    manifest_variables: Sequence[VariableSpec],
    xy: npt.NDArray[np.float64],
    days: Sequence[date],
    *,
    window_days: int,
    lag_days: int,
    as_of: datetime | None = None,
    reservoirs: Reservoirs | None = None,
) -> PointWindows:
    """Return the window that the cell at each point would have had for a layer of each day.

    `xy` is float64 (n, 2) in the grid's CRS; points may lie outside the region, whose lattice of cells and
    nodes has no end. Rain is bilinear between the four nodes of the forcing cell, at the cell's centre; a day
    is NaN where a node is missing or the centre is out of range, as in a layer.

    Raises SettingsError where the model needs reservoir levels and the region has no reservoirs.
    """
    check_variables(manifest_variables, reservoirs)
    names = [spec.name for spec in manifest_variables]
    level_names = [name for name in names if name != RAIN]
    samples = _Samples(region.forcing, np.asarray(xy, dtype=np.float64), days, window_days, lag_days)
    windows = np.full((len(days), window_days, len(names)), np.nan, dtype=np.float32)
    observed = np.zeros(len(days), dtype=np.int64)
    counted = np.zeros(len(days), dtype=np.int64)
    distance = np.full(len(days), np.nan, dtype=np.float32)
    if RAIN in names:
        rain = windows[:, :, names.index(RAIN)]
        for batch in samples.batches(alone=settings.forcing.fill == "linear"):
            _rain(settings, region, archive, samples, batch, as_of, rain, observed, distance)
        counted += 4 * window_days
    if level_names and reservoirs is not None and len(days):
        axis = [number for number, name in enumerate(names) if name != RAIN]
        constants = [spec.unlinked for spec in manifest_variables if spec.name != RAIN]
        link = reservoirs.link(samples.cell, region.forcing)
        windows[:, :, axis] = constants
        ends = samples.ordinal - lag_days
        first = date.fromordinal(int(ends.min()) - window_days + 1)
        readings = read_levels(archive, reservoirs, first, date.fromordinal(int(ends.max())), as_of)
        for end in np.unique(ends[link >= 0]):
            here = np.flatnonzero((ends == end) & (link >= 0))
            behind = [date.fromordinal(int(end) - back) for back in range(window_days - 1, -1, -1)]
            levels = level_variables(readings, reservoirs, level_names, behind, settings.forcing)
            windows[here[:, None], :, np.array(axis)] = levels.value[:, link[here]].transpose(1, 2, 0)
            observed[here] += 4 * (levels.kind == Kind.OBSERVED).sum(axis=(0, 2))[link[here]]
            counted[here] += 4 * window_days * len(level_names)
    return PointWindows(windows, (observed / np.maximum(counted, 1)).astype(np.float32), distance)


class _Samples:
    """Where n samples lie on the endless forcing lattice, and which days they look at."""

    def __init__(
        self,
        forcing: ForcingGrid,
        xy: npt.NDArray[np.float64],
        days: Sequence[date],
        window_days: int,
        lag_days: int,
    ) -> None:
        grid, k = forcing.grid, forcing.k
        row, column = grid.cells_at(xy[:, 0], xy[:, 1])
        centre_x = grid.left + (column + 0.5) * grid.cell_size_m
        centre_y = grid.top - (row + 0.5) * grid.cell_size_m
        self.cell = np.stack([row // k, column // k], axis=1).astype(np.int32)  # (n, 2) forcing cell
        self.weights = forcing.corner_weights[(row % k) * k + column % k].astype(np.float64)  # (n, 4)
        self.centre = np.stack([centre_x, centre_y], axis=1)  # (n, 2)
        lattice = (self.cell[:, None, :] + _CORNERS).reshape(-1, 2)
        nodes, inverse = np.unique(lattice, axis=0, return_inverse=True)
        step = k * grid.cell_size_m
        self.node_xy = np.stack([grid.left + nodes[:, 1] * step, grid.top - nodes[:, 0] * step], axis=1)
        self.node = inverse.reshape(-1, 4)  # (n, 4) rows of node_xy
        self.ordinal = np.array([day.toordinal() for day in days], dtype=np.int64)
        self.window = self.ordinal[:, None] - lag_days - np.arange(window_days - 1, -1, -1)  # (n, N)

    def batches(self, *, alone: bool) -> Iterator[npt.NDArray[np.intp]]:
        """Yield samples that may share readings: all of them, or with `alone` those of one day at a time.

        Gaps bridged along time depend on where the window ends.
        """
        if not alone:
            if len(self.ordinal):
                yield np.arange(len(self.ordinal))
            return
        for day in np.unique(self.ordinal):
            yield np.flatnonzero(self.ordinal == day)


def _rain(
    settings: Settings,
    region: Region,
    archive: Archive,
    samples: _Samples,
    batch: npt.NDArray[np.intp],
    as_of: datetime | None,
    rain: npt.NDArray[np.float32],
    observed: npt.NDArray[np.int64],
    distance_km: npt.NDArray[np.float32],
) -> None:
    """Fill rows `batch` of rain (n, N), of the counts of observed corners and of the distances."""
    looked_at = samples.window[batch].ravel()
    order = np.argsort(looked_at, kind="stable")
    ordinals, starts = np.unique(looked_at[order], return_index=True)
    days = [date.fromordinal(int(ordinal)) for ordinal in ordinals]
    gauges, _ = gauge_days(archive, RAIN, days, region.grid.crs, settings.forcing, as_of)
    for today, pairs in zip(gauges, np.split(order, starts[1:]), strict=True):
        sample, position = batch[pairs // samples.window.shape[1]], pairs % samples.window.shape[1]
        nodes, corner = np.unique(samples.node[sample], return_inverse=True)
        corner = corner.reshape(-1, 4)
        points = np.concatenate([samples.node_xy[nodes], samples.centre[sample]])
        surface = surface_of_day(today, points, settings.forcing)
        in_range = surface.kind[len(nodes) :] != Kind.MISSING
        value = (samples.weights[sample] * surface.values[corner]).sum(axis=1)
        rain[sample, position] = np.where(in_range, value, np.nan)
        # A sample looks at a day once, so no row occurs twice here.
        observed[sample] += (surface.kind[corner] == Kind.OBSERVED).sum(axis=1)
        nearest = np.fmax.reduce(surface.distance_km[corner], axis=1)
        distance_km[sample] = np.fmax(distance_km[sample], nearest)
