"""Shapes of the region as GeoJSON has them: EPSG:4326, longitude first, no more corners than a map shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from service.api.models import Geometry

_GEOGRAPHIC = CRS.from_epsg(4326)
_DIGITS = 6  # a decimetre


def to_geojson(
    shapes: Sequence[shapely.Geometry | None], crs: CRS, tolerance_m: float
) -> list[Geometry | None]:
    """Return shapes in `crs` (metres) simplified to `tolerance_m`, in EPSG:4326; None stays None."""
    simple = shapely.simplify(np.array(shapes, dtype=object), tolerance_m, preserve_topology=True)

    def geographic(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        lon, lat = transform(crs, _GEOGRAPHIC, xy[:, 0].tolist(), xy[:, 1].tolist())
        return np.round(np.array([lon, lat], dtype=np.float64).T, _DIGITS)

    return [
        None if shape is None else Geometry.model_validate(shapely.geometry.mapping(shape))
        for shape in shapely.transform(simple, geographic)
    ]
