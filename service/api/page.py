"""The page for a person: the map, how fresh it is, class areas, feeds. Plain HTML, no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exporters.cog import INDEX_NOTE
from exporters.layer import CLASS_COLOURS, CLASS_LABELS, Layer, ZoneArea
from service.settings import Settings
from service.status import StatusReport

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem;
       color: #1b1b1b; background: #fff }
@media (prefers-color-scheme: dark) { body { color: #eee; background: #161616 } a { color: #9cf } }
img { max-width: 100%; height: auto; background: #8884; image-rendering: pixelated }
table { border-collapse: collapse; margin: .5rem 0 1rem } th, td { padding: .2rem .7rem; text-align: right }
th:first-child, td:first-child { text-align: left } tr + tr { border-top: 1px solid #8886 }
.bad { background: #b00020; color: #fff; padding: .6rem .8rem; font-weight: 600 }
.good { border-left: .4rem solid #2a7; padding: .3rem .8rem }
.key span { display: inline-block; width: 1rem; height: 1rem; border: 1px solid #8888; vertical-align: -2px }
"""


def render_page(settings: Settings, report: StatusReport) -> str:
    """Return the page as HTML. Everything from outside is escaped."""
    layer = report.latest
    name = escape(settings.region.name)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{name}: landslide susceptibility</title><style>{_STYLE}</style>",
        f"<h1>{name}</h1>",
        _banner(report),
    ]
    if layer is not None:
        parts += [
            f"<p><img src='map.png?width=900' alt='Map of susceptibility classes, {layer.day}'></p>",
            _key(),
            _areas(layer),
            f"<p>{escape(INDEX_NOTE)} Cells without colour are unknown, which is not low.</p>",
            _links(),
        ]
    parts.append(_feeds(report))
    if settings.region.attribution:
        parts.append(f"<p><small>{escape(settings.region.attribution)}</small></p>")
    return "".join(parts)


def _banner(report: StatusReport) -> str:
    layer = report.latest
    good = report.verdict == "FRESH"
    lines = [escape(line.strip()) for line in report.to_text().splitlines()[:1]]
    if layer is not None:
        lines = [
            f"{escape(report.verdict)}: map of {layer.day}, {layer.status.value}, "
            f"coverage {layer.coverage:.0%}, data until {layer.data_until}"
        ]
        if report.behind_days:
            lines.append(f"This map is {report.behind_days} days old. Today is {report.today}.")
    if report.hold is not None:
        lines.append(escape(report.hold))
    if report.last_run is not None and report.last_run.reason:
        lines.append(escape(f"Last run: {report.last_run.outcome}: {report.last_run.reason}"))
    banner = f"<p class={'good' if good else 'bad'} role=status>{'<br>'.join(lines)}</p>"
    if layer is not None and layer.synthetic:
        banner += "<p class=bad>SYNTHETIC inputs: this map says nothing about a real place.</p>"
    if layer is not None:
        banner += "".join(f"<p>Note: {escape(note)}</p>" for note in layer.notes)
    return banner


def _key() -> str:
    items = [
        f"<span style='background:rgb{colour}'></span> {label.replace('_', ' ')} &nbsp; "
        for colour, label in zip(CLASS_COLOURS, CLASS_LABELS, strict=True)
    ]
    return f"<p class=key>{''.join(items)}</p>"


def _areas(layer: Layer) -> str:
    zones: dict[str, list[ZoneArea]] = {}
    for area in layer.areas:
        zones.setdefault(area.zone, []).append(area)
    heads = "".join(f"<th>{label.replace('_', ' ')} km²</th>" for label in CLASS_LABELS)
    rows = "".join(_row(areas) for areas in zones.values())
    return (
        f"<table><tr><th>Zone</th>{heads}<th>unknown km²</th>"
        f"<th>high and very high, 1 day</th></tr>{rows}</table>"
    )


def _row(areas: Sequence[ZoneArea]) -> str:
    by_label = {area.label: area for area in areas}
    cells = "".join(f"<td>{by_label[label].area_m2 / 1e6:.2f}</td>" for label in CLASS_LABELS)
    changes = [by_label[label].change_m2.get(1) for label in ("high", "very_high")]
    known = [change for change in changes if change is not None]
    growth = f"{sum(known) / 1e6:+.2f} km²" if known else "not known"
    unknown = areas[0].unknown_m2 / 1e6
    return f"<tr><td>{escape(areas[0].name)}</td>{cells}<td>{unknown:.2f}</td><td>{growth}</td></tr>"


def _links() -> str:
    names = ("susceptibility.tif", "class.tif", "provenance.tif", "areas.gpkg", "item.json")
    links = ", ".join(f"<a href='latest/{name}'>{name}</a>" for name in names)
    return f"<p>Download: {links}. <a href='metrics'>Metrics</a>, <a href='status'>status</a>.</p>"


def _feeds(report: StatusReport) -> str:
    rows = "".join(
        f"<tr><td>{escape(feed.name)}</td><td>{feed.newest_day or '-'}</td>"
        f"<td>{'-' if feed.late_days is None else feed.late_days}</td><td>{feed.rejected}</td>"
        f"<td>{'yes' if feed.failing else 'no'}</td></tr>"
        for feed in report.feeds
    )
    return (
        "<table><tr><th>Feed</th><th>newest day</th><th>days late</th><th>rejected</th><th>failing</th></tr>"
        f"{rows}</table>"
    )
