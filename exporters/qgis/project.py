"""The project file: layers in groups, styled, with the region's CRS, extent and attribution."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from xml.etree import ElementTree as ET

from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from exporters.cog import CLASSES, INDEX_NOTE, SUSCEPTIBILITY, SYNTHETIC_NOTE
from exporters.qgis.sources import (
    HISTORY_DAY_FIELD,
    DatabasePlace,
    ProjectContents,
    cog,
    raster_table,
    tiles,
    vector_table,
    wmts,
)
from exporters.qgis.styles import (
    QGIS_VERSION,
    STYLES,
    document,
    picture_style,
    see_through,
    zone_outline_style,
)

UNKNOWN_NOTE = "Cells without colour are unknown, which is not low."
EVENTS_NOTE = "Landslides that people stand behind; what nobody found is not among them."
_MERCATOR = "EPSG:3857"
_DEGREES = "EPSG:4326"
# A row for each class would lay four polygons over one another; zone '' is the region and has no outline.
_VERY_HIGH = "\"class\" = 'very_high' AND \"zone\" <> ''"
_RELIEF = "hillshade"
_OPACITY = 0.75  # of maps above the hillshade
_ID = "colluvium_"  # QGIS gives a layer a new id where it is shorter than eleven characters
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP can hold: the same project gives the same bytes


@dataclass(frozen=True)
class _Layer:
    id: str
    name: str
    provider: str
    source: str
    crs: str
    parts: Sequence[ET.Element]
    attributes: dict[str, str] = field(default_factory=dict)
    checked: bool = False
    expanded: bool = False
    abstract: str = ""
    geometry: str = "Polygon"  # of a vector layer

    @property
    def kind(self) -> str:
        return "vector" if self.provider in ("ogr", "postgres") else "raster"


@dataclass(frozen=True)
class _Group:
    name: str
    members: Sequence[_Layer | _Group]
    checked: bool = True
    expanded: bool = True
    one_at_a_time: bool = False


def project_file(contents: ProjectContents) -> bytes:
    """Return the project as .qgz, the same bytes for the same contents."""
    name = f"colluvium-{contents.region}.qgs"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, document(_project(contents)))
    return packed.getvalue()


def _project(contents: ProjectContents) -> ET.Element:
    title = f"{contents.name}: landslide susceptibility"
    root = ET.Element("qgis", {"projectname": title, "version": QGIS_VERSION})
    ET.SubElement(root, "title").text = title
    _add_crs(ET.SubElement(root, "projectCrs"), contents.crs)
    tree = _groups(contents)
    top = ET.SubElement(root, "layer-tree-group")
    layers: list[_Layer] = []
    for member in tree:
        _add_to_tree(top, member, layers)
    inside = ET.SubElement(root, "projectlayers")
    for layer in layers:
        inside.append(_map_layer(layer, contents))
    order = ET.SubElement(root, "layerorder")
    for layer in layers:
        ET.SubElement(order, "layer", {"id": _ID + layer.id})
    _add_properties(root, contents)
    _add_metadata(root, title, contents)
    _add_view(root, contents)
    return root


def _groups(contents: ProjectContents) -> list[_Layer | _Group]:
    maps: list[_Layer | _Group] = [*_files(contents), *_services(contents), _zone_shares(contents)]
    groups: list[_Layer | _Group] = [_events(contents), _hotspots(contents), _zone_outlines(contents)]
    if contents.database is not None:
        maps.append(_rasters_of(contents.database, contents))
        groups.append(_tables_of(contents.database, contents))
    maps.append(_by_day(contents))
    # Maps of two days drawn over one another would show the other day where one is unknown.
    groups.append(_Group("Map (one at a time)", maps, one_at_a_time=True))
    if contents.relief:
        groups.append(_hillshade(contents))
    return groups


def _files(contents: ProjectContents) -> list[_Layer]:
    newest = contents.newest
    return [
        _Layer(
            f"{name}_cog", f"{title}, {newest.day}", "gdal", cog(contents, newest.id, file), contents.crs,
            STYLES[name].build(), checked=name == "class", expanded=name == "class", abstract=said,
        )
        for name, title, file, said in (
            ("class", "Class", CLASSES, UNKNOWN_NOTE),
            ("susceptibility", "Susceptibility", SUSCEPTIBILITY,
             f"Stored values 0 to 250: times 0.004 gives the index. {UNKNOWN_NOTE}"),
        )
    ]  # fmt: skip


def _services(contents: ProjectContents) -> list[_Layer]:
    return [
        _Layer(
            f"{shows}_wmts", f"{title} as pictures (WMTS), newest", "wms", wmts(contents, shows, "latest"),
            _MERCATOR, picture_style(), abstract=UNKNOWN_NOTE,
        )
        for shows, title in (("class", "Class"), ("susceptibility", "Susceptibility"))
    ]  # fmt: skip


def _by_day(contents: ProjectContents) -> _Group:
    layers = [
        _Layer(
            f"class_{shown.day:%Y%m%d}", f"Class, {shown.day}", "wms",
            tiles(f"{contents.address}/layers/{shown.id}/tiles/{{z}}/{{x}}/{{y}}.png", "?shows=class"),
            _MERCATOR, [*picture_style(), _fixed_day(shown.day)], checked=True, abstract=UNKNOWN_NOTE,
        )
        for shown in reversed(contents.days)
    ]  # fmt: skip
    return _Group("Class by day (open the temporal controller)", layers, checked=False, expanded=False)


def _zone_outlines(contents: ProjectContents) -> _Layer:
    return _Layer(
        "zones_outline", "Zones, with share of high and very high", "ogr", f"{contents.address}/zones",
        _DEGREES, zone_outline_style(), dict(STYLES["zones"].attributes), checked=True,
    )  # fmt: skip


def _zone_shares(contents: ProjectContents) -> _Layer:
    return _Layer(
        "zones", "Zones by share of high and very high", "ogr", f"{contents.address}/zones", _DEGREES,
        STYLES["zones"].build(), dict(STYLES["zones"].attributes), expanded=True,
    )  # fmt: skip


def _hotspots(contents: ProjectContents) -> _Layer:
    return _Layer(
        "hotspots", "Hotspots", "ogr", f"{contents.address}/hotspots", _DEGREES, STYLES["hotspots"].build(),
        checked=True, expanded=True,
    )  # fmt: skip


def _events(contents: ProjectContents) -> _Layer:
    return _Layer(
        "events", "Landslides, and what the map before showed", "ogr", f"{contents.address}/events", _DEGREES,
        STYLES["events"].build(), abstract=EVENTS_NOTE, geometry="Point",
    )  # fmt: skip


def _hillshade(contents: ProjectContents) -> _Layer:
    source = tiles(f"{contents.address}/basemap/{{z}}/{{x}}/{{y}}.png")
    return _Layer(_RELIEF, "Hillshade", "wms", source, _MERCATOR, picture_style(), checked=True)


def _rasters_of(place: DatabasePlace, contents: ProjectContents) -> _Group:
    newest = contents.newest.day
    history = {
        "temporalFieldIndex": str(HISTORY_DAY_FIELD),
        # Without it QGIS lays all days over one another while the temporal controller is off.
        "temporalDefaultTime": f"{newest}T00:00:00",
    }
    layers = []
    for name, title, style in (
        ("class", "Class", "class_band_2"),
        ("susceptibility", "Susceptibility", "susceptibility"),
    ):
        parts = STYLES[style].build
        layers.append(
            _Layer(f"{name}_postgis", f"{title}, newest", "postgresraster",
                   raster_table(place, "latest_susceptibility"), contents.crs, parts(), abstract=UNKNOWN_NOTE)
        )  # fmt: skip
        layers.append(
            _Layer(f"{name}_history", f"{title} by day (temporal controller)", "postgresraster",
                   raster_table(place, "susceptibility", history), contents.crs,
                   [*parts(), _temporal_provider()], abstract=UNKNOWN_NOTE)
        )  # fmt: skip
    return _Group("PostGIS", layers, checked=False, expanded=False, one_at_a_time=True)


def _tables_of(place: DatabasePlace, contents: ProjectContents) -> _Group:
    return _Group(
        "PostGIS tables",
        [
            _Layer("hotspots_postgis", "Hotspots, newest", "postgres",
                   vector_table(place, "latest_hotspot", "id", "MultiPolygon"), contents.crs,
                   STYLES["hotspots"].build()),
            _Layer("events_postgis", "Landslides, and what the map before showed", "postgres",
                   vector_table(place, "event_outcome", "id", "Point"), _DEGREES,
                   STYLES["events"].build(), abstract=EVENTS_NOTE, geometry="Point"),
            _Layer("zones_postgis", "Zones by share of very high, newest", "postgres",
                   vector_table(place, "latest_zone_class_area", "id", "MultiPolygon", _VERY_HIGH),
                   contents.crs, STYLES["zone_class_area"].build(),
                   dict(STYLES["zone_class_area"].attributes)),
        ],
        checked=False,
        expanded=False,
    )  # fmt: skip


def _fixed_day(day: date) -> ET.Element:
    """Show a layer in the frames of its calendar day, as QGIS reads dates: without a time zone."""
    temporal = ET.Element("temporal", {"enabled": "1", "mode": "0", "fetchMode": "0"})
    fixed = ET.SubElement(temporal, "fixedRange")
    # QGIS 3.22 takes a frame that ends at midnight to reach into what begins then: two days would be shown.
    ET.SubElement(fixed, "start").text = f"{day}T00:00:01Z"
    ET.SubElement(fixed, "end").text = f"{day}T23:59:59Z"
    return temporal


def _temporal_provider() -> ET.Element:
    return ET.Element("temporal", {"enabled": "1", "mode": "1", "fetchMode": "0"})


# --- elements ---


def _add_to_tree(parent: ET.Element, member: _Layer | _Group, layers: list[_Layer]) -> None:
    said = {
        "name": member.name,
        "checked": "Qt::Checked" if member.checked else "Qt::Unchecked",
        "expanded": "1" if member.expanded else "0",
    }
    if isinstance(member, _Layer):
        ET.SubElement(
            parent, "layer-tree-layer",
            {"id": _ID + member.id, "providerKey": member.provider, "source": member.source, **said},
        )  # fmt: skip
        layers.append(member)
        return
    if member.one_at_a_time:
        first = next((n for n, one in enumerate(member.members) if one.checked), -1)
        said |= {"mutually-exclusive": "1", "mutually-exclusive-child": str(first)}
    group = ET.SubElement(parent, "layer-tree-group", said)
    for one in member.members:
        _add_to_tree(group, one, layers)


def _over_relief(layer: _Layer, contents: ProjectContents) -> Sequence[ET.Element]:
    covers = layer.kind == "raster" and layer.id != _RELIEF
    return see_through(layer.parts, _OPACITY) if covers and contents.relief else layer.parts


def _map_layer(layer: _Layer, contents: ProjectContents) -> ET.Element:
    element = ET.Element("maplayer", {"type": layer.kind, **layer.attributes})
    if layer.kind == "vector":
        element.set("geometry", layer.geometry)
    _add_extent(element, layer.crs, contents)
    for name, text in (("id", _ID + layer.id), ("datasource", layer.source), ("layername", layer.name)):
        ET.SubElement(element, name).text = text
    _add_crs(ET.SubElement(element, "srs"), layer.crs)
    ET.SubElement(element, "title").text = layer.name
    if layer.abstract:
        ET.SubElement(element, "abstract").text = layer.abstract
    if contents.attribution:
        ET.SubElement(element, "attribution").text = contents.attribution
    provider = ET.SubElement(element, "provider")
    provider.text = layer.provider
    if layer.kind == "vector":
        provider.set("encoding", "UTF-8")
    element.extend(_over_relief(layer, contents))
    return element


def _add_extent(element: ET.Element, crs: str, contents: ProjectContents) -> None:
    bounds = _bounds_in(crs, contents.crs, contents.bounds)
    extent = ET.SubElement(element, "extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        ET.SubElement(extent, name).text = f"{value:.8f}"


@lru_cache(maxsize=64)
def _bounds_in(
    crs: str, own: str, bounds: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    if crs == own:
        return bounds
    left, bottom, right, top = transform_bounds(CRS.from_user_input(own), CRS.from_user_input(crs), *bounds)
    return left, bottom, right, top


def _add_crs(parent: ET.Element, crs: str) -> None:
    parsed = CRS.from_user_input(crs)
    authority = parsed.to_authority()
    reference = ET.SubElement(parent, "spatialrefsys")
    ET.SubElement(reference, "wkt").text = parsed.to_wkt(version="WKT2_2019")
    if authority:
        # QGIS heeds the code only beside a number of its own database, and then does not look at the number.
        ET.SubElement(reference, "srsid").text = "1"
        ET.SubElement(reference, "authid").text = ":".join(authority)


def _add_properties(root: ET.Element, contents: ProjectContents) -> None:
    properties = ET.SubElement(root, "properties")
    paths = ET.SubElement(properties, "Paths")
    ET.SubElement(paths, "Absolute", {"type": "bool"}).text = "true"
    # Without it QGIS does not look at the project's CRS.
    projections = ET.SubElement(properties, "SpatialRefSys")
    ET.SubElement(projections, "ProjectionsEnabled", {"type": "int"}).text = "1"
    # What the temporal controller starts with when it is opened.
    controller = ET.SubElement(properties, "TemporalControllerWidget")
    first, last = contents.days[0].day, contents.newest.day
    ET.SubElement(controller, "StartDateTime", {"type": "QString"}).text = f"{first}T00:00:00Z"
    ET.SubElement(controller, "EndDateTime", {"type": "QString"}).text = f"{last}T23:59:59Z"


def _add_metadata(root: ET.Element, title: str, contents: ProjectContents) -> None:
    notes = [INDEX_NOTE, UNKNOWN_NOTE]
    if contents.synthetic:
        notes.insert(0, SYNTHETIC_NOTE)
    if contents.attribution:
        notes.append(f"Attribution: {contents.attribution}")
    metadata = ET.SubElement(root, "projectMetadata")
    ET.SubElement(metadata, "identifier").text = f"{contents.address}/qgis/project.qgz"
    ET.SubElement(metadata, "type").text = "dataset"
    ET.SubElement(metadata, "title").text = title
    ET.SubElement(metadata, "abstract").text = " ".join(notes)


def _add_view(root: ET.Element, contents: ProjectContents) -> None:
    left, bottom, right, top = contents.bounds
    view = ET.SubElement(root, "ProjectViewSettings", {"UseProjectScales": "0", "rotation": "0"})
    extent = ET.SubElement(
        view, "DefaultViewExtent",
        {"xmin": f"{left:.3f}", "ymin": f"{bottom:.3f}", "xmax": f"{right:.3f}", "ymax": f"{top:.3f}"},
    )  # fmt: skip
    _add_crs(extent, contents.crs)
    time = ET.SubElement(
        root, "ProjectTimeSettings",
        {"timeStep": "1", "timeStepUnit": "d", "frameRate": "2", "cumulativeTemporalRange": "0"},
    )  # fmt: skip
    span = ET.SubElement(time, "TemporalRange")
    ET.SubElement(span, "start").text = f"{contents.days[0].day}T00:00:00Z"
    ET.SubElement(span, "end").text = f"{contents.newest.day}T23:59:59Z"
