"""A toy valley with a mask and a lake, a week of layers, and ways to look at one place of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
from fastapi.testclient import TestClient

from exporters.layer import Layer
from service.api.app import create_app
from service.bundle import Bundle
from service.region import open_region
from service.settings import load_settings
from tests.fix_bundle import COVER, FloatArray, ToyNetwork, write_toy_bundle
from tests.fix_region import FIRST_DAY, LAST_DAY, LEFT, SHAPE, TOP, ToyRegion, make_toy_region
from tests.fix_scene import smooth_factors, write_stack

DAY = date(2026, 3, 5)


class WeatherNetwork(ToyNetwork):
    """A toy network that listens to the weather as much as to the terrain."""

    def array(self, name: str, *shape: int, fan_in: int = 1) -> FloatArray:
        """Return the named weight; those that bring rain and levels in are larger."""
        larger = {"lw0": 20.0, "wt": 4.0}.get(name, 1.0)
        return np.asarray(super().array(name, *shape, fan_in=fan_in) * larger, np.float32)


NETWORK = WeatherNetwork(variables=2, gain=0.8, seed=4)
BREAKS = (0.048, 0.1, 0.2)  # so that each class has cells
FULL_LEVEL_M = 600.0
# Cells: the lake stands in the south-east, the mask leaves out the north-east.
LAKE_CELL, DRY_CELL, MASKED_CELL = (44, 60), (30, 20), (3, 77)
CELL_M = 30.0


def make_valley(folder: Path, kind: Literal["factored", "whole"] = "factored") -> ToyRegion:
    """Make a toy region whose model takes levels too; rain and levels are ingested, no layer is made."""
    toy = make_toy_region(folder)
    text = toy.config.read_text("utf-8")
    toy.config.write_text(
        text
        + """
[mask]
path = "mask.geojson"

[reservoirs]
path = "lake.geojson"
link_distance_m = 200

[[feeds]]
name = "dams"
variable = "level"
path = "levels.csv"
unit = "m"
series_file = "dams.csv"
latency_hours = 1
""",
        "utf-8",
    )
    right, bottom = LEFT + SHAPE[1] * CELL_M, TOP - SHAPE[0] * CELL_M
    cut = LEFT + 70 * CELL_M, TOP - 10 * CELL_M
    mask = [(LEFT, bottom), (right, bottom), (right, cut[1]), (cut[0], TOP), (LEFT, TOP), (LEFT, bottom)]
    write_polygon(folder / "mask.geojson", mask, {})
    x, y = LEFT + LAKE_CELL[1] * CELL_M, TOP - LAKE_CELL[0] * CELL_M
    lake = [(x, y), (x + 100, y), (x + 100, y - 100), (x, y - 100), (x, y)]
    write_polygon(folder / "lake.geojson", lake, {"id": "lake", "name": "Lake", "full_level_m": FULL_LEVEL_M})
    (lon, lat) = lonlat_of(*LAKE_CELL)
    (folder / "dams.csv").write_text(f"id,lon,lat\nlake,{lon:.7f},{lat:.7f}\n", "utf-8")
    set_levels(toy, {})
    write_toy_bundle(folder / "bundle", NETWORK, kind=kind, breaks=BREAKS)
    if kind == "whole":
        for name in ("spatial", "temporal", "head", "head_u8"):
            (folder / "bundle" / f"{name}.onnx").unlink()
    region = open_region(load_settings(toy.config))
    write_stack(folder / "factors.tif", region, NETWORK, smooth_factors(NETWORK, SHAPE), COVER)
    toy.ingest()
    return toy


def set_levels(toy: ToyRegion, changes: Mapping[date, float | None]) -> None:
    """Write levels.csv: a lake that rises and falls, with some days changed or (None) left out."""
    days = [FIRST_DAY + timedelta(days=n) for n in range((LAST_DAY - FIRST_DAY).days + 1)]
    levels = {day: round(570 + 12 * float(np.sin(number / 9)), 3) for number, day in enumerate(days)}
    rows = [(day, changes.get(day, level)) for day, level in levels.items()]
    lines = [f"lake,{day},{level}" for day, level in rows if level is not None]
    (toy.folder / "levels.csv").write_text("\n".join(["series,day,value", *lines]) + "\n", "utf-8")


def change_settings(toy: ToyRegion, old: str, new: str) -> None:
    """Replace a part of region.toml."""
    text = toy.config.read_text("utf-8")
    assert old in text
    toy.config.write_text(text.replace(old, new), "utf-8")


def client_of(toy: ToyRegion, *, loaded: bool = True) -> TestClient:
    """Open the region's API."""
    bundle = Bundle.load(toy.settings.bundle.path) if loaded else None
    return TestClient(create_app(toy.settings, toy.clock, bundle=bundle))


def look(http: TestClient, cell: tuple[int, int], **more: Any) -> dict[str, Any]:
    """Ask /point for the centre of a cell; NaN in the answer is an error."""
    lon, lat = lonlat_of(*cell)
    answer = http.get("/point", params={"lon": lon, "lat": lat, **more})
    assert answer.status_code == 200, answer.text
    return dict(json.loads(answer.text, parse_constant=_no_constant))


def strict_json(text: str) -> Any:
    """Parse JSON as browsers do: NaN is no number."""
    return json.loads(text, parse_constant=_no_constant)


def lonlat_of(row: float, column: float) -> tuple[float, float]:
    """Return the centre of a cell, EPSG:4326."""
    x, y = LEFT + (column + 0.5) * CELL_M, TOP - (row + 0.5) * CELL_M
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x], [y])
    return lon, lat


def raster_of(layer: Layer, name: str) -> npt.NDArray[np.uint8]:
    """Read a raster of a layer."""
    with rasterio.open(layer.folder / name) as raster:
        return np.asarray(raster.read(1), np.uint8)


def write_polygon(path: Path, ring: list[tuple[float, float]], properties: dict[str, Any]) -> None:
    """Write one polygon of the grid's CRS as GeoJSON."""
    lon, lat = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x for x, _ in ring], [y for _, y in ring])
    geometry = {"type": "Polygon", "coordinates": [list(zip(lon, lat, strict=True))]}
    feature = {"type": "Feature", "properties": properties, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
