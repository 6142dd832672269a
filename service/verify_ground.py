"""Places of events on the region's cells, and the ground that somebody looked at.

Looked ground is rasterised strip by strip and kept as bits in a temporary file: memory does not grow with
the region, nor with the number of looks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
import shapely
import shapely.geometry
from rasterio.features import rasterize
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from exporters.event import Event, Look
from service.files import digest_of
from service.region import Grid, Region

STRIP_ROWS = 512
_DEGREES = "EPSG:4326"
_SEEN_SHARE = 0.5  # of a zone, from which it counts as looked at

Mask = npt.NDArray[np.bool_]
Box = tuple[tuple[int, int], tuple[int, int]]  # rows, then columns: the first, and one after the last


@dataclass(frozen=True)
class Footprint:
    """Cells of an event's outline or accuracy circle: bool (rows, columns) whose corner is (row, column)."""

    row: int
    column: int
    mask: Mask
    centre: tuple[int, int]  # cell of its place

    @property
    def digest(self) -> str:
        """What identifies these cells."""
        return digest_of(
            self.row, self.column, self.mask.shape, self.centre, np.packbits(self.mask).tobytes().hex()
        )


def footprint_of(event: Event, grid: Grid) -> Footprint | None:
    """Return the cells that an event touches; None where it lies outside the grid."""
    centre_x, centre_y = _moved(event.lon, event.lat, grid)
    row, column = (
        int(item[0]) for item in grid.cells_at(np.array([centre_x], float), np.array([centre_y], float))
    )
    if not (0 <= row < grid.height and 0 <= column < grid.width):
        return None
    if event.outline is not None:
        shape = to_grid(event.outline, grid)
    else:
        shape = shapely.Point(centre_x, centre_y).buffer(max(event.accuracy_m, grid.cell_size_m / 100))
    top, bottom, left, right = _cells_of_box(shape.bounds, grid)
    if bottom <= top or right <= left:
        return None
    transform = window_transform(Window(left, top, right - left, bottom - top), grid.transform)
    mask = rasterize(
        [(shape, 1)], (bottom - top, right - left), transform=transform, all_touched=True, dtype="uint8"
    ).astype(bool)
    return Footprint(top, left, mask, (row, column)) if mask.any() else None


def to_grid(geometry: dict[str, Any], grid: Grid) -> shapely.Geometry:
    """Return a GeoJSON geometry in degrees in the grid's CRS, made valid."""
    return shapely.make_valid(
        shapely.geometry.shape(rasterio.warp.transform_geom(_DEGREES, grid.crs, geometry))
    )


def zone_finder(region: Region) -> Callable[[float, float], str | None]:
    """Return what tells the zone of a place in degrees; of a region without zones, "" on its grid."""
    tree = shapely.STRtree([zone.geometry for zone in region.zones])
    left, bottom, right, top = region.grid.bounds

    def zone_at(lon: float, lat: float) -> str | None:
        x, y = _moved(lon, lat, region.grid)
        if not region.zones:
            return "" if left <= x < right and bottom < y <= top else None
        found = tree.query(shapely.Point(x, y), predicate="intersects")
        return region.zones[min(found)].id if len(found) else None

    return zone_at


@dataclass(frozen=True)
class LookedSpan:
    """What was looked at for the days `day_from` to `day`, and which zones count as looked at for them."""

    day_from: date
    day: date
    zones: frozenset[str]
    rows: tuple[int, int]  # of its ground: first, and one after the last
    columns: tuple[int, int]
    offset: int  # in the temporary file
    digest: str  # of the ground

    def covers(self, day_from: date, day: date) -> bool:
        """Whether what happened within these days would have been seen."""
        return self.day_from <= day_from and day <= self.day


class LookedGround:
    """The ground of looks by span of days. Made by `of`; holds a temporary file until it is closed."""

    def __init__(self) -> None:
        self.spans: tuple[LookedSpan, ...] = ()
        self._file = tempfile.TemporaryFile(prefix="colluvium-looked-")  # noqa: SIM115 - closed with this

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @classmethod
    def of(cls, looks: Iterable[Look], region: Region, strip_rows: int = STRIP_ROWS) -> LookedGround:
        """Rasterise looks, those of the same span of days as one."""
        found = cls()
        by_span: dict[tuple[date, date], list[Look]] = {}
        for look in looks:
            by_span.setdefault((look.day_from, look.day), []).append(look)
        zone_at = zone_finder(region)
        shaped = {
            span: [to_grid(look.area, region.grid) for look in sorted(group, key=lambda item: item.uid)]
            for span, group in sorted(by_span.items())
        }
        sizes: npt.NDArray[np.int64] | None = None
        spans = []
        for (day_from, day), shapes in shaped.items():
            group = by_span[day_from, day]
            zones = {zone_at(*_centre(look.area)) for look in group if look.source != "detected"}
            box = _box_of(shapes, region.grid)
            if box is None:
                continue
            offset = found._keep(shapes, box, region, strip_rows)
            if any(look.source == "detected" for look in group):
                sizes = _cells_by_zone(None, region, strip_rows) if sizes is None else sizes
                # What a longer look saw, it saw for these days too: the parts of one scene add up.
                others = (item for span, item in shaped.items() if span[0] <= day_from and day <= span[1])
                together = [shape for item in others for shape in item]
                zones |= _half_seen(_cells_by_zone(together, region, strip_rows), sizes, region)
            named = frozenset(zone for zone in zones if zone is not None)
            digest = digest_of([shape.wkb_hex for shape in shapes])
            spans.append(LookedSpan(day_from, day, named, *box, offset, digest))
        found.spans = tuple(spans)
        return found

    def on(self, day: date) -> list[LookedSpan]:
        """Return the spans that a day belongs to."""
        return [span for span in self.spans if span.day_from <= day <= span.day]

    def strip(self, spans: Sequence[LookedSpan], row: int, rows: int, width: int) -> Mask | None:
        """Return where one of the spans looked: bool (rows, width); None where none did."""
        mask: Mask | None = None
        for span in spans:
            first, stop = max(row, span.rows[0]), min(row + rows, span.rows[1])
            if first < stop:
                mask = np.zeros((rows, width), bool) if mask is None else mask
                mask[first - row : stop - row, slice(*span.columns)] |= self._read(span, first, stop)
        return mask

    def holds(self, span: LookedSpan, row: int, column: int) -> bool:
        """Tell whether a cell was looked at."""
        if not (span.rows[0] <= row < span.rows[1] and span.columns[0] <= column < span.columns[1]):
            return False
        return bool(self._read(span, row, row + 1)[0, column - span.columns[0]])

    def _keep(self, shapes: Sequence[shapely.Geometry], box: Box, region: Region, strip_rows: int) -> int:
        """Write the bits of shapes within a box; return where they begin."""
        offset = self._file.seek(0, 2)
        for _, bits in _seen_strips(shapes, box, region, strip_rows):
            self._file.write(np.packbits(bits, axis=1).tobytes())
        return offset

    def _read(self, span: LookedSpan, first: int, stop: int) -> Mask:
        width = span.columns[1] - span.columns[0]
        stride = -(-width // 8)
        self._file.seek(span.offset + (first - span.rows[0]) * stride)
        raw = np.frombuffer(self._file.read((stop - first) * stride), np.uint8).reshape(stop - first, stride)
        return np.unpackbits(raw, axis=1, count=width).astype(bool)


def _seen_strips(
    shapes: Sequence[shapely.Geometry], box: Box, region: Region, strip_rows: int
) -> Iterator[tuple[Window, Mask]]:
    """Yield windows of a box, north to south, and where shapes hold a cell's centre within the mask."""
    (top, bottom), (left, right) = box
    with rasterio.open(region.mask_path) as inside:
        for row in range(top, bottom, strip_rows):
            window = Window(left, row, right - left, min(strip_rows, bottom - row))
            transform = window_transform(window, region.grid.transform)
            bits = rasterize(
                [(shape, 1) for shape in shapes],
                (window.height, window.width),
                transform=transform,
                dtype="uint8",
            )
            yield window, (bits > 0) & (inside.read(1, window=window) > 0)


def _cells_by_zone(
    shapes: Sequence[shapely.Geometry] | None, region: Region, strip_rows: int
) -> npt.NDArray[np.int64]:
    """Count cells of the mask by zone code, int64 (zones + 1,): those within shapes, or (None) all."""
    counts = np.zeros(len(region.zones) + 1, np.int64)
    everywhere = [shapely.box(*region.grid.bounds)]
    box = _box_of(everywhere if shapes is None else shapes, region.grid)
    if box is None:
        return counts
    with rasterio.open(region.zones_path) as codes:
        for window, bits in _seen_strips(everywhere if shapes is None else shapes, box, region, strip_rows):
            counts += np.bincount(codes.read(1, window=window)[bits], minlength=len(counts))
    return counts


def _half_seen(
    counts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], region: Region
) -> set[str | None]:
    names: Mapping[int, str] = {zone.code: zone.id for zone in region.zones} if region.zones else {0: ""}
    return {name for code, name in names.items() if sizes[code] and counts[code] >= _SEEN_SHARE * sizes[code]}


def _centre(area: dict[str, Any]) -> tuple[float, float]:
    point = shapely.centroid(shapely.geometry.shape(area))
    return point.x, point.y


def _box_of(shapes: Sequence[shapely.Geometry], grid: Grid) -> tuple[tuple[int, int], tuple[int, int]] | None:
    solid = [shape.bounds for shape in shapes if not shape.is_empty]
    if not solid:
        return None
    boxes = np.array(solid)
    top, bottom, left, right = _cells_of_box((*boxes[:, :2].min(0), *boxes[:, 2:].max(0)), grid)
    return ((top, bottom), (left, right)) if bottom > top and right > left else None


def _cells_of_box(bounds: tuple[float, ...], grid: Grid) -> tuple[int, int, int, int]:
    """First and one after the last row, then column, of the cells that a box touches within the grid."""
    size = grid.cell_size_m
    top, bottom = int((grid.top - bounds[3]) // size), int(-(-(grid.top - bounds[1]) // size))
    left, right = int((bounds[0] - grid.left) // size), int(-(-(bounds[2] - grid.left) // size))
    return max(top, 0), min(bottom, grid.height), max(left, 0), min(right, grid.width)


def _moved(lon: float, lat: float, grid: Grid) -> tuple[float, float]:
    (x,), (y,) = rasterio.warp.transform(_DEGREES, grid.crs, [lon], [lat])
    return x, y
