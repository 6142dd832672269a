from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from exporters.base import ExportRefused
from exporters.gauges import Bulletin, GaugeReading, GaugeSeries
from tests.fix_postgis import Database
from tests.postgis.fix_published import even, layer_of, migrated, rows, writer

KNOWN = datetime(2026, 3, 3, 6, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _tables(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path, stored=even(120)))


def series(identity: str, **changes: Any) -> GaugeSeries:
    values = {
        "feed": "gauges", "variable": "rain", "id": identity, "lon": 9.5, "lat": 44.25, "elevation_m": 310.0,
        "unit": "mm", **changes,
    }  # fmt: skip
    return GaugeSeries(**values)


def reading(identity: str, day: int, value: float, **changes: Any) -> GaugeReading:
    values = {
        "feed": "gauges", "variable": "rain", "series": identity, "day": date(2026, 3, day), "value": value,
        "quality": "good", "reason": "", "known_at": KNOWN, **changes,
    }  # fmt: skip
    return GaugeReading(**values)


def bulletin(*said: GaugeSeries | GaugeReading) -> Bulletin:
    return Bulletin(
        known_at=KNOWN,
        since=date(2026, 2, 1),
        series=tuple(one for one in said if isinstance(one, GaugeSeries)),
        readings=tuple(one for one in said if isinstance(one, GaugeReading)),
    )


def latest(database: Database) -> list[tuple[Any, ...]]:
    return rows(
        database.reader_dsn, "SELECT series, day, value, quality, reason FROM series_latest ORDER BY series"
    )


def test_each_series_shows_its_newest_reading_and_how_good_it_is(database: Database) -> None:
    writer(database).deliver_bulletin(
        bulletin(
            series("north"),
            series("south", lon=None, lat=None, elevation_m=None),
            series("silent"),
            reading("north", 1, 5.0),
            reading("north", 2, 900.0, quality="rejected", reason="above 500 mm"),
            reading("south", 1, 0.0),
            reading("south", 2, 234.6, quality="suspect", reason="step"),
        )
    )

    assert latest(database) == [
        ("north", date(2026, 3, 2), 900.0, "rejected", "above 500 mm"),
        ("silent", None, None, None, None),
        ("south", date(2026, 3, 2), 234.6, "suspect", "step"),
    ]
    places = rows(database.reader_dsn, "SELECT series, ST_AsEWKT(geom) FROM series_latest ORDER BY series")
    assert places == [
        ("north", "SRID=4326;POINT(9.5 44.25)"),
        ("silent", "SRID=4326;POINT(9.5 44.25)"),
        ("south", None),
    ]


def test_corrections_replace_and_what_is_gone_leaves(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_bulletin(
        bulletin(series("north"), series("south"), reading("north", 1, 5.0), reading("south", 1, 6.0))
    )

    exporter.deliver_bulletin(
        bulletin(
            series("north", elevation_m=320.0, lon=9.6), reading("north", 1, 7.5), reading("north", 2, 1.0)
        )
    )

    found = rows(database.reader_dsn, "SELECT series, elevation_m, ST_X(geom) FROM series")
    assert found == [("north", 320.0, 9.6)]
    found = rows(database.reader_dsn, "SELECT series, day, value FROM reading ORDER BY day")
    assert found == [("north", date(2026, 3, 1), 7.5), ("north", date(2026, 3, 2), 1.0)]


def test_a_feed_that_is_no_longer_shared_disappears(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_bulletin(bulletin(series("north"), reading("north", 1, 5.0)))

    exporter.deliver_bulletin(bulletin())

    assert rows(database.reader_dsn, "SELECT * FROM series") == []
    assert rows(database.reader_dsn, "SELECT * FROM reading") == []


def test_the_same_bulletin_again_changes_not_one_row(database: Database) -> None:
    said = bulletin(series("north"), series("south", lon=None, lat=None), reading("north", 1, 5.0))
    exporter = writer(database)
    exporter.deliver_bulletin(said)
    look = "SELECT 's', xmin::text, series FROM series UNION SELECT 'r', xmin::text, series FROM reading"
    before = rows(database.dsn, look)

    exporter.deliver_bulletin(said)

    assert rows(database.dsn, look) == before
    assert len(before) == 3


def test_gauges_of_two_feeds_may_share_a_name(database: Database) -> None:
    writer(database).deliver_bulletin(
        bulletin(
            series("dam", feed="lakes", variable="level", unit="m above sea level"),
            series("dam"),
            reading("dam", 1, 812.25, feed="lakes", variable="level"),
            reading("dam", 1, 3.0),
        )
    )

    found = rows(database.reader_dsn, "SELECT feed, variable, value FROM series_latest ORDER BY feed")
    assert found == [("gauges", "rain", 3.0), ("lakes", "level", 812.25)]


def test_a_reading_of_an_unknown_series_is_refused_whole(database: Database) -> None:
    exporter = writer(database)
    exporter.deliver_bulletin(bulletin(series("north"), reading("north", 1, 5.0)))

    with pytest.raises(ExportRefused, match="violates foreign key"):
        exporter.deliver_bulletin(bulletin(series("south"), reading("nowhere", 1, 5.0)))

    assert rows(database.reader_dsn, "SELECT series FROM series") == [("north",)]
