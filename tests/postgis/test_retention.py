from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporters.layer import Layer
from tests.fix_postgis import Database
from tests.postgis.fix_published import DAY, even, layer_of, migrated, rows, writer


@pytest.fixture
def days(database: Database, tmp_path: Path) -> list[Layer]:
    """Six days on disk; the tables are there."""
    layers = [layer_of(tmp_path, DAY + timedelta(days=n), stored=even(40 + n)) for n in range(6)]
    migrated(database, layers[0])
    return layers


def days_in(database: Database, table: str) -> list[date]:
    found = rows(database.reader_dsn, f"SELECT DISTINCT day FROM {table} ORDER BY day")  # noqa: S608
    return [day for (day,) in found]


def deliver(database: Database, layers: list[Layer], **limits: Any) -> None:
    exporter = writer(database, **limits)
    for layer in layers:
        exporter.deliver(layer)


def test_each_table_keeps_its_own_number_of_days(database: Database, days: list[Layer]) -> None:
    deliver(database, days, history_days=2, hotspot_days=3, area_days=4)

    last = [layer.day for layer in days]
    assert days_in(database, "susceptibility") == last[-2:]
    assert days_in(database, "hotspot") == last[-3:]
    assert days_in(database, "zone_class_area") == last[-4:]
    assert days_in(database, "layer") == last
    in_history = rows(database.reader_dsn, "SELECT day FROM layer WHERE in_history ORDER BY day")
    assert [day for (day,) in in_history] == last[-2:]


def test_areas_are_kept_for_ever_unless_told_otherwise(database: Database, days: list[Layer]) -> None:
    deliver(database, days, history_days=1, hotspot_days=1)

    assert days_in(database, "zone_class_area") == [layer.day for layer in days]


def test_a_backfilled_day_that_is_too_old_gets_no_tiles(database: Database, days: list[Layer]) -> None:
    deliver(database, days[3:], history_days=3)

    deliver(database, [days[2], days[0]], history_days=3)

    assert days_in(database, "susceptibility") == [layer.day for layer in days[3:]]
    assert days_in(database, "zone_class_area") == [layer.day for layer in (days[0], *days[2:])]


def test_a_feed_that_stops_does_not_empty_the_history(database: Database, days: list[Layer]) -> None:
    # Days count from the newest map, not from the clock: nothing here is younger than years.
    deliver(database, days, history_days=30)

    assert days_in(database, "susceptibility") == [layer.day for layer in days]


def test_a_backlog_ends_as_if_it_had_come_day_by_day(database: Database, days: list[Layer]) -> None:
    deliver(database, [days[0], days[1]], history_days=2)

    deliver(database, days, history_days=2)  # several days later, all at once, the first two again

    assert days_in(database, "susceptibility") == [layer.day for layer in days[-2:]]
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == [(days[-1].id,)]
    assert rows(database.reader_dsn, "SELECT count(*), count(DISTINCT id) FROM layer") == [(6, 6)]
