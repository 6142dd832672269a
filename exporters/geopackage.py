"""Zone areas, hotspots and warning levels of a layer as a GeoPackage.

    zone_class_area   one row for each zone and class, with the zone's polygon; zone "" is the whole region
                      and has none
    hotspot           one row for each hotspot, largest first
    warning           one row for each zone whose level was decided with the layer, with the zone's polygon;
                      none where the model may not warn. A level may be null: not known, which is not green

An unknown number is null, never zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import shapely

from exporters.cog import INDEX_NOTE, SYNTHETIC_NOTE
from exporters.layer import Layer

AREAS = "areas.gpkg"
ZONE_TABLE = "zone_class_area"
HOTSPOT_TABLE = "hotspot"
WARNING_TABLE = "warning"
CHANGE_DAYS = (1, 7)


class ZoneShape(NamedTuple):
    """A zone's polygon as WKB, in the layer's CRS."""

    id: str
    name: str
    wkb: bytes


def write_areas(path: Path, layer: Layer, zones: Sequence[ZoneShape | tuple[str, str, bytes]]) -> None:
    """Write areas.gpkg to `path`, which must not exist.

    `zones` gives the polygons of the zones in `layer.areas`; a zone without one gets no geometry. The
    same layer gives the same contents; the file's own dates are the layer's `issued_at`.
    Raises FileExistsError, or pyogrio's DataSourceError where the file cannot be written.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; a finished layer is never rewritten")
    with _dated(layer):
        shapes = {identity: _multi(wkb) for identity, _, wkb in zones}
        _write(path, ZONE_TABLE, layer, [shapes.get(area.zone) for area in layer.areas], _zone_columns(layer))
        geometries = [_multi(spot.geometry_wkb) for spot in layer.hotspots]
        _write(path, HOTSPOT_TABLE, layer, geometries, _hotspot_columns(layer))
        places = [shapes.get(one.zone) for one in layer.warnings]
        _write(path, WARNING_TABLE, layer, places, _warning_columns(layer))


def _zone_columns(layer: Layer) -> dict[str, list[Any]]:
    areas = layer.areas
    columns: dict[str, list[Any]] = {
        "zone": [area.zone for area in areas],
        "name": [area.name for area in areas],
        "class": [area.label for area in areas],
        "area_m2": [area.area_m2 for area in areas],
        "ratio": [area.ratio for area in areas],
        "unknown_m2": [area.unknown_m2 for area in areas],
    }
    for days in CHANGE_DAYS:
        columns[f"change_{days}d_m2"] = [area.change_m2.get(days) for area in areas]
        columns[f"change_{days}d_ratio"] = [area.change_ratio.get(days) for area in areas]
    return columns


def _hotspot_columns(layer: Layer) -> dict[str, list[Any]]:
    spots = layer.hotspots
    return {
        "hotspot": [spot.id for spot in spots],
        "zone": [spot.zone for spot in spots],
        "area_m2": [spot.area_m2 for spot in spots],
        "mean_susceptibility": [spot.mean for spot in spots],
        "maximum_susceptibility": [spot.maximum for spot in spots],
        "growth_m2": [spot.growth_m2 for spot in spots],
        "first_seen": [spot.first_seen.isoformat() if spot.first_seen else None for spot in spots],
    }


def _warning_columns(layer: Layer) -> dict[str, list[Any]]:
    found = layer.warnings
    return {
        "zone": [one.zone for one in found],
        "name": [one.name for one in found],
        "lead": [layer.lead] * len(found),
        "level": [one.level for one in found],
        "label": [one.label for one in found],
        "previous": [one.previous for one in found],
        "rule": [one.rule for one in found],
        "numbers": [json.dumps(one.numbers, allow_nan=False) for one in found],
        "reference_share": [one.reference_share for one in found],
        "calm_days": [one.calm_days for one in found],
        "unconfirmed": [one.unconfirmed for one in found],
        "decided_at": [one.decided_at.astimezone(UTC).isoformat() for one in found],
    }


_TEXT = ("zone", "name", "class", "layer", "day", "first_seen", "label", "rule", "numbers", "decided_at")
_YES_OR_NO = ("synthetic", "unconfirmed")
_WHOLE = ("hotspot", "lead", "level", "previous", "calm_days")


def _write(
    path: Path, table: str, layer: Layer, geometries: Sequence[bytes | None], columns: dict[str, list[Any]]
) -> None:
    count = len(geometries)
    said: dict[str, list[Any]] = {
        "layer": [layer.id] * count,
        "day": [layer.day.isoformat()] * count,
        "synthetic": [layer.synthetic] * count,
    }
    names: list[str] = []
    data: list[npt.NDArray[Any]] = []
    masks: list[npt.NDArray[np.bool_]] = []
    for name, values in {**columns, **said}.items():
        names.append(name)
        unknown = np.array([value is None for value in values], np.bool_)
        masks.append(unknown)
        if name in _TEXT:
            data.append(np.array(["" if value is None else value for value in values], np.object_))
        elif name in _YES_OR_NO:
            data.append(np.array(values, np.bool_))
        elif name in _WHOLE:  # what is masked is written as null, whatever stands there
            data.append(np.array([-1 if value is None else value for value in values], np.int32))
        else:
            data.append(np.array([np.nan if value is None else value for value in values], np.float64))
    pyogrio.raw.write(
        path,
        np.array(geometries, np.object_),
        data,
        np.array(names, np.object_),
        field_mask=masks,
        layer=table,
        driver="GPKG",
        geometry_type="MultiPolygon",
        crs=layer.crs,
        append=path.exists(),
        layer_metadata=_metadata(layer),
    )


def _metadata(layer: Layer) -> dict[str, str]:
    return {
        "layer": layer.id,
        "day": layer.day.isoformat(),
        "model": f"{layer.model.name} {layer.model.version}",
        "synthetic": "yes" if layer.synthetic else "no",
        "note": f"{INDEX_NOTE} {SYNTHETIC_NOTE}" if layer.synthetic else INDEX_NOTE,
        "attribution": layer.attribution,
    }


_PLAIN_MULTIPOLYGON = b"\x01\x06\x00\x00\x00"  # little-endian, without heights


def _multi(wkb: bytes) -> bytes:
    if wkb.startswith(_PLAIN_MULTIPOLYGON):
        return wkb
    # Twice, because a mended zone may be a collection of a multipolygon and what else was left of it.
    parts = shapely.get_parts(shapely.get_parts(shapely.force_2d(shapely.from_wkb(wkb))))
    parts = [part for part in parts if part.geom_type == "Polygon"]
    return bytes(shapely.to_wkb(shapely.MultiPolygon(parts), byte_order=1))


@contextmanager
def _dated(layer: Layer) -> Iterator[None]:
    """Date what GDAL writes by the layer, not by the clock."""
    option = "OGR_CURRENT_DATE"
    before = pyogrio.get_gdal_config_option(option)
    moment = layer.issued_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    pyogrio.set_gdal_config_options({option: moment})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({option: before})
