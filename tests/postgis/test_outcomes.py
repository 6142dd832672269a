"""Events and the newest verification in the database: whole, without names, and not verified is null."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporters.base import ExportRefused
from exporters.outcomes import Outcomes
from service.verify import verify
from tests.fix_outcomes import PLACE, WHO, WHY, WORDS, detected, inventory, judged, outcomes, verification
from tests.fix_postgis import Database
from tests.fix_region import ToyRegion
from tests.postgis.fix_published import even, layer_of, migrated, rows, writer
from tests.postgis.test_outbox import deliver, publish_to

DAY = date(2026, 3, 6)


@pytest.fixture(autouse=True)
def _tables(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path, stored=even(120)))


def seen(database: Database) -> dict[str, tuple[Any, ...]]:
    found = rows(
        database.reader_dsn, "SELECT uid, outcome, label, class, level, hindsight FROM event_outcome"
    )
    return {uid: tuple(said) for uid, *said in found}


def test_a_reader_sees_each_event_with_what_the_map_before_it_showed(database: Database) -> None:
    writer(database).deliver_outcomes(outcomes("demo"))

    assert seen(database) == {
        "hit": ("hit", "hit", "very_high", "orange", False),
        "miss": ("miss", "miss", "low", "green", False),
        "undecided": ("undecided", "undecided", None, None, False),
        "unknown": ("unknown", "unknown", None, None, False),
        "new": (None, "not verified", None, None, None),
        "visit": (None, "nothing seen", None, None, None),
    }
    places = rows(database.reader_dsn, "SELECT DISTINCT ST_AsEWKT(geom) FROM event_outcome")
    assert places == [(f"SRID=4326;POINT({PLACE[0]} {PLACE[1]})",)]
    areas = rows(
        database.reader_dsn,
        "SELECT uid, label, ST_GeometryType(outline), ST_SRID(outline) FROM event_area ORDER BY uid",
    )
    assert areas == [
        ("hit", "hit", "ST_MultiPolygon", 4326),
        ("undecided", "undecided", "ST_MultiPolygon", 4326),
    ]
    spans = rows(database.reader_dsn, "SELECT day_from, day FROM event WHERE uid = 'undecided'")
    assert spans == [(date(2026, 3, 1), date(2026, 3, 3))]


def test_the_summary_has_classes_levels_and_the_whole_record(database: Database) -> None:
    writer(database).deliver_outcomes(outcomes("demo"))

    whole = rows(
        database.reader_dsn,
        "SELECT hits, misses, undecided, unknown, hit_rate, chance_hit_rate, record->'curves'->0->>'auc'"
        " FROM verification",
    )
    assert whole == [(1, 1, 1, 1, 0.5, None, "0.78")]
    levels = rows(
        database.reader_dsn,
        "SELECT zone, name, level, false_alarms, false_alarm_ratio, not_looked FROM verification_level"
        " ORDER BY zone, level",
    )
    assert levels == [
        ("", "", "orange", 3, 0.75, 6),
        ("", "", "red", 3, 0.75, 6),
        ("", "", "yellow", 3, 0.75, 6),
        ("west", "West", "yellow", 0, None, 6),
    ]
    classes = rows(
        database.reader_dsn,
        "SELECT class, landslides, frequency_ratio FROM verification_class ORDER BY class",
    )
    assert classes[-1] == ("very_high", 1, 5.0)


def test_curves_the_duration_matrix_and_reliability_are_tables_too(database: Database) -> None:
    writer(database).deliver_outcomes(outcomes("demo"))

    assert rows(database.reader_dsn, "SELECT period, landslides, auc, auc_low FROM verification_curve") == [
        ("all", 2, 0.78, 0.5)
    ]
    matrix = rows(
        database.reader_dsn,
        'SELECT event_class, level, days, criterion FROM verification_duration ORDER BY row, "column"',
    )
    assert len(matrix) == 16
    assert matrix[:2] == [("none", "green", 6.0, "TN"), ("none", "yellow", 1.0, "TN")]
    assert matrix[10] == ("intermediate", "orange", 1.0, "CA")
    rates = rows(
        database.reader_dsn,
        "SELECT low, high, mean_index, landslides_per_km2_year FROM verification_reliability",
    )
    assert rates == [(0.0, 0.2, None, None)]


def test_without_levels_the_duration_matrix_has_no_row(database: Database) -> None:
    record = verification([], region="demo", duration=None)

    writer(database).deliver_outcomes(Outcomes.of([], record))

    assert rows(database.reader_dsn, "SELECT * FROM verification_duration") == []


def test_nobody_is_named_anywhere_in_the_schema(database: Database) -> None:
    writer(database).deliver_outcomes(outcomes("demo"))

    tables = ("event", "event_outcome", "event_area", "verification", "verified_event", "verification_level")
    said = "".join(str(rows(database.dsn, f"SELECT * FROM {table}")) for table in tables)  # noqa: S608
    assert "S2A_MSIL2A_20260303" in said
    assert not any(words in said for words in (WHO, WHY, WORDS))


def test_the_same_again_changes_not_one_row(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_outcomes(outcomes("demo"))
    look = (
        "SELECT 'e', xmin::text, uid FROM event UNION SELECT 'j', xmin::text, uid FROM verified_event"
        " UNION SELECT 'l', xmin::text, zone || level FROM verification_level"
    )
    before = rows(database.dsn, look)

    exporter.deliver_outcomes(outcomes("demo"))

    assert rows(database.dsn, look) == before
    assert len(before) == 6 + 4 + 4


def test_what_was_retracted_leaves_and_what_was_changed_is_replaced(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_outcomes(outcomes("demo"))
    moved = detected("hit", place=(9.02, 45.2), day_from=date(2026, 3, 4), day=date(2026, 3, 5))
    record = verification([judged(moved, "miss")], region="demo")
    numbers = dict(rows(database.dsn, "SELECT uid, id FROM event"))

    exporter.deliver_outcomes(Outcomes.of([moved], record))

    assert seen(database) == {"hit": ("miss", "miss", "low", "green", False)}
    said = rows(database.reader_dsn, "SELECT id, day_from, ST_X(geom) FROM event")
    assert said == [(numbers["hit"], date(2026, 3, 4), 9.02)]
    assert rows(database.reader_dsn, "SELECT uid FROM verified_event") == [("hit",)]


def test_without_a_verification_every_event_is_not_verified(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_outcomes(outcomes("demo"))

    exporter.deliver_outcomes(Outcomes.of(inventory(), None))

    assert rows(database.reader_dsn, "SELECT * FROM verification") == []
    assert {said[0] for said in seen(database).values()} == {None}
    exporter.deliver_outcomes(Outcomes(events=(), verification=None))
    assert seen(database) == {}


def test_a_verification_of_another_region_is_refused_and_nothing_changes(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_outcomes(outcomes("demo"))

    with pytest.raises(ExportRefused, match="the verification is of region toy, not demo"):
        exporter.deliver_outcomes(outcomes("toy"))

    assert len(seen(database)) == 6


@pytest.mark.parametrize("table", ["event", "verification", "verified_event", "verification_level"])
def test_readers_read_and_change_nothing(database: Database, table: str) -> None:
    writer(database).deliver_outcomes(outcomes("demo"))

    assert rows(database.reader_dsn, f"SELECT count(*) > 0 FROM {table}") == [(True,)]  # noqa: S608
    for dsn in (database.reader_dsn, database.field_dsn):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(dsn, f"DELETE FROM {table}")  # noqa: S608


def test_a_regions_events_reach_the_database_and_one_that_lost_them_gets_them_again(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAY)
    slide = detected("slide", place=PLACE, day_from=DAY, day=DAY)
    with toy.ledger() as ledger:
        ledger.events.add(slide)
        ledger.verifications.keep(verify(toy.settings, ledger, toy.clock))
    assert deliver(toy).problem is None
    look = "SELECT uid, outcome FROM toy.event_outcome"
    before = database.execute(look)
    assert [uid for uid, _ in before] == ["slide"]

    database.execute("DELETE FROM toy.event")
    database.execute("DELETE FROM toy.verification")
    toy.clock.now += timedelta(hours=2)

    assert deliver(toy).problem is None
    assert database.execute(look) == before
