"""The cells that all rasters of one schema lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from rasterio.crs import CRS
from rasterio.errors import CRSError

from exporters.base import ExportUnavailable
from exporters.layer import Layer


@dataclass(frozen=True)
class GridOfRegion:
    """Square cells; `left` and `top` are the upper left corner in the CRS that `srid` numbers."""

    srid: int
    cell_size_m: float
    left: float
    top: float
    width: int
    height: int
    crs_name: str

    @classmethod
    def of(cls, *, crs: str, cell_size_m: float, left: float, top: float, width: int, height: int) -> Self:
        """Return the grid in a CRS that has an EPSG code. Raises ExportUnavailable for any other."""
        try:
            srid = CRS.from_user_input(crs).to_epsg()
        except CRSError:
            srid = None
        if srid is None:
            raise ExportUnavailable(
                f"the CRS {crs[:80]!r} has no EPSG code, and PostGIS knows a CRS by its number; "
                "give [grid] crs as EPSG:CODE, or publish to a folder"
            )
        return cls(srid, float(cell_size_m), float(left), float(top), width, height, crs)

    @classmethod
    def of_layer(cls, layer: Layer) -> Self:
        """Return the grid that a layer lies on."""
        left, _, _, top = layer.bounds
        height, width = layer.shape
        return cls.of(
            crs=layer.crs, cell_size_m=layer.cell_size_m, left=left, top=top, width=width, height=height
        )

    def is_same(self, other: GridOfRegion) -> bool:
        """Tell whether both are the same cells, however the CRS is named."""
        ours = (self.srid, self.cell_size_m, self.left, self.top, self.width, self.height)
        return ours == (other.srid, other.cell_size_m, other.left, other.top, other.width, other.height)

    def __str__(self) -> str:
        return (
            f"{self.width} x {self.height} cells of {self.cell_size_m:g} m from "
            f"({self.left:.10g}, {self.top:.10g}) in SRID {self.srid}"
        )
