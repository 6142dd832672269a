"""The dashboard of the map's health: is it fresh, what does it rest on, how did the runs end?"""

from __future__ import annotations

from panels import BLUE, GREEN, ORANGE, RED, YELLOW, Panel, Query, Row, dashboard

R = '{region="$region"}'

_NOW = Row("Now", [
    Panel(
        "Answering", "Whether the service answers Prometheus. While it does not, every figure below is as "
        "old as its last one: look at the container's log.",
        [Query('max(up{job="colluvium", region="$region"})')], "short", "stat", [(1, GREEN)], RED,
        words={0: ("NO ANSWER", RED), 1: ("answers", GREEN)}, width=4, height=5,
    ),
    Panel(
        "Map on display is of", "The day of the newest map. Compare it with today's date.",
        [Query(f"colluvium_layer_day_timestamp_seconds{R} * 1000")], "dateTimeAsIso", "stat", base=BLUE,
        empty="no map was ever made", width=5, height=5,
    ),
    Panel(
        "Time left until it is old", "Below zero the map is old: nothing newer came by the moment that "
        "schedule.ready_by names. An old map says nothing about today.",
        [Query(f"colluvium_layer_due_timestamp_seconds{R} - time()")], "s", "stat", [(0, GREEN)], RED,
        empty="no map was ever made", width=5, height=5, decimals=1,
    ),
    Panel(
        "Refresh periods since a success", "Above 2 refreshes fail or do not run. See `colluvium status`.",
        [Query(
            f"(time() - colluvium_refresh_last_success_timestamp_seconds{R})"
            f" / colluvium_refresh_period_seconds{R}"
        )],
        "short", "stat", [(1, YELLOW), (2, RED)], empty="no refresh has succeeded yet", width=5, height=5,
        decimals=1,
    ),
    Panel(
        "Publication", "A person may hold publication with `colluvium hold`; nothing new is shown until "
        "`colluvium resume`.",
        [Query(f"colluvium_held{R}")], "short", "stat", [(1, ORANGE)],
        words={0: ("open", GREEN), 1: ("HELD", ORANGE)}, width=5, height=5,
    ),
    Panel(
        "Alerts that fire", "What Prometheus is calling people for. Each has a page under docs/runbooks.",
        [Query('ALERTS{alertstate="firing", alertname!="Watchdog", region=~"$region|"}')], "short", "table",
        [(1, RED)], empty="no alert fires", width=24, height=7,
    ),
])  # fmt: skip

_MAP = Row("The map", [
    Panel(
        "Status", "complete, provisional (a forecast stands in), degraded (parts are unknown, which is not "
        "low) or withdrawn by a person.",
        [Query(f"colluvium_layer_status{R}", "{{status}}")], "short", "state-timeline", [(1, BLUE)],
        words={0: ("no", "transparent"), 1: ("yes", BLUE)}, empty="no map was ever made",
    ),
    Panel(
        "Coverage of the windows", "Least share, over variables, of nodes and days that were observed or "
        "filled. Below forcing.min_coverage (the line is the alert's) the map is degraded.",
        [
            Query(f"colluvium_window_observed_ratio{R}", "today"),
            Query(f"colluvium_forecast_window_observed_ratio{R}", "{{lead}} days ahead"),
            Query('max(colluvium:threshold{name="coverage"})', "alert below"),
        ],
        "percentunit", steps=[(0.9, GREEN)], base=RED, limits=(0, 1), colours={"alert below": RED},
        empty="no map was ever made",
    ),
    Panel(
        "Unconfirmed", "1: the map rests on readings that a check doubts, or on levels carried past their "
        "last reading. `colluvium readings --suspect` lists them.",
        [
            Query(f"colluvium_layer_unconfirmed{R}", "today"),
            Query(f"colluvium_forecast_unconfirmed{R}", "{{lead}} days ahead"),
        ],
        "short", "state-timeline", [(1, YELLOW)], empty="no map was ever made",
        words={0: ("confirmed", GREEN), 1: ("unconfirmed", YELLOW)},
    ),
    Panel(
        "How runs ended, by day", "held: too little to go on, or a person holds. failed: see the log. "
        "unchanged is a success: the same inputs publish nothing new.",
        [Query(f"sum by (outcome) (increase(colluvium_refresh_total{R}[1d]))", "{{outcome}}")], "short",
        stacked=True, bars=True, base=BLUE, limits=(0, None),
        colours={"published": GREEN, "unchanged": BLUE, "held": ORANGE, "failed": RED, "abandoned": YELLOW},
    ),
    Panel(
        "Seconds of a refresh, by stage", "Of the newest successful one. A rise without a larger region "
        "means a slow disk or a busy machine.",
        [Query(f"colluvium_refresh_stage_duration_seconds{R}", "{{stage}}")], "s", stacked=True, base=BLUE,
        limits=(0, None), empty="no refresh has succeeded yet",
    ),
    Panel(
        "Forecast: hours since its weather was issued", "A forecast older than a day and a half is not worth "
        "its colours.",
        [Query(f"time() - colluvium_forecast_reference_timestamp_seconds{R}", "{{lead}} days ahead")], "s",
        steps=[(86400, YELLOW), (129600, RED)], empty="no forecast is current",
    ),
])  # fmt: skip

_FEEDS = Row("The feeds", [
    Panel(
        "Late by", "Time beyond the moment when news of a feed were due. Below zero there is time left. The "
        "alert comes at the line.",
        [
            Query(f"time() - colluvium_feed_due_timestamp_seconds{R}", "{{feed}}"),
            Query('max(colluvium:threshold{name="feed_late_seconds"})', "alert above"),
        ],
        "s", steps=[(0, YELLOW), (43200, RED)], colours={"alert above": RED},
        empty="no feed has brought a reading yet",
    ),
    Panel(
        "Age of the newest reading", "From the start of the newest day that has one. A feed of daily totals "
        "is never younger than a few hours.",
        [Query(f"time() - colluvium_feed_newest_reading_timestamp_seconds{R}", "{{feed}}")], "s",
        steps=[(172800, YELLOW), (259200, RED)], empty="no feed has brought a reading yet",
    ),
    Panel(
        "Failed attempts in an hour", "By feed and reason. `colluvium status` names the last error.",
        [Query(
            f"sum by (feed, reason) (increase(colluvium_feed_errors_total{R}[1h]))", "{{feed}}: {{reason}}"
        )],
        "short", steps=[(1, YELLOW), (5, RED)], limits=(0, None), empty="no attempt has failed",
    ),
    Panel(
        "Readings in a day, by quality", "rejected and suspect are not used as they are. Nothing at all for "
        "days is a silent feed.",
        [Query(
            f"sum by (feed, quality) (increase(colluvium_readings_total{R}[1d]))", "{{feed}}: {{quality}}"
        )],
        "short", bars=True, stacked=True, base=BLUE, limits=(0, None),
    ),
    Panel(
        "Doubted readings that wait for a person", "`colluvium readings --suspect` lists them, "
        "`colluvium readings accept` and `colluvium readings reject` decide.",
        [Query(f"colluvium_suspect_readings_open{R}", "{{feed}}")], "short", steps=[(1, YELLOW), (50, RED)],
        limits=(0, None),
    ),
    Panel(
        "Silent series", "Gauges that are days behind the others of their feed. The map fills them from "
        "their neighbours, within range.",
        [Query(f"colluvium_feed_silent_series{R}", "{{feed}}")], "short", steps=[(1, YELLOW), (3, RED)],
        limits=(0, None), empty="no feed has brought a reading yet",
    ),
    Panel(
        "Server not asked any more", "A server that failed again and again is left alone for a while.",
        [Query(f"colluvium_feed_breaker_open{R}", "{{feed}}")], "short", "state-timeline", [(1, ORANGE)],
        words={0: ("asked", GREEN), 1: ("not asked", ORANGE)}, empty="no feed asks a server",
    ),
])  # fmt: skip

_OUT = Row("What leaves the house, and the machine", [
    Panel(
        "Deliveries that wait", "Layers for an exporter that is down; none is lost; they go out in order.",
        [Query(f"colluvium_export_pending{R}", "{{exporter}}")], "short", steps=[(3, YELLOW), (10, RED)],
        limits=(0, None), empty="the region has no exporter",
    ),
    Panel(
        "Deliveries refused for good", "`colluvium outbox list` names them and the reason; "
        "`colluvium outbox retry` sends them again.",
        [Query(f"colluvium_export_parked{R}", "{{exporter}}")], "short", steps=[(1, RED)], limits=(0, None),
        empty="the region has no exporter",
    ),
    Panel(
        "Failed deliveries in an hour", "By exporter; the log has the reason.",
        [Query(f"sum by (exporter) (increase(colluvium_export_errors_total{R}[1h]))", "{{exporter}}")],
        "short", steps=[(1, YELLOW), (5, RED)], limits=(0, None), empty="the region has no exporter",
    ),
    Panel(
        "Free space of the data folder", "A full disk ends the refreshes. See [retention] of the "
        "settings.",
        [
            Query(f"colluvium_disk_free_bytes{R} / colluvium_disk_size_bytes{R}", "free"),
            Query('max(colluvium:threshold{name="disk_free"})', "alert below"),
        ],
        "percentunit", steps=[(0.1, GREEN)], base=RED, limits=(0, 1), colours={"alert below": RED},
    ),
    Panel(
        "Clock of the service against Prometheus", "A wrong clock makes the wrong day's map.",
        [Query(
            f"colluvium_clock_timestamp_seconds{R} - timestamp(colluvium_clock_timestamp_seconds{R})", "ahead"
        )],
        "s", steps=[(-30, GREEN), (30, RED)], base=RED,
    ),
    Panel(
        "Version", "Of the service.", [Query(f"colluvium_build_info{R}", "{{version}}")], "short", "stat",
        base=BLUE, field_shown="name",
    ),
])  # fmt: skip

DASHBOARD = dashboard(
    "colluvium-health",
    "Colluvium: the map's health",
    "Is the map fresh, what does it rest on, and how did the runs end?",
    [_NOW, _MAP, _FEEDS, _OUT],
)
