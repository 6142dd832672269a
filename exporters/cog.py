"""A layer's rasters as Cloud-Optimised GeoTIFFs, written strip by strip and the same byte for byte each time.

    susceptibility.tif   uint8, value = stored * 0.004, 255 unknown, overviews averaged over known cells
    class.tif            uint8, 0 unknown, 1..4 low to very high, colours and names, overviews by nearest cell
    provenance.tif       float32 on the forcing grid, NaN unknown, one band for each statement

Category names lie in class.tif's tags and in class.tif.aux.xml, where GDAL and QGIS look for them: a GeoTIFF
has no place of its own for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS

from exporters.cog_files import StripCog
from exporters.cog_header import Band, Notes
from exporters.layer import CLASS_COLOURS, CLASS_LABELS, CLASS_NODATA, NODATA, SCALE, TOP, ClassScheme

SUSCEPTIBILITY = "susceptibility.tif"
CLASSES = "class.tif"
PROVENANCE = "provenance.tif"

INDEX_NOTE = "Susceptibility is an index relative to the model's sampling ratio, not a probability."
SYNTHETIC_NOTE = "Synthetic: made from synthetic inputs, says nothing about a real place."

SMALL_BLOCK = 128  # of provenance.tif: the forcing grid is small, and tiles are filled up to their edges


class ProvenanceBand(NamedTuple):
    """One band of provenance.tif."""

    name: str
    unit: str
    meaning: str


PROVENANCE_BANDS = (
    ProvenanceBand("observed", "1", "share of window days observed at the nearest series in range"),
    ProvenanceBand("filled", "1", "share of window days filled from farther series in range"),
    ProvenanceBand("carried", "1", "share of window days with a level that persists past its last reading"),
    ProvenanceBand("forecast", "1", "share of window days completed by forecast"),
    ProvenanceBand("distance_km", "km", "farthest nearest-reporting series over window days and corners"),
    ProvenanceBand("windows_outside_training", "1", "share of windows outside the training ranges"),
    ProvenanceBand("cells_outside_training", "1", "share of cells with a factor outside the training ranges"),
    ProvenanceBand("basis", "1", "24-bit code of the set of series behind the windows"),
)


@dataclass(frozen=True)
class LayerTags:
    """What each raster says about itself."""

    region: str
    day: date
    model: str
    synthetic: bool
    attribution: str
    lead: int = 0

    def to_tags(self, what: str) -> dict[str, str]:
        """Return TIFF tags; `what` names the quantity."""
        notes = f"{INDEX_NOTE} {SYNTHETIC_NOTE}" if self.synthetic else INDEX_NOTE
        tags = {
            "TIFFTAG_SOFTWARE": "Colluvium",
            "TIFFTAG_IMAGEDESCRIPTION": f"{what} of {self.region}, {self.when}. {notes}",
            "COLLUVIUM_REGION": self.region,
            "COLLUVIUM_DAY": self.day.isoformat(),
            "COLLUVIUM_MODEL": self.model,
            "COLLUVIUM_SYNTHETIC": "yes" if self.synthetic else "no",
            "COLLUVIUM_NOTE": notes,
        }
        if self.lead:
            tags["COLLUVIUM_LEAD"] = str(self.lead)
        if self.attribution:
            tags["TIFFTAG_COPYRIGHT"] = self.attribution
        return tags

    @property
    def when(self) -> str:
        """The day, and that it was still to come."""
        ahead = f"forecast {self.lead} day{'s' if self.lead > 1 else ''} ahead"
        return f"{self.day}, {ahead}" if self.lead else f"{self.day}"


class LayerWriter:
    """Writes susceptibility.tif and class.tif into `folder` from strips of stored susceptibility.

    Strips come north to south, of any height; `threads` pack each file's tiles behind them (StripCog).
    """

    def __init__(
        self,
        folder: Path,
        *,
        crs: CRS,
        transform: Affine,
        shape: tuple[int, int],
        scheme: ClassScheme,
        tags: LayerTags,
        threads: int = 2,
    ) -> None:
        self._folder, self._shape, self._scheme = folder, shape, scheme
        self._row = 0
        place: dict[str, Any] = {"crs": crs, "transform": transform, "shape": shape, "threads": threads}
        breaks = {"COLLUVIUM_BREAKS": " ".join(f"{value:g}" for value in scheme.breaks)}
        # An average keeps the map's tone; of classes the nearest cell, because a mode would
        # wipe the rare high class out of every overview.
        # No GDAL scale: QGIS would apply it here and not to PostGIS rasters, which know none, and the same
        # cell would read 0.52 in one and 130 in the other.
        scale = {"COLLUVIUM_SCALE": f"{SCALE:g}"}
        self._susceptibility = StripCog(
            folder / SUSCEPTIBILITY,
            dtype="uint8",
            nodata=NODATA,
            resampling="AVERAGE",
            notes=Notes(
                (Band(f"susceptibility x {TOP}"),),
                scale | tags.to_tags("Landslide susceptibility") | breaks,
            ),
            **place,
        )
        names = {f"CATEGORY_{code}": name for code, name in enumerate(_categories())}
        self._classes = StripCog(
            folder / CLASSES,
            dtype="uint8",
            nodata=CLASS_NODATA,
            resampling="NEAREST",
            notes=Notes(
                (Band("class", tags=names),),
                tags.to_tags("Landslide susceptibility class") | breaks,
                _colours(),
            ),
            **place,
        )

    def write(self, row: int, strip: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Write stored susceptibility, uint8 (rows, width), whose first row is `row`; return its classes.

        Raises ValueError for a strip out of order, of another width or dtype; OSError for a full disk.
        """
        height, width = self._shape
        if row != self._row or strip.ndim != 2 or strip.shape[1] != width or row + len(strip) > height:
            raise ValueError(
                f"expected a strip from row {self._row} of {height}, {width} wide; "
                f"got {strip.shape} from row {row}"
            )
        if strip.dtype != np.uint8:
            raise ValueError(f"a strip of stored susceptibility is uint8, got {strip.dtype}")
        classes = self._scheme.classify(strip)
        self._susceptibility.write(row, strip)
        self._classes.write(row, classes)
        self._row += len(strip)
        return classes

    def finish(self) -> None:
        """Make the COGs. Raises ValueError where rows are missing, OSError where the disk is full."""
        if self._row != self._shape[0]:
            raise ValueError(f"only {self._row} of {self._shape[0]} rows were written")
        self._susceptibility.finish()
        self._classes.finish()
        (self._folder / f"{CLASSES}.aux.xml").write_text(_category_names(), "utf-8")

    def close(self) -> None:
        """Give up what is not finished, and leave nothing of it."""
        self._susceptibility.close()
        self._classes.close()


def write_provenance(
    path: Path,
    *,
    crs: CRS,
    transform: Affine,
    k: int,
    shape: tuple[int, int],
    cells: npt.NDArray[np.integer[Any]],
    values: Mapping[str, npt.NDArray[Any]],
    tags: LayerTags,
    threads: int = 2,
) -> None:
    """Write provenance.tif on the forcing grid.

    `transform` is that of the cells; a forcing cell is k x k of them. `shape` is (rows, columns) of the
    forcing grid, `cells` (n, 2) the (row, column) of the forcing cells with something to say, and
    `values` gives an array (n,) for each name of PROVENANCE_BANDS; elsewhere is NaN. Codes of `basis`
    stay below 2**24, so that float32 holds them exactly.

    Raises ValueError for missing or unknown names, wrong lengths, or codes too large.
    """
    names = [band.name for band in PROVENANCE_BANDS]
    if set(values) != set(names):
        raise ValueError(f"provenance needs {', '.join(names)}; got {', '.join(sorted(values))}")
    for name, value in values.items():
        if value.shape != (len(cells),):
            raise ValueError(f"provenance {name!r} has shape {value.shape}, expected ({len(cells)},)")
    if len(cells) and np.nanmax(values["basis"]) >= 2**24:
        raise ValueError("a code of 'basis' needs more than 24 bits and would not survive float32")
    said = tags.to_tags("What landslide susceptibility rests on") | {"COLLUVIUM_CELLS": str(k)}
    bands = tuple(Band(band.name, band.unit, {"MEANING": band.meaning}) for band in PROVENANCE_BANDS)
    out = StripCog(
        path,
        crs=crs,
        transform=Affine(transform.a * k, 0, transform.c, 0, transform.e * k, transform.f),
        shape=shape,
        dtype="float32",
        nodata=float("nan"),
        # Codes and shares of windows are not to be averaged into something no cell said.
        resampling="NEAREST",
        threads=threads,
        notes=Notes(bands, said),
        block=SMALL_BLOCK,
    )
    with closing(out):
        for row in range(0, shape[0], SMALL_BLOCK):
            strip = np.full((len(names), min(SMALL_BLOCK, shape[0] - row), shape[1]), np.nan, np.float32)
            here = (cells[:, 0] >= row) & (cells[:, 0] < row + SMALL_BLOCK)
            for band, name in enumerate(names):
                strip[band, cells[here, 0] - row, cells[here, 1]] = values[name][here]
            out.write(row, strip)
        out.finish()


def _categories() -> tuple[str, ...]:
    return ("unknown", *CLASS_LABELS)


def _colours() -> dict[int, tuple[int, int, int, int]]:
    known = {code: (*colour, 255) for code, colour in enumerate(CLASS_COLOURS, start=1)}
    return {CLASS_NODATA: (0, 0, 0, 0), **known}


def _category_names() -> str:
    rows = "".join(f"      <Category>{escape(name)}</Category>\n" for name in _categories())
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{rows}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )
