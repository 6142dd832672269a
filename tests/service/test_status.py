"""The status screen: one word, and what stands behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from exporters.layer import Layer, ZoneWarning
from service.errors import Outcome
from service.feeds.http_breaker import Breaker
from service.figures import read_figures
from service.reading_values import Doubt, Finding, SeriesDay, SeriesPosition
from service.readings import Archive
from service.status import StatusReport, read_status
from service.workshop import archive_path
from tests.fix_forecast import add_forecast_feed, refresh_leads
from tests.fix_region import LAST_DAY, ToyRegion

NEWEST = LAST_DAY + timedelta(days=1)


def status(toy: ToyRegion) -> StatusReport:
    return read_status(toy.settings, toy.clock())


def test_an_empty_region_has_no_map_and_looking_makes_no_file(toy: ToyRegion) -> None:
    toy.data.rename(toy.folder / "away")

    report = status(toy)

    assert report.verdict == "NO MAP"
    assert "colluvium check" in report.to_text()
    assert report.to_json()["feeds"][0]["late_days"] is None
    assert not toy.data.exists()


def test_the_map_is_fresh_until_the_day_turns_in_the_regions_time_zone(toy: ToyRegion) -> None:
    toy.refresh()
    assert status(toy).verdict == "FRESH"

    toy.clock.now = toy.clock.now.replace(hour=22, minute=30)
    assert status(toy).verdict == "FRESH"
    toy.config.write_text(toy.config.read_text().replace('"UTC"', '"Asia/Kolkata"'))

    report = status(toy)
    assert report.verdict == "STALE"
    assert report.behind_days == 1
    assert "1 days behind" in report.to_text()


def test_a_hold_comes_before_everything_and_says_who(toy: ToyRegion) -> None:
    toy.refresh()
    with toy.ledger() as ledger:
        ledger.write_act("hold", "toy", "A. Rossi", "repair")

    report = status(toy)

    assert report.verdict == "HELD"
    assert "A. Rossi" in report.to_text()


def test_a_degraded_map_of_today_is_not_called_fresh(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text().replace("max_distance_km = 5", "max_distance_km = 0.9"))
    toy.refresh(NEWEST)

    assert status(toy).verdict == "DEGRADED"


@pytest.mark.parametrize(("days", "late"), [(0, 0), (1, 1), (4, 4)])
def test_a_feed_is_late_by_the_whole_days_that_its_latency_promised(
    toy: ToyRegion, days: int, late: int
) -> None:
    toy.clock.now += timedelta(days=days)

    (feed,) = status(toy).feeds

    assert feed.newest_day == LAST_DAY
    assert feed.late_days == late


def test_a_replay_is_not_the_last_run(toy: ToyRegion) -> None:
    toy.refresh()
    toy.refresh(NEWEST, as_of=toy.clock())

    last = status(toy).last_run

    assert last is not None
    assert last.kind == "refresh"


def test_a_held_forecast_is_told_by_its_lead_and_not_as_the_last_run_of_the_map(toy: ToyRegion) -> None:
    add_forecast_feed(toy)
    toy.refresh()
    refresh_leads(toy, 1, 3)

    report = status(toy)

    assert report.last_run is not None
    assert report.last_run.outcome == Outcome.PUBLISHED
    assert [(run.lead, run.day) for run in report.forecast_runs] == [
        (1, NEWEST + timedelta(days=1)),
        (3, NEWEST + timedelta(days=3)),
    ]
    assert f"forecast of {NEWEST + timedelta(days=3)}, lead 3: last run" in report.to_text()
    assert [run["outcome"] for run in report.to_json()["forecast_runs"]] == ["held", "held"]


def test_an_unconfirmed_map_says_so_on_the_screen(toy: ToyRegion) -> None:
    toy.refresh()
    report = status(toy)
    assert report.latest is not None
    doubtful = replace(report, latest=report.latest.model_copy(update={"unconfirmed": True}))
    assert "complete, unconfirmed" in doubtful.to_text()
    assert doubtful.to_json()["unconfirmed"] is True
    assert "unconfirmed" not in report.to_text()


def test_a_feed_at_fault_is_named_with_its_last_problem_in_plain_words(toy: ToyRegion) -> None:
    gauges = toy.folder / "rain.csv"
    gauges.rename(toy.folder / "away.csv")
    toy.clock.now += timedelta(hours=1)
    toy.ingest()
    folder = toy.data / "feeds" / "gauges"
    Breaker(folder, 1, timedelta(minutes=30), toy.clock).failed("timeout")

    report = status(toy)

    (feed,) = report.feeds
    assert feed.failing
    text = report.to_text()
    assert "feed gauges FAILED at its last attempt" in text
    assert "no such file or folder" in text
    assert "its server is not asked until" in text
    (values,) = report.to_json()["feeds"]
    assert values["problem"]["reason"] == "missing"
    assert values["not_asked_until"].startswith(f"{toy.clock() + timedelta(minutes=30):%Y-%m-%dT%H:%M}")

    (toy.folder / "away.csv").rename(gauges)
    toy.clock.now += timedelta(hours=1)
    toy.ingest()
    (feed,) = status(toy).feeds
    assert (feed.failing, feed.problem, feed.not_asked_until) == (False, None, None)
    assert "FAILED" not in status(toy).to_text()


def test_doubted_readings_and_silent_series_stand_beside_their_feed(toy: ToyRegion) -> None:
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        day = archive.newest_day("rain")
        assert day is not None
        value = archive.history("gauges", "rain", "north", day)[-1].value
        at = SeriesDay("gauges", "rain", "north", day)
        doubt = Doubt(at, value, (Finding("step", "too much at once", extreme=True),), toy.clock(), False)
        archive.doubt([doubt], toy.clock())
        archive.add_series("gauges", "rain", [SeriesPosition("mute", 11.0, 44.0)], toy.clock())

    report = status(toy)

    (feed,) = report.feeds
    assert (feed.suspects, feed.silent) == (1, ("mute",))
    assert "1 doubted, see 'colluvium readings --suspect'" in report.to_text()
    assert "silent for 3 days or longer: mute" in report.to_text()
    (figures,) = read_figures(toy.settings, toy.clock).feeds
    assert (dict(figures.suspects), figures.suspects_open, figures.silent) == ({"step": 1}, 1, 1)


# --- when, how high, on what ---


def leveled(layer: Layer, **levels: int | None) -> Layer:
    """Give a layer whose model may warn levels by zone."""
    warnings = tuple(
        ZoneWarning(
            zone=zone, name=zone.title(), level=level, previous=0, rule=f"the rule of {zone}", numbers={},
            decided_at=layer.issued_at,
        )
        for zone, level in levels.items()
    )  # fmt: skip
    model = layer.model.model_copy(update={"may_warn": True})
    return layer.model_copy(update={"warnings": warnings, "model": model})


def test_the_screen_says_when_the_next_map_is_due_and_when_it_is_overdue(toy: ToyRegion) -> None:
    toy.refresh()
    assert "next map due by 2026-03-12 09:00 UTC" in status(toy).to_text()

    toy.clock.now = toy.clock.now.replace(day=12, hour=8)
    assert not status(toy).to_json()["overdue"]
    toy.clock.now = toy.clock.now.replace(hour=9)

    assert status(toy).to_json()["overdue"]
    assert "OVERDUE: the next map was due by 2026-03-12 09:00 UTC" in status(toy).to_text()


def test_levels_stand_highest_first_with_their_rule_and_unknown_is_not_counted_as_green(
    toy: ToyRegion,
) -> None:
    toy.refresh()
    report = status(toy)
    assert report.latest is not None
    assert "none: this model may not warn" in report.to_text()

    report = replace(report, latest=leveled(report.latest, west=1, east=3, north=None, south=0))

    text = report.to_text()
    assert "levels of 2026-03-11: 2 of 4 zones above green, 1 NOT KNOWN" in text
    assert text.index("RED East (east): the rule of east") < text.index("YELLOW West (west)")
    assert [item["level"] for item in report.to_json()["warnings"]] == [1, 3, None, 0]
    old = replace(report, today=report.today + timedelta(days=2))
    assert "levels of 2026-03-11 (of an old map)" in old.to_text()


def test_a_drill_is_on_the_screen_while_it_runs(toy: ToyRegion) -> None:
    toy.refresh()
    with toy.ledger() as ledger, ledger.transaction():
        ledger.drills.start("west", 3, toy.clock() + timedelta(minutes=20), "A. Rossi", "monthly")

    report = status(toy)
    assert (
        "EXERCISE: zone west plays red until 2026-03-11 06:20 UTC (by A. Rossi: monthly)" in report.to_text()
    )
    assert [drill["label"] for drill in report.to_json()["drills"]] == ["red"]

    toy.clock.now += timedelta(minutes=21)
    assert "EXERCISE" not in status(toy).to_text()


def test_the_screen_says_what_computes_and_why_nothing_would(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "computes on cpu (CPUExecutionProvider)" in status(toy).to_text()

    monkeypatch.setenv("COLLUVIUM_INFERENCE__DEVICE", "gpu")

    assert 'computes on nothing: inference.device = "gpu"' in status(toy).to_text()
