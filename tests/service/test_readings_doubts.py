"""Promises about doubted readings: they stay out until a person decides, and nothing is edited."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from service.errors import UsageError
from service.quality import Quality
from service.reading_values import Doubt, Finding, ForecastIssue, Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from service.readings_schema import MIGRATIONS

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
DAY = date(2026, 3, 5)
AT = SeriesDay("gauges", "rain", "A", DAY)
STEP = Finding("step", "234.6 mm after 3 mm", extreme=True)
FLAT = Finding("flat_line", "9 days the same", extreme=False)
WHO = ("A. Rossi", "the radar agrees")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as opened:
        places = [SeriesPosition("A", 11.0, 44.0), SeriesPosition("B", 11.5, 44.0)]
        opened.add_series("gauges", "rain", places, NOW - timedelta(days=100))
        yield opened


def say(archive: Archive, *values: float, day: date = DAY) -> None:
    """Deliver values one after the other, an hour apart."""
    for hour, value in enumerate(values):
        archive.add([Reading("gauges", "rain", "A", day, value)], hours(hour))


def hours(count: float) -> datetime:
    return NOW + timedelta(hours=count)


def doubt(archive: Archive, value: float, *findings: Finding, known_at: datetime | None = None) -> int:
    return archive.doubt([Doubt(AT, value, findings or (STEP,), known_at)], NOW)


def shown(archive: Archive, as_of: datetime | None = None, *, trusting: bool = False) -> float | None:
    """The value of the day; with `trusting`, its suspects are taken as good."""
    value = archive.values("rain", [DAY], as_of, suspects=[AT] if trusting else ()).value[0, 0]
    return None if np.isnan(value) else round(float(value), 3)


def test_a_doubted_first_value_leaves_nothing_and_is_there_for_who_asks_with_suspects(
    archive: Archive,
) -> None:
    say(archive, 234.6)
    assert doubt(archive, 234.6) == 1
    assert shown(archive) is None
    assert shown(archive, trusting=True) == 234.6
    assert archive.newest_day("rain") is None
    assert archive.latest_readings("rain", DAY)[0].quality is Quality.SUSPECT


def test_a_doubted_correction_leaves_the_value_before_it(archive: Archive) -> None:
    say(archive, 3.0, 234.6)
    doubt(archive, 234.6)
    assert (shown(archive), shown(archive, trusting=True)) == (3.0, 234.6)


def test_a_doubt_leaves_another_value_alone(archive: Archive) -> None:
    say(archive, 234.6, 3.0)
    doubt(archive, 234.6)
    assert shown(archive) == 3.0
    assert archive.suspects() == []  # the feed has corrected itself: nobody need decide
    assert len(archive.suspects(open_only=False)) == 1


def test_a_doubt_is_known_with_its_evidence_and_not_before(archive: Archive) -> None:
    say(archive, 5.0)
    doubt(archive, 5.0, FLAT, known_at=hours(48))
    assert shown(archive, hours(47)) == 5.0
    assert shown(archive, hours(48)) is None
    assert archive.suspects(as_of=hours(47)) == []
    assert [item.at for item in archive.suspects(as_of=hours(48))] == [AT]


def test_a_value_that_came_through_float32_is_still_recognised(archive: Archive) -> None:
    say(archive, 234.6)
    doubt(archive, float(np.float32(234.6)))
    assert shown(archive) is None
    with pytest.raises(ValueError, match="no reading 7 to doubt"):
        doubt(archive, 7.0)


def test_what_several_checks_say_is_one_suspect_and_extreme_only_if_all_are(archive: Archive) -> None:
    say(archive, 234.6)
    assert [doubt(archive, 234.6, STEP), doubt(archive, 234.6, STEP), doubt(archive, 234.6, STEP, FLAT)] == [
        1,
        0,
        1,
    ]
    (suspect,) = archive.suspects()
    assert [finding.check for finding in suspect.findings] == ["step", "flat_line"]
    assert not suspect.extreme
    assert archive.suspect_counts() == {("gauges", "step"): 1, ("gauges", "flat_line"): 1}
    assert archive.open_suspects() == {"gauges": 1}


def test_suspects_are_found_by_variable_feed_and_day(archive: Archive) -> None:
    say(archive, 234.6)
    doubt(archive, 234.6)
    (found,) = archive.suspects("rain", DAY, DAY, "gauges")
    assert found.extreme
    for nothing in (
        archive.suspects("level"),
        archive.suspects(feed="other"),
        archive.suspects(since=DAY + timedelta(days=1)),
        archive.suspects(until=DAY - timedelta(days=1)),
    ):
        assert nothing == []


def test_an_accepted_value_stands_from_then_on_and_is_never_doubted_again(archive: Archive) -> None:
    say(archive, 234.6)
    doubt(archive, 234.6)
    (suspect,) = archive.suspects()

    accepted = archive.accept(suspect.number, *WHO, hours(5))

    assert (accepted.decided, accepted.by, accepted.why) == ("accepted", *WHO)
    assert (shown(archive, hours(4)), shown(archive)) == (None, 234.6)
    assert doubt(archive, 234.6, FLAT) == 0
    assert archive.suspects() == []
    assert archive.open_suspects() == {}
    assert [row.quality.value for row in archive.history(*AT)] == ["good", "suspect", "good"]


def test_a_rejected_value_stays_rejected_however_often_it_is_delivered(archive: Archive) -> None:
    say(archive, 3.0, 234.6)
    doubt(archive, 234.6)
    archive.reject(archive.suspects()[0].number, "B. Neri", "a bird", hours(5))
    for hour, value in enumerate([3.0, 234.6, 3.0, 234.6]):
        archive.add([Reading("gauges", "rain", "A", DAY, value)], hours(6 + hour))
    assert shown(archive) == shown(archive, trusting=True) == 3.0


def test_a_good_reading_can_be_rejected_and_that_be_taken_back(archive: Archive) -> None:
    say(archive, 3.0)
    row = archive.reject_reading(AT, "B. Neri", "under repair", hours(1))
    assert shown(archive) is None
    archive.accept(row, *WHO, hours(2))
    assert shown(archive) == 3.0
    assert (shown(archive, hours(1)), shown(archive, hours(0))) == (None, 3.0)


def test_decisions_that_cannot_be_are_refused_with_what_to_do(archive: Archive) -> None:
    with pytest.raises(UsageError, match=r"no suspect reading 17; list them .*--suspect"):
        archive.accept(17, *WHO, NOW)
    with pytest.raises(UsageError, match="no good reading of gauges/A"):
        archive.reject_reading(AT, *WHO, NOW)
    say(archive, 234.6)
    doubt(archive, 234.6)
    (suspect,) = archive.suspects()
    with pytest.raises(UsageError, match="--by"):
        archive.accept(suspect.number, " ", "why", NOW)
    archive.reject(suspect.number, *WHO, NOW)
    with pytest.raises(
        UsageError, match=r"was rejected already, by A. Rossi on 2026-03-10: the radar agrees; .*accept \d"
    ):
        archive.accept(suspect.number, *WHO, NOW)


def test_no_one_can_edit_a_doubt_or_a_decision(archive: Archive) -> None:
    say(archive, 234.6)
    doubt(archive, 234.6)
    archive.accept(archive.suspects()[0].number, *WHO, NOW)
    with sqlite3.connect(archive.path) as raw:
        for statement in (
            "UPDATE suspicion SET detail = ''",
            "DELETE FROM suspicion",
            "DELETE FROM decision",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                raw.execute(statement)
    raw.close()


def test_what_the_checks_have_seen_is_remembered_and_what_is_fresh_is_named(archive: Archive) -> None:
    assert (archive.judged_row(), archive.newest_row(), archive.fresh("rain", 0)) == (0, 0, None)
    say(archive, 3.0)
    archive.set_judged_row(archive.newest_row())
    say(archive, 4.0, day=DAY + timedelta(days=2))
    archive.add([Reading("gauges", "rain", "B", DAY, 1.0)], hours(3))
    fresh = archive.fresh("rain", archive.judged_row())
    assert fresh is not None
    assert fresh.days == (DAY, DAY + timedelta(days=2))
    assert fresh.series == (("gauges", "A"), ("gauges", "B"))
    assert (fresh.first, fresh.last, fresh.row) == (*fresh.days, archive.newest_row())
    assert archive.fresh("level", 0) is None
    assert archive.fresh("rain", archive.newest_row()) is None


def test_an_operating_range_is_of_the_series_and_no_move(archive: Archive) -> None:
    for known, lowest, highest in ((0, 700.0, None), (24, None, 732.5), (48, None, None)):
        place = SeriesPosition("D", 76.0, 9.8, None, lowest, highest)
        archive.add_series("dams", "level", [place], hours(known))
    (series,) = archive.series("level")
    assert (series.lowest, series.highest) == (700.0, 732.5)
    assert archive.series("level", hours(1))[0].highest is None
    assert len(archive.values("level", [DAY]).series) == 1


def test_issues_and_members_of_a_forecast_are_apart(archive: Archive) -> None:
    archive.add_series("outlook", "rain", [SeriesPosition("p1", 11.0, 44.0)], NOW)
    ahead = [DAY + timedelta(days=n) for n in range(3)]
    for issued, members in ((0, (None,)), (24, (0, 1))):
        archive.add(
            Reading("outlook", "rain", "p1", day, issued + (member or 0) + lead, None, hours(issued), member)
            for member in members
            for lead, day in enumerate(ahead)
        )
    newest, oldest = archive.issues("rain")
    assert (newest.issued_at, newest.members, newest.first, newest.last) == (
        hours(24),
        (0, 1),
        DAY,
        ahead[-1],
    )
    assert (oldest.members, oldest.known_at) == ((None,), NOW)
    assert archive.issues("rain", since=hours(1)) == [newest]
    assert archive.issues("rain", as_of=NOW - timedelta(hours=1)) == []
    said = archive.forecast_values("rain", ahead, ForecastIssue("outlook", newest.issued_at, DAY, 1))
    assert said.value[:, 0].tolist() == [25.0, 26.0, 27.0]
    of_another_feed = archive.forecast_values("rain", ahead, ForecastIssue("gauges", hours(24), DAY, 1))
    assert np.isnan(of_another_feed.value).all()
    assert [series.feed for series in archive.values("rain", ahead).series] == ["gauges", "gauges"]


def test_an_archive_of_the_schema_before_shows_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as raw:
        raw.executescript(MIGRATIONS[0])
        raw.execute("PRAGMA user_version = 1")
        raw.execute("INSERT INTO series VALUES (1, 'gauges', 'rain', 'A', '2026-01-01T00:00:00.000000Z')")
        raw.execute("INSERT INTO position VALUES (1, 1, '2026-01-01T00:00:00.000000Z', 11.0, 44.0, NULL)")
        row = "INSERT INTO reading VALUES (NULL, 1, '2026-03-05', ?, ?, ?, NULL, '', ?, '', 0)"
        raw.execute(row, (3.0, "2026-03-06T00:00:00.000000Z", None, "good"))
        raw.execute(row, (4.0, "2026-03-07T00:00:00.000000Z", None, "good"))
        raw.execute(row, (9999.0, "2026-03-08T00:00:00.000000Z", None, "rejected"))
        raw.execute(row, (7.0, "2026-03-04T00:00:00.000000Z", "2026-03-04T00:00:00.000000Z", "good"))
    raw.close()
    with Archive(path, lambda: NOW) as archive:
        assert shown(archive) == 4.0
        assert shown(archive, datetime(2026, 3, 6, 12, tzinfo=UTC)) == 3.0
        assert (archive.first_day(), archive.newest_day("rain")) == (DAY, DAY)
        assert [(item.issued_at, item.members) for item in archive.issues("rain")] == [
            (datetime(2026, 3, 4, tzinfo=UTC), (None,))
        ]
        assert len(archive.history(*AT)) == 4
