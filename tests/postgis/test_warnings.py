"""Warning levels in the database: those of the layers that stand, and unknown where nothing is known."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporters.geopackage import AREAS, write_areas
from exporters.layer import Layer, LayerStatus
from tests.fix_postgis import Database
from tests.fix_warnings import DECIDED, NUMBERS, RULE, warning
from tests.postgis.fix_published import DAY, even, layer_of, migrated, rows, writer

NEXT = DAY + timedelta(days=1)


def with_level(data: Path, level: int | None, **changes: Any) -> Layer:
    """A layer whose zone `a` has this level."""
    return layer_of(data, stored=even(40), warnings=(warning("a", level, name="Alpha"),), **changes)


def levels(database: Database) -> list[tuple[Any, ...]]:
    return rows(
        database.reader_dsn, "SELECT day, lead, layer_id, zone, level FROM warning ORDER BY day, lead, zone"
    )


def latest(database: Database) -> list[tuple[Any, ...]]:
    return rows(
        database.reader_dsn,
        "SELECT layer_id, zone, name, level, label, NOT ST_IsEmpty(geom) FROM latest_warning ORDER BY zone",
    )


def test_a_level_comes_with_the_rule_the_numbers_and_the_outline(database: Database, tmp_path: Path) -> None:
    layer = with_level(tmp_path, 2)
    migrated(database, layer)

    writer(database).deliver(layer)
    writer(database).deliver(layer)

    assert levels(database) == [(DAY, 0, layer.id, "a", 2)]
    assert latest(database) == [(layer.id, "a", "Alpha", 2, "orange", True)]
    said = rows(
        database.reader_dsn,
        "SELECT rule, numbers, previous, reference_share, calm_days, unconfirmed, decided_at FROM warning",
    )
    assert said == [(RULE, NUMBERS, 0, 0.31, 0, False, DECIDED)]


def test_a_level_that_is_not_known_is_null_and_called_unknown(database: Database, tmp_path: Path) -> None:
    layer = with_level(tmp_path, None)
    migrated(database, layer)

    writer(database).deliver(layer)

    assert levels(database) == [(DAY, 0, layer.id, "a", None)]
    assert latest(database) == [(layer.id, "a", "Alpha", None, "unknown", True)]


def test_a_model_that_may_not_warn_leaves_no_row_and_every_zone_unknown(
    database: Database, tmp_path: Path
) -> None:
    layer = layer_of(tmp_path, stored=even(40))
    migrated(database, layer)

    writer(database).deliver(layer)

    assert levels(database) == []
    assert latest(database) == [(layer.id, "a", "Alpha", None, "unknown", True)]
    assert rows(database.reader_dsn, "SELECT may_warn, rule FROM latest_warning") == [(False, None)]


def test_a_region_without_zones_has_one_row_for_the_whole_of_it(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(40), warnings=(warning("", 3, name="Demo"),))
    (layer.folder / AREAS).unlink()
    write_areas(layer.folder / AREAS, layer, [])
    migrated(database, layer)

    writer(database).deliver(layer)

    assert latest(database) == [(layer.id, "", "Demo", 3, "red", None)]


def test_a_revision_brings_its_own_levels_in_place_of_those_before(
    database: Database, tmp_path: Path
) -> None:
    one, two = with_level(tmp_path, 1), with_level(tmp_path, 3, revision=2)
    migrated(database, one)
    writer(database).deliver(one)

    writer(database).deliver(two)
    writer(database).deliver(one)

    assert levels(database) == [(DAY, 0, two.id, "a", 3)]


def test_the_levels_of_a_withdrawn_layer_are_gone_and_those_before_are_shown(
    database: Database, tmp_path: Path
) -> None:
    before, newest = with_level(tmp_path, 1), with_level(tmp_path, 3, day=NEXT)
    migrated(database, before)
    for layer in (before, newest):
        writer(database).deliver(layer)
    assert [row[4] for row in latest(database)] == ["red"]

    writer(database).withdraw(newest.model_copy(update={"status": LayerStatus.WITHDRAWN}))

    assert levels(database) == [(DAY, 0, before.id, "a", 1)]
    assert [row[4] for row in latest(database)] == ["yellow"]


def test_a_layer_withdrawn_before_it_was_delivered_brings_no_level(
    database: Database, tmp_path: Path
) -> None:
    layer = with_level(tmp_path, 3, status=LayerStatus.WITHDRAWN)
    migrated(database, layer)

    writer(database).deliver(layer)

    assert levels(database) == []
    assert latest(database) == []


def test_forecasts_have_levels_of_their_own_that_are_not_the_newest_map_s(
    database: Database, tmp_path: Path
) -> None:
    nowcast, ahead = with_level(tmp_path, 0), with_level(tmp_path, 3, day=NEXT, lead=1)
    migrated(database, nowcast)

    for layer in (nowcast, ahead):
        writer(database).deliver(layer)

    assert levels(database) == [(DAY, 0, nowcast.id, "a", 0), (NEXT, 1, ahead.id, "a", 3)]
    assert [row[4] for row in latest(database)] == ["green"]


def test_levels_are_kept_when_older_areas_go(database: Database, tmp_path: Path) -> None:
    old, new = with_level(tmp_path, 1), with_level(tmp_path, 0, day=DAY + timedelta(days=40))
    migrated(database, old)
    exporter = writer(database, area_days=1, hotspot_days=1, history_days=1)

    for layer in (old, new):
        exporter.deliver(layer)

    assert [row[4] for row in levels(database)] == [1, 0]


@pytest.mark.parametrize("level", [-1, 4])
def test_the_database_takes_no_level_that_does_not_exist(
    database: Database, tmp_path: Path, level: int
) -> None:
    layer = with_level(tmp_path, 1)
    migrated(database, layer)
    writer(database).deliver(layer)

    with pytest.raises(psycopg.errors.CheckViolation):
        rows(database.writer_dsn, "UPDATE warning SET level = %s", level)
