"""The status screen: one word, and what stands behind it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.status import StatusReport, read_status
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
