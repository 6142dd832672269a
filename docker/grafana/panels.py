"""What a panel of a Grafana dashboard is made of, as JSON: schema 39, Grafana 10 and later.

Every panel says in its description what it shows and what to do about it, and has a unit and thresholds.
Where it may rightly be empty, `empty` says why: Grafana shows those words in place of "No data".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["stat", "timeseries", "bargauge", "table", "state-timeline"]
DATASOURCE = {"type": "prometheus", "uid": "colluvium-prometheus"}
WIDTH = 24  # columns of Grafana's grid
KM2 = "suffix: km²"  # Grafana knows square metres and miles
_LEGEND = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "#EAB839", "orange", "red", "blue"
# As on the map (exporters.layer.CLASS_COLOURS), and as weather services colour levels.
CLASSES = {"low": "#fff7bc", "moderate": "#fec44f", "high": "#ec7014", "very_high": "#8c1428"}
LEVELS: dict[float, tuple[str, str]] = {
    0: ("green", GREEN),
    1: ("yellow", YELLOW),
    2: ("orange", ORANGE),
    3: ("red", RED),
}


@dataclass(frozen=True)
class Query:
    """One PromQL query. `$region` is the region that the reader chose; `legend` names its series."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. `steps` are (from this value on, colour); the colour below all of them is `base`."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: Kind = "timeseries"
    steps: Sequence[tuple[float, str]] = ()
    base: str = GREEN
    empty: str = ""  # why it may be empty
    width: int = 8
    height: int = 8
    words: dict[float, tuple[str, str]] = field(default_factory=dict)  # value -> (word, colour)
    colours: dict[str, str] = field(default_factory=dict)  # legend -> colour
    limits: tuple[float | None, float | None] = (None, None)  # of the axis
    decimals: int | None = None
    stacked: bool = False
    bars: bool = False
    field_shown: str = ""  # of a stat: the legend is the message, not the figure ("name")


@dataclass(frozen=True)
class Row:
    """A heading with the panels below it."""

    title: str
    panels: Sequence[Panel]


def dashboard(
    uid: str, title: str, description: str, rows: Sequence[Row], *, variables: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """Return a dashboard; panels flow from left to right below their row's heading."""
    panels: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        })  # fmt: skip
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["colluvium"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-14d", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_choice("region", "Region", 'up{job="colluvium"}', "region"), *variables]},
        "annotations": {"list": [_annotation()]},
        "links": [{
            "type": "dashboards", "tags": ["colluvium"], "title": "Colluvium", "asDropdown": False,
            "includeVars": True, "keepTime": True, "icon": "external link", "tooltip": "",
            "targetBlank": False,
        }],
        "panels": panels,
    }  # fmt: skip


def lead_choice() -> dict[str, Any]:
    """Return the variable `lead`: 0 is the map of today, 1 and more are forecasts."""
    return _choice("lead", "Days ahead", 'colluvium_class_area_square_meters{region="$region"}', "lead")


def _choice(name: str, label: str, series: str, key: str) -> dict[str, Any]:
    query = f"label_values({series}, {key})"
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 3, "includeAll": False,
        "multi": False, "hide": 0,
    }  # fmt: skip


def _annotation() -> dict[str, Any]:
    """Mark the moments at which another model took over: figures before and after do not compare."""
    info = 'colluvium_model_info{region="$region"}'
    return {
        "name": "Another model", "datasource": DATASOURCE, "enable": True, "iconColor": BLUE,
        "expr": f"{info} unless {info} offset 10m",
        "titleFormat": "model {{name}} {{version}}", "textFormat": "digest {{digest}}", "step": "60s",
    }  # fmt: skip


def _panel(panel: Panel) -> dict[str, Any]:
    steps = [{"color": panel.base, "value": None}, *({"color": c, "value": v} for v, c in panel.steps)]
    low, high = panel.limits
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "mappings": [_mapping(panel.words)] if panel.words else [],
        "custom": _custom(panel),
    }
    for key, value in (("min", low), ("max", high), ("decimals", panel.decimals), ("noValue", panel.empty)):
        if value not in (None, ""):
            defaults[key] = value
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in panel.colours.items()
    ]
    description = panel.description + (f"\n\nEmpty: {panel.empty}." if panel.empty else "")
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [_target(query, number, panel.kind) for number, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": _options(panel),
        **({"transformations": _columns()} if panel.kind == "table" else {}),
    }


def _target(query: Query, number: int, kind: Kind) -> dict[str, Any]:
    instant = query.instant or kind in ("stat", "bargauge", "table")
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
    }


def _mapping(words: dict[float, tuple[str, str]]) -> dict[str, Any]:
    options = {
        f"{value:g}": {"text": word, "color": colour, "index": index}
        for index, (value, (word, colour)) in enumerate(words.items())
    }
    return {"type": "value", "options": options}


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "bars" if panel.bars else "line",
            "lineWidth": 1 if panel.stacked or panel.bars else 2,
            "fillOpacity": 70 if panel.stacked or panel.bars else 5,
            "showPoints": "never",
            # A gap is a gap: a line across it would claim figures that nobody has.
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    if panel.kind == "state-timeline":
        return {"lineWidth": 0, "fillOpacity": 80, "spanNulls": False}
    return {}


def _options(panel: Panel) -> dict[str, Any]:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        text = panel.field_shown or "auto"
        return {"reduceOptions": last, "colorMode": "background", "graphMode": "none", "textMode": text}
    if panel.kind == "bargauge":
        return {"reduceOptions": last, "orientation": "horizontal", "displayMode": "gradient"}
    if panel.kind == "state-timeline":
        return {"mergeValues": True, "showValue": "auto", "rowHeight": 0.85, **_LEGEND}
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    return _LEGEND


def _columns() -> list[dict[str, Any]]:
    """Leave out of a table what only Prometheus needs."""
    hidden = dict.fromkeys(("Time", "__name__", "job", "instance", "region"), True)
    return [{"id": "organize", "options": {"excludeByName": hidden}}]
