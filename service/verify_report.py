"""A verification as one HTML file that needs nothing else: no script, no font, no server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from exporters.layer import CLASS_COLOURS, CLASS_LABELS
from exporters.verification import DurationMatrix, Verification, VerifiedEvent
from service.verify_charts import curve_chart, reliability_chart
from service.verify_text import percent

_WORDS = {
    "efficiency": "efficiency",
    "hit_rate": "hit rate",
    "missed_alert_rate": "missed alert rate",
    "predictive_power": "predictive power",
    "false_alert_rate": "false alert rate",
    "threat_score": "threat score",
    "odds_ratio": "odds ratio (correct over wrong days)",
}
_EVENTS_AT_MOST = 2000  # in the table; --events writes all of them
_STYLE = """
:root { color-scheme: light dark; --text: #1c2227; --soft: #56616b; --line: #d5dbe0; --back: #ffffff;
  --card: #f5f7f8; --strong: #0b5f8a; --hit: #1a7440; --miss: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9ed; --soft: #9fabb5; --line: #39434b;
  --back: #14191d; --card: #1d2429; --strong: #6cc0ea; --hit: #6fcf97; --miss: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 24px 20px 64px; background: var(--back);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 25px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 36px 0 8px; }
p { margin: 6px 0; max-width: 76ch; }
.soft { color: var(--soft); } .wider { max-width: none; }
.mark { background: #b3261e; color: #ffffff; padding: 6px 12px; border-radius: 6px; font-weight: 600;
  display: inline-block; margin-bottom: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 24px; line-height: 1.3; }
.tile small { display: block; color: var(--soft); line-height: 1.35; }
.notes { background: var(--card); border-left: 4px solid var(--strong); padding: 8px 14px 8px 32px;
  margin: 14px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: 10px 0; }
th, td { padding: 5px 12px 5px 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.day { white-space: nowrap; }
.hit { color: var(--hit); font-weight: 600; }
.miss { color: var(--miss); font-weight: 600; }
.undecided, .unknown { color: var(--soft); }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px;
  border: 1px solid var(--line); vertical-align: -1px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 20px; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: 14px; }
svg { width: 100%; max-width: 560px; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg path { fill: none; } .grid { stroke: var(--line); }
.chance { stroke: var(--soft); stroke-dasharray: 4 4; }
.all { stroke: var(--strong); stroke-width: 2.5; } .period { stroke: var(--strong); opacity: .35; }
.interval { stroke: var(--strong); stroke-width: 1.5; } .dot { fill: var(--strong); }
"""


def report_html(record: Verification) -> str:
    """Return the whole page."""
    title = f"{record.region}: the maps, held against what happened"
    body = "\n".join(_body(record))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _body(record: Verification) -> Iterator[str]:
    if record.synthetic:
        yield '<div class="mark">SYNTHETIC: made-up landslides on made-up ground</div>'
    which = "The challenger's maps" if record.of == "challenger" else "The maps on display"
    yield f"<h1>{escape(record.region)}: {which.lower()}, held against what happened</h1>"
    yield (
        f'<p class="soft wider">{record.since} to {record.until}, {record.maps} days with a map. Model '
        f"{escape(_model(record.model))}. Made {record.made_at:%Y-%m-%d %H:%M} UTC.</p>"
    )
    yield from _tiles(record)
    if record.notes:
        yield f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in record.notes)}</ul>'
    yield from _classes(record)
    yield from _charts(record)
    yield from _levels(record)
    yield from _matrices(record)
    yield from _events(record.events)
    yield (
        "<h2>How to read this</h2><p>A hit is a landslide whose outline or accuracy circle held high or very "
        "high ground on the map that was on display on its day. A false alarm is counted only where somebody "
        "looked and no landslide had happened. Intervals are of 95 %. The index of the map is relative; it "
        "is not the probability of a landslide.</p>"
    )


def _tiles(record: Verification) -> Iterator[str]:
    decided = record.hits + record.misses
    chance = f"{record.chance_hit_rate:.0%} by chance" if record.chance_hit_rate is not None else ""
    tiles = [
        ("Landslides", str(len(record.events)), f"{record.undecided} undecided, {record.unknown} unknown"),
        ("Hits", f"{record.hits} of {decided}", f"{record.hindsight} in hindsight"),
        ("Hit rate", *_split(percent(record.hit_rate)), chance),
    ]
    for curve in record.curves[:1]:
        bounds = f"{curve.auc_low:.2f} to {curve.auc_high:.2f}; " if curve.auc_low is not None else ""
        tiles.append(("Area under the curve", f"{curve.auc:.2f}", f"{bounds}0.5 is chance"))
    for level in record.levels[-2:-1] if record.duration is not None else ():
        words = f"{level.hits} hits, {level.misses} misses, {level.false_alarms} false alarms"
        tiles.append(("Orange or higher", *_split(percent(level.detection_rate)), words))
    tiles.append(("Looks", str(record.looks), "scenes reviewed, visits without a find"))
    cells = "".join(
        f'<div class="tile"><small>{escape(name)}</small><b>{escape(value)}</b>'
        + "".join(f"<small>{escape(line)}</small>" for line in lines if line)
        + "</div>"
        for name, value, *lines in tiles
    )
    yield f'<div class="tiles">{cells}</div>'


def _split(text: str) -> tuple[str, str]:
    """The value, and its interval."""
    value, _, rest = text.partition(" (")
    return value, rest.removesuffix(")")


def _classes(record: Verification) -> Iterator[str]:
    yield "<h2>By class of the map</h2>"
    rows = [
        [
            _swatch(item.label) + escape(item.label.replace("_", " ")),
            str(item.landslides),
            _share(item.landslide_share),
            _share(item.ground_share),
            _figure(item.frequency_ratio),
            f"{item.looked_km2_days:,.0f}",
            str(item.landslides_looked),
        ]
        for item in record.classes
    ]
    heads = [
        "class",
        "landslides",
        "share of their ground",
        "share of the map",
        "frequency ratio",
        "km² · days looked at",
        "landslides there",
    ]
    yield _table(heads, rows, texts=1)
    yield (
        '<p class="soft">Landslides count by the highest class at each. For the frequency ratio each counts '
        "one, spread over its outline or accuracy circle: above 1, more landslides than such ground would "
        "have by chance.</p>"
    )


def _charts(record: Verification) -> Iterator[str]:
    figures = []
    if record.curves:
        curve = record.curves[0]
        figures.append(
            f"<figure>{curve_chart(record.curves)}<figcaption>Success rate (Chung and Fabbri, 2003) of "
            f"{curve.landslides} landslides, each on the map of its day; thin: by period; dashed: chance."
            "</figcaption></figure>"
        )
    if record.reliability:
        figures.append(
            f"<figure>{reliability_chart(record.reliability)}<figcaption>How often ground that was looked at "
            "slid, by index.</figcaption></figure>"
        )
    if figures:
        yield f'<h2>Curves</h2><div class="charts">{"".join(figures)}</div>'
    if len(record.curves) > 2:
        rows = [
            [
                escape(item.period),
                str(item.landslides),
                _figure(item.auc),
                _bounds(item.auc_low, item.auc_high),
            ]
            for item in record.curves
        ]
        yield _table(["period", "landslides", "area under the curve", "95 %"], rows, texts=1)
    if record.leads:
        rows = [
            [str(item.lead), str(item.hits), str(item.misses), escape(percent(item.hit_rate))]
            for item in record.leads
        ]
        yield "<h2>By lead of the forecast</h2>"
        yield _table(["days ahead", "hits", "misses", "hit rate"], rows, texts=0)


def _levels(record: Verification) -> Iterator[str]:
    if record.duration is None:
        return
    yield "<h2>By warning level</h2>"
    heads = [
        "level",
        "hits",
        "misses",
        "false alarms",
        "rightly quiet",
        "not looked at",
        "not known",
        "detected",
        "false alarm ratio",
    ]
    rows = [
        [
            f"{item.level}{'' if item.level == 'red' else ' or higher'}",
            str(item.hits),
            str(item.misses),
            str(item.false_alarms),
            str(item.rightly_quiet),
            str(item.not_looked),
            str(item.not_known),
            escape(percent(item.detection_rate)),
            escape(percent(item.false_alarm_ratio)),
        ]
        for item in record.levels
    ]
    yield _table(heads, rows, texts=1)
    yield (
        '<p class="soft">The unit is a zone and a span of days. Not looked at: the level stood and nobody '
        "looked, which is neither a false alarm nor a proof.</p>"
    )
    slid = [zone for zone in record.zones if zone.landslides]
    if slid:
        rows = [
            [escape(zone.name), str(zone.landslides), str(zone.hits), str(zone.misses), str(zone.unknown)]
            for zone in slid
        ]
        yield _table(["zone", "landslides", "hits", "misses", "undecided or unknown"], rows, texts=1)


def _matrices(record: Verification) -> Iterator[str]:
    if record.duration is None:
        return
    yield "<h2>Duration matrix</h2>"
    yield (
        '<p class="soft">Days of zones by landslides and by level (EDuMaP; Calvello and Piciullo, 2016). '
        "Days without landslides count only where somebody looked; "
        f"{record.duration.not_looked_days:,.0f} days of zones without landslides were not looked at.</p>"
    )
    yield _matrix(record.duration)
    if record.duration_classical is not None:
        yield (
            '<p class="soft">The classical reading, in which a day without a report is a day without '
            "landslides:</p>"
        )
        yield _matrix(record.duration_classical)


def _matrix(matrix: DurationMatrix) -> str:
    limits = matrix.limits
    named = [
        "none",
        *(
            f"{name} ({first}{f' to {stop - 1}' if stop else ' or more'})"
            if stop is None or stop - 1 > first
            else f"{name} ({first})"
            for name, first, stop in zip(matrix.event_classes[1:], limits, (*limits[1:], None), strict=True)
        ),
    ]
    rows = [
        [
            escape(name),
            *(
                f'{days:,.4g} <span class="soft">{escape(mark)}</span>'
                for days, mark in zip(row, marks, strict=True)
            ),
        ]
        for name, row, marks in zip(named, matrix.days, matrix.criteria, strict=True)
    ]
    words = "; ".join(f"{_WORDS.get(name, name)} {_figure(value)}" for name, value in matrix.indices.items())
    return _table(["landslides", *matrix.levels], rows, texts=1) + f"<p>{escape(words)}.</p>"


def _events(events: Sequence[VerifiedEvent]) -> Iterator[str]:
    if not events:
        return
    yield "<h2>Landslides</h2>"
    shown = events[-_EVENTS_AT_MOST:]
    if len(shown) < len(events):
        yield f'<p class="soft">The newest {len(shown)} of {len(events)}; --events writes all.</p>'
    rows = [
        [
            _days(event),
            escape(event.source),
            f'<span class="day">{event.lat:.4f}, {event.lon:.4f}</span>',
            escape(event.zone if event.zone is not None else "none"),
            f'<span class="{event.outcome}">{event.outcome}</span>',
            f'<span class="day">{escape((event.class_label or "").replace("_", " "))}</span>',
            _figure(event.susceptibility),
            _share(event.rank),
            escape(event.level or "-"),
            escape(_map_words(event)),
        ]
        for event in reversed(shown)
    ]
    heads = [
        "day",
        "source",
        "place",
        "zone",
        "outcome",
        "class",
        "index",
        "of the map below",
        "level",
        "map",
    ]
    yield _table(heads, rows, texts=6, last_is_text=True)


def _map_words(event: VerifiedEvent) -> str:
    words = [event.layer_id or ""]
    if event.hindsight:
        words.append("made after the day")
    if event.withdrawn:
        words.append("withdrawn later")
    if event.why:
        words.append(event.why)
    return "; ".join(word for word in words if word)


def _days(event: VerifiedEvent) -> str:
    """The days, which do not break within one."""
    last = f'<span class="day">{event.day}</span>'
    return last if event.day_from == event.day else f'<span class="day">{event.day_from}</span> to {last}'


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int, last_is_text: bool = False
) -> str:
    """A table whose first `texts` columns are words, the others figures. Cells are HTML already."""
    last = len(heads) - 1

    def kind(column: int) -> str:
        words = column < texts or (last_is_text and column == last)
        return "" if words else ' class="number"'

    head = "".join(f"<th{kind(column)}>{escape(name)}</th>" for column, name in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{kind(column)}>{cell}</td>" for column, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _swatch(label: str) -> str:
    red, green, blue = CLASS_COLOURS[CLASS_LABELS.index(label)]
    return f'<span class="swatch" style="background: rgb({red} {green} {blue})"></span>'


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _bounds(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _model(text: str) -> str:
    """Name, version and the first digits of the digest."""
    words = text.split(" ")
    return " ".join([*words[:-1], words[-1][:12]]) if text else "unknown"
