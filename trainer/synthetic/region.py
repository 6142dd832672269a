"""The synthetic region as a whole, and the files that `config/demo.toml` names.

    region = make_region(seed)                      nothing on disk yet
    write_region(region, folder, since=None, landslides=False)
    region.probability(x, y, days)                  the truth that no model is told

Everything follows from the seed. Files are the same byte for byte on one machine; on another, a last digit
of a Fourier transform may differ.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes
from rasterio.warp import transform
from scipy import ndimage

from service.files import replacing
from trainer.synthetic.cover import DISTRICTS, RESERVOIRS, Cover, Line, make_cover
from trainer.synthetic.slopes import (
    Landslide,
    SlopeModel,
    draw_landslides,
    level_fall,
    make_slope_model,
    on_grid,
    stored_water,
)
from trainer.synthetic.terrain import Terrain, make_terrain
from trainer.synthetic.weather import LAST_DAY, Weather, make_weather

LABEL = "SYNTHETIC: made up from a seed by Colluvium; no real place, weather or landslide"
SEED = 2
SIZE = 512  # cells
CELL_M = 30.0
CRS_TEXT = "EPSG:32640"  # Kerman's UTM zone
LEFT, TOP = 492_480.0, 3_271_200.0  # near 57 E 29.5 N
NODE_CELLS = 32  # of the weather's lattice

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SyntheticRegion:
    """A made-up region; nothing of it is on disk."""

    seed: int
    terrain: Terrain
    cover: Cover
    weather: Weather
    slopes: SlopeModel

    @property
    def size(self) -> int:
        """Cells along one side."""
        return int(self.terrain.elevation_m.shape[0])

    @cached_property
    def landslides(self) -> tuple[tuple[Landslide, ...], float]:
        """Landslides of the training years, by day, and the rate of unstable cells that become one."""
        return draw_landslides(self.slopes, self.weather, self.seed)

    def probability(self, x: Float, y: Float, days: Sequence[date]) -> Float:
        """Return the true probability of failure at places (n,), metres of the CRS, on their days: (n,)."""
        row = np.floor((TOP - y) / CELL_M).astype(np.int64)
        column = np.floor((x - LEFT) / CELL_M).astype(np.int64)
        water, fall = stored_water(self.weather), level_fall(self.weather)
        at = np.array([self.weather.index(day) for day in days], dtype=np.int64)
        result = np.zeros(len(at))
        for day in np.unique(at):
            here = at == day
            stored = on_grid(water[day], self.size)[row[here], column[here]]
            result[here] = self.slopes.at(row[here], column[here]).probability(stored, fall[day])
        return result


class Ground(Protocol):
    """What a region's files are written from."""

    @property
    def seed(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def terrain(self) -> Terrain: ...
    @property
    def cover(self) -> Cover: ...
    @property
    def weather(self) -> Weather: ...


def make_region(seed: int = SEED, size: int = SIZE) -> SyntheticRegion:
    """Make the region of a seed in memory: a square of `size` cells, a multiple of 32.

    Raises ValueError for another size, and where no valley of the relief holds the lakes.
    """
    if size % NODE_CELLS:
        raise ValueError(f"size must be a multiple of {NODE_CELLS} cells, got {size}")
    terrain = make_terrain(seed, size, CELL_M)
    cover = make_cover(terrain, seed, CELL_M)
    smooth = ndimage.gaussian_filter(cover.annual_precipitation_mm.astype(np.float64), 8)
    nodes = np.minimum(np.arange(size // NODE_CELLS + 1) * NODE_CELLS, size - 1)
    orography = smooth[np.ix_(nodes, nodes)]
    weather = make_weather(orography / orography.mean(), seed)
    return SyntheticRegion(seed, terrain, cover, weather, make_slope_model(terrain, cover, CELL_M))


def write_region(
    region: SyntheticRegion, folder: Path, *, since: date | None = None, landslides: bool = False
) -> None:
    """Write the region's files to `folder`: terrain, cover, gauges, reservoirs, and their readings.

    Readings begin with `since` (default: the whole history). `landslides` writes the inventory too, whose
    drawing takes some seconds. A file that is there is replaced.
    """
    write_ground(region, folder, since=since)
    if landslides:
        _inventory(region, folder)


def write_ground(region: Ground, folder: Path, *, since: date | None = None) -> None:
    """Write all files of a region but its inventory; readings begin with `since`."""
    folder.mkdir(parents=True, exist_ok=True)
    _text(folder / "SYNTHETIC.txt", f"{LABEL}.\nSeed {region.seed}.\n")
    _rasters(region, folder)
    _vectors(region, folder)
    _gauges(region, folder)
    write_readings(region, folder, since=since)


def write_readings(region: Ground, folder: Path, *, since: date | None = None) -> None:
    """Write the readings of gauges and reservoirs, from `since` to the end of the weather."""
    first = max(since or region.weather.first, region.weather.first)
    _rain(region, folder, first)
    _levels(region, folder, first)


def _rasters(region: Ground, folder: Path) -> None:
    cover = region.cover
    _raster(folder / "dem.tif", region.terrain.elevation_m, "elevation, m")
    _raster(folder / "rock_group.tif", cover.rock_group, "engineering rock group", nodata=0)
    _raster(folder / "land_use.tif", cover.land_use, "land use", nodata=0)
    _raster(folder / "annual_precipitation.tif", cover.annual_precipitation_mm, "mm a year")
    _raster(folder / "red.tif", cover.red, "red reflectance x 10000", nodata=0)
    _raster(folder / "nir.tif", cover.nir, "near-infrared reflectance x 10000", nodata=0)


def _raster(path: Path, values: npt.NDArray[Any], what: str, nodata: float | None = -9999.0) -> None:
    profile = {
        "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1,
        "dtype": values.dtype.name, "crs": CRS.from_string(CRS_TEXT), "nodata": nodata,
        "transform": Affine(CELL_M, 0, LEFT, 0, -CELL_M, TOP), "compress": "deflate", "tiled": True,
        "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    with replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as out:
        out.write(values, 1)
        out.set_band_description(1, what)
        out.update_tags(DESCRIPTION=LABEL)


def _vectors(region: Ground, folder: Path) -> None:
    cover, terrain = region.cover, region.terrain
    districts = []
    for code, name in enumerate(DISTRICTS, start=1):
        districts.append(
            (_polygon(cover.district == code), {"id": f"SYN-{code:02}", "name": f"{name} (synthetic)"})
        )
    _geojson(folder / "districts.geojson", districts)
    lakes = []
    for number, (lake, name) in enumerate(zip(terrain.lakes, RESERVOIRS, strict=True), start=1):
        fields = {"id": f"SYN-R{number}", "name": f"{name} (synthetic)", "full_level_m": lake.full_level_m}
        lakes.append((_polygon(lake.mask), fields))
    _geojson(folder / "reservoirs.geojson", lakes)
    for name, lines in (("rivers", terrain.lines), ("faults", cover.faults), ("roads", cover.roads)):
        features = [
            (shapely.LineString(_to_metres(line)), {"id": f"SYN-{name}-{number}"})
            for number, line in enumerate(lines, start=1)
        ]
        _geojson(folder / f"{name}.geojson", features)


def _to_metres(line: Line) -> list[tuple[float, float]]:
    return [(LEFT + x * CELL_M, TOP - y * CELL_M) for x, y in line]


def _polygon(mask: npt.NDArray[np.bool_]) -> shapely.Geometry:
    affine = Affine(CELL_M, 0, LEFT, 0, -CELL_M, TOP)
    parts = [
        shapely.geometry.shape(geometry)
        for geometry, value in shapes(mask.astype(np.uint8), mask=mask, transform=affine)
        if value
    ]
    return shapely.unary_union(parts)


def _geojson(path: Path, features: list[tuple[shapely.Geometry, dict[str, Any]]]) -> None:
    """Write features in longitude and latitude, as RFC 7946 wants, to a centimetre."""
    written = []
    for geometry, fields in features:
        degrees = shapely.transform(geometry, to_degrees)
        written.append({
            "type": "Feature",
            "properties": {**fields, "synthetic": True},
            "geometry": json.loads(shapely.to_geojson(degrees)),
        })  # fmt: skip
    collection = {"type": "FeatureCollection", "name": path.stem, "description": LABEL, "features": written}
    _text(path, json.dumps(collection, separators=(",", ":")) + "\n")


def to_degrees(points: Float) -> Float:
    x, y = transform(CRS.from_string(CRS_TEXT), CRS.from_epsg(4326), points[:, 0], points[:, 1])
    return np.round(np.stack([x, y], axis=1), 7)


def gauge_ids(region: Ground) -> tuple[str, ...]:
    """Names of the gauges, in the order of the weather's columns."""
    return tuple(f"SYN-G{number:02}" for number in range(1, region.weather.gauge_mm.shape[1] + 1))


def _gauges(region: Ground, folder: Path) -> None:
    cells = region.weather.gauge_rc * NODE_CELLS
    points = np.stack([LEFT + cells[:, 1] * CELL_M, TOP - cells[:, 0] * CELL_M], axis=1)
    degrees = to_degrees(points)
    rows, columns = np.minimum(cells.astype(int), region.size - 1).T
    lines = [
        [name, f"{name} (synthetic)", f"{lon:.7f}", f"{lat:.7f}", f"{height:.0f}"]
        for name, (lon, lat), height in zip(
            gauge_ids(region), degrees, region.terrain.elevation_m[rows, columns], strict=True
        )
    ]
    _csv(folder / "gauges.csv", ["id", "name", "lon", "lat", "elevation_m"], lines)


def _rain(region: Ground, folder: Path, first: date) -> None:
    weather = region.weather
    rows = []
    for number in range(weather.index(first), weather.days):
        day = (weather.first + timedelta(days=number)).isoformat()
        rows.append([day, *("" if np.isnan(mm) else f"{mm:.1f}" for mm in weather.gauge_mm[number])])
    _csv(folder / "rain_mm.csv", ["day", *gauge_ids(region)], rows)


def _levels(region: Ground, folder: Path, first: date) -> None:
    weather = region.weather
    rows = []
    for number in range(weather.index(first), weather.days):
        day = (weather.first + timedelta(days=number)).isoformat()
        for lake in range(2):
            if not weather.level_missing[number, lake]:
                level = region.terrain.lakes[lake].full_level_m + weather.below_full_m[number, lake]
                rows.append([f"SYN-R{lake + 1}", day, f"{level:.2f}"])
    _csv(folder / "levels_m.csv", ["series", "day", "value"], rows)
    # A reservoir's series stands at its dam.
    dams = np.array([lake.dam for lake in region.terrain.lakes], dtype=np.float64)
    points = np.stack([LEFT + (dams[:, 1] + 0.5) * CELL_M, TOP - (dams[:, 0] + 0.5) * CELL_M], axis=1)
    stands = [
        [f"SYN-R{number}", f"{lon:.7f}", f"{lat:.7f}"]
        for number, (lon, lat) in enumerate(to_degrees(points), start=1)
    ]
    _csv(folder / "level_series.csv", ["id", "lon", "lat"], stands)


def _inventory(region: SyntheticRegion, folder: Path) -> None:
    slides, _ = region.landslides
    cells = np.array([(slide.column + 0.5, slide.row + 0.5) for slide in slides])
    degrees = to_degrees(np.stack([LEFT + cells[:, 0] * CELL_M, TOP - cells[:, 1] * CELL_M], axis=1))
    rows = [
        [f"SYN-{number:05}", f"{lon:.7f}", f"{lat:.7f}", slide.day.isoformat(), f"{CELL_M:.0f}"]
        for number, (slide, (lon, lat)) in enumerate(zip(slides, degrees, strict=True), start=1)
    ]
    _csv(folder / "landslides.csv", ["id", "lon", "lat", "date", "accuracy_m"], rows)


def _csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    _text(path, text.getvalue())


def _text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


__all__ = [
    "LABEL",
    "LAST_DAY",
    "SyntheticRegion",
    "gauge_ids",
    "make_region",
    "write_readings",
    "write_region",
]
