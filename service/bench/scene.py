"""A SYNTHETIC region to measure on: smooth factors, gauges on a lattice, zones, a reservoir, made-up weather.

scene.json       what it was made for; the same request finds it again
region.toml      every gauge reports rain every day
arid.toml        the same region; rain falls at the gauges of one corner alone
bundle/          random weights, unless a bundle is given
factors.tif      one square of factors, mirrored over the region
data/ arid/      data folders; arid/ shares the spatial state of data/
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform as to_crs
from rasterio.windows import Window
from scipy.spatial import cKDTree

from service.bench.network import Size, write_random_bundle
from service.bundle import read_manifest
from service.errors import UsageError
from service.factor_stack import FactorBand
from service.files import write_json
from service.ingest import ingest
from service.manifest import FactorSpec, Manifest
from service.progress import ProgressCallback
from service.proof import random_factors
from service.readings import Archive
from service.region import Grid, Region, open_region, read_vectors
from service.settings import Settings, load_settings
from service.stack_writer import StackWriter, windows
from service.workshop import archive_path

# Levels are read from well before the windows that rain is read for.
FIRST_LEVEL, FIRST_RAIN, LAST_DAY = date(2025, 11, 1), date(2026, 1, 5), date(2026, 2, 24)
NOW = datetime(2026, 2, 25, 6, tzinfo=UTC)
# The newest day that is measured, and the first that is arid.
NEWEST_DAY, ARID_DAY = date(2026, 2, 24), date(2026, 2, 17)
ARID_SHARE = 0.05  # of the forcing cells get another window on an arid day
_SQUARE = 512  # cells of the square of factors
_STEPS = 500  # values that a factor takes: what is smooth compresses as terrain does
_CELLS_PER_GAUGE = 65_536  # one in 59 km² at 30 m
_FEWEST_GAUGES = 256  # below, one gauge's influence is more than an arid day may change
_LATTICE = CRS.from_epsg(32632)
_LEFT, _TOP = 500_000.0, 5_000_000.0
_ZONES_ALONG = 8
_NEIGHBOURS, _REACH_KM = 8, 100


@dataclass(frozen=True)
class SceneRequest:
    """What to make: a square of `side` x `side` cells, or what lies inside the polygons of `outline`."""

    side: int
    cell_size_m: float = 30.0
    outline: Path | None = None
    bundle: Path | None = None
    size: Size = field(default_factory=Size)  # of the random network, without a bundle


@dataclass(frozen=True)
class Scene:
    """A scene on disk."""

    folder: Path
    config: Path
    arid_config: Path


def square_side(cells: int, bundle: Path | None) -> int:
    """Return the side of the square nearest to `cells` that holds whole forcing cells of the bundle."""
    k = read_manifest(bundle)[0].forcing_cell if bundle is not None else Size().k
    return max(1, round(math.sqrt(cells) / k)) * k


def make_scene(folder: Path, wanted: SceneRequest, progress: ProgressCallback) -> Scene:
    """Make a scene in `folder`, or find it there from before.

    Raises UsageError where the folder holds another scene or anything else, RegionError or BundleError where
    outline or bundle cannot be used.
    """
    scene = Scene(folder, folder / "region.toml", folder / "arid.toml")
    stamp = folder / "scene.json"
    bundle = wanted.bundle or folder / "bundle"
    if wanted.bundle is None and not (bundle / "manifest.json").exists():
        _refuse_strangers(folder, stamp)
        write_random_bundle(bundle, wanted.size)
    manifest, digest = read_manifest(bundle)
    said = {**asdict(wanted), "bundle": digest}
    told = json.loads(json.dumps(said, default=str))
    if stamp.exists():
        if json.loads(stamp.read_text("utf-8")) != told:
            raise UsageError(
                f"{folder} holds another synthetic region than this; name another folder with --dir, or "
                "remove it"
            )
        return scene
    _write_inputs(scene, wanted, manifest, bundle, _ground(wanted, manifest.forcing_cell))
    settings = load_settings(scene.config)
    _write_factors(folder / "factors.tif", open_region(settings), manifest, progress)
    for config in (scene.config, scene.arid_config):
        _take_in(load_settings(config))
    write_json(stamp, said | {"outline": str(wanted.outline) if wanted.outline else None})
    return scene


def fresh(settings: Settings) -> None:
    """Let a scene's data folder forget its layers, so that the same days are published again."""
    kept = ("state", "region", "readings.sqlite", "rasters")
    for path in settings.data_dir.iterdir():
        # With what SQLite keeps beside its file.
        if not path.name.startswith(kept) and not path.is_symlink():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def share_state(settings: Settings, with_settings: Settings) -> None:
    """Let another region of a scene use the spatial state and the rasters of the first."""
    for name in ("state", "region"):
        link = with_settings.data_dir / name
        if not link.is_symlink():
            shutil.rmtree(link, ignore_errors=True)
            link.symlink_to((settings.data_dir / name).resolve())


def _refuse_strangers(folder: Path, stamp: Path) -> None:
    if not stamp.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty and holds no synthetic region; name a new or an empty folder"
        )


@dataclass(frozen=True)
class _Ground:
    """The cells, and what of them lies inside, in their CRS."""

    grid: Grid
    shape: shapely.Geometry

    @property
    def corner(self) -> npt.NDArray[np.float64]:
        """The south-western point of what lies inside: (2,)."""
        points = shapely.get_coordinates(self.shape)
        return np.asarray(points[np.argmin(points.sum(axis=1))])


def _ground(wanted: SceneRequest, k: int) -> _Ground:
    """Return a square, or the box around an outline in the UTM zone of its middle, in whole cells."""
    size = wanted.cell_size_m
    if wanted.outline is None:
        grid = Grid(_LATTICE, _LEFT, _TOP, size, wanted.side, wanted.side)
        return _Ground(grid, shapely.box(*grid.bounds))
    geographic = shapely.union_all([shape for shape, _ in read_vectors(wanted.outline, CRS.from_epsg(4326))])
    middle = geographic.centroid
    zone = min(60, int((middle.x + 180) // 6) + 1)
    crs = CRS.from_epsg((32600 if middle.y >= 0 else 32700) + zone)
    shape = shapely.union_all([shape for shape, _ in read_vectors(wanted.outline, crs)])
    west, south, east, north = shape.bounds
    step = size * k
    left, top = math.floor(west / step) * step, math.ceil(north / step) * step
    grid = Grid(crs, left, top, size, math.ceil((top - south) / size), math.ceil((east - left) / size))
    return _Ground(grid, shape)


# --- settings, gauges, zones ---


def _write_inputs(
    scene: Scene, wanted: SceneRequest, manifest: Manifest, bundle: Path, ground: _Ground
) -> None:
    folder, grid = scene.folder, ground.grid
    folder.mkdir(parents=True, exist_ok=True)
    xy = _gauges(grid)
    names = [f"g{number:05d}" for number in range(len(xy))]
    longitude, latitude = to_crs(grid.crs, CRS.from_epsg(4326), xy[:, 0].tolist(), xy[:, 1].tolist())
    places = zip(names, longitude, latitude, strict=True)
    lines = [f"{name},{lon:.7f},{lat:.7f}\n" for name, lon, lat in places]
    (folder / "gauges.csv").write_text("id,lon,lat\n" + "".join(lines), "utf-8")
    rain = _rain(len(xy))
    _write_rain(folder / "rain.csv", names, rain)
    rain[:, ~_wet_corner(xy, ground, manifest.forcing_cell)] = 0
    _write_rain(folder / "arid-rain.csv", names, rain)
    _write_zones(folder / "zones.geojson", grid)
    levels = any(spec.name.startswith("level") for spec in manifest.variables)
    if levels:
        _write_reservoir(folder, ground)
    for config, data, values in (
        (scene.config, "data", "rain.csv"),
        (scene.arid_config, "arid", "arid-rain.csv"),
    ):
        config.write_text(_toml(wanted, manifest, bundle, grid, data, values, levels=levels), "utf-8")


def _gauges(grid: Grid) -> npt.NDArray[np.float64]:
    """Return gauges on a lattice a little beyond the grid's edges, each moved somewhat: (n, 2)."""
    count = max(_FEWEST_GAUGES, grid.height * grid.width // _CELLS_PER_GAUGE)
    along = math.ceil(math.sqrt(count))
    left, bottom, right, top = grid.bounds
    step = np.array([right - left, top - bottom]) / along
    places = (np.stack(np.meshgrid(np.arange(along), np.arange(along)), axis=-1) + 0.5).reshape(-1, 2)
    moved = places + np.random.default_rng(2).uniform(-0.3, 0.3, places.shape)
    return np.asarray(np.array([left, bottom]) + moved * step)


def _days(first: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((LAST_DAY - first).days + 1)]


def _rain(gauges: int) -> npt.NDArray[np.float64]:
    """Return rain of every day and gauge, mm: dry on two days of three, alike at all gauges."""
    random = np.random.default_rng(1)
    days = len(_days(FIRST_RAIN))
    wet = random.random(days) < 1 / 3
    amount = random.gamma(1.2, 12, days)
    return np.asarray(np.round(wet[:, None] * amount[:, None] * random.uniform(0.5, 1.5, (days, gauges)), 1))


def _wet_corner(xy: npt.NDArray[np.float64], ground: _Ground, k: int) -> npt.NDArray[np.bool_]:
    """Return the gauges of the south-west corner, as many as ARID_SHARE of the nodes rest upon, at least one.

    A node takes the rain of its nearest gauges, so more nodes see a gauge than lie around it.
    """
    step = k * ground.grid.cell_size_m
    left, bottom, right, top = ground.grid.bounds
    node_x, node_y = np.meshgrid(np.arange(left, right + step, step), np.arange(top, bottom - step, -step))
    nodes = np.stack([node_x.ravel(), node_y.ravel()], axis=1)
    shapely.prepare(ground.shape)
    nodes = nodes[shapely.intersects_xy(ground.shape, nodes)]
    _, near = cKDTree(xy).query(nodes, k=_NEIGHBOURS)
    order = np.argsort(np.hypot(*(xy - ground.corner).T))
    wet = np.zeros(len(xy), bool)
    wet[order[0]] = True
    for gauge in order[1:]:
        wet[gauge] = True
        # Forcing cells with a changed corner are somewhat more than the nodes.
        if wet[near].any(axis=1).mean() > 0.9 * ARID_SHARE:
            wet[gauge] = False
            break
    return wet


def _write_rain(path: Path, names: list[str], rain: npt.NDArray[np.float64]) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write("series,day,value\n")
        for day, values in zip(_days(FIRST_RAIN), rain, strict=True):
            out.writelines(f"{name},{day},{value:g}\n" for name, value in zip(names, values, strict=True))


def _collection(grid: Grid, features: list[tuple[shapely.Geometry, dict[str, Any]]]) -> dict[str, Any]:
    return {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{grid.crs.to_epsg()}"}},
        "features": [
            {"type": "Feature", "properties": said, "geometry": shapely.geometry.mapping(shape)}
            for shape, said in features
        ],
    }


def _write_zones(path: Path, grid: Grid) -> None:
    left, bottom, right, top = grid.bounds
    width, height = (right - left) / _ZONES_ALONG, (top - bottom) / _ZONES_ALONG
    features = []
    for number in range(_ZONES_ALONG**2):
        down, across = divmod(number, _ZONES_ALONG)
        west, north = left + across * width, top - down * height
        square = shapely.box(west, north - height, west + width, north)
        features.append((square, {"id": f"z{number:02d}", "name": f"Zone {number}"}))
    write_json(path, _collection(grid, features))


def _write_reservoir(folder: Path, ground: _Ground) -> None:
    """One reservoir in the south-west corner, where it rains on arid days too."""
    grid = ground.grid
    left, bottom, right, top = grid.bounds
    size = max(right - left, top - bottom) / 50
    place = shapely.intersection(ground.shape, shapely.Point(ground.corner).buffer(2 * size))
    place = place.representative_point()
    lake = shapely.box(place.x - size / 4, place.y - size / 4, place.x + size / 4, place.y + size / 4)
    said = {"id": "r1", "name": "Reservoir", "full_level_m": 800.0}
    write_json(folder / "reservoirs.geojson", _collection(grid, [(lake, said)]))
    longitude, latitude = to_crs(grid.crs, CRS.from_epsg(4326), [place.x], [place.y])
    (folder / "reservoirs.csv").write_text(
        f"id,lon,lat\nr1,{longitude[0]:.7f},{latitude[0]:.7f}\n", encoding="utf-8"
    )
    random = np.random.default_rng(3)
    days = _days(FIRST_LEVEL)
    levels = 780 + np.cumsum(random.normal(0, 0.2, len(days))).clip(-15, 15)
    lines = [f"r1,{day},{level:.2f}\n" for day, level in zip(days, levels, strict=True)]
    (folder / "levels.csv").write_text("series,day,value\n" + "".join(lines), "utf-8")


def _toml(
    wanted: SceneRequest,
    manifest: Manifest,
    bundle: Path,
    grid: Grid,
    data: str,
    rain: str,
    *,
    levels: bool,
) -> str:
    left, bottom, right, top = grid.bounds
    mask = f"[mask]\npath = {json.dumps(str(wanted.outline.resolve()))}\n" if wanted.outline else ""
    reservoirs = (
        '[reservoirs]\npath = "reservoirs.geojson"\nlink_distance_m = 1000\n'
        '[[feeds]]\nname = "levels"\nvariable = "level"\npath = "levels.csv"\nunit = "m"\n'
        'series_file = "reservoirs.csv"\nlatency_hours = 1\n'
    )
    return f"""\
# SYNTHETIC: made by colluvium bench, says nothing about a real place.
[region]
id = "bench"
name = "SYNTHETIC bench region"
data_dir = "{data}"
synthetic = true
attribution = "synthetic"
[grid]
crs = "EPSG:{grid.crs.to_epsg()}"
cell_size_m = {grid.cell_size_m:g}
extent = [{left!r}, {bottom!r}, {right!r}, {top!r}]
forcing_cell = {manifest.forcing_cell}
{mask}[zones]
path = "zones.geojson"
[factors]
stack = "factors.tif"
[forcing]
max_distance_km = {_REACH_KM}
neighbours = {_NEIGHBOURS}
[inference]
state = "stored"
[bundle]
path = {json.dumps(str(bundle.resolve()))}
allow_transfer = true
[[feeds]]
name = "gauges"
variable = "rain"
path = "{rain}"
unit = "mm"
series_file = "gauges.csv"
latency_hours = 1
{reservoirs if levels else ""}"""


def _take_in(settings: Settings) -> None:
    with Archive(archive_path(settings), lambda: NOW) as archive:
        report = ingest(settings, archive, NOW)
    if report.failed:
        raise UsageError(f"the synthetic readings were not taken in: {', '.join(report.failed)}")


# --- factors ---


def _write_factors(path: Path, region: Region, manifest: Manifest, progress: ProgressCallback) -> None:
    grid, specs = region.grid, manifest.factors
    square = random_factors(specs, _SQUARE, np.random.default_rng(0))
    for values, spec in zip(square, specs, strict=True):
        _take_steps(values, spec)
    bands = [
        FactorBand(spec.name, spec.unit, spec.log, spec.categories, None, math.nan, math.nan)
        for spec in specs
    ]
    every = windows(grid, _SQUARE)
    with StackWriter(path, grid, region.mask_path, bands) as writer:
        cells = 0
        for number, window in enumerate(every):
            progress(number, len(every))
            inside = writer.mask(window)
            if not inside.any():
                continue  # nothing is written there, so that it takes no space
            cells += int(inside.sum())
            for spec, values in zip(specs, _mirrored(square, window), strict=True):
                writer.write(spec.name, window, values)
        writer.finish(cells, {}, ["SYNTHETIC"])


def _take_steps(values: npt.NDArray[np.float32], spec: FactorSpec) -> None:
    if spec.categories is None and spec.minimum is not None and spec.maximum is not None:
        step = (spec.maximum - spec.minimum) / _STEPS
        if step > 0:
            values[:] = (spec.minimum + np.rint((values - spec.minimum) / step) * step).astype(np.float32)
            np.clip(values, np.float32(spec.minimum), np.float32(spec.maximum), out=values)


def _mirrored(square: npt.NDArray[np.float32], window: Window) -> Iterator[npt.NDArray[np.float32]]:
    """Yield each factor in a window: every other square is mirrored, so that no edge is seen."""
    down = -1 if window.row_off // _SQUARE % 2 else 1
    right = -1 if window.col_off // _SQUARE % 2 else 1
    for values in square:
        yield values[::down, ::right][: int(window.height), : int(window.width)]
