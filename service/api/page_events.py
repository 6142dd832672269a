"""Events and how the map did, on the plain page. HTML without script; everything from outside is escaped."""

from __future__ import annotations

from html import escape

from exporters.outcomes import Outcomes, PublicEvent
from exporters.verification import Rate, Verification, VerifiedEvent
from service.api.events import judged_of, newest_first

_SHOWN = 10  # events, the newest first
FEW = 30  # decided landslides below which a share says little: its 95 % interval is wider than 30 points
_WORDS = {"hit": "hit", "miss": "MISS", "undecided": "undecided", "unknown": "no map"}


def events_part(outcomes: Outcomes) -> str:
    """Say how the map did, and list the newest landslides."""
    links = "<p>As data: <a href='events'>events</a>, <a href='verification'>verification</a>.</p>"
    return f"<h2>Was the map right?</h2>{_summary(outcomes.verification)}{_table(outcomes)}{links}"


def _summary(record: Verification | None) -> str:
    if record is None:
        return "<p>No landslide was held against the maps yet. That is not the same as no misses.</p>"
    lines = [
        f"{_count(record.hits, 'hit')}, {_count(record.misses, 'miss')}, {record.undecided} undecided, "
        f"{record.unknown} unknown: landslides of the inventory against the map on display before them. "
        f"{_share(record.hit_rate)} Made on {record.made_at:%Y-%m-%d}."
    ]
    decided = record.hits + record.misses
    if decided < FEW:
        lines.append(f"Only {decided} landslides could be decided: such small numbers prove little.")
    if record.synthetic:
        lines.append("SYNTHETIC inputs: this says nothing about a real place.")
    lines += list(record.notes)
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(outcomes: Outcomes) -> str:
    slides = [event for event in newest_first(outcomes) if event.kind == "landslide"]
    if not slides:
        return ""
    judged = judged_of(outcomes)
    rows = "".join(_row(event, judged.get(event.uid)) for event in slides[:_SHOWN])
    return (
        f"<p>{_count(len(slides), 'landslide')} in the inventory, the newest first:</p>"
        "<table><tr><th>Day</th><th>place</th><th>known from</th><th>outcome</th><th>class before</th>"
        f"<th>level of its zone</th></tr>{rows}</table>"
    )


def _row(event: PublicEvent, judged: VerifiedEvent | None) -> str:
    day = f"{event.day}" if event.day_from == event.day else f"{event.day_from} to {event.day}"
    outcome = _WORDS[judged.outcome] if judged is not None else "not verified"
    if judged is not None and judged.hindsight:
        outcome += " (map made later)"
    label = (judged.class_label or "unknown") if judged is not None else "not verified"
    level = (judged.level or "unknown") if judged is not None else "not verified"
    cells = (day, f"{event.lat:.4f}, {event.lon:.4f}", event.source, outcome, label.replace("_", " "), level)
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _share(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "No landslide could be decided."
    return f"Hits: {rate.value:.0%} (95 %: {rate.low:.0%} to {rate.high:.0%})."


def _count(number: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("s") else f"{word}s"
    return f"{number} {word if number == 1 else plural}"
