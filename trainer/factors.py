"""The factor stack of a region, derived from its DEM, vectors and rasters.

`derive` reads from top to bottom in the order in which things happen: what is declared, what it comes from,
whether it is there already, then factor by factor, window by window.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyflwdir
import rasterio
import scipy
import structlog
from rasterio.windows import Window

from service.errors import FactorError
from service.factor_stack import FORMAT, FactorBand, FactorStack, edge_path
from service.files import digest_of, replacing, sha256_file
from service.region import Grid, Region
from service.settings import RasterFactor, Settings
from service.stack_writer import EdgeWriter, StackWriter, windows
from trainer.factor_jobs import (
    TILE,
    WIDE_TILE,
    Derivation,
    Steps,
    check_dem,
    flow_factors,
    local_terrain,
    ndvi_factor,
    raster_factor,
    reservoir_factors,
    vector_distance,
)
from trainer.factor_sources import RasterSource
from trainer.flow import available_memory, require_memory
from trainer.terrain import LOCAL_FACTORS

Progress = Callable[[int, int], None]

_log = structlog.get_logger()

# Goes up when a formula changes, so that stacks made before are derived again.
_ALGORITHM = 1
_FLOW = ("twi", "spi", "distance_to_streams")
# name -> unit, log
_TERRAIN: dict[str, tuple[str, bool]] = {
    "elevation": ("m", False),
    "slope": ("degrees", False),
    "northness": ("1", False),
    "eastness": ("1", False),
    "plan_curvature": ("1/m", False),
    "profile_curvature": ("1/m", False),
    "twi": ("ln(m)", True),
    "spi": ("m", True),
    "distance_to_streams": ("m", True),
}
_RESERVOIR: dict[str, tuple[str, bool]] = {
    "reservoir_distance": ("m", True),
    "reservoir_height": ("m", False),
    "reservoir_influence": ("1", False),
}


@dataclass(frozen=True)
class FactorStackReport:
    """What `derive` made, or found made."""

    path: Path
    digest: str  # of the values
    unchanged: bool  # the stack in place was derived from exactly these inputs
    bands: tuple[FactorBand, ...]
    cells: int  # in the mask
    cells_cut_by_edge: int | None  # None without twi, spi and distance_to_streams
    catchments_cut_by_edge: int | None
    seconds: float
    notes: tuple[str, ...]


def derive(
    settings: Settings,
    region: Region,
    progress: Progress | None = None,
    *,
    available_bytes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FactorStackReport:
    """Derive the region's factor stack at `settings.stack_path`, or find it unchanged.

    Everything is warped to the region's grid, and is NaN outside its mask. Memory does not grow with the
    region, but for flow routing (50 bytes a cell), which is refused where it does not fit in
    `available_bytes` (default: what the machine has). `progress(done, total)` counts windows. Raises
    FactorError or RegionError that name the source and what is wrong; the stack in place then stays.
    """
    started = clock()
    path, grid = settings.stack_path, region.grid
    bands = declared_bands(settings)
    flow_names = [band.name for band in bands if band.name in _FLOW]
    with ExitStack() as opened:
        # GDAL's own cache would be a twentieth of the machine's memory.
        opened.enter_context(rasterio.Env(GDAL_CACHEMAX=64))
        sources = _Sources(settings, grid, opened)
        inputs_digest = _inputs_digest(settings, region, sources)
        if (found := _unchanged(path, grid, inputs_digest)) is not None:
            return _report(found, region, unchanged=True, seconds=clock() - started)
        if flow_names:
            available = available_memory() if available_bytes is None else available_bytes
            require_memory(grid.height * grid.width, available)

        # Left in reverse order: the sidecar is in its place before the stack that needs it.
        temporary = opened.enter_context(replacing(path))
        edge_file = opened.enter_context(replacing(edge_path(path))) if flow_names else None
        with ExitStack() as writing:
            writer = writing.enter_context(StackWriter(temporary, grid, region.mask_path, bands))
            steps = Steps(progress, _windows(settings, grid))
            job = Derivation(region, writer, steps, _mask_cells(region))
            tags = {"inputs_digest": inputs_digest}
            factors = settings.factors
            if sources.dem is not None:
                check_dem(job, sources.dem)
                local = [name for name in factors.terrain if name in LOCAL_FACTORS]
                if local:
                    local_terrain(job, sources.dem, local)
                if edge_file is not None:
                    edge = writing.enter_context(EdgeWriter(edge_file, grid))
                    cut = flow_factors(
                        job,
                        sources.dem,
                        flow_names,
                        edge,
                        threshold_km2=factors.stream_threshold_km2,
                        cap_m=factors.distance_cap_m,
                    )
                    tags["cells_cut_by_edge"] = str(cut.cells)
                    tags["catchments_cut_by_edge"] = str(cut.catchments)
                if factors.reservoir and settings.reservoirs is not None:
                    reservoir_factors(job, sources.dem, settings.reservoirs, factors.distance_cap_m)
            for distance in factors.distances:
                vector_distance(job, distance)
            for declared, source in sources.rasters:
                raster_factor(job, source, declared)
            if factors.ndvi is not None and sources.red is not None and sources.nir is not None:
                ndvi_factor(job, sources.red, sources.nir, factors.ndvi)
            digest = writer.finish(job.cells, tags, job.notes)
            if edge_file is not None:
                edge.finish(digest)
                edge.prove()
            writer.prove()
    if edge_file is None:
        edge_path(path).unlink(missing_ok=True)
    with FactorStack.open(path, grid) as stack:
        report = _report(stack, region, unchanged=False, seconds=clock() - started)
    _log.info("factors derived", path=str(path), digest=digest, bands=len(bands), seconds=report.seconds)
    return report


def declared_bands(settings: Settings) -> tuple[FactorBand, ...]:
    """Return the bands that the settings ask for, in the stack's order, without their ranges.

    Terrain, distances to vectors, rasters, ndvi, reservoir. Raises FactorError where there is none, or where
    two have one name.
    """
    factors = settings.factors
    dem_date = factors.dem_date.isoformat() if factors.dem_date else None
    bands = [_band(name, *_TERRAIN[name], dem_date) for name in dict.fromkeys(factors.terrain)]
    bands += [_band(item.name, "m", True, item.date.isoformat()) for item in factors.distances]
    bands += [_raster_band(item) for item in factors.rasters]
    if factors.ndvi is not None:
        bands.append(_band("ndvi", "1", False, factors.ndvi.date.isoformat()))
    if factors.reservoir:
        bands += [_band(name, unit, log, dem_date) for name, (unit, log) in _RESERVOIR.items()]
    if not bands:
        raise FactorError("no factor is declared: name some under factors.terrain, distances or rasters")
    names = [band.name for band in bands]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FactorError(f"factors must have names of their own; twice: {', '.join(twice)}")
    return tuple(bands)


class _Sources:
    """Every file that factors come from, opened and checked before any work begins."""

    def __init__(self, settings: Settings, grid: Grid, opened: ExitStack) -> None:
        def source(what: str, path: Path, kind: Literal["continuous", "categorical"]) -> RasterSource:
            return opened.enter_context(RasterSource(what, path, grid, kind))

        factors = settings.factors
        dem_path = factors.dem or settings.grid.dem
        self.dem: RasterSource | None = None
        if factors.terrain or factors.reservoir:
            if dem_path is None:
                raise FactorError("terrain and reservoir factors need a DEM: set factors.dem or grid.dem")
            self.dem = source("dem", dem_path, "continuous")
        self.rasters = [
            (item, source(f"factors.rasters {item.name}", item.path, item.kind)) for item in factors.rasters
        ]
        self.red: RasterSource | None = None
        self.nir: RasterSource | None = None
        if factors.ndvi is not None:
            if factors.ndvi.red == factors.ndvi.nir:
                raise FactorError(f"factors.ndvi: red and nir are one file: {factors.ndvi.red}")
            self.red = source("factors.ndvi.red", factors.ndvi.red, "continuous")
            self.nir = source("factors.ndvi.nir", factors.ndvi.nir, "continuous")
        self._vectors = [(f"factors.distances {item.name}", item.path) for item in factors.distances]
        if factors.reservoir and settings.reservoirs is not None:
            self._vectors.append(("reservoirs", settings.reservoirs.path))

    def digests(self) -> list[list[str]]:
        """Return the SHA-256 of the files behind each source."""
        rasters = [self.dem, *(source for _, source in self.rasters), self.red, self.nir]
        return [source.digest() for source in rasters if source is not None] + [
            _vector_digest(what, path) for what, path in self._vectors
        ]


def _inputs_digest(settings: Settings, region: Region, sources: _Sources) -> str:
    """What the values follow from: with the same, deriving again would write the same."""
    declared = settings.factors.model_dump(mode="json", exclude={"stack", "dem"})
    used = settings.reservoirs if settings.factors.reservoir else None
    reservoirs = used.model_dump(mode="json") if used is not None else None
    # Where a file lies does not matter, only what is in it.
    for item in [*declared["distances"], *declared["rasters"], reservoirs or {}]:
        item.pop("path", None)
    for key in ("red", "nir"):
        (declared["ndvi"] or {}).pop(key, None)
    libraries = [module.__version__ for module in (rasterio, np, scipy, pyflwdir)]
    return digest_of(
        FORMAT,
        [_ALGORITHM, TILE, WIDE_TILE],
        [*libraries, rasterio.__gdal_version__],
        [region.grid.digest, region.mask_digest],
        declared,
        reservoirs,
        sources.digests(),
    )


def _unchanged(path: Path, grid: Grid, inputs_digest: str) -> FactorStack | None:
    """Return the stack in place where it was derived from these inputs and is whole."""
    try:
        with FactorStack.open(path, grid) as stack:
            if stack.inputs_digest == inputs_digest:
                stack.read_edge(Window(0, 0, 1, 1))
                return stack
    except FactorError:
        pass  # missing, broken or of another grid: that is what deriving is for
    return None


def _report(stack: FactorStack, region: Region, *, unchanged: bool, seconds: float) -> FactorStackReport:
    return FactorStackReport(
        path=stack.path,
        digest=stack.digest,
        unchanged=unchanged,
        bands=stack.bands,
        cells=_mask_cells(region),
        cells_cut_by_edge=stack.cells_cut_by_edge,
        catchments_cut_by_edge=stack.catchments_cut_by_edge,
        seconds=seconds,
        notes=stack.notes,
    )


def _windows(settings: Settings, grid: Grid) -> int:
    """How many steps the derivation takes, for its progress."""
    factors = settings.factors
    terrain = set(factors.terrain)
    tiles = bool(terrain or factors.reservoir)  # check_dem
    passes = tiles + bool(terrain & set(LOCAL_FACTORS)) + bool(terrain & set(_FLOW)) + factors.reservoir
    passes += len(factors.rasters) + (factors.ndvi is not None)
    wide = len(factors.distances) + ("distance_to_streams" in terrain)
    routing = 1 if terrain & set(_FLOW) else 0
    return passes * len(windows(grid, TILE)) + wide * len(windows(grid, WIDE_TILE)) + routing


def _mask_cells(region: Region) -> int:
    """Return how many cells the mask holds."""
    with rasterio.open(region.mask_path) as mask:
        return sum(int(mask.read(1, window=window).sum()) for window in windows(region.grid, TILE))


def _band(name: str, unit: str, log: bool, source_date: str | None) -> FactorBand:
    return FactorBand(name, unit, log, None, source_date, float("nan"), float("nan"))


def _raster_band(item: RasterFactor) -> FactorBand:
    band = _band(item.name, item.unit, item.log, item.date.isoformat())
    return replace(band, categories=dict(item.categories) if item.kind == "categorical" else None)


def _vector_digest(what: str, path: Path) -> list[str]:
    """Digest a vector file; a shapefile is several."""
    if not path.exists():
        raise FactorError(f"{what}: no such file: {path}")
    parts = [".shp", ".shx", ".dbf", ".prj", ".cpg"] if path.suffix.lower() == ".shp" else [path.suffix]
    return [sha256_file(file) for part in parts if (file := path.with_suffix(part)).exists()]
