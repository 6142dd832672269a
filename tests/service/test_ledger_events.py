"""The inventory: what people stand behind, since when, and where somebody looked."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

import pytest
import shapely.geometry

from exporters.postgis.reports import EventReport
from service.errors import UsageError
from service.ledger import Ledger
from service.ledger_events import WIDEST_CITED_DAYS
from service.ledger_schema import MIGRATIONS
from service.sqlite import open_database
from service.stamps import to_stamp
from tests.fix_inventory import SENSED, event, findings, square
from tests.fix_region import NOW, Clock

DAY = date(2023, 5, 16)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", clock) as opened:
        yield opened


def report(number: int = 1, **changes: object) -> EventReport:
    given = {
        "id": number, "uid": f"report-{number}", "reported_at": NOW, "observed_on": DAY, "lon": 11.0,
        "lat": 44.0, "kind": "landslide", "accuracy_m": 25.0, "note": "road closed", "reporter": "field_1",
    }  # fmt: skip
    return EventReport(**(given | changes))  # type: ignore[arg-type]


def receive(ledger: Ledger, *reports: EventReport) -> None:
    with ledger.transaction():
        ledger.proposals.receive("gis", reports)


def test_an_event_comes_back_as_it_was_added_and_the_journal_tells_of_it(ledger: Ledger) -> None:
    ledger.events.add(event(outline=square(11, 44)))

    assert ledger.events.all() == [event(outline=square(11, 44))]
    (act,) = ledger.journal()
    assert (act.act, act.subject, act.by, act.reason) == ("add", "event e", "A. Rossi", "seen on the road")


def test_a_uid_is_in_force_once_and_a_refused_one_leaves_no_trace(ledger: Ledger) -> None:
    ledger.events.add(event())
    with pytest.raises(UsageError, match="event e already"):
        ledger.events.add(event(day=DAY + timedelta(days=1)))
    assert ledger.events.all() == [event()]
    assert len(ledger.journal()) == 1


def test_what_is_retracted_is_gone_and_an_earlier_moment_still_knows_it(ledger: Ledger, clock: Clock) -> None:
    ledger.events.add(event(recorded_at=clock()))
    before = clock()
    clock.now += timedelta(hours=1)

    ledger.events.retract("e", "B. Neri", "an old scar")

    assert ledger.events.all() == []
    assert [item.uid for item in ledger.events.all(as_of=before)] == ["e"]
    assert ledger.events.all(as_of=before - timedelta(seconds=1)) == []
    assert ledger.events.was_retracted("e")
    assert ledger.journal()[-1].reason == "an old scar"
    with pytest.raises(UsageError, match="no event e"):
        ledger.events.retract("e", "B. Neri", "again")


def test_what_was_retracted_may_be_added_again_and_both_times_are_told(ledger: Ledger, clock: Clock) -> None:
    ledger.events.add(event(recorded_at=clock()))
    clock.now += timedelta(hours=1)
    ledger.events.retract("e", "B. Neri", "an old scar")
    between = clock()
    clock.now += timedelta(hours=1)
    ledger.events.add(event(recorded_at=clock(), note="it did move"))

    assert [item.note for item in ledger.events.all()] == ["it did move"]
    assert ledger.events.all(as_of=between) == []
    assert not ledger.events.was_retracted("e")
    told = ledger.events.changes(NOW, clock() + timedelta(seconds=1))
    assert [change.what for change in told] == ["recorded", "retracted", "recorded"]


def test_events_are_chosen_by_kind_source_and_the_days_on_which_they_may_have_happened(
    ledger: Ledger,
) -> None:
    ledger.events.add(event("wide", day_from=DAY - timedelta(days=4)))
    ledger.events.add(event("visit", kind="nothing_seen", source="reported"))

    def uids(**chosen: object) -> list[str]:
        return [item.uid for item in ledger.events.all(**chosen)]  # type: ignore[arg-type]

    assert uids(kind="landslide") == ["wide"]
    assert uids(source="reported") == ["visit"]
    assert uids(until=DAY - timedelta(days=2)) == ["wide"]
    assert uids(since=DAY + timedelta(days=1)) == []
    assert ledger.events.counts() == {("added", "landslide"): 1, ("reported", "nothing_seen"): 1}


def test_events_that_come_together_are_taken_all_or_none(ledger: Ledger) -> None:
    ledger.events.add(event("known"))
    with pytest.raises(UsageError):
        ledger.events.add_all([event("new"), event("known")], "A. Rossi", "survey", "old.csv")
    assert [item.uid for item in ledger.events.all()] == ["known"]

    ledger.events.add_all([event("new"), event("newer")], "A. Rossi", "survey", "old.csv")
    assert ledger.journal()[-1].subject == "2 events from old.csv"


def test_an_accepted_report_is_an_event_and_a_changed_decision_retracts_it(
    ledger: Ledger, clock: Clock
) -> None:
    receive(ledger, report(accuracy_m=None))
    assert ledger.events.all() == []

    ledger.decide(1, "accepted", "A. Rossi", "photo")
    (found,) = ledger.events.all()
    assert (found.uid, found.source, found.day, found.is_dated) == ("report-1", "reported", DAY, True)
    assert (found.by, found.reason, found.note, found.accuracy_m) == (
        "A. Rossi",
        "photo",
        "road closed",
        100.0,
    )
    accepted = clock()

    clock.now += timedelta(days=1)
    ledger.decide(1, "rejected", "B. Neri", "an old scar")
    assert ledger.events.all() == []
    assert len(ledger.events.all(as_of=accepted)) == 1

    ledger.decide(1, "accepted", "B. Neri", "it moved after all")
    assert [item.reason for item in ledger.events.all()] == ["it moved after all"]


def test_an_event_that_rests_on_a_decision_is_retracted_by_changing_that_one(ledger: Ledger) -> None:
    receive(ledger, report())
    ledger.decide(1, "accepted", "A. Rossi", "photo")
    ledger.detections.receive(findings(outlines=1))
    ledger.detections.decide(1, "accepted", "A. Rossi", "picture")

    with pytest.raises(UsageError, match="colluvium reports reject 1"):
        ledger.events.retract("report-1", "A. Rossi", "no")
    with pytest.raises(UsageError, match="colluvium detections reject 1"):
        ledger.events.retract("a-0", "A. Rossi", "no")
    assert len(ledger.events.all()) == 2


def test_reports_accepted_by_an_earlier_version_are_events_after_the_upgrade(
    tmp_path: Path, clock: Clock
) -> None:
    path = tmp_path / "ledger.sqlite"
    open_database(path, MIGRATIONS[:4], "ledger").close()
    columns = (
        "uid, exporter, number, reported_at, received_at, observed_on, lon, lat, kind, accuracy_m, note,"
        " reporter, state, decided_at, by_whom, reason"
    )
    rows = [
        ("u-1", 11.123456789, None, "accepted", to_stamp(NOW)),
        ("u-2", 11.5, 25.0, "proposed", None),
        ("u-3", 11.5, 25.0, "rejected", to_stamp(NOW)),
    ]
    with closing(sqlite3.connect(path)) as old, old:
        for number, (uid, lon, accuracy, state, decided) in enumerate(rows):
            old.execute(
                f"INSERT INTO proposal ({columns}) VALUES (?, 'gis', ?, '', '', '2023-05-16', ?, 44.0,"  # noqa: S608
                " 'landslide', ?, 'a \"note\"', 'field_1', ?, ?, 'A. Rossi', 'photo')",
                (uid, number, lon, accuracy, state, decided),
            )
    with Ledger(path, clock) as ledger:
        (found,) = ledger.events.all()
        assert (found.uid, found.source, found.day, found.lon) == ("u-1", "reported", DAY, 11.123456789)
        assert (found.accuracy_m, found.note, found.recorded_at) == (100.0, 'a "note"', NOW)
        assert ledger.events.all(as_of=NOW - timedelta(seconds=1)) == []


def test_a_visit_on_which_nothing_was_seen_is_a_look_at_its_surroundings(ledger: Ledger) -> None:
    receive(ledger, report(kind="nothing_seen", accuracy_m=200.0))
    assert ledger.events.looks() == []
    ledger.decide(1, "accepted", "A. Rossi", "he was there")

    (look,) = ledger.events.looks()
    assert (look.uid, look.day_from, look.day, look.by) == ("report-1", DAY, DAY, "A. Rossi")
    area = shapely.geometry.shape(look.area)
    assert area.contains(shapely.Point(11.0 + 190 / 80_100, 44.0))  # a degree of longitude is 80.2 km there
    assert not area.contains(shapely.Point(11.0, 44.0 + 210 / 111_100))
    assert ledger.events.looks(since=DAY + timedelta(days=1)) == []


def test_a_survey_with_an_outline_looked_at_no_more_than_that(ledger: Ledger) -> None:
    """Its accuracy reaches to the farthest corner: the circle holds much that nobody saw."""
    road = {
        "type": "Polygon",
        "coordinates": [[[11, 44], [11.1, 44], [11.1, 44.001], [11, 44.001], [11, 44]]],
    }
    ledger.events.add(event("v", kind="nothing_seen", outline=road, lon=11.05, accuracy_m=4_100.0))
    (look,) = ledger.events.looks()
    assert shapely.geometry.shape(look.area).area == pytest.approx(0.0001)


def test_only_a_closed_scene_is_a_look_and_reopening_ends_it(ledger: Ledger, clock: Clock) -> None:
    ledger.detections.receive(findings(outlines=0))
    assert ledger.events.looks() == []
    before = clock()
    clock.now += timedelta(hours=1)

    ledger.detections.close(1, "A. Rossi", "all of it read")
    (look,) = ledger.events.looks()
    assert (look.source, look.day_from, look.day) == ("detected", SENSED - timedelta(days=4), SENSED)
    assert ledger.events.looks(as_of=before) == []

    ledger.detections.reopen(1, "A. Rossi", "a valley missed")
    assert ledger.events.looks() == []


def test_ground_that_was_not_clear_before_tells_of_the_scenes_own_day_alone(ledger: Ledger) -> None:
    west, both = square(11.0, 44.0, 0.1), square(11.0, 44.0, 0.2)
    ledger.detections.receive(findings("before", 0, sensed_on=DAY, after=None, seen=west))
    ledger.detections.receive(findings("a", 0, after=DAY, seen=both))
    ledger.detections.close(2, "A. Rossi", "all of it read")

    known, new = ledger.events.looks()
    assert (known.day_from, known.day) == (DAY + timedelta(days=1), SENSED)
    assert shapely.geometry.shape(known.area).area == pytest.approx(0.01, rel=1e-6)
    assert (new.day_from, new.day) == (SENSED, SENSED)
    assert shapely.geometry.shape(new.area).area == pytest.approx(0.03, rel=1e-6)


def test_the_days_cited_are_those_that_maps_can_be_held_against(ledger: Ledger) -> None:
    ledger.events.add(event("dated"))
    ledger.events.add(event("some", day_from=DAY + timedelta(days=9), day=DAY + timedelta(days=11)))
    late = DAY + timedelta(days=300)
    ledger.events.add(event("years", day_from=late - timedelta(days=WIDEST_CITED_DAYS + 1), day=late))

    assert ledger.events.days() == {DAY, *(DAY + timedelta(days=n) for n in (9, 10, 11)), late}
    ledger.events.retract("dated", "A. Rossi", "no")
    assert DAY not in ledger.events.days()
