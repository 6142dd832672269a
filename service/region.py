"""The region: its grid, its forcing grid, its mask and its zones, all on the same cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from rasterio.windows import Window

from service.errors import RegionError, StorageError
from service.files import digest_of, replacing, sha256_file
from service.settings import Settings, ZoneSettings

_STRIP_ROWS = 512


@dataclass(frozen=True)
class Grid:
    """Square cells in a projected CRS; row 0 is north, the origin is the upper left corner."""

    crs: CRS
    left: float
    top: float
    cell_size_m: float
    height: int
    width: int

    @property
    def transform(self) -> Affine:
        """Map (column, row) of cell corners to coordinates."""
        return Affine(self.cell_size_m, 0, self.left, 0, -self.cell_size_m, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in the grid's CRS."""
        size = self.cell_size_m
        return self.left, self.top - self.height * size, self.left + self.width * size, self.top

    @property
    def cell_area_m2(self) -> float:
        """Area of one cell, in square metres of the projection."""
        return self.cell_size_m**2

    @property
    def digest(self) -> str:
        """What identifies this grid."""
        return digest_of(self.crs.to_wkt(), self.left, self.top, self.cell_size_m, self.height, self.width)

    def profile(self, dtype: str, count: int, nodata: float | None) -> dict[str, Any]:
        """Return a rasterio profile of a tiled GeoTIFF on this grid."""
        return {
            "driver": "GTiff",
            "crs": self.crs,
            "transform": self.transform,
            "height": self.height,
            "width": self.width,
            "count": count,
            "dtype": dtype,
            "nodata": nodata,
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
            "compress": "deflate",
            "bigtiff": "if_safer",
        }

    def cells_at(
        self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (row, column) of points in the grid's CRS; points outside give indices outside."""
        row = np.floor((self.top - y) / self.cell_size_m).astype(np.int64)
        column = np.floor((x - self.left) / self.cell_size_m).astype(np.int64)
        return row, column

    def matches(self, dataset: Any) -> bool:
        """Tell whether an open rasterio dataset lies on exactly these cells."""
        return bool(
            dataset.crs == self.crs
            and dataset.shape == (self.height, self.width)
            and dataset.transform.almost_equals(self.transform, 1e-6)
        )


@dataclass(frozen=True)
class ForcingGrid:
    """Squares of k x k cells from the grid's origin; their corners are the nodes.

    `active` lists the forcing cells that hold at least one cell of the mask, row-major, as (row, column)
    int32 of shape (n, 2). Everything that is "per forcing cell" in other modules is in this order.
    """

    grid: Grid
    k: int
    active: npt.NDArray[np.int32]

    @property
    def rows(self) -> int:
        """Forcing cells from north to south; the last one may reach beyond the grid."""
        return -(-self.grid.height // self.k)

    @property
    def columns(self) -> int:
        """Forcing cells from west to east."""
        return -(-self.grid.width // self.k)

    @cached_property
    def corners(self) -> npt.NDArray[np.int32]:
        """Indices into `nodes` of each active forcing cell's corners, NW NE SW SE: int32 (n, 4)."""
        return self._nodes_and_corners[1]

    @cached_property
    def nodes(self) -> npt.NDArray[np.int32]:
        """The nodes that active forcing cells touch, as (row, column) of the node lattice: int32 (m, 2)."""
        return self._nodes_and_corners[0]

    @cached_property
    def node_xy(self) -> npt.NDArray[np.float64]:
        """Coordinates of `nodes` in the grid's CRS, metres: float64 (m, 2)."""
        step = self.k * self.grid.cell_size_m
        x = self.grid.left + self.nodes[:, 1] * step
        y = self.grid.top - self.nodes[:, 0] * step
        return np.stack([x, y], axis=1)

    @cached_property
    def corner_weights(self) -> npt.NDArray[np.float32]:
        """Bilinear weights of the corners at cell centres, cells row-major: float32 (k*k, 4)."""
        return corner_weights(self.k)

    @property
    def digest(self) -> str:
        """What identifies this forcing grid, active cells included."""
        return digest_of(self.grid.digest, self.k, self.active.tobytes().hex())

    def cell_centres(self, index: int) -> npt.NDArray[np.float64]:
        """Return coordinates of the cell centres of one active forcing cell: float64 (k*k, 2)."""
        row, column = self.active[index]
        size = self.grid.cell_size_m
        y = self.grid.top - (row * self.k + np.arange(self.k) + 0.5) * size
        x = self.grid.left + (column * self.k + np.arange(self.k) + 0.5) * size
        yy, xx = np.meshgrid(y, x, indexing="ij")
        return np.stack([xx.ravel(), yy.ravel()], axis=1)

    @cached_property
    def _nodes_and_corners(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        offsets = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], dtype=np.int64)
        lattice = self.active[:, None, :].astype(np.int64) + offsets
        codes = lattice[..., 0] * (self.columns + 1) + lattice[..., 1]
        unique, inverse = np.unique(codes, return_inverse=True)
        nodes = np.stack([unique // (self.columns + 1), unique % (self.columns + 1)], axis=1)
        return nodes.astype(np.int32), inverse.reshape(-1, 4).astype(np.int32)


def corner_weights(k: int) -> npt.NDArray[np.float32]:
    """Bilinear weights of the corners NW NE SW SE at the cell centres of a k x k forcing cell: (k*k, 4)."""
    along = (np.arange(k) + 0.5) / k
    south, east = np.meshgrid(along, along, indexing="ij")
    weights = [(1 - south) * (1 - east), (1 - south) * east, south * (1 - east), south * east]
    return np.stack(weights, axis=-1).reshape(-1, 4).astype(np.float32)


@dataclass(frozen=True)
class Zone:
    """A named polygon; its raster value in zones.tif is `code`."""

    code: int
    id: str
    name: str
    geometry: shapely.Geometry  # in the grid's CRS


@dataclass(frozen=True)
class Region:
    """The grid with its mask and zones. The rasters are made once and named by the digest of their inputs."""

    id: str
    grid: Grid
    forcing: ForcingGrid
    mask_path: Path  # uint8: 1 inside the mask, 0 outside
    zones_path: Path  # uint16: zone code, 0 outside every zone
    zones: tuple[Zone, ...]
    mask_digest: str
    zones_digest: str


def open_region(settings: Settings) -> Region:
    """Build or reopen a region from its settings.

    Raises RegionError for a geographic CRS, a mask that covers no cell, zones without ids.
    """
    grid = make_grid(settings)
    folder = settings.data_dir / "region"
    sources = [grid.digest, _digest_or_none(settings.mask.path if settings.mask else None)]
    if settings.grid.dem is not None:
        sources.append(sha256_file(settings.grid.dem))
    mask_digest = digest_of(*sources)
    mask_path = folder / f"mask-{mask_digest[:16]}.tif"
    if not mask_path.exists():
        _write_mask(mask_path, grid, settings)
    active_path = folder / f"active-{mask_digest[:16]}-{settings.grid.forcing_cell}.npy"
    if not active_path.exists():
        _write_active(active_path, mask_path, settings.grid.forcing_cell)
    forcing = ForcingGrid(grid, settings.grid.forcing_cell, np.load(active_path, allow_pickle=False))

    zones = read_zones(settings.zones, grid) if settings.zones else ()
    zones_digest = digest_of(
        grid.digest, [(zone.id, zone.name, shapely.to_wkb(zone.geometry, hex=True)) for zone in zones]
    )
    zones_path = folder / f"zones-{zones_digest[:16]}.tif"
    if not zones_path.exists():
        _write_zones(zones_path, grid, zones)
    return Region(settings.region.id, grid, forcing, mask_path, zones_path, zones, mask_digest, zones_digest)


def make_grid(settings: Settings) -> Grid:
    """Return the region's grid from its extent, or from the DEM's bounds snapped outward to whole cells."""
    try:
        crs = CRS.from_user_input(settings.grid.crs)
    except rasterio.errors.CRSError as error:
        raise RegionError(f"grid.crs {settings.grid.crs!r} is not a CRS: {error}") from error
    if not crs.is_projected:
        raise RegionError(
            f"grid.crs {settings.grid.crs} is not projected, so its cells are not in metres; "
            "use the UTM zone of the region, such as EPSG:32632"
        )
    if crs.linear_units_factor[1] != 1.0:
        raise RegionError(f"grid.crs {settings.grid.crs} counts in {crs.linear_units}, not in metres")
    size = settings.grid.cell_size_m
    if settings.grid.extent is not None:
        left, bottom, right, top = settings.grid.extent
    else:
        left, bottom, right, top = _dem_bounds(settings.grid.dem, crs)
    if right <= left or top <= bottom:
        raise RegionError(f"grid.extent must be left, bottom, right, top; got {settings.grid.extent}")
    if size < 1 or (abs(left) <= 180 and abs(right) <= 180 and abs(top) <= 90 and abs(bottom) <= 90):
        raise RegionError(
            f"the grid's bounds ({left}, {bottom}, {right}, {top}) and cell size ({size}) look like degrees; "
            f"give both in the metres of {settings.grid.crs}"
        )
    width, height = round((right - left) / size), round((top - bottom) / size)
    if width < 1 or height < 1:
        raise RegionError(f"the grid's extent is smaller than one cell of {size} m")
    return Grid(crs, left, top, size, height, width)


def read_zones(settings: ZoneSettings, grid: Grid) -> tuple[Zone, ...]:
    """Read zone polygons with id and name, in the grid's CRS, ordered as in the file."""
    rows = read_vectors(settings.path, grid.crs, (settings.id_field, settings.name_field))
    zones = []
    for number, (geometry, values) in enumerate(rows, start=1):
        identity, name = values[settings.id_field], values[settings.name_field]
        if identity in (None, ""):
            raise RegionError(f"zone {number} of {settings.path} has no {settings.id_field!r}")
        zones.append(Zone(number, str(identity), str(name if name is not None else identity), geometry))
    identities = [zone.id for zone in zones]
    twice = sorted({identity for identity in identities if identities.count(identity) > 1})
    if twice:
        raise RegionError(f"zone ids of {settings.path} must be unique; twice: {', '.join(twice)}")
    if len(zones) > 65_534:
        raise RegionError(f"{settings.path} holds {len(zones)} zones; at most 65534 fit")
    return tuple(zones)


def read_vectors(
    path: Path, crs: CRS, fields: tuple[str, ...] = ()
) -> list[tuple[shapely.Geometry, dict[str, Any]]]:
    """Read a vector file's geometries in `crs`, with the named fields of each.

    Raises RegionError for a missing file, a missing field, a file without a CRS or without features.
    """
    if not path.exists():
        raise RegionError(f"no such file: {path}")
    try:
        meta, _, geometries, columns = pyogrio.raw.read(path)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise RegionError(f"cannot read {path} as vectors: {error}") from error
    names = list(meta["fields"])
    for field in fields:
        if field not in names:
            raise RegionError(f"{path} has no field {field!r}; it has: {', '.join(names) or 'none'}")
    if meta["crs"] is None:
        raise RegionError(f"{path} does not say its CRS; add one (a GeoPackage or GeoJSON carries it)")
    source = CRS.from_user_input(meta["crs"])
    rows = []
    for index, wkb in enumerate(geometries):
        if wkb is None:
            continue
        geometry = shapely.from_wkb(wkb)
        if source != crs:
            geometry = shapely.geometry.shape(transform_geom(source, crs, shapely.geometry.mapping(geometry)))
        if geometry.geom_type.endswith("Polygon"):
            geometry = shapely.make_valid(geometry)
        rows.append((geometry, {field: columns[names.index(field)][index] for field in fields}))
    if not rows:
        raise RegionError(f"{path} holds no features")
    return rows


def strips(grid: Grid, rows: int = _STRIP_ROWS) -> list[Window]:
    """Return full-width windows from north to south."""
    return [
        Window(0, start, grid.width, min(rows, grid.height - start)) for start in range(0, grid.height, rows)
    ]


def _dem_bounds(path: Path | None, crs: CRS) -> tuple[float, float, float, float]:
    if path is None or not path.exists():
        raise RegionError(f"grid.dem: no such file: {path}")
    try:
        with rasterio.open(path) as dem:
            if dem.crs is None:
                raise RegionError(f"grid.dem {path} does not say its CRS")
            if dem.crs != crs:
                raise RegionError(
                    f"grid.dem {path} is in {dem.crs}, the grid in {crs}; give grid.extent in the grid's CRS"
                )
            left, bottom, right, top = dem.bounds
            return left, bottom, right, top
    except rasterio.errors.RasterioIOError as error:
        raise RegionError(f"grid.dem {path} cannot be read: {error}") from error


def _write_mask(path: Path, grid: Grid, settings: Settings) -> None:
    shapes = [geometry for geometry, _ in read_vectors(settings.mask.path, grid.crs)] if settings.mask else []
    dem = settings.grid.dem if settings.grid.extent is None else None
    inside = 0
    with _new_raster(path, grid.profile("uint8", 1, None)) as out:
        for window in strips(grid):
            block = _rasterize_strip(
                [(shape, 1) for shape in shapes], grid, window, "uint8", empty=not shapes
            )
            if dem is not None:
                block &= _dem_valid(dem, grid, window)
            inside += int(block.sum())
            out.write(block, 1, window=window)
        if inside == 0:
            raise RegionError(
                "the mask holds no cell of the grid: "
                + (f"does {settings.mask.path} overlap it?" if settings.mask else f"{dem} is all no-data")
            )


def _dem_valid(path: Path, grid: Grid, window: Window) -> npt.NDArray[np.uint8]:
    with rasterio.open(path) as dem:
        if not grid.matches(dem):
            # Another cell size: factors are warped, and the warp decides what is covered.
            return np.ones((int(window.height), int(window.width)), np.uint8)
        return np.asarray(dem.read_masks(1, window=window) > 0).astype(np.uint8)


def active_cells(mask_path: Path, k: int) -> npt.NDArray[np.int32]:
    """Return the forcing cells that hold a cell of the mask, as `ForcingGrid.active`: int32 (n, 2)."""
    active: list[tuple[int, int]] = []
    with rasterio.open(mask_path) as mask:
        for row in range(-(-mask.height // k)):
            block = mask.read(1, window=Window(0, row * k, mask.width, min(k, mask.height - row * k)))
            columns = np.unique(np.flatnonzero(block.any(axis=0)) // k)
            active.extend((row, int(column)) for column in columns)
    return np.array(active, dtype=np.int32).reshape(-1, 2)


def _write_active(path: Path, mask_path: Path, k: int) -> None:
    with replacing(path) as temporary:
        np.save(temporary, active_cells(mask_path, k))


def _write_zones(path: Path, grid: Grid, zones: tuple[Zone, ...]) -> None:
    with _new_raster(path, grid.profile("uint16", 1, 0)) as out:
        for window in strips(grid):
            shapes = [(zone.geometry, zone.code) for zone in zones]
            out.write(_rasterize_strip(shapes, grid, window, "uint16", empty=False), 1, window=window)


@contextmanager
def _new_raster(path: Path, profile: dict[str, Any]) -> Iterator[Any]:
    """A raster that appears whole: GDAL closes a file on a full disk without an error, so it is read back."""
    with replacing(path) as temporary:
        with rasterio.open(temporary, "w", **profile) as out:
            yield out
        try:
            with rasterio.open(temporary) as written:
                for _, window in written.block_windows(1):
                    written.read(1, window=window)
        except rasterio.errors.RasterioIOError as error:
            raise StorageError(f"{path} could not be written whole; is no space left on its disk?") from error


def _rasterize_strip(
    shapes: list[tuple[shapely.Geometry, int]], grid: Grid, window: Window, dtype: str, *, empty: bool
) -> npt.NDArray[Any]:
    """Burn shapes into one strip; with `empty`, no shapes means everything."""
    size = (int(window.height), int(window.width))
    top = grid.top - window.row_off * grid.cell_size_m
    box = shapely.box(grid.bounds[0], top - size[0] * grid.cell_size_m, grid.bounds[2], top)
    near = [(shape, code) for shape, code in shapes if shapely.intersects(shape, box)]
    if not near:
        return np.full(size, 1 if empty else 0, dtype)
    transform = Affine(grid.cell_size_m, 0, grid.left, 0, -grid.cell_size_m, top)
    return np.asarray(rasterize(near, out_shape=size, transform=transform, fill=0, dtype=dtype))


def _digest_or_none(path: Path | None) -> str | None:
    if path is None:
        return None
    if not path.exists():
        raise RegionError(f"no such file: {path}")
    return sha256_file(path)
