"""The bulletin of gauges: what the map rests on and what was rejected, and nothing that may not be shown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from service.bulletin import BULLETIN_DAYS, bulletin_digest, make_bulletin
from service.quality import Quality
from service.reading_values import Doubt, Finding, Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from tests.fix_region import LAST_DAY, NOW, Clock, ToyRegion

DAY = date(2026, 3, 9)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "readings.sqlite", Clock()) as opened:
        opened.add_series("gauges", "rain", [SeriesPosition("a", 11.0, 44.0, 300.0)])
        opened.add_series("gauges", "rain", [SeriesPosition("b", float("nan"), float("nan"))])
        yield opened


def reading(
    value: float, *, series: str = "a", day: date = DAY, reason: str = "", minutes: int = 0
) -> Reading:
    """Return a reading, rejected where it has a reason."""
    quality = Quality.REJECTED if reason else Quality.GOOD
    known_at = NOW + timedelta(minutes=minutes)
    return Reading("gauges", "rain", series, day, value, known_at, quality=quality, reason=reason)


def test_a_day_has_its_newest_good_value_or_else_the_rejected_one_with_the_reason(
    toy: ToyRegion, archive: Archive
) -> None:
    archive.add([reading(5.0), reading(6.0, minutes=1), reading(9_999.0, reason="range", minutes=2)])
    archive.add([reading(-3.0, day=LAST_DAY, reason="range")])

    said = make_bulletin(toy.settings, archive, NOW)

    assert [(item.day, item.value, item.quality, item.reason) for item in said.readings] == [
        (DAY, 6.0, "good", ""),
        (LAST_DAY, -3.0, "rejected", "range"),
    ]
    placed, unplaced = said.series
    assert (placed.lon, placed.lat, placed.elevation_m, placed.unit) == (11.0, 44.0, 300.0, "mm")
    assert (unplaced.lon, unplaced.lat) == (None, None)


def test_a_doubted_reading_is_neither_good_nor_rejected(toy: ToyRegion, archive: Archive) -> None:
    archive.add([reading(234.6)])
    archive.doubt(
        [Doubt(SeriesDay("gauges", "rain", "a", DAY), 234.6, (Finding("step", "why", extreme=True),))], NOW
    )

    (said,) = make_bulletin(toy.settings, archive, NOW).readings

    assert (said.value, said.quality, said.reason) == (234.6, "suspect", "step")


def test_forecasts_and_days_that_are_over_are_left_out(toy: ToyRegion, archive: Archive) -> None:
    first = NOW.date() - timedelta(days=BULLETIN_DAYS - 1)
    archive.add([reading(1.0, day=first - timedelta(days=1)), reading(2.0, day=first)])
    archive.add([Reading("gauges", "rain", "a", LAST_DAY, 3.0, NOW, issued_at=NOW)])

    said = make_bulletin(toy.settings, archive, NOW)

    assert said.since == first
    assert [item.value for item in said.readings] == [2.0]


@pytest.mark.parametrize("closed", ["redistribute = false", "of a feed that the settings no longer name"])
def test_a_feed_that_may_not_be_passed_on_is_left_out_altogether(
    toy: ToyRegion, archive: Archive, closed: str
) -> None:
    archive.add([reading(5.0)])
    text = toy.config.read_text()
    if closed.startswith("redistribute"):
        toy.config.write_text(text.replace('unit = "mm"', f'unit = "mm"\n{closed}'))
    else:
        toy.config.write_text(text.replace('name = "gauges"', 'name = "others"'))

    said = make_bulletin(toy.settings, archive, NOW)

    assert said.series == ()
    assert said.readings == ()


def test_the_same_readings_make_the_same_bulletin_whenever_it_is_made(
    toy: ToyRegion, archive: Archive
) -> None:
    archive.add([reading(5.0)])
    digest = bulletin_digest(make_bulletin(toy.settings, archive, NOW))

    assert bulletin_digest(make_bulletin(toy.settings, archive, NOW + timedelta(hours=1))) == digest
    archive.add([reading(6.0, minutes=1)])
    assert bulletin_digest(make_bulletin(toy.settings, archive, NOW)) != digest
