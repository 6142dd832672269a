"""SYNTHETIC landslides of the demo's storm, and two SYNTHETIC views of the ground from space.

    plan = plan_scene(region, day, size)             where to look, and what slid there: the truth
    write_scenes(plan, region, folder)               before/ and after/: bands, DEM and SCL as GeoTIFFs

The slides are drawn from the region's own slope model (trainer.synthetic.slopes), which no map is told; their
scars run down the demo's terrain, refined from 30 m to 10 m. The ground is painted by
trainer.detection.synthetic. Clouds and their shadows stand in the classification (SCL), lakes as water.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes
from scipy import ndimage

from service.files import replacing, write_json
from trainer.detection.synthetic import paint
from trainer.detection.synthetic_ground import along, scar_areas_m2, walk_down
from trainer.synthetic.region import CELL_M, CRS_TEXT, LABEL, LEFT, TOP, SyntheticRegion, to_degrees
from trainer.synthetic.slopes import level_fall, on_grid, stored_water

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

TRUTH = "truth.geojson"
PIXEL_M = 10.0
_FINER = round(CELL_M / PIXEL_M)
_CLOUDY = {"before": 0.04, "after": 0.06}  # share of the scene under cloud
_VEGETATION, _WATER, _SHADOW, _CLOUD = 4, 6, 3, 9  # of Sentinel-2's scene classification
_SMALLEST_M2 = 1_000.0  # of a scar: ten pixels
_HILL_M = 60.0  # as trainer.detection.synthetic_ground has it
_APART = 4  # cells of 30 m between the heads of two scars
_SHADOW_CELLS = (-14, -20)  # rows and columns by which a cloud's shadow lies north-west of it
_STORED = 10_000  # digital numbers for a reflectance of 1


@dataclass(frozen=True)
class Slide:
    """One landslide of the storm: the truth."""

    row: int  # of the region's grid, cells of 30 m
    column: int
    lon: float
    lat: float
    area_m2: float
    chance: float  # of failure of its cell on that day, by the slope model


@dataclass(frozen=True)
class ScenePlan:
    """A square of the region, and what slid in it on one day."""

    day: date
    seed: int
    row: int  # of its upper left corner on the region's grid
    column: int
    cells: int  # of 30 m, along one side
    elevation_m: Float32  # (n, n) cells of 10 m, row 0 north
    scars: Bool  # the same shape
    lakes: Bool
    slides: tuple[Slide, ...]
    mean_chance: float  # of failure on that day, over the square

    @property
    def transform(self) -> Affine:
        """Of the scene's cells of 10 m."""
        return Affine(PIXEL_M, 0, LEFT + self.column * CELL_M, 0, -PIXEL_M, TOP - self.row * CELL_M)


def plan_scene(region: SyntheticRegion, day: date, *, pixels: int, slides: int, seed: int = 11) -> ScenePlan:
    """Draw what slid on a day, expecting `slides` of them, in the square that was most likely to slide.

    `pixels` of 10 m along one side. A cell slides at a rate that is proportional to its true probability of
    failure, as the inventory of the training years is drawn.
    """
    rng = np.random.default_rng([seed, day.toordinal()])
    at, size, cells = region.weather.index(day), region.size, pixels // _FINER
    chance = region.slopes.probability(
        on_grid(stored_water(region.weather)[at], size), level_fall(region.weather)[at]
    )
    row, column = _likeliest(chance, cells)
    part = (slice(row, row + cells), slice(column, column + cells))
    elevation = _finer(region.terrain.elevation_m[part])
    lakes = (region.terrain.lakes[0].mask | region.terrain.lakes[1].mask)[part]
    heads = _heads(chance[part], rng, slides)
    smooth = ndimage.gaussian_filter(elevation.astype(np.float64), 2)
    scars, found = np.zeros(elevation.shape, bool), []
    areas = np.maximum(scar_areas_m2(rng, len(heads)), _SMALLEST_M2)
    for (head_row, head_column), area in zip(heads, areas, strict=True):
        ratio = float(np.clip(rng.lognormal(np.log(2.5), 0.3), 1.3, 6.0))
        width = np.sqrt(area / ratio) / PIXEL_M
        start = (head_row * _FINER + _FINER // 2, head_column * _FINER + _FINER // 2)
        scar = along(elevation.shape, walk_down(smooth, start, ratio * width), width / 2)
        scars |= scar
        x, y = LEFT + (column + head_column + 0.5) * CELL_M, TOP - (row + head_row + 0.5) * CELL_M
        ((lon, lat),) = to_degrees(np.array([[x, y]]))
        found.append(
            Slide(
                row=row + head_row,
                column=column + head_column,
                lon=float(lon),
                lat=float(lat),
                area_m2=float(scar.sum() * PIXEL_M**2),
                chance=float(chance[row + head_row, column + head_column]),
            )
        )
    return ScenePlan(
        day,
        seed,
        row,
        column,
        cells,
        elevation,
        scars,
        np.kron(lakes, np.ones((_FINER,) * 2, bool)),
        tuple(found),
        float(chance[part].mean()),
    )


def write_scenes(
    plan: ScenePlan, folder: Path, *, before: date, after: date, background: str = "forest"
) -> dict[str, dict[str, Any]]:
    """Write before/ and after/ below `folder`, and truth.geojson beside; return figures of each.

    Both are of the same ground under another sky; only `after` has the scars.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name, sensed_on, clear in (("before", before, None), ("after", after, before)):
        scars = plan.scars if name == "after" else np.zeros_like(plan.scars)
        clouds = _clouds(plan, name)
        # The same generator for both: what covers the ground is drawn before its scars and its light.
        planes = paint(
            plan.elevation_m, scars, np.random.default_rng([plan.seed, 5]), background, PIXEL_M, clouds
        )
        classes = np.full(plan.scars.shape, _VEGETATION, np.uint8)
        classes[plan.lakes] = _WATER
        classes[np.roll(clouds, _SHADOW_CELLS, (0, 1))] = _SHADOW
        classes[clouds] = _CLOUD
        place = folder / name
        place.mkdir(exist_ok=True)
        for band, plane in planes.items():
            stored = np.clip(np.rint(plane * _STORED), 1, 65_535).astype(np.uint16)
            _write(
                place / f"{band}.tif", stored, plan.transform, f"reflectance x {_STORED}", scale=1 / _STORED
            )
        _write(place / "SCL.tif", classes, plan.transform, "scene classification")
        _write(place / "DEM.tif", plan.elevation_m, plan.transform, "elevation, m")
        said = {"id": f"SYNTHETIC-{name}-{sensed_on}", "sensed_on": sensed_on.isoformat(), "synthetic": True}
        if clear is not None:
            said["after"] = clear.isoformat()
        write_json(place / "scene.json", said)
        (place / "SYNTHETIC.txt").write_text(f"{LABEL}.\nGround: {background}.\n", "utf-8")
        hidden = np.isin(classes, (_SHADOW, _CLOUD))
        figures[name] = {
            "sensed_on": sensed_on.isoformat(),
            "cloud_and_shadow": round(float(hidden.mean()), 4),
            "scar_pixels": int(scars.sum()),
            "scar_pixels_hidden": int((scars & hidden).sum()),
        }
    _write_truth(plan, folder / TRUTH)
    return figures


def _likeliest(chance: npt.NDArray[np.float64], cells: int) -> tuple[int, int]:
    """Return the upper left corner of the square of `cells` with the most expected slides."""
    sums = np.pad(chance, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[cells:, cells:] - sums[:-cells, cells:] - sums[cells:, :-cells] + sums[:-cells, :-cells]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(row), int(column)


def _heads(chance: npt.NDArray[np.float64], rng: np.random.Generator, count: int) -> list[tuple[int, int]]:
    """Draw cells by their chance, none nearer than _APART to another or to the border."""
    inner = np.zeros_like(chance)
    inner[_APART:-_APART, _APART:-_APART] = chance[_APART:-_APART, _APART:-_APART]
    drawn = rng.choice(
        inner.size, min(4 * count, int((inner > 0).sum())), False, (inner / inner.sum()).ravel()
    )
    heads: list[tuple[int, int]] = []
    for cell in drawn:
        row, column = divmod(int(cell), inner.shape[1])
        if all(max(abs(row - one), abs(column - other)) >= _APART for one, other in heads):
            heads.append((row, column))
        if len(heads) == count:
            break
    return heads


def _finer(elevation_m: Float32) -> Float32:
    """Return a terrain of 30 m at 10 m, by cubic splines, without what is finer than a hill.

    The demo's cells of 30 m are rougher than ground is at that scale, and than any that detectors learn from.
    """
    fine = ndimage.zoom(elevation_m.astype(np.float64), _FINER, order=3, mode="nearest", grid_mode=True)
    fine = ndimage.gaussian_filter(fine, _HILL_M / PIXEL_M)
    return np.ascontiguousarray(fine, np.float32)


def _clouds(plan: ScenePlan, name: str) -> Bool:
    rng = np.random.default_rng([plan.seed, 6, len(name)])
    puffs = ndimage.gaussian_filter(rng.standard_normal(plan.scars.shape), 18)
    return np.asarray(puffs > np.quantile(puffs, 1 - _CLOUDY[name]))


def _write(path: Path, values: npt.NDArray[Any], transform: Affine, what: str, scale: float = 1.0) -> None:
    profile = {
        "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1,
        "dtype": values.dtype.name, "crs": CRS.from_string(CRS_TEXT), "transform": transform,
        "compress": "deflate", "tiled": True, "blockxsize": 256, "blockysize": 256,
    }  # fmt: skip
    with replacing(path) as temporary, rasterio.open(temporary, "w", **profile) as out:
        out.write(values, 1)
        out.set_band_description(1, what)
        out.update_tags(DESCRIPTION=LABEL)
        if scale != 1.0:
            out.scales = (scale,)


def _write_truth(plan: ScenePlan, path: Path) -> None:
    """Write the scars' outlines, which only the demo's operator reads, who stands for a person."""
    features = []
    for geometry, _ in shapes(plan.scars.astype(np.uint8), mask=plan.scars, transform=plan.transform):
        outline = shapely.transform(shapely.geometry.shape(geometry), to_degrees)
        features.append(
            {
                "type": "Feature",
                "properties": {"day": plan.day.isoformat(), "synthetic": True},
                "geometry": json.loads(shapely.to_geojson(outline)),
            }
        )
    write_json(path, {"type": "FeatureCollection", "description": LABEL, "features": features})


def days_around(day: date) -> tuple[date, date]:
    """Return when the demo's two scenes were sensed: five days apart, as Sentinel-2's two satellites pass."""
    return day - timedelta(days=3), day + timedelta(days=2)
