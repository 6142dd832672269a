"""The plain page: the map as a picture, how fresh it is, class areas, feeds. HTML without script.

Served as /plain, inside <noscript> of the map page, and in its place where its libraries are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exporters.cog import INDEX_NOTE
from exporters.companions import companions_of
from exporters.forecasts import issue_day
from exporters.layer import CLASS_COLOURS, CLASS_LABELS, Layer, ZoneArea
from exporters.outcomes import Outcomes
from service.api.levels import Exercise
from service.api.page_events import events_part
from service.api.page_levels import exercise_lines, levels_table, raised_line
from service.api.saying import trust_in_words
from service.settings import Settings
from service.status import StatusReport


def plain_page(settings: Settings, body: str) -> str:
    """Return a whole page around `body`, which is HTML."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(settings.region.name)}: landslide susceptibility</title>"
        "<link rel=icon type='image/svg+xml' href='web/favicon.svg'>"
        f"<link rel=stylesheet href='web/css/plain.css'></head><body class=plain>{body}</body></html>"
    )


def plain_body(
    settings: Settings,
    report: StatusReport,
    forecasts: Sequence[Layer] = (),
    exercises: Sequence[Exercise] = (),
    outcomes: Outcomes | None = None,
) -> str:
    """Return what the plain page says, as HTML. Everything from outside is escaped."""
    layer = report.latest
    parts = [f"<main><h1>{escape(settings.region.name)}</h1>", exercise_lines(exercises), _banner(report)]
    if layer is not None:
        parts += [
            raised_line(layer),
            f"<p><img src='map.png?width=900' alt='Map of susceptibility classes, {layer.day}'></p>",
            _key(),
            levels_table(layer, forecasts),
            _areas(layer),
            f"<p>{escape(INDEX_NOTE)} Cells without colour are unknown, which is not low.</p>",
            _links(layer),
        ]
    parts += [_forecasts(forecasts)] if forecasts else []
    parts += [events_part(outcomes)] if outcomes is not None else []
    parts.append(_feeds(report))
    parts += [f"<p><small>{escape(line)}</small></p>" for line in _credits(settings)]
    return "".join([*parts, "</main>"])


def notice(text: str) -> str:
    """Return a red line that says what is wrong, as HTML."""
    return f"<p class=bad role=alert>{escape(text)}</p>"


def _banner(report: StatusReport) -> str:
    layer = report.latest
    good = report.verdict == "FRESH"
    lines = [escape(line.strip()) for line in report.to_text().splitlines()[:1]]
    if layer is not None:
        lines = [
            f"{escape(report.verdict)}: map of {layer.day}, {trust_in_words(layer)}, "
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
    # Presentation attributes of SVG, because the page's policy refuses inline styles.
    items = [
        "<svg width=16 height=16 aria-hidden=true>"
        f"<rect width=16 height=16 fill='rgb{colour}' stroke=gray /></svg> {label.replace('_', ' ')} &nbsp; "
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


def _links(layer: Layer) -> str:
    names = (
        "susceptibility.tif",
        "class.tif",
        "provenance.tif",
        *companions_of(layer),
        "areas.gpkg",
        "item.json",
    )
    links = ", ".join(f"<a href='latest/{name}'>{name}</a>" for name in names)
    return f"<p>Download: {links}. <a href='metrics'>Metrics</a>, <a href='status'>status</a>.</p>"


def _forecasts(forecasts: Sequence[Layer]) -> str:
    rows = "".join(_forecast_row(layer) for layer in forecasts)
    return (
        "<h2>Forecasts</h2><p>What is expected, not what was measured. The map above is none of them.</p>"
        "<table><tr><th>Day</th><th>days ahead</th><th>issued on</th><th>status</th><th>high km²</th>"
        f"<th>very high km²</th><th>picture</th></tr>{rows}</table>"
    )


def _forecast_row(layer: Layer) -> str:
    whole = {area.label: area.area_m2 / 1e6 for area in layer.areas if area.zone == ""}
    areas = "".join(f"<td>{whole[label]:.2f}</td>" for label in ("high", "very_high"))
    link = f"<a href='map.png?width=900&amp;lead={layer.lead}'>forecast of {layer.day}</a>"
    return (
        f"<tr><td>{layer.day}</td><td>{layer.lead}</td><td>{issue_day(layer)}</td>"
        f"<td>{trust_in_words(layer)}</td>{areas}<td>{link}</td></tr>"
    )


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


def _credits(settings: Settings) -> list[str]:
    web = settings.web
    official = f"Official warnings: {web.official_name} {web.official_url or ''}".strip()
    lines = [settings.region.attribution, web.licence, official if web.official_name else ""]
    return [line for line in lines if line]
