"""A small finished layer on disk, for tests of what leaves the house."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS

from exporters.cog import (
    CLASSES,
    PROVENANCE,
    PROVENANCE_BANDS,
    SUSCEPTIBILITY,
    LayerTags,
    LayerWriter,
    write_provenance,
)
from exporters.geopackage import AREAS, write_areas
from exporters.layer import CLASS_LABELS, ClassScheme, Hotspot, Layer, LayerStatus, ModelReference, ZoneArea
from exporters.stac import ITEM, write_item

CRS_TEXT = "EPSG:32632"
LEFT, TOP, SIZE = 500_000.0, 4_900_000.0, 30.0
TRANSFORM = Affine(SIZE, 0, LEFT, 0, -SIZE, TOP)
SCHEME = ClassScheme(breaks=(0.2, 0.4, 0.6))
TAGS = LayerTags("demo", date(2026, 3, 1), "toy 1", synthetic=True, attribution="Survey of Demo")
ZONE = ("a", "Alpha", shapely.to_wkb(shapely.box(LEFT, TOP - 300, LEFT + 300, TOP)))


def write_rasters(
    folder: Path,
    stored: npt.NDArray[np.uint8],
    *,
    rows: int = 32,
    k: int = 4,
    basis: npt.NDArray[np.uint32] | None = None,
    tags: LayerTags = TAGS,
    threads: int = 2,
) -> None:
    """Write the three rasters of stored susceptibility, in strips of `rows`; `basis` is (rows, columns)."""
    folder.mkdir(parents=True, exist_ok=True)
    height, width = stored.shape
    writer = LayerWriter(
        folder,
        crs=CRS.from_string(CRS_TEXT),
        transform=TRANSFORM,
        shape=stored.shape,
        scheme=SCHEME,
        tags=tags,
        threads=threads,
    )
    for row in range(0, height, rows):
        writer.write(row, stored[row : row + rows])
    writer.finish()
    shape = -(-height // k), -(-width // k)
    cells = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 2)
    values: dict[str, Any] = {band.name: np.full(len(cells), 0.5) for band in PROVENANCE_BANDS}
    values["basis"] = (np.full(shape, 7, np.uint32) if basis is None else basis).ravel()
    write_provenance(
        folder / PROVENANCE,
        crs=CRS.from_string(CRS_TEXT),
        transform=TRANSFORM,
        k=k,
        shape=shape,
        cells=cells,
        values=values,
        tags=tags,
    )


def write_plain(folder: Path, stored: npt.NDArray[np.uint8], basis: npt.NDArray[Any]) -> None:
    """Write what readers of a layer look at as plain GeoTIFFs: quicker than COGs, where many are made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array, band in (
        (SUSCEPTIBILITY, stored, "susceptibility"),
        (CLASSES, SCHEME.classify(stored), "class"),
        (PROVENANCE, basis.astype(np.float32), "basis"),
    ):
        profile = {"driver": "GTiff", "height": array.shape[0], "width": array.shape[1], "count": 1}
        with rasterio.open(
            folder / name, "w", dtype=array.dtype, crs=CRS_TEXT, transform=TRANSFORM, **profile
        ) as out:
            out.write(array, 1)
            out.descriptions = (band,)


def make_layer(folder: Path, day: date = date(2026, 3, 1), **changes: Any) -> Layer:
    """Return a layer with one zone and one hotspot; nothing is written."""
    areas = [
        ZoneArea(
            zone=zone,
            name=name,
            label=label,
            area_m2=900.0 * (index + 1),
            ratio=(index + 1) / 10,
            unknown_m2=1_800.0,
            change_m2={1: 900.0 * (index - 1)},
            change_ratio={1: 0.1 * (index - 1)},
        )
        for zone, name in (("", "whole region"), ("a", "Alpha"))
        for index, label in enumerate(CLASS_LABELS)
    ]
    spot = Hotspot(
        id=1,
        area_m2=3_600.0,
        mean=0.7,
        maximum=0.9,
        zone="a",
        growth_m2=None,
        geometry_wkb=shapely.to_wkb(shapely.box(LEFT, TOP - 60, LEFT + 60, TOP)),
    )
    start = datetime.combine(day, time(), UTC)
    values: dict[str, Any] = {
        "id": f"demo-{day}-l0-r1",
        "region": "demo",
        "day": day,
        "lead": 0,
        "revision": 1,
        "digest": "d" * 64,
        "status": LayerStatus.COMPLETE,
        "unconfirmed": False,
        "data_until": day - timedelta(days=1),
        "issued_at": start + timedelta(hours=6),
        "valid_from": start,
        "valid_to": start + timedelta(days=1),
        "model": ModelReference(name="toy", version="1", digest="b" * 64, may_warn=False),
        "classes": SCHEME,
        "coverage": 0.98,
        "cells": 90,
        "crs": CRS_TEXT,
        "bounds": (LEFT, TOP - 300, LEFT + 300, TOP),
        "shape": (10, 10),
        "cell_size_m": SIZE,
        "synthetic": True,
        "attribution": "Survey of Demo",
        "notes": ("a note",),
        "areas": tuple(areas),
        "hotspots": (spot,),
        "folder": folder,
        **changes,
    }
    return Layer(**values)


def finished_layer(data: Path, day: date = date(2026, 3, 1), revision: int = 1, **changes: Any) -> Layer:
    """Write a whole layer folder below `data`/layers and return its layer."""
    folder = data / "layers" / f"{day}-l0" / f"{revision:016d}"
    layer = make_layer(folder, day, id=f"demo-{day}-l0-r{revision}", revision=revision, **changes)
    write_rasters(folder, np.full((10, 10), 100, np.uint8))
    write_areas(folder / AREAS, layer, [ZONE])
    write_item(layer, folder / ITEM)
    return layer
