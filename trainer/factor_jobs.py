"""One function for each kind of factor: window by window from its source into the stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import structlog
from rasterio.windows import Window

from service.errors import FactorError
from service.factor_stack import UPSTREAM_COMPLETE, UPSTREAM_CUT, UPSTREAM_UNKNOWN
from service.region import Region, read_vectors
from service.settings import NdviSettings, RasterFactor, ReservoirSettings, VectorDistance
from service.stack_writer import EdgeWriter, StackWriter, windows
from trainer.distance import Bool, Features, ReservoirRims, array_features, distance_to, vector_features
from trainer.factor_sources import Float32, RasterSource
from trainer.flow import route, spi, twi
from trainer.terrain import tangent_of_slope, terrain_bands

_log = structlog.get_logger()

TILE = 1024
WIDE_TILE = 2048  # for distances, whose halo of cap / cell size is read again by every window
SMALLEST_SHARE = 0.5  # of the mask's cells that a source must cover
LOWEST_M, HIGHEST_M = -500.0, 9000.0
# Vegetation reflects more near-infrared than red; a land surface below 0 nearly everywhere has them swapped.
_SWAPPED_SHARE = 0.9


class Steps:
    """Counts windows for `progress(done, total)`."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def done(self) -> None:
        """One more window is done."""
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


@dataclass
class Derivation:
    """What every job needs, and what it leaves for the report."""

    region: Region
    writer: StackWriter
    steps: Steps
    cells: int  # in the mask
    notes: list[str] = field(default_factory=list)

    @property
    def tiles(self) -> list[Window]:
        """Windows for factors without a halo, or with a narrow one."""
        return windows(self.region.grid, TILE)

    @property
    def wide_tiles(self) -> list[Window]:
        """Windows for distances."""
        return windows(self.region.grid, WIDE_TILE)

    def write(self, name: str, window: Window, values: Float32) -> None:
        """Write one window of one factor and count it."""
        self.writer.write(name, window, values)

    def note(self, text: str) -> None:
        """Keep something worth saying in the report, the stack's tags and the log."""
        self.notes.append(text)
        _log.warning("factors", note=text)

    def require_cover(self, what: str, path: Path, valid: int) -> None:
        """Refuse a source that covers too little of the mask; note one that leaves a part uncovered."""
        share = valid / self.cells
        if share < SMALLEST_SHARE:
            raise FactorError(
                f"{what}: {path} covers {share:.1%} of the region's {self.cells:,} cells, and at least "
                f"{SMALLEST_SHARE:.0%} must be covered. Either give a source of the whole region, "
                "or correct its CRS, or narrow the mask"
            )
        if valid < self.cells:
            self.note(f"{what}: {self.cells - valid:,} cells of the region ({1 - share:.2%}) are not covered")


def check_dem(job: Derivation, dem: RasterSource) -> None:
    """Refuse a DEM that does not cover the region or whose elevations cannot be metres on this planet."""
    dem.require_metres()
    valid, lowest, highest = 0, np.inf, -np.inf
    for window in job.tiles:
        elevation = dem.read(window)[job.writer.mask(window)]
        elevation = elevation[~np.isnan(elevation)]
        if elevation.size:
            valid += elevation.size
            lowest, highest = min(lowest, float(elevation.min())), max(highest, float(elevation.max()))
        job.steps.done()
    job.require_cover("dem", dem.path, valid)
    if lowest < LOWEST_M or highest > HIGHEST_M:
        raise FactorError(
            f"dem: {dem.path} holds elevations from {lowest:g} to {highest:g}, outside {LOWEST_M:g} to "
            f"{HIGHEST_M:g} m: are they in feet or another unit, or is its no-data value not declared?"
        )


def local_terrain(job: Derivation, dem: RasterSource, names: Sequence[str]) -> None:
    """Elevation, slope, aspect, curvature: from each cell's 3 x 3 neighbourhood."""
    for window in job.tiles:
        bands = terrain_bands(dem.read(_grown(window, 1)), job.region.grid.cell_size_m, names)
        for name in names:
            job.write(name, window, bands[name][1:-1, 1:-1])
        job.steps.done()


@dataclass(frozen=True)
class CutByEdge:
    """How much of the mask drains from where the DEM does not reach."""

    cells: int
    catchments: int


def flow_factors(
    job: Derivation,
    dem: RasterSource,
    names: Sequence[str],
    edge: EdgeWriter,
    *,
    threshold_km2: float,
    cap_m: float,
) -> CutByEdge:
    """TWI, SPI and the distance to streams, which need the flow over the whole grid in memory."""
    grid = job.region.grid
    elevation = np.empty((grid.height, grid.width), np.float32)
    for window in job.tiles:
        elevation[window.toslices()] = dem.read(window)
    flow = route(elevation)
    del elevation
    job.steps.done()

    cut_cells = 0
    for window in job.tiles:
        upstream, cut = flow.upstream_cells[window.toslices()], flow.cut[window.toslices()]
        known = job.writer.mask(window) & (upstream > 0)
        codes = np.where(cut, UPSTREAM_CUT, UPSTREAM_COMPLETE)
        edge.write(window, np.where(known, codes, UPSTREAM_UNKNOWN).astype(np.uint8))
        cut_cells += int((cut & known).sum())
        tangent = tangent_of_slope(dem.read(_grown(window, 1)), grid.cell_size_m)[1:-1, 1:-1]
        if "twi" in names:
            job.write("twi", window, twi(upstream, tangent, grid.cell_size_m))
        if "spi" in names:
            job.write("spi", window, spi(upstream, tangent, grid.cell_size_m))
        job.steps.done()
    if cut_cells:
        job.note(
            f"{cut_cells:,} cells ({cut_cells / job.cells:.1%}) in {flow.catchments_cut:,} of "
            f"{flow.catchments:,} catchments have an upstream area cut by the DEM's edge: a DEM that reaches "
            "beyond the watersheds would complete it"
        )
    if "distance_to_streams" in names:
        streams = flow.upstream_cells * grid.cell_area_m2 >= threshold_km2 * 1e6
        if not streams.any():
            largest = int(flow.upstream_cells.max()) * grid.cell_area_m2 / 1e6
            raise FactorError(
                f"no cell drains {threshold_km2:g} km², the largest drains {largest:.3g} km²: either lower "
                "factors.stream_threshold_km2, or drop distance_to_streams from factors.terrain"
            )
        _distances(job, "distance_to_streams", array_features(streams), cap_m, flow.upstream_cells > 0)
    return CutByEdge(cut_cells, flow.catchments_cut)


def vector_distance(job: Derivation, declared: VectorDistance) -> None:
    """Distance to the nearest feature of a vector file, on the region or around it."""
    rows = read_vectors(declared.path, job.region.grid.crs)
    features = vector_features([geometry for geometry, _ in rows], job.region.grid)
    _distances(job, declared.name, features, declared.cap_m)
    if job.writer.band(declared.name, job.cells).minimum >= declared.cap_m:
        raise FactorError(
            f"factors.distances {declared.name}: none of the {len(rows)} features of {declared.path} lies "
            f"within {declared.cap_m:g} m of the region. Either correct its CRS, or raise cap_m, or drop it"
        )


def raster_factor(job: Derivation, source: RasterSource, declared: RasterFactor) -> None:
    """A raster as it is on the grid; categorical codes must all have names."""
    undeclared: Counter[float] = Counter()
    for window in job.tiles:
        values = source.read(window)
        if declared.kind == "categorical":
            codes, counts = np.unique(values[job.writer.mask(window) & ~np.isnan(values)], return_counts=True)
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
                if code not in declared.categories:
                    undeclared[code] += count
        job.write(declared.name, window, values)
        job.steps.done()
    if undeclared:
        listed = ", ".join(f"{code:g} ({count:,} cells)" for code, count in undeclared.most_common(20))
        raise FactorError(
            f"factors.rasters {declared.name}: {declared.path} holds codes without a name: {listed}. "
            "Either name them under categories, or declare them as the file's no-data value"
        )
    _require_cover(job, declared.name, declared.path)


def ndvi_factor(job: Derivation, red: RasterSource, nir: RasterSource, declared: NdviSettings) -> None:
    """NDVI = (NIR - red) / (NIR + red), Rouse et al. (1974); see `ndvi`."""
    known, negative, unusable = 0, 0, 0
    for window in job.tiles:
        red_values, nir_values = red.read(window), nir.read(window)
        values = ndvi(red_values, nir_values)
        inside = job.writer.mask(window)
        known += int((inside & ~np.isnan(values)).sum())
        negative += int((inside & (values < 0)).sum())
        unusable += int((inside & np.isnan(values) & ~np.isnan(red_values + nir_values)).sum())
        job.write("ndvi", window, values)
        job.steps.done()
    if known and negative > _SWAPPED_SHARE * known:
        raise FactorError(
            f"factors.ndvi: {negative / known:.0%} of the cells are below 0: are red ({declared.red}) "
            f"and nir ({declared.nir}) swapped?"
        )
    if unusable:
        job.note(f"ndvi: {unusable:,} cells have a negative reflectance or none in both bands: no data there")
    _require_cover(job, "ndvi", declared.red)


def ndvi(red: Float32, nir: Float32) -> Float32:
    """Return (NIR - red) / (NIR + red) of reflectances or counts: float32 (h, w), within -1..1.

    NaN where a band is missing or negative (over-corrected shadow and water), or both are 0.
    """
    usable = (red >= 0) & (nir >= 0) & (red + nir > 0)
    total = np.where(usable, nir + red, 1)
    return np.where(usable, (nir - red) / total, np.nan).astype(np.float32)


def reservoir_factors(job: Derivation, dem: RasterSource, settings: ReservoirSettings, cap_m: float) -> None:
    """Distance to, height above and influence of the nearest reservoir."""
    rims = ReservoirRims(settings, job.region.grid, cap_m)
    for window in job.tiles:
        link = rims.link(window, dem.read(window))
        job.write("reservoir_distance", window, link.distance)
        job.write("reservoir_height", window, link.height)
        job.write("reservoir_influence", window, link.influence)
        job.steps.done()
    if job.writer.band("reservoir_influence", job.cells).maximum < 1:
        job.note(
            f"no cell lies within {settings.link_distance_m:g} m of, and not more than "
            f"{settings.link_height_m:g} m above, a reservoir of {settings.path}"
        )


def _distances(
    job: Derivation, name: str, features: Features, cap_m: float, where: Bool | None = None
) -> None:
    size = job.region.grid.cell_size_m
    for window in job.wide_tiles:
        if job.writer.mask(window).any():
            values = distance_to(features, window, size, cap_m)
        else:
            values = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        if where is not None:
            values[~where[window.toslices()]] = np.nan
        job.write(name, window, values)
        job.steps.done()


def _require_cover(job: Derivation, name: str, path: Path) -> None:
    job.require_cover(name, path, round(job.writer.band(name, job.cells).valid_share * job.cells))


def _grown(window: Window, cells: int) -> Window:
    return Window(
        window.col_off - cells, window.row_off - cells, window.width + 2 * cells, window.height + 2 * cells
    )
