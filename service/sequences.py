"""Daily surfaces -> the windows behind one layer.

The contract between forcing and inference is WindowSet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from service.forcing import RAIN, GaugeDay, daily_surfaces, gauge_days, neighbours, without_damaged
from service.manifest import VariableSpec
from service.points import PointWindows, point_windows
from service.raster_sampling import RasterSampler
from service.reach import cells_in_range
from service.reading_values import NOTHING_MORE, Selection
from service.readings import Archive
from service.region import ForcingGrid, Region
from service.reservoirs import (
    Levels,
    Reservoirs,
    check_variables,
    level_variables,
    read_levels,
)
from service.settings import ForcingSettings, Settings
from service.surfaces import Kind, SurfaceStore

__all__ = ["PointWindows", "WindowSet", "build_windows", "point_windows", "window_days"]


@dataclass(frozen=True)
class WindowSet:
    """The windows of one layer, and what they rest on. n: active forcing cells, m: distinct windows.

    A window belongs to a distinct (node, reservoir) pair. Shares are of (corner, window day, variable);
    constants of unlinked forcing cells do not count.
    """

    day: date
    days: tuple[date, ...]  # the window's days, oldest first
    variables: tuple[str, ...]
    windows: npt.NDArray[np.float32]  # (m, N, V), physical units, complete windows only
    corner_rows: npt.NDArray[np.int32]  # (n, 4) NW NE SW SE, rows of `windows`; -1: no window there
    partial: dict[int, npt.NDArray[np.bool_]]  # forcing cell -> (k*k,) cells in range, where not all are
    observed: npt.NDArray[np.float32]  # (n,)
    filled: npt.NDArray[np.float32]  # (n,)
    carried: npt.NDArray[np.float32]  # (n,)
    forecast: npt.NDArray[np.float32]  # (n,)
    distance_km: npt.NDArray[np.float32]  # (n,) farthest nearest-reporting gauge over days and corners; NaN
    basis: npt.NDArray[np.uint32]  # (n,) 24-bit code of the set of series behind the cell's windows
    coverage: float  # least over variables of the share of (node, day) observed, filled or forecast
    newest_known_at: str | None  # ISO time of the newest reading used
    digest: str  # of everything above that can change a layer
    reach: float = 1.0  # share of nodes with a gauge in range, reporting or not: coverage cannot exceed it

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Forcing cells whose four corners all have a window: (n,)."""
        return np.asarray((self.corner_rows >= 0).all(axis=1))


def window_days(day: date, length: int, lag: int) -> tuple[date, ...]:
    """Return the days of the window behind a layer of `day`: `length` days that end `lag` days before it."""
    last = day - timedelta(days=lag)
    return tuple(last - timedelta(days=back) for back in range(length - 1, -1, -1))


_days_behind = window_days  # build_windows has an argument of that name


def build_windows(
    settings: Settings,
    region: Region,
    archive: Archive,
    manifest_variables: Sequence[VariableSpec],
    day: date,
    *,
    window_days: int,
    lag_days: int,
    as_of: datetime | None = None,
    reservoirs: Reservoirs | None = None,
    store: SurfaceStore | None = None,
    selection: Selection = NOTHING_MORE,
) -> WindowSet:
    """Return the windows behind a layer of `day`, on the region's forcing grid.

    `selection` adds suspect readings, or a forecast for the last days. Surfaces that are in `store` (default:
    <data_dir>/surfaces) are read, the others made and stored; the result is the same either way. No reading
    of a day later than the window's last is used.

    Raises SettingsError where the model needs reservoir levels and the region has no reservoirs.
    """
    check_variables(manifest_variables, reservoirs)
    store = store or SurfaceStore(settings.data_dir / "surfaces")
    forcing = region.forcing
    days = _days_behind(day, window_days, lag_days)
    names = tuple(spec.name for spec in manifest_variables)
    level_names = [name for name in names if name != RAIN]

    rain = _rain(settings.forcing, forcing, archive, days, as_of, store, selection) if RAIN in names else None
    levels = _NO_LEVELS
    link = np.full(len(forcing.active), -1, dtype=np.int32)
    known = [rain.known_at] if rain else []
    if reservoirs is not None and level_names:
        readings = read_levels(archive, reservoirs, days[0], days[-1], as_of, selection)
        ahead = selection.forecast.first if selection.forecast else None
        levels = level_variables(readings, reservoirs, level_names, days, settings.forcing, ahead)
        link = reservoirs.link(forcing.active, forcing)
        known.append(readings.known_at)

    # Distinct (node, reservoir) pairs; reservoir 0 stands for none.
    width = levels.value.shape[1] + 1
    codes = forcing.corners.astype(np.int64) * width + (link[:, None] + 1)
    pairs, inverse = np.unique(codes, return_inverse=True)
    node, reservoir = pairs // width, (pairs % width).astype(np.int64) - 1
    known_levels = np.append(np.isfinite(levels.value).all(axis=(0, 2)), True)
    complete: npt.NDArray[np.bool_] = (reservoir < 0) | known_levels[reservoir]
    if rain is not None:
        complete &= np.asarray(np.isfinite(rain.value).all(axis=0))[node]
    rows = np.where(complete, np.cumsum(complete) - 1, -1).astype(np.int32)
    corner_rows = rows[inverse.reshape(-1, 4)]
    windows = _windows(manifest_variables, rain, levels, node[complete], reservoir[complete], len(days))

    partial: dict[int, npt.NDArray[np.bool_]] = {}
    if rain is not None:
        cells = np.flatnonzero((corner_rows >= 0).all(axis=1))
        farthest = [near[forcing.corners[cells]].max(axis=1) for near in rain.nearest_km]
        limit = settings.forcing.max_distance_km * 1000
        partial = cells_in_range(forcing, cells, rain.networks, farthest, limit)

    shares = {kind: _share(kind, forcing, rain, levels, link, len(days)) for kind in Kind}
    distance = np.full(len(forcing.active), np.nan, dtype=np.float32)
    if rain is not None:
        distance = np.fmax.reduce(rain.distance_km[forcing.corners], axis=1)
    basis = _basis(forcing, rain, link, reservoirs)
    coverage = _coverage(rain, levels, reservoir, len(days))
    digest = hashlib.sha256(json.dumps([day.isoformat(), *map(str, days), names, coverage]).encode())
    by_cell = (shares[Kind.OBSERVED], shares[Kind.FILLED], shares[Kind.CARRIED], shares[Kind.FORECAST])
    for array in (windows, corner_rows, *by_cell, distance, basis):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    for index, inside in partial.items():
        digest.update(f"{index}:".encode() + np.packbits(inside).tobytes())
    return WindowSet(
        day=day,
        days=days,
        variables=names,
        windows=windows,
        corner_rows=corner_rows,
        partial=partial,
        observed=by_cell[0],
        filled=by_cell[1],
        carried=by_cell[2],
        forecast=by_cell[3],
        distance_km=distance,
        basis=basis,
        coverage=coverage,
        newest_known_at=max((time for time in known if time is not None), default=None),
        digest=digest.hexdigest(),
        reach=1.0 if rain is None else rain.reach,
    )


@dataclass(frozen=True)
class _Rain:
    """Rain of a window on the m nodes, and what stands behind it."""

    value: npt.NDArray[np.float32]  # (N, m)
    counts: npt.NDArray[np.int32]  # (kinds, m) window days of each kind
    distance_km: npt.NDArray[np.float32]  # (m,) farthest over days; NaN where never in range
    networks: list[npt.NDArray[np.float64]]  # the distinct sets of reporting gauges
    nearest_km: list[npt.NDArray[np.float32]]  # distance to the nearest of each set: (m,)
    series: list[str]
    behind: npt.NDArray[np.uint64]  # (m, words): bit s is set where series s was nearest on some day
    reach: float
    known_at: str | None


_NO_LEVELS = Levels(np.zeros((0, 0, 0), np.float32), np.zeros((0, 0, 0), np.uint8))


def _rain(
    settings: ForcingSettings,
    forcing: ForcingGrid,
    archive: Archive,
    days: Sequence[date],
    as_of: datetime | None,
    store: SurfaceStore,
    selection: Selection,
) -> _Rain:
    gauges, known_at = gauge_days(archive, RAIN, days, forcing.grid.crs, settings, as_of, selection)
    xy = forcing.node_xy
    series = sorted({name for today in gauges for name in today.names})
    position = {name: number for number, name in enumerate(series)}
    value = np.empty((len(days), len(xy)), dtype=np.float32)
    counts = np.zeros((len(Kind), len(xy)), dtype=np.int32)
    distance = np.full(len(xy), np.nan, dtype=np.float32)
    behind = np.zeros((len(xy), len(series) // 64 + 1), dtype=np.uint64)
    networks: dict[bytes, tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]] = {}
    surfaces = daily_surfaces(gauges, RAIN, xy, settings, store)
    for number, (today, surface) in enumerate(zip(gauges, surfaces, strict=True)):
        value[number] = surface.values
        for kind in Kind:
            counts[kind] += surface.kind == kind
        np.fmax(distance, surface.distance_km, out=distance)
        # What a forecast rests on is no gauge: its layer is compared with nowcasts by the readings of both.
        found = np.flatnonzero((surface.nearest >= 0) & (surface.kind != Kind.FORECAST))
        bit = np.array([position[name] for name in surface.series], dtype=np.uint64)
        bit = bit[surface.nearest[found]] if len(bit) else np.zeros(0, np.uint64)
        behind[found, (bit >> np.uint64(6)).astype(np.intp)] |= np.uint64(1) << (bit & np.uint64(63))
        # Where rasters reach every node, they reach the cells between them.
        if not today.rasters or (surface.kind == Kind.MISSING).any():
            # The same gauges lie at other distances where a raster stands in for them.
            key = today.reporting_xy.tobytes() + surface.distance_km.tobytes()
            networks.setdefault(key, (today.reporting_xy, surface.distance_km))
    return _Rain(
        value=value,
        counts=counts,
        distance_km=distance,
        networks=[network for network, _ in networks.values()],
        nearest_km=[near for _, near in networks.values()],
        series=series,
        behind=behind,
        reach=_reach(gauges, xy, settings),
        known_at=known_at,
    )


def _reach(gauges: Sequence[GaugeDay], xy: npt.NDArray[np.float64], settings: ForcingSettings) -> float:
    standing = np.unique(np.concatenate([today.xy for today in gauges]), axis=0)
    near = neighbours(standing, xy, settings.model_copy(update={"neighbours": 1}))
    reached = np.isfinite(near.distance_m[:, 0])
    for today in gauges:
        if today.rasters and today.crs is not None and not reached.all():
            sampler = RasterSampler(xy, today.crs)
            for raster in without_damaged(today).rasters:
                reached |= np.isfinite(sampler.sample(*raster.read()).values)
    return float(reached.mean()) if len(xy) else 0.0


def _windows(
    variables: Sequence[VariableSpec],
    rain: _Rain | None,
    levels: Levels,
    node: npt.NDArray[np.int64],
    reservoir: npt.NDArray[np.int64],
    length: int,
) -> npt.NDArray[np.float32]:
    windows = np.empty((len(node), length, len(variables)), dtype=np.float32)
    linked = reservoir >= 0
    level = 0
    for number, spec in enumerate(variables):
        if rain is not None and spec.name == RAIN:
            windows[:, :, number] = rain.value.T[node]
        else:
            windows[~linked, :, number] = spec.unlinked
            windows[linked, :, number] = levels.value[:, reservoir[linked], level].T
            level += 1
    return windows


def _share(
    kind: Kind,
    forcing: ForcingGrid,
    rain: _Rain | None,
    levels: Levels,
    link: npt.NDArray[np.int32],
    length: int,
) -> npt.NDArray[np.float32]:
    count = np.zeros(len(link), dtype=np.int64)
    total = np.zeros(len(link), dtype=np.int64)
    if rain is not None:
        count += rain.counts[kind][forcing.corners].sum(axis=1)
        total += 4 * length
    if levels.kind.size:
        by_reservoir = np.append((levels.kind == kind).sum(axis=(0, 2)), 0)
        count += 4 * by_reservoir[link]
        total += np.where(link >= 0, 4 * length * levels.kind.shape[2], 0)
    return np.asarray(count / np.maximum(total, 1), dtype=np.float32)


def _coverage(rain: _Rain | None, levels: Levels, reservoir: npt.NDArray[np.int64], length: int) -> float:
    shares = []
    if rain is not None:
        # A day of forecast is covered by the forecast: a layer of tomorrow is not degraded for being one.
        known = rain.counts[[Kind.OBSERVED, Kind.FILLED, Kind.FORECAST]].sum(axis=0)
        shares.append(float(known.sum() / max(1, known.size * length)))
    linked = reservoir[reservoir >= 0]
    if len(linked):
        known = np.isin(levels.kind, (Kind.OBSERVED, Kind.FILLED, Kind.FORECAST)).mean(axis=0)
        shares.extend(float(share) for share in known[linked].mean(axis=0))
    return min(shares, default=0.0)


def _basis(
    forcing: ForcingGrid, rain: _Rain | None, link: npt.NDArray[np.int32], reservoirs: Reservoirs | None
) -> npt.NDArray[np.uint32]:
    code = np.zeros(len(link), dtype=np.uint64)
    if rain is not None:
        behind = np.bitwise_or.reduce(rain.behind[forcing.corners], axis=1)
        for number, name in enumerate(rain.series):
            bit = behind[:, number // 64] >> np.uint64(number % 64) & np.uint64(1)
            code ^= bit * _hash(f"{RAIN}:{name}")
    for number, name in enumerate(reservoirs.ids if reservoirs else ()):
        code ^= (link == number).astype(np.uint64) * _hash(f"reservoir:{name}")
    return np.asarray(code >> np.uint64(40), dtype=np.uint32)


def _hash(name: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big"))
