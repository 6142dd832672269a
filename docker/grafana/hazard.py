"""The dashboard of the hazard: how much ground is in which class, how it grows, which zones are warned."""

from __future__ import annotations

from panels import BLUE, CLASSES, KM2, LEVELS, ORANGE, RED, YELLOW, Panel, Query, Row, dashboard, lead_choice

R = 'region="$region"'
LEAD = f'{R}, lead="$lead"'
HIGH = 'class=~"high|very_high"'
_NO_LEVEL = "the model may not warn, or no level is known yet, which is not green"
_NO_GROWTH = "no earlier map compares with this one: after a change of model or mask, or on the first days"
_NAMES = 'group_left (name) (colluvium_zone_info{region="$region"})'

_LEVELS = Row("Warning levels", [
    Panel(
        "May the model warn?", "no: the model did not pass the tests for that, or was trained elsewhere. "
        "Then nothing on this page raises a level, and growth raises no alert.",
        [Query(f"colluvium_model_info{{{R}}}", "{{may_warn}}")], "short", "stat", base=BLUE,
        empty="no map was ever made", width=4, height=7, field_shown="name",
    ),
    Panel(
        "Level of each zone", "Decided by the service with the map, by the rules in the settings; "
        "`colluvium alerts levels` shows the rule and its numbers. A zone without a bar "
        "is unknown, not green.",
        [Query(f"colluvium_zone_warning_level{{{LEAD}}} * on (zone) {_NAMES}", "{{name}}")], "short",
        "bargauge", [(1, YELLOW), (2, ORANGE), (3, RED)], words=LEVELS, limits=(0, 3), empty=_NO_LEVEL,
        width=8, height=7,
    ),
    Panel(
        "Levels over time", "Today's map. A gap is a day without a known level, which is not green.",
        [Query(f'colluvium_zone_warning_level{{{R}, lead="0"}} * on (zone) {_NAMES}', "{{name}}")],
        "short", "state-timeline", [(1, YELLOW), (2, ORANGE), (3, RED)], words=LEVELS, empty=_NO_LEVEL,
        width=12, height=7,
    ),
    Panel(
        "Zones without a known level", "Too much of the zone is unknown, or nothing compares. Watch it by "
        "other means.",
        [Query(f"colluvium_zone_warning_unknown{{{LEAD}}} * on (zone) {_NAMES}")], "short", "table",
        [(1, ORANGE)], empty="every zone's level is known, or the model may not warn", width=8, height=7,
    ),
    Panel(
        "EXERCISE that runs", "A drill sent by `colluvium alerts drill`. It is not a warning; the levels "
        "above are the real ones.",
        [Query(f"colluvium_exercise_level{{{R}}}", "EXERCISE {{zone}}")], "short", "stat",
        [(1, YELLOW), (2, ORANGE), (3, RED)], words=LEVELS, empty="no drill runs", width=8, height=7,
    ),
    Panel(
        "Growth alerts", "Which growth alerts fired, and when. BlindDuringStorm stands beside them where the "
        "map went old or blind meanwhile.",
        [Query(
            'ALERTS{alertstate="firing", region="$region", '
            'alertname=~".*Growth|WarningLevelRaised|ForecastWarning|BlindDuringStorm"}',
            "{{alertname}} {{zone}} {{level}} {{days}}",
        )],
        "short", "state-timeline", [(1, RED)], words={1: ("fires", RED)}, empty="no such alert has fired",
        width=8, height=7,
    ),
])  # fmt: skip

_GROUND = Row("The ground, for the chosen days ahead", [
    Panel(
        "Area of each class", "Known ground only; what is unknown is in none of them.",
        [
            Query(f'colluvium_class_area_square_meters{{{LEAD}, class="{name}"}} / 1e6', name)
            for name in CLASSES
        ],
        KM2, stacked=True, base=BLUE, colours=CLASSES, limits=(0, None),
        empty="no map was ever made, or no forecast for these days is current", width=12,
    ),
    Panel(
        "Share of high and very high ground", "Of the known cells: today's map, and the current forecasts by "
        "days ahead.",
        [Query(f"sum by (lead) (colluvium_class_area_ratio{{{R}, {HIGH}}})", "{{lead}} days ahead")],
        "percentunit", base=BLUE, limits=(0, None), empty="no map was ever made", width=12,
    ),
    Panel(
        "High and very high ground by zone", "Today's map.",
        [Query(
            f"sum by (zone) (colluvium_zone_class_area_square_meters{{{R}, {HIGH}}}) / 1e6"
            f" * on (zone) {_NAMES}",
            "{{name}}",
        )],
        KM2, base=BLUE, limits=(0, None), empty="the region has no zones", width=12,
    ),
    Panel(
        "High and very high ground now, by zone", "Today's map, the most first.",
        [Query(
            f"sort_desc(sum by (zone) (colluvium_zone_class_area_square_meters{{{R}, {HIGH}}}) / 1e6"
            f" * on (zone) {_NAMES})",
            "{{name}}",
        )],
        KM2, "bargauge", base=ORANGE, limits=(0, None), empty="the region has no zones", width=12,
    ),
])  # fmt: skip


def _growth(title: str, what: str, metric: str, name: str, unit: str, divisor: str) -> Panel:
    grown = f'sum by (days) (colluvium_class_area_change_{metric}{{{LEAD}, zone="", {HIGH}}})'
    limit = f'max by (days) (colluvium:threshold{{name="{name}", scope="region"}})'
    return Panel(
        title, what, [Query(grown + divisor, "{{days}} days"), Query(limit, "alert above, {{days}} days")],
        unit, steps=[(0, YELLOW)], empty=_NO_GROWTH, width=12,
        colours={"alert above, 1 days": RED, "alert above, 7 days": ORANGE},
    )  # fmt: skip


_GROWTH = Row("Growth of high and very high ground, on ground known on both days", [
    _growth(
        "Growth of the region, in km2", "Compared cell by cell with the map of 1 and of 7 days before, where "
        "the same gauges stand behind both: neither a new gauge nor a hole in the map is growth.",
        "square_meters", "growth_km2", KM2, " / 1e6",
    ),
    _growth(
        "Growth of the region, in shares", "The same in shares of the ground known on both days: 5 % is five "
        "points. The alert wants both this and the km2 above their lines.",
        "ratio", "growth_ratio", "percentunit", "",
    ),
    Panel(
        "Growth by zone within a day", "Today's map, the most first.",
        [Query(
            f'sort_desc(sum by (zone) (colluvium_class_area_change_ratio{{{R}, lead="0", days="1", '
            f'zone!="", {HIGH}}}) * on (zone) {_NAMES})',
            "{{name}}",
        )],
        "percentunit", "bargauge", [(0.04, YELLOW), (0.08, RED)], empty=_NO_GROWTH, width=12,
    ),
    Panel(
        "Growth by zone within a week", "Today's map, the most first.",
        [Query(
            f'sort_desc(sum by (zone) (colluvium_class_area_change_ratio{{{R}, lead="0", days="7", '
            f'zone!="", {HIGH}}}) * on (zone) {_NAMES})',
            "{{name}}",
        )],
        "percentunit", "bargauge", [(0.06, YELLOW), (0.12, RED)], empty=_NO_GROWTH, width=12,
    ),
])  # fmt: skip

_PEOPLE = Row("What people did and what was sent", [
    Panel(
        "Human acts in a day", "Withdrawals, holds, decisions on readings, drills. `colluvium journal` has "
        "who did it and why.",
        [Query(f"sum by (act) (increase(colluvium_acts_total{{{R}}}[1d]))", "{{act}}")], "short", bars=True,
        stacked=True, base=BLUE, limits=(0, None), empty="nobody has done anything yet", width=12,
    ),
    Panel(
        "CAP messages in a day", "By kind and status. A model issues no Actual alert unless a person has set "
        "cap.status so.",
        [Query(
            f"sum by (kind, status) (increase(colluvium_cap_messages_total{{{R}}}[1d]))",
            "{{status}} {{kind}}",
        )],
        "short", bars=True, stacked=True, base=BLUE, limits=(0, None), empty="no message was ever made",
        width=12,
    ),
])  # fmt: skip

DASHBOARD = dashboard(
    "colluvium-hazard",
    "Colluvium: the hazard",
    "How much ground is in which class, how it grows, and which zones are warned.",
    [_LEVELS, _GROUND, _GROWTH, _PEOPLE],
    variables=[lead_choice()],
)
