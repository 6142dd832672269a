"""A layer as a STAC item, and a region's layers as a STAC collection rebuilt from the items on disk.

What STAC has no word for carries the prefix `colluvium:`. Links are relative, so a folder of layers can be
copied or served anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pystac
from pystac.extensions.classification import Classification, ClassificationExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import DataType, NoDataStrings, RasterBand, RasterExtension
from pystac.extensions.render import Render, RenderExtension
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from exporters import stac_forecast
from exporters.cog import CLASSES, INDEX_NOTE, PROVENANCE, PROVENANCE_BANDS, SUSCEPTIBILITY, SYNTHETIC_NOTE
from exporters.geopackage import AREAS
from exporters.layer import CLASS_COLOURS, CLASS_LABELS, CLASS_NODATA, NODATA, SCALE, Layer, LayerStatus
from exporters.stac_companions import companion_assets, describe_companions

ITEM = "item.json"
COLLECTION = "collection.json"

_COG = pystac.MediaType.COG
_EDGE_POINTS = 16  # a projected edge is a curve in degrees
_PREFIX = "colluvium:"
UNCONFIRMED_NOTE = (
    "Unconfirmed: it rests on readings that no person has confirmed; `colluvium:notes` name them."
)


def layer_item(layer: Layer) -> pystac.Item:
    """Describe a layer as a STAC item with the projection, raster, classification and render extensions.

    A forecast has the forecast extension too; a nowcast never has. The item's time is the layer's validity;
    its geometry is the grid's outline in EPSG:4326.
    """
    outline, bbox = _outline(layer.crs, layer.bounds)
    item = pystac.Item(
        id=layer.id,
        geometry=outline,
        bbox=bbox,
        datetime=layer.valid_from.astimezone(UTC),
        start_datetime=layer.valid_from.astimezone(UTC),
        end_datetime=layer.valid_to.astimezone(UTC),
        collection=layer.region,
        properties=_properties(layer),
    )
    for name, asset in _assets(layer).items():
        item.add_asset(name, asset)
    _add_projection(item, layer)
    _add_bands(item, layer)
    ClassificationExtension.ext(item.assets["class"], add_if_missing=True).apply(classes=_classes())
    describe_companions(item, layer)
    stac_forecast.describe(item, layer)
    RenderExtension.ext(item, add_if_missing=True).apply(_renders())
    item.links = [
        pystac.Link(rel, f"../../{COLLECTION}", media_type=pystac.MediaType.JSON)
        for rel in (pystac.RelType.ROOT, pystac.RelType.PARENT, pystac.RelType.COLLECTION)
    ]
    return item


def layer_item_text(layer: Layer) -> str:
    """Return a layer's item.json as it lies on disk.

    Links assume the place <day>-l<lead>/<digest>/item.json below the folder of collection.json.
    """
    return _text(layer_item(layer).to_dict(transform_hrefs=False))


def write_item(layer: Layer, path: Path) -> None:
    """Write a layer's item.json to `path`; again on withdrawal, when it says `withdrawn`."""
    path.write_text(layer_item_text(layer), "utf-8")


@dataclass(frozen=True)
class Entry:
    """What the collection and `latest` need of one layer."""

    id: str
    region: str
    path: str  # of the layer's folder, relative to that of collection.json
    day: date
    lead: int
    revision: int
    status: LayerStatus
    unconfirmed: bool
    data_until: date
    issued_at: datetime
    valid_from: datetime
    valid_to: datetime
    reference: datetime | None  # of a forecast: the moment after which its inputs are forecast
    bbox: tuple[float, ...]
    model: str
    synthetic: bool
    attribution: str

    @classmethod
    def of_layer(cls, layer: Layer, folder: Path) -> Self:
        """Take what is needed from a layer whose files lie below `folder`."""
        return cls(
            id=layer.id,
            region=layer.region,
            path=layer.folder.relative_to(folder).as_posix(),
            day=layer.day,
            lead=layer.lead,
            revision=layer.revision,
            status=layer.status,
            unconfirmed=layer.unconfirmed,
            data_until=layer.data_until,
            issued_at=layer.issued_at,
            valid_from=layer.valid_from,
            valid_to=layer.valid_to,
            reference=stac_forecast.reference_of(layer),
            bbox=tuple(_outline(layer.crs, layer.bounds)[1]),
            model=_model(layer),
            synthetic=layer.synthetic,
            attribution=layer.attribution,
        )

    @classmethod
    def of_item(cls, path: Path, folder: Path) -> Self:
        """Take what is needed from an item.json below `folder`.

        Raises ValueError, naming the file, where it is not one of ours.
        """
        try:
            item = json.loads(path.read_text("utf-8"))
            said = item["properties"]
            ours = {name.removeprefix(_PREFIX): value for name, value in said.items()}
            return cls(
                id=item["id"],
                region=item["collection"],
                path=path.parent.relative_to(folder).as_posix(),
                day=date.fromisoformat(ours["day"]),
                lead=int(ours["lead"]),
                revision=int(ours["revision"]),
                status=LayerStatus(ours["status"]),
                unconfirmed=bool(ours["unconfirmed"]),
                data_until=date.fromisoformat(ours["data_until"]),
                issued_at=datetime.fromisoformat(said["created"]),
                valid_from=datetime.fromisoformat(said["start_datetime"]),
                valid_to=datetime.fromisoformat(said["end_datetime"]),
                reference=stac_forecast.reference_in(said),
                bbox=tuple(item["bbox"]),
                model=ours["model"],
                synthetic=bool(ours["synthetic"]),
                attribution=said.get("attribution", ""),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a layer's item ({error!r}); put it back or remove it") from error


def entries_on_disk(folder: Path) -> list[Entry]:
    """Read every item below `folder`, so that a collection can be rebuilt from the files alone."""
    return [Entry.of_item(path, folder) for path in sorted(folder.glob(f"[!.]*/[!.]*/{ITEM}"))]


def current(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entry that stands for each (day, lead), oldest first.

    That is the newest revision; where it was withdrawn, the day has none.
    """
    newest: dict[tuple[date, int], Entry] = {}
    for entry in entries:
        other = newest.get((entry.day, entry.lead))
        if other is None or other.revision <= entry.revision:
            newest[entry.day, entry.lead] = entry
    return [entry for _, entry in sorted(newest.items()) if entry.status != LayerStatus.WITHDRAWN]


def write_collection(path: Path, layers: Iterable[Layer]) -> None:
    """Write collection.json to `path`, which lies in the folder that holds the layers' folders.

    Lists the newest revision of each day and lead that was not withdrawn and whose item.json exists.
    Raises ValueError where nothing is left to list: a collection needs an extent.
    """
    folder = path.parent
    entries = [Entry.of_layer(layer, folder) for layer in layers if (layer.folder / ITEM).exists()]
    path.write_text(collection_text(entries), "utf-8")


def collection_text(entries: Iterable[Entry]) -> str:
    """Return collection.json for the current ones of `entries`. Raises ValueError where there are none."""
    collection = collection_of(current(entries))
    return _text(collection.to_dict(include_self_link=False, transform_hrefs=False))


def collection_of(entries: Sequence[Entry]) -> pystac.Collection:
    """Describe layers, oldest first, as a STAC collection with relative links."""
    if not entries:
        raise ValueError("a collection needs at least one layer that was not withdrawn")
    newest = entries[-1]
    west, south = (min(entry.bbox[axis] for entry in entries) for axis in (0, 1))
    east, north = (max(entry.bbox[axis] for entry in entries) for axis in (2, 3))
    begin, end = min(entry.valid_from for entry in entries), max(entry.valid_to for entry in entries)
    sentences = ["Daily landslide susceptibility from terrain, rain and reservoir levels.", INDEX_NOTE]
    sentences += [SYNTHETIC_NOTE] if newest.synthetic else []
    sentences += [newest.attribution] if newest.attribution else []
    collection = pystac.Collection(
        id=newest.region,
        title=f"Landslide susceptibility of {newest.region}",
        description=" ".join(sentences),
        extent=pystac.Extent(
            pystac.SpatialExtent([[west, south, east, north]]),
            pystac.TemporalExtent([[begin.astimezone(UTC), end.astimezone(UTC)]]),
        ),
        license="other",
        keywords=["landslide", "susceptibility", "rainfall"],
        summaries=pystac.Summaries(
            {
                f"{_PREFIX}status": sorted({entry.status.value for entry in entries}),
                f"{_PREFIX}lead": sorted({entry.lead for entry in entries}),
                f"{_PREFIX}unconfirmed": sorted({entry.unconfirmed for entry in entries}),
                f"{_PREFIX}model": sorted({entry.model for entry in entries}),
                f"{_PREFIX}synthetic": sorted({entry.synthetic for entry in entries}),
            }
        ),
    )
    stac_forecast.summarise(collection, entries)
    collection.links = [pystac.Link(pystac.RelType.ROOT, f"./{COLLECTION}", media_type=pystac.MediaType.JSON)]
    for entry in entries:
        href = f"./{entry.path}/{ITEM}"
        collection.add_link(
            pystac.Link(pystac.RelType.ITEM, href, media_type=pystac.MediaType.GEOJSON, title=entry.id)
        )
    return collection


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _model(layer: Layer) -> str:
    return f"{layer.model.name} {layer.model.version}"


def _properties(layer: Layer) -> dict[str, Any]:
    issued = pystac.utils.datetime_to_str(layer.issued_at.astimezone(UTC))
    said: dict[str, Any] = {
        "day": layer.day.isoformat(),
        "lead": layer.lead,
        "revision": layer.revision,
        "digest": layer.digest,
        "status": layer.status.value,
        "unconfirmed": layer.unconfirmed,
        "data_until": layer.data_until.isoformat(),
        "coverage": layer.coverage,
        "cells": layer.cells,
        "model": _model(layer),
        "model_digest": layer.model.digest,
        "may_warn": layer.model.may_warn,
        "breaks": list(layer.classes.breaks),
        "notes": list(layer.notes),
        "synthetic": layer.synthetic,
    }
    if layer.members:
        said["members"] = layer.members
    if layer.odds is not None:
        said["odds"] = layer.odds.model_dump(mode="json")
    if layer.forecast is not None:
        said["forecast"] = layer.forecast.model_dump(mode="json")
    if layer.warnings and layer.status != LayerStatus.WITHDRAWN:  # whose levels no longer stand
        said["warnings"] = [one.model_dump(mode="json") | {"label": one.label} for one in layer.warnings]
    sentences = [INDEX_NOTE]
    sentences += [SYNTHETIC_NOTE] if layer.synthetic else []
    sentences += [UNCONFIRMED_NOTE] if layer.unconfirmed else []
    properties: dict[str, Any] = {
        "title": f"Landslide susceptibility of {layer.region}, {layer.day}{stac_forecast.title_of(layer)}",
        "description": " ".join([*stac_forecast.sentences(layer), *sentences]),
        "created": issued,
        "updated": issued,
        **{f"{_PREFIX}{name}": value for name, value in said.items()},
    }
    if layer.attribution:
        properties["attribution"] = layer.attribution
    return properties


def _assets(layer: Layer) -> dict[str, pystac.Asset]:
    def cog(name: str, title: str, *roles: str) -> pystac.Asset:
        return pystac.Asset(f"./{name}", title=title, media_type=_COG, roles=list(roles))

    return {
        "susceptibility": cog(SUSCEPTIBILITY, "Susceptibility, an index from 0 to 1", "data"),
        "class": cog(CLASSES, "Susceptibility class", "data", "visual"),
        "provenance": cog(PROVENANCE, "What the layer rests on, by forcing cell", "metadata"),
        "areas": pystac.Asset(
            f"./{AREAS}",
            title="Class areas and warning levels by zone, and hotspots",
            media_type=pystac.MediaType.GEOPACKAGE,
            roles=["data"],
        ),
        **companion_assets(layer),
    }


def _add_projection(item: pystac.Item, layer: Layer) -> None:
    crs = CRS.from_user_input(layer.crs)
    authority = crs.to_authority()
    left, _, _, top = layer.bounds
    size = layer.cell_size_m
    projection = ProjectionExtension.ext(item, add_if_missing=True)
    projection.apply(
        code=":".join(authority) if authority else None,
        wkt2=None if authority else crs.to_wkt(version="WKT2_2019"),
        bbox=list(layer.bounds),
        shape=list(layer.shape),
        transform=[size, 0.0, left, 0.0, -size, top],
    )


def _add_bands(item: pystac.Item, layer: Layer) -> None:
    susceptibility = RasterBand.create(
        nodata=NODATA,
        data_type=DataType.UINT8,
        unit="1",
        scale=SCALE,
        offset=0.0,
        spatial_resolution=layer.cell_size_m,
    )
    classes = RasterBand.create(
        nodata=CLASS_NODATA, data_type=DataType.UINT8, spatial_resolution=layer.cell_size_m
    )
    RasterExtension.ext(item.assets["susceptibility"], add_if_missing=True).apply([susceptibility])
    RasterExtension.ext(item.assets["class"]).apply([classes])
    bands = []
    for band in PROVENANCE_BANDS:
        one = RasterBand.create(nodata=NoDataStrings.NAN, data_type=DataType.FLOAT32, unit=band.unit)
        one.properties |= {"name": band.name, "description": band.meaning}
        bands.append(one)
    RasterExtension.ext(item.assets["provenance"]).apply(bands)


def _classes() -> list[Classification]:
    unknown = Classification.create(
        value=CLASS_NODATA, name="unknown", title="Unknown", description="unknown, not low", nodata=True
    )
    known = [
        Classification.create(
            value=code,
            name=label,
            title=label.replace("_", " ").capitalize(),
            description=f"{label.replace('_', ' ')} susceptibility",
            color_hint="".join(f"{part:02X}" for part in colour),
        )
        for code, (label, colour) in enumerate(zip(CLASS_LABELS, CLASS_COLOURS, strict=True), start=1)
    ]
    return [unknown, *known]


def _renders() -> dict[str, Render]:
    colours = {str(code): [*colour, 255] for code, colour in enumerate(CLASS_COLOURS, start=1)}
    return {
        "class": Render.create(
            assets=["class"], title="Class", nodata=CLASS_NODATA, colormap=colours, resampling="nearest"
        ),
        "susceptibility": Render.create(
            assets=["susceptibility"],
            title="Susceptibility",
            nodata=NODATA,
            rescale=[[0, 1 / SCALE]],
            colormap_name="ylorrd",
            resampling="bilinear",
        ),
    }


@lru_cache(maxsize=8)
def _outline(crs: str, bounds: tuple[float, float, float, float]) -> tuple[dict[str, Any], list[float]]:
    """The grid's outline as GeoJSON in EPSG:4326, counter-clockwise, and its bbox, to about 0.1 m."""
    left, bottom, right, top = bounds
    corners = [(left, bottom), (right, bottom), (right, top), (left, top)]
    x: list[float] = []
    y: list[float] = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        x += np.linspace(x0, x1, _EDGE_POINTS, endpoint=False).tolist()
        y += np.linspace(y0, y1, _EDGE_POINTS, endpoint=False).tolist()
    lon, lat = transform_points(CRS.from_user_input(crs), CRS.from_epsg(4326), x, y)
    lon, lat = [round(value, 6) for value in lon], [round(value, 6) for value in lat]
    ring = [[*point] for point in zip([*lon, lon[0]], [*lat, lat[0]], strict=True)]
    return {"type": "Polygon", "coordinates": [ring]}, [min(lon), min(lat), max(lon), max(lat)]
