"""How layers look in QGIS: colours, labels and legends, as QML files and as parts of a project.

class             class.tif: the four classes by name; unknown stays transparent and is named in the legend
class_band_2      the same for band 2 of the PostGIS rasters
susceptibility    susceptibility.tif, and band 1 of the PostGIS rasters: the ramp of the map page
zones             zones filled by the share of high and very high class
hotspots          hotspots by growth
events            landslides by what the map before them showed: told apart by shape, and by colour beside it
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from exporters.layer import CLASS_COLOURS, CLASS_LABELS, CLASS_NODATA, SCALE, TOP
from exporters.palette import SUSCEPTIBILITY_TABLE

QGIS_VERSION = "3.22.0"  # the oldest that is tried; a newer QGIS reads what an older one wrote
UNKNOWN = "unknown, which is not low"
_DOCTYPE = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STEP = 25  # stored units from one stop of the susceptibility ramp to the next
_OUTLINE = (60, 60, 60)
_FILL_ALPHA = 200
_HIT, _MISS, _OPEN, _WHITE = (11, 107, 79), (163, 0, 107), (74, 85, 96), (255, 255, 255)

# Shares of high and very high class: upper bound, fill.
_SHARES = (
    (0.01, (255, 255, 229)),
    (0.05, (254, 227, 145)),
    (0.1, (254, 196, 79)),
    (0.25, (236, 112, 20)),
    (0.5, (180, 60, 3)),
    (1.0, (102, 37, 6)),
)


@dataclass(frozen=True)
class Style:
    """One style: the parts that stand in a QML file and in a project's layer, and the root's attributes."""

    build: Callable[[], Sequence[ET.Element]]
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class _Rule:
    label: str
    expression: str
    symbol: ET.Element


def style_file(name: str) -> bytes:
    """Return a style of STYLES as a QML file, the same bytes each time. Raises KeyError for another name."""
    style = STYLES[name]
    root = ET.Element(
        "qgis", {"version": QGIS_VERSION, "styleCategories": "Symbology|Labeling", **style.attributes}
    )
    root.extend(style.build())
    return document(root)


def document(root: ET.Element) -> bytes:
    """Return a QGIS document: UTF-8, indented, with the doctype that QGIS writes."""
    ET.indent(root, " ")
    # ElementTree escapes, but lets through what no XML document may hold.
    return _DOCTYPE + _NOT_XML.sub("", ET.tostring(root, encoding="unicode")).encode() + b"\n"


def hexadecimal(colour: Iterable[int]) -> str:
    """Return a colour of three bytes as #rrggbb."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)


def _class_style(band: int) -> list[ET.Element]:
    renderer = _renderer("paletted", band)
    palette = ET.SubElement(renderer, "colorPalette")
    for code, (label, colour) in enumerate(zip(CLASS_LABELS, CLASS_COLOURS, strict=True), start=1):
        _add_entry(palette, code, label.replace("_", " "), hexadecimal(colour), "255")
    # No cell is drawn with it, because 0 is no-data: it is there for the legend.
    _add_entry(palette, CLASS_NODATA, UNKNOWN, "#ffffff", "0")
    return [_pipe(renderer)]


def _add_entry(palette: ET.Element, value: int, label: str, colour: str, alpha: str) -> None:
    said = {"value": str(value), "label": label, "color": colour, "alpha": alpha}
    ET.SubElement(palette, "paletteEntry", said)


def _susceptibility_style() -> list[ET.Element]:
    renderer = _renderer("singlebandpseudocolor", 1)
    renderer.attrib |= {"classificationMin": "0", "classificationMax": str(TOP)}
    ramp = ET.SubElement(
        ET.SubElement(renderer, "rastershader"), "colorrampshader",
        {
            "colorRampType": "INTERPOLATED", "classificationMode": "1", "clip": "0",
            "minimumValue": "0", "maximumValue": str(TOP),
        },
    )  # fmt: skip
    for stored in range(0, TOP + 1, _STEP):
        colour = hexadecimal(SUSCEPTIBILITY_TABLE[stored, :3])
        label = f"{stored * SCALE:.1f}"
        ET.SubElement(ramp, "item", {"value": str(stored), "label": label, "color": colour, "alpha": "255"})
    # A list, not a continuous bar: the bar would be labelled in stored units, 0 to 250.
    ET.SubElement(ramp, "rampLegendSettings", {"useContinuousLegend": "0"})
    return [_pipe(renderer)]


def _renderer(kind: str, band: int) -> ET.Element:
    return ET.Element(
        "rasterrenderer",
        {"type": kind, "band": str(band), "opacity": "1", "alphaBand": "-1", "nodataColor": ""},
    )


def _pipe(renderer: ET.Element | None = None) -> ET.Element:
    """Return a raster's pipe. Nearest cells are shown: no class is mixed from others."""
    pipe = ET.Element("pipe")
    nearest = {
        "zoomedInResamplingMethod": "nearestNeighbour",
        "zoomedOutResamplingMethod": "nearestNeighbour",
    }
    ET.SubElement(
        ET.SubElement(pipe, "provider"), "resampling", {"enabled": "false", "maxOversampling": "2", **nearest}
    )
    if renderer is not None:
        pipe.append(renderer)
    return pipe


def see_through(parts: Sequence[ET.Element], opacity: float) -> Sequence[ET.Element]:
    """Let a relief show through a raster, and return its parts."""
    for part in parts:
        for renderer in part.iter("rasterrenderer"):
            renderer.set("opacity", f"{opacity:g}")
    return parts


def picture_style() -> list[ET.Element]:
    """Return the parts of a layer of tiles, which bring their colours along."""
    return [_pipe(_renderer("singlebandcolordata", 1))]


def _share_style(column: str) -> list[ET.Element]:
    """Fill zones by a share; `column` is one of the layer's own."""
    rules = [
        _Rule("unknown: no cell has a class", f'"{column}" IS NULL', _fill((160, 160, 160), "b_diagonal"))
    ]
    below = 0.0
    for upper, colour in _SHARES:
        last = upper == _SHARES[-1][0]
        label = f"{below:.0%} and more" if last else f"{below:.0%} to {upper:.0%}"
        bounds = f'"{column}" >= {below:g}' + ("" if last else f' AND "{column}" < {upper:g}')
        rules.append(_Rule(label, bounds, _fill(colour, "solid")))
        below = upper
    return [_by_rules(rules), _share_labels(column)]


def zone_outline_style() -> list[ET.Element]:
    """Return the parts of zones as outlines with their names, to lie above a map."""
    zone = _Rule("zone", "TRUE", _outline(_OUTLINE, 0.5, "solid"))
    return [_by_rules([zone]), _share_labels("high_ratio")]


def _share_labels(column: str) -> ET.Element:
    share = f"format_number(100 * \"{column}\", 1) || ' %'"
    return _labels(f"\"name\" || '\\n' || CASE WHEN \"{column}\" IS NULL THEN 'unknown' ELSE {share} END")


def _hotspot_style() -> list[ET.Element]:
    """Outline hotspots, so that the classes inside can be seen: told apart by colour, width and line."""
    grew = _Rule("grew since the day before", '"growth_m2" > 0', _outline((20, 60, 255), 0.8, "solid"))
    steady = _Rule("did not grow", '"growth_m2" <= 0', _outline((40, 40, 40), 0.4, "solid"))
    unknown = _Rule("growth unknown", '"growth_m2" IS NULL', _outline((40, 40, 40), 0.4, "dot"))
    return [_by_rules([grew, steady, unknown])]


def _event_style() -> list[ET.Element]:
    """Mark events as the map page does: a square for a hit, a triangle for a miss, hollow where not known."""
    slide = "\"kind\" = 'landslide'"
    return [
        _by_rules(
            [
                _Rule(
                    "hit: the map before was high there", "\"outcome\" = 'hit'", _marker("square", _HIT, _HIT)
                ),
                _Rule("miss: it was low there", "\"outcome\" = 'miss'", _marker("triangle", _MISS, _MISS)),
                _Rule(
                    "not known, or not held against a map yet",
                    f"{slide} AND (\"outcome\" IS NULL OR \"outcome\" NOT IN ('hit', 'miss'))",
                    _marker("square", _WHITE, _OPEN),
                ),
                _Rule("visited, no landslide seen", f"NOT ({slide})", _marker("circle", _WHITE, _OPEN)),
            ]
        )
    ]


def _marker(shape: str, fill: Sequence[int], outline: Sequence[int]) -> ET.Element:
    """Return a marker of 4 mm; `shape` by QGIS's name: square, triangle, circle ..."""
    said = {
        "name": shape,
        "color": ",".join(map(str, (*fill, 255))),
        "size": "4",
        "size_unit": "MM",
        "outline_color": ",".join(map(str, (*outline, 255))),
        "outline_width": "0.6",
        "outline_width_unit": "MM",
    }
    return _symbol("marker", "SimpleMarker", said)


def _by_rules(rules: Sequence[_Rule]) -> ET.Element:
    renderer = ET.Element("renderer-v2", {"type": "RuleRenderer", "forceraster": "0", "symbollevels": "0"})
    tree = ET.SubElement(renderer, "rules", {"key": "rules"})
    symbols = ET.SubElement(renderer, "symbols")
    for number, rule in enumerate(rules):
        said = {
            "key": f"rule-{number}",
            "label": rule.label,
            "filter": rule.expression,
            "symbol": str(number),
        }
        ET.SubElement(tree, "rule", said)
        rule.symbol.set("name", str(number))
        symbols.append(rule.symbol)
    return renderer


def _fill(colour: Sequence[int], pattern: str) -> ET.Element:
    """Return a filled polygon symbol; `pattern` is a Qt brush by QGIS's name: solid, b_diagonal ..."""
    return _polygon(
        {"color": ",".join(map(str, (*colour, _FILL_ALPHA))), "style": pattern}, _OUTLINE, 0.26, "solid"
    )


def _outline(colour: Sequence[int], width_mm: float, line: str) -> ET.Element:
    """Return an empty polygon symbol; `line` is a Qt pen by QGIS's name: solid, dot ..."""
    return _polygon({"style": "no"}, colour, width_mm, line)


def _polygon(fill: Mapping[str, str], outline: Sequence[int], width_mm: float, line: str) -> ET.Element:
    said = {
        **fill,
        "outline_color": ",".join(map(str, (*outline, 255))),
        "outline_style": line,
        "outline_width": f"{width_mm:g}",
        "outline_width_unit": "MM",
    }
    return _symbol("fill", "SimpleFill", said)


def _symbol(kind: str, drawn_as: str, said: Mapping[str, str]) -> ET.Element:
    symbol = ET.Element("symbol", {"type": kind, "alpha": "1", "clip_to_extent": "1", "force_rhr": "0"})
    layer = ET.SubElement(symbol, "layer", {"class": drawn_as, "enabled": "1", "locked": "0", "pass": "0"})
    options = ET.SubElement(layer, "Option", {"type": "Map"})
    for name, value in said.items():
        ET.SubElement(options, "Option", {"name": name, "type": "QString", "value": value})
    return symbol


def _labels(expression: str) -> ET.Element:
    labeling = ET.Element("labeling", {"type": "simple"})
    settings = ET.SubElement(labeling, "settings", {"calloutType": "simple"})
    text = ET.SubElement(
        settings, "text-style",
        {
            "fieldName": expression, "isExpression": "1", "fontSize": "9", "fontSizeUnit": "Point",
            "fontWeight": "75", "textColor": "0,0,0,255", "textOpacity": "1",
        },
    )  # fmt: skip
    ET.SubElement(
        text, "text-buffer",
        {"bufferDraw": "1", "bufferSize": "0.7", "bufferSizeUnits": "MM", "bufferColor": "255,255,255,255",
         "bufferOpacity": "0.85"},
    )  # fmt: skip
    ET.SubElement(settings, "text-format", {"multilineAlign": "1"})
    ET.SubElement(settings, "placement", {"placement": "1", "centroidInside": "1", "priority": "5"})
    ET.SubElement(settings, "rendering", {"drawLabels": "1", "scaleVisibility": "0", "obstacle": "0"})
    return labeling


_VECTOR = {"labelsEnabled": "1"}

STYLES: Mapping[str, Style] = {
    "class": Style(lambda: _class_style(1), {}),
    "class_band_2": Style(lambda: _class_style(2), {}),
    "susceptibility": Style(_susceptibility_style, {}),
    "zones": Style(lambda: _share_style("high_ratio"), _VECTOR),
    "zone_class_area": Style(lambda: _share_style("ratio"), _VECTOR),
    "hotspots": Style(_hotspot_style, {}),
    "events": Style(_event_style, {}),
}
