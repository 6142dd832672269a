"""Reports from the field: taken in once each, decided on by people, handed to the inventory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rasterio.crs import CRS

from exporters.postgis.reports import EventReport
from service.delivery import fetch_reports
from service.errors import UsageError
from service.ledger import Ledger
from service.proposals import Kind, write_inventory
from tests.fix_region import NOW, Clock
from trainer.inventory import InventorySource, read_inventory

FIRST = EventReport(
    id=1,
    uid="00000000-0000-0000-0000-000000000001",
    reported_at=NOW - timedelta(hours=1),
    observed_on=date(2026, 3, 10),
    lon=11.25,
    lat=44.5,
    kind="landslide",
    accuracy_m=25.0,
    note='road closed, "fresh" scar\nsecond line',
    reporter="field_1",
)


class Table:
    """An exporter whose target takes reports."""

    name = "gis"

    def __init__(self, *reports: EventReport) -> None:
        self.reports = list(reports)
        self.asked: list[int] = []

    def new_reports(self, after: int) -> Sequence[EventReport]:
        """Return those above a number."""
        self.asked.append(after)
        return [report for report in self.reports if report.id > after]


def later(number: int, **changes: object) -> EventReport:
    """Return another report."""
    uid = f"00000000-0000-0000-0000-{number:012d}"
    return replace(FIRST, id=number, uid=uid, **changes)  # type: ignore[arg-type]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", Clock()) as opened:
        yield opened


def test_a_report_comes_in_once_however_often_it_is_fetched(ledger: Ledger) -> None:
    table = Table(FIRST)
    assert fetch_reports(ledger, table) == 1
    assert fetch_reports(ledger, table) == 0
    table.reports.append(later(2))

    assert fetch_reports(ledger, table) == 1

    assert [proposal.uid for proposal in ledger.proposals.all()] == [FIRST.uid, later(2).uid]
    proposal = ledger.proposals.all()[0]
    assert (proposal.observed_on, proposal.lon, proposal.lat) == (date(2026, 3, 10), 11.25, 44.5)
    assert (proposal.note, proposal.reporter, proposal.state) == (FIRST.note, "field_1", "proposed")


def test_what_is_known_is_not_read_again_each_time(ledger: Ledger) -> None:
    table = Table(*(later(number) for number in range(1, 6)))
    fetch_reports(ledger, table)
    table.asked.clear()

    fetch_reports(ledger, table)

    assert table.asked == [4]


def test_after_a_restored_backup_no_new_report_hides_behind_an_old_number(ledger: Ledger) -> None:
    table = Table(*(later(number) for number in range(1, 6)))
    fetch_reports(ledger, table)
    lost = table.reports[2:]
    reused = replace(later(77), id=3)
    table.reports[2:] = [reused]

    assert fetch_reports(ledger, table) == 1

    known = [proposal.uid for proposal in ledger.proposals.all()]
    assert known == [*(later(n).uid for n in (1, 2)), *(report.uid for report in lost), reused.uid]


def test_a_decision_and_its_act_are_kept_together_and_it_may_be_changed(ledger: Ledger) -> None:
    fetch_reports(ledger, Table(FIRST))

    assert ledger.decide(1, "rejected", "A. Rossi", "an old scar").state == "rejected"
    with pytest.raises(UsageError, match="an old scar"):
        ledger.decide(1, "rejected", "B. Neri", "again")
    changed = ledger.decide(1, "accepted", "B. Neri", "new photo")

    assert (changed.state, changed.by, changed.reason) == ("accepted", "B. Neri", "new photo")
    assert [(act.act, act.subject, act.by) for act in ledger.journal()] == [
        ("reject", f"report {FIRST.uid}", "A. Rossi"),
        ("accept", f"report {FIRST.uid}", "B. Neri"),
    ]
    with pytest.raises(UsageError, match="reports list"):
        ledger.decide(99, "accepted", "A. Rossi", "why")


def test_whoever_knows_when_a_reported_landslide_happened_says_it(ledger: Ledger) -> None:
    """The report's day is that of the observation; a scar may be older."""
    seen = FIRST.observed_on
    fetch_reports(ledger, Table(FIRST, later(2), later(3, kind="nothing_seen")))
    with pytest.raises(UsageError, match="was observed on"):
        ledger.decide(1, "accepted", "A. Rossi", "why", day=seen + timedelta(days=1))
    with pytest.raises(UsageError, match="did not happen after"):
        ledger.decide(1, "accepted", "A. Rossi", "why", after=seen)
    with pytest.raises(UsageError, match="of its own day"):
        ledger.decide(3, "accepted", "A. Rossi", "why", day=seen)
    assert ledger.journal() == []
    assert ledger.proposals.all("accepted") == []

    ledger.decide(1, "accepted", "A. Rossi", "the road log", day=seen - timedelta(days=3))
    ledger.decide(
        2, "accepted", "A. Rossi", "whole on a photo", after=later(2).observed_on - timedelta(days=2)
    )
    assert {event.uid: (event.day_from, event.day) for event in ledger.events.all()} == {
        str(FIRST.uid): (seen - timedelta(days=3), seen - timedelta(days=3)),
        str(later(2).uid): (later(2).observed_on - timedelta(days=1), later(2).observed_on),
    }


def exported(ledger: Ledger, kind: Kind, path: Path) -> Path:
    """Write the inventory's file."""
    text = io.StringIO(newline="")
    write_inventory(text, ledger.proposals.all(), kind)
    path.write_text(text.getvalue(), "utf-8", newline="")
    return path


def test_accepted_landslides_are_events_of_the_inventory(ledger: Ledger, tmp_path: Path) -> None:
    vague = later(2, accuracy_m=None, observed_on=date(2026, 3, 9))
    unseen, undecided = later(3, kind="nothing_seen"), later(4)
    fetch_reports(ledger, Table(FIRST, vague, unseen, undecided))
    for number in (1, 2, 3):
        ledger.decide(number, "accepted", "A. Rossi", "photo")

    source = InventorySource(
        path=exported(ledger, "landslide", tmp_path / "a.csv"), accuracy_column="accuracy_m"
    )
    inventory = read_inventory(source, CRS.from_epsg(4326), ZoneInfo("UTC"))

    assert inventory.problems == ()
    assert [(event.id, event.day, event.accuracy_m) for event in inventory.events] == [
        (FIRST.uid, date(2026, 3, 10), 25.0),
        (vague.uid, date(2026, 3, 9), 100.0),
    ]
    assert (inventory.events[0].x, inventory.events[0].y) == pytest.approx((11.25, 44.5))
    visits = exported(ledger, "nothing_seen", tmp_path / "b.csv").read_text()
    assert unseen.uid in visits
    assert FIRST.uid not in visits
