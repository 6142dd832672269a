from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.layer import Layer, LayerStatus
from tests.fix_postgis import Database
from tests.postgis.fix_published import DAY, SHAPE, cells_of, even, layer_of, migrated, rows, writer

TABLES = ("susceptibility", "zone_class_area", "hotspot")


def withdrawn(layer: Layer) -> Layer:
    """The layer as the ledger gives it once it was withdrawn."""
    return layer.model_copy(update={"status": LayerStatus.WITHDRAWN})


def latest(database: Database) -> list[Any]:
    in_map = rows(database.reader_dsn, "SELECT DISTINCT layer_id FROM latest_susceptibility")
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == in_map
    return [layer_id for (layer_id,) in in_map]


@pytest.fixture
def days(database: Database, tmp_path: Path) -> list[Layer]:
    """Three days that were delivered."""
    layers = [layer_of(tmp_path, DAY + timedelta(days=n), stored=even(40 + n)) for n in range(3)]
    migrated(database, layers[0])
    for layer in layers:
        writer(database).deliver(layer)
    return layers


def test_a_withdrawn_layer_leaves_map_history_and_areas(database: Database, days: list[Layer]) -> None:
    writer(database).withdraw(withdrawn(days[2]))

    assert latest(database) == [days[1].id]
    assert writer(database).holdings()[days[2].id] == LayerStatus.WITHDRAWN
    for table in TABLES:
        found = rows(database.reader_dsn, f"SELECT DISTINCT layer_id FROM {table} ORDER BY 1")  # noqa: S608
        assert found == [(days[0].id,), (days[1].id,)]
    assert rows(database.reader_dsn, "SELECT DISTINCT layer_id FROM latest_hotspot") == [(days[1].id,)]


def test_a_withdrawn_day_in_the_past_leaves_the_map_alone(database: Database, days: list[Layer]) -> None:
    before = rows(database.dsn, "SELECT xmin::text, rid FROM latest_susceptibility")

    writer(database).withdraw(withdrawn(days[0]))

    assert latest(database) == [days[2].id]
    assert rows(database.dsn, "SELECT xmin::text, rid FROM latest_susceptibility") == before
    assert rows(database.reader_dsn, "SELECT DISTINCT day FROM susceptibility ORDER BY 1") == [
        (days[1].day,),
        (days[2].day,),
    ]


def test_the_map_that_comes_back_is_whole_with_its_overviews(database: Database, tmp_path: Path) -> None:
    first, second = layer_of(tmp_path), layer_of(tmp_path, DAY + timedelta(days=1))
    migrated(database, first)
    tables = {"latest_susceptibility": 1, "o_2_latest_susceptibility": 2, "o_4_latest_susceptibility": 4}

    def read() -> list[Any]:
        return [
            cells_of(database.reader_dsn, table, band, (SHAPE[0] // factor, SHAPE[1] // factor))
            for table, factor in tables.items()
            for band in (1, 2)
        ]

    exporter = writer(database)
    exporter.deliver(first)
    before = read()
    exporter.deliver(second)
    assert not np.array_equal(read()[0], before[0])

    exporter.withdraw(withdrawn(second))

    for found, expected in zip(read(), before, strict=True):
        assert np.array_equal(found, expected)


def test_without_a_layer_that_stands_the_map_is_empty(database: Database, days: list[Layer]) -> None:
    for layer in days:
        writer(database).withdraw(withdrawn(layer))

    assert latest(database) == []
    assert rows(database.reader_dsn, "SELECT * FROM latest_zone_class_area") == []


def test_a_layer_no_longer_in_the_history_does_not_come_back_as_another(
    database: Database, tmp_path: Path
) -> None:
    layers = [layer_of(tmp_path, DAY + timedelta(days=n), stored=even(40 + n)) for n in range(3)]
    migrated(database, layers[0])
    exporter = writer(database, history_days=1)
    exporter.deliver(layers[1])
    exporter.deliver(layers[2])

    exporter.withdraw(withdrawn(layers[2]))
    assert latest(database) == []
    exporter.deliver(layers[0])  # older than the newest that stands: not the newest map

    assert latest(database) == []


def test_withdrawing_twice_or_what_never_came_changes_nothing(
    database: Database, days: list[Layer], tmp_path: Path
) -> None:
    exporter = writer(database)
    exporter.withdraw(withdrawn(days[2]))
    exporter.withdraw(withdrawn(days[2]))
    exporter.withdraw(withdrawn(layer_of(tmp_path, DAY + timedelta(days=9), stored=even(1))))

    assert latest(database) == [days[1].id]
    assert set(exporter.holdings()) == {layer.id for layer in days}


def test_a_layer_withdrawn_before_it_was_delivered_is_never_shown(
    database: Database, days: list[Layer], tmp_path: Path
) -> None:
    late = withdrawn(layer_of(tmp_path, DAY + timedelta(days=3), stored=even(90)))

    writer(database).deliver(late)
    writer(database).withdraw(late)

    assert latest(database) == [days[2].id]
    assert writer(database).holdings()[late.id] == LayerStatus.WITHDRAWN
    for table in TABLES:
        assert (late.id,) not in rows(database.reader_dsn, f"SELECT layer_id FROM {table}")  # noqa: S608


def test_a_delivered_layer_whose_withdrawal_was_missed_is_withdrawn(
    database: Database, days: list[Layer]
) -> None:
    # A database restored to a backup from before the withdrawal: the layer comes again, as it now stands.
    writer(database).deliver(withdrawn(days[2]))

    assert latest(database) == [days[1].id]
    assert writer(database).holdings()[days[2].id] == LayerStatus.WITHDRAWN


def test_a_day_whose_newest_revision_was_withdrawn_has_none(
    database: Database, days: list[Layer], tmp_path: Path
) -> None:
    revised = layer_of(tmp_path, days[2].day, revision=2, stored=even(70))
    exporter = writer(database)
    exporter.deliver(revised)
    assert latest(database) == [revised.id]

    exporter.withdraw(withdrawn(revised))

    assert latest(database) == [days[1].id]


def test_a_withdrawn_layer_may_be_made_again(database: Database, days: list[Layer], tmp_path: Path) -> None:
    exporter = writer(database)
    exporter.withdraw(withdrawn(days[2]))

    again = layer_of(tmp_path, days[2].day, revision=2, stored=even(70))
    exporter.deliver(again)

    assert latest(database) == [again.id]


def test_a_withdrawal_does_not_need_the_layers_files(database: Database, days: list[Layer]) -> None:
    for layer in days:
        for file in layer.folder.iterdir():
            file.unlink()

    writer(database).withdraw(withdrawn(days[2]))

    assert latest(database) == [days[1].id]
