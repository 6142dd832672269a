"""Sources of a small region made on the spot, and the factor stack derived from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.windows import Window

from service.factor_stack import FactorStack
from service.region import open_region
from service.settings import Settings, parse_settings
from trainer.factors import FactorStackReport, derive

ROWS, COLUMNS, SIZE = 70, 60, 30.0
LEFT, TOP = 600_000.0, 4_900_000.0
WHOLE = Window(0, 0, COLUMNS, ROWS)
Array = npt.NDArray[Any]


def valley(rows: int = ROWS, columns: int = COLUMNS) -> npt.NDArray[np.float32]:
    """Two flanks that fall to the middle column, which falls to the south; a little rough."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    smooth = 500 + 8.0 * np.abs(column - columns // 2) - 2.0 * row
    return np.asarray(smooth + 1.5 * np.sin(row / 3) * np.cos(column / 4), np.float32)


def write_raster(path: Path, *bands: Array, crs: str | None = "EPSG:32632", **profile: Any) -> Path:
    height, width = bands[0].shape
    given = {"transform": Affine(SIZE, 0, LEFT, 0, -SIZE, TOP), "nodata": None} | profile
    with rasterio.open(
        path, "w", "GTiff", width, height, len(bands), crs, dtype=bands[0].dtype, **given
    ) as out:
        for number, band in enumerate(bands, start=1):
            out.write(band, number)
    return path


def write_features(path: Path, *geometries: Mapping[str, Any], **properties: Any) -> Path:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    features = [{"type": "Feature", "geometry": item, "properties": properties} for item in geometries]
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def box(column: int, row: int, width: int, height: int) -> dict[str, Any]:
    """A polygon over whole cells."""
    left, right = LEFT + column * SIZE, LEFT + (column + width) * SIZE
    top, bottom = TOP - row * SIZE, TOP - (row + height) * SIZE
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    return {"type": "Polygon", "coordinates": [ring]}


def line(column: int) -> dict[str, Any]:
    """A line from north to south through the centres of a column."""
    x = LEFT + (column + 0.5) * SIZE
    return {"type": "LineString", "coordinates": [[x, TOP + 5000], [x, TOP - 5000]]}


def settings(folder: Path, factors: str = "", more: str = "") -> Settings:
    if not (folder / "dem.tif").exists():
        write_raster(folder / "dem.tif", valley())
    right, bottom = LEFT + COLUMNS * SIZE, TOP - ROWS * SIZE
    text = f"""
        [region]
        id = "vale"
        name = "Vale"
        data_dir = "data"
        [grid]
        crs = "EPSG:32632"
        extent = [{LEFT}, {bottom}, {right}, {TOP}]
        [bundle]
        path = "bundle"
        {more}
        [factors]
        dem = "dem.tif"
        dem_date = 2015-07-01
        {factors}
    """
    return parse_settings(text, base=folder, origin="test.toml")


def run(folder: Path, factors: str = "", more: str = "", **options: Any) -> FactorStackReport:
    declared = settings(folder, factors, more)
    return derive(declared, open_region(declared), **options)


def read(folder: Path, *names: str) -> npt.NDArray[np.float32]:
    declared = settings(folder)
    with FactorStack.open(folder / "data" / "factors.tif", open_region(declared).grid) as stack:
        return stack.read(names, WHOLE)


EVERYTHING = """
    terrain = ["elevation", "slope", "northness", "eastness", "plan_curvature", "profile_curvature",
               "twi", "spi", "distance_to_streams"]
    stream_threshold_km2 = 0.2
    reservoir = true
    distances = [{name = "distance_to_roads", path = "roads.geojson", cap_m = 900, date = 2020-02-01}]
    rasters = [
        {name = "land_use", path = "land.tif", kind = "categorical", date = 2018-01-01, categories = NAMES},
        {name = "annual_rain", path = "rain.tif", unit = "mm", log = true, date = 2010-12-31},
    ]
    ndvi = {red = "red.tif", nir = "nir.tif", date = 2021-08-01}
""".replace("NAMES", '{1 = "forest", 2 = "field"}')
RESERVOIRS = '[reservoirs]\npath = "lakes.geojson"\nlink_distance_m = 300'
MASK = '[mask]\npath = "mask.geojson"'
