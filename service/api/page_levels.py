"""Warning levels and drills on the plain page. HTML without script; everything from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from exporters.layer import Layer, ZoneWarning
from service.api.levels import Exercise, by_gravity, levels_missing, warning_of

UNKNOWN = "unknown"


def exercise_lines(exercises: Sequence[Exercise]) -> str:
    """Say of each drill that it is one."""
    return "".join(
        f"<p class=exercise role=status>EXERCISE, NO WARNING: {escape(one.name)} plays {one.label} until "
        f"{one.ends_at:%Y-%m-%d %H:%M} UTC ({escape(one.reason)}).</p>"
        for one in exercises
    )


def raised_line(layer: Layer) -> str:
    """Name the zones of a nowcast above green, the gravest first; nothing where there are none."""
    raised = [one for one in by_gravity(layer) if one.level]
    if not raised:
        return ""
    said = "; ".join(f"{escape(one.name)}: {str(one.label).upper()}" for one in raised)
    grave = any((one.level or 0) > 1 for one in raised)
    return f"<p class={'bad' if grave else 'raised'} role=status>Warning levels of {layer.day}: {said}</p>"


def levels_table(nowcast: Layer, forecasts: Sequence[Layer]) -> str:
    """List the level of each zone by lead, with the reason of the nowcast's."""
    missing = levels_missing(nowcast)
    if missing is not None and not any(layer.warnings for layer in forecasts):
        return f"<h2>Warning levels</h2><p>{escape(missing.says)}</p>"
    heads = "".join(f"<th>{layer.day}<br>+{layer.lead}</th>" for layer in forecasts)
    rows = "".join(_row(one, nowcast, forecasts) for one in _zones([nowcast, *forecasts]))
    return (
        "<h2>Warning levels</h2>"
        "<p>By the areas of this map; not an official warning. Unknown is not green.</p>"
        f"<table class=levels><tr><th>Zone</th><th>{nowcast.day}</th>{heads}<th>rule</th></tr>{rows}</table>"
    )


def _zones(layers: Sequence[Layer]) -> list[ZoneWarning]:
    """Return each zone once, in the order of the first layer that names it."""
    found: dict[str, ZoneWarning] = {}
    for layer in layers:
        for one in by_gravity(layer):
            found.setdefault(one.zone, one)
    return list(found.values())


def _row(zone: ZoneWarning, nowcast: Layer, forecasts: Sequence[Layer]) -> str:
    found = [warning_of(layer, zone.zone) for layer in (nowcast, *forecasts)]
    now = found[0]
    why = f"{now.rule}{' (unconfirmed readings)' if now.unconfirmed else ''}" if now is not None else ""
    return f"<tr><td>{escape(zone.name)}</td>{''.join(map(_cell, found))}<td>{escape(why)}</td></tr>"


def _cell(warning: ZoneWarning | None) -> str:
    if warning is None or warning.level is None:
        return f"<td>{UNKNOWN}</td>"
    return f"<td class=level-{warning.level}>{warning.label}</td>"
