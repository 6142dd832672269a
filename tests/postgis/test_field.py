"""Reports from the field: what the server stamps, what it refuses, and that none is passed over."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from exporters.base import ExportUnavailable
from exporters.postgis import ConnectionSettings, PostgisExporter
from tests.fix_postgis import Database
from tests.postgis.fix_published import even, layer_of, migrated, rows, writer

POINT = "SRID=4326;POINT(9.5 44.25)"


@pytest.fixture(autouse=True)
def _tables(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path, stored=even(120)))


def report(database: Database, **columns: Any) -> None:
    """Send a report as QField does: the columns of the form."""
    said = {"kind": "landslide", "geom": POINT, **columns}
    names, places = ", ".join(said), ", ".join(["%s"] * len(said))
    statement = f"INSERT INTO event_report ({names}) VALUES ({places})"  # noqa: S608
    rows(database.field_dsn, statement, *said.values())


def test_a_report_comes_back_as_it_was_sent(database: Database) -> None:
    uid = uuid4()
    report(database, uid=uid, observed_on=date(2026, 3, 1), accuracy_m=8.5, note="road cut")
    before = datetime.now(UTC)

    (found,) = writer(database).new_reports(0)

    assert (found.uid, found.observed_on, found.lon, found.lat) == (str(uid), date(2026, 3, 1), 9.5, 44.25)
    assert (found.kind, found.accuracy_m, found.note) == ("landslide", 8.5, "road cut")
    assert found.reporter == "colluvium_test_field"
    assert before - timedelta(minutes=5) < found.reported_at <= before + timedelta(minutes=5)


def test_a_bare_report_needs_only_kind_and_place(database: Database) -> None:
    report(database, kind="nothing_seen")

    (found,) = writer(database).new_reports(0)

    assert UUID(found.uid)
    assert (found.kind, found.accuracy_m, found.note) == ("nothing_seen", None, "")


def test_only_reports_after_the_last_one_seen_come(database: Database) -> None:
    for note in ("one", "two", "three"):
        report(database, note=note)
    first, *_ = writer(database).new_reports(0)

    assert [found.note for found in writer(database).new_reports(first.id)] == ["two", "three"]
    assert writer(database).new_reports(first.id + 2) == []


def test_number_time_and_reporter_are_the_servers(database: Database) -> None:
    report(database, id=99, reporter="somebody else", reported_at=datetime(2000, 1, 1, tzinfo=UTC))

    (found,) = writer(database).new_reports(0)

    assert found.id == 1
    assert found.reporter == "colluvium_test_field"
    assert found.reported_at.year > 2000


def test_a_sequence_of_the_senders_own_does_not_number_the_reports(database: Database) -> None:
    with psycopg.connect(database.field_dsn, autocommit=True) as session:
        session.execute("CREATE TEMPORARY SEQUENCE event_report_id START 1000000")
        session.execute("GRANT ALL ON SEQUENCE event_report_id TO PUBLIC")
        session.execute(
            "INSERT INTO demo.event_report (kind, geom) VALUES ('landslide', %s::public.geometry)", [POINT]
        )

    assert [found.id for found in writer(database).new_reports(0)] == [1]


def test_a_report_that_cannot_be_is_refused(database: Database) -> None:
    wrong: list[dict[str, Any]] = [
        {"kind": "flood"},
        {"geom": "SRID=4326;POINT(190 44)"},
        {"geom": "SRID=4326;POINT(9 NaN)"},
        {"geom": "SRID=4326;POINT EMPTY"},
        {"geom": None},
        {"accuracy_m": -1},
        {"note": "x" * 4_001},
        {"observed_on": date(2999, 1, 1)},
        {"observed_on": date(1066, 10, 14)},
    ]
    for changes in wrong:
        with pytest.raises(psycopg.IntegrityError):
            report(database, **changes)

    assert writer(database).new_reports(0) == []


def test_a_report_still_being_written_is_waited_for_not_passed_over(database: Database) -> None:
    exporter = PostgisExporter(
        "desk", "demo", "demo", ConnectionSettings(database.writer_dsn, lock_timeout_s=1)
    )
    with psycopg.connect(database.field_dsn) as slow:
        slow.execute(
            "INSERT INTO demo.event_report (kind, geom) VALUES ('landslide', %s::public.geometry)", [POINT]
        )
        report(database, note="later, committed first")
        with pytest.raises(ExportUnavailable, match=r"lock.*Another session kept a lock for 1 s"):
            exporter.new_reports(0)
        slow.commit()

    assert [found.id for found in exporter.new_reports(0)] == [1, 2]
