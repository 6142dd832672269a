from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from exporters.base import Exporter, ExportRefused, ExportUnavailable, KnowsItsLayers, TakesBulletins
from exporters.cog import SUSCEPTIBILITY
from exporters.geopackage import AREAS, write_areas
from exporters.layer import NODATA, LayerStatus
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter
from exporters.postgis.tiles import overview_factors
from tests.exporters.fix_layer import ZONE
from tests.fix_postgis import Database
from tests.postgis.fix_published import DAY, SCHEMA, SMALL, even, layer_of, migrated, rows, writer

NEXT = DAY + timedelta(days=1)


def shown(database: Database) -> list[Any]:
    """The layers in the newest map, by its rows and by the view."""
    in_map = rows(database.reader_dsn, "SELECT DISTINCT layer_id FROM latest_susceptibility")
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == in_map
    return [layer_id for (layer_id,) in in_map]


def history(database: Database) -> list[tuple[Any, ...]]:
    return rows(database.reader_dsn, "SELECT DISTINCT day, lead, layer_id FROM susceptibility ORDER BY 1, 2")


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table with the transaction that wrote it."""
    tables = rows(database.dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'demo' ORDER BY 1")
    return {
        table: rows(database.dsn, f"SELECT xmin::text, t.* FROM {table} AS t ORDER BY t::text")  # noqa: S608
        for (table,) in tables
        if "susceptibility" not in table
    } | {
        table: rows(database.dsn, f"SELECT xmin::text, rid FROM {table} ORDER BY rid")  # noqa: S608
        for (table,) in tables
        if "susceptibility" in table
    }


def test_the_exporter_is_what_the_outbox_expects(database: Database) -> None:
    exporter = writer(database)

    assert exporter.name == "desk"
    for port in (Exporter, KnowsItsLayers, TakesBulletins):
        assert isinstance(exporter, port)


def test_the_newest_day_replaces_the_map_and_both_stay_in_history(database: Database, tmp_path: Path) -> None:
    first, second = layer_of(tmp_path), layer_of(tmp_path, NEXT)
    migrated(database, first)
    exporter = writer(database)

    exporter.deliver(first)
    assert shown(database) == [first.id]
    exporter.deliver(second)

    assert shown(database) == [second.id]
    assert history(database) == [(DAY, 0, first.id), (NEXT, 0, second.id)]
    assert exporter.holdings() == {first.id: LayerStatus.COMPLETE, second.id: LayerStatus.COMPLETE}


def test_a_layer_delivered_twice_changes_not_one_row(database: Database, tmp_path: Path) -> None:
    first, second = layer_of(tmp_path), layer_of(tmp_path, NEXT)
    migrated(database, first)
    exporter = writer(database)
    exporter.deliver(first)
    exporter.deliver(second)
    before = everything(database)

    exporter.deliver(first)
    exporter.deliver(second)

    assert everything(database) == before


def test_an_older_day_goes_into_history_and_leaves_the_map_alone(database: Database, tmp_path: Path) -> None:
    late, newest = layer_of(tmp_path), layer_of(tmp_path, NEXT)
    migrated(database, late)
    exporter = writer(database)
    exporter.deliver(newest)

    exporter.deliver(late)

    assert shown(database) == [newest.id]
    assert history(database) == [(DAY, 0, late.id), (NEXT, 0, newest.id)]


def test_a_revision_takes_the_place_of_the_one_before(database: Database, tmp_path: Path) -> None:
    one, two = layer_of(tmp_path), layer_of(tmp_path, revision=2)
    migrated(database, one)
    exporter = writer(database)
    exporter.deliver(one)

    exporter.deliver(two)

    assert shown(database) == [two.id]
    assert history(database) == [(DAY, 0, two.id)]
    for table in ("zone_class_area", "hotspot"):
        assert rows(database.reader_dsn, f"SELECT DISTINCT layer_id FROM {table}") == [(two.id,)]  # noqa: S608
    assert rows(database.reader_dsn, "SELECT id, in_history FROM layer ORDER BY id") == [
        (one.id, False),
        (two.id, True),
    ]


def test_an_older_revision_that_comes_late_is_only_noted(database: Database, tmp_path: Path) -> None:
    one, two = layer_of(tmp_path), layer_of(tmp_path, revision=2)
    migrated(database, one)
    exporter = writer(database)
    exporter.deliver(two)

    exporter.deliver(one)

    assert shown(database) == [two.id]
    assert history(database) == [(DAY, 0, two.id)]
    assert set(exporter.holdings()) == {one.id, two.id}


def test_a_forecast_has_rows_and_is_neither_map_nor_history(database: Database, tmp_path: Path) -> None:
    today, tomorrow = layer_of(tmp_path), layer_of(tmp_path, NEXT, lead=1, status=LayerStatus.PROVISIONAL)
    migrated(database, today)
    exporter = writer(database)
    exporter.deliver(today)

    exporter.deliver(tomorrow)

    assert shown(database) == [today.id]
    assert history(database) == [(DAY, 0, today.id)]
    areas = rows(database.reader_dsn, "SELECT DISTINCT day, lead, layer_id FROM zone_class_area ORDER BY day")
    assert areas == [(DAY, 0, today.id), (NEXT, 1, tomorrow.id)]


def test_views_of_the_latest_show_nowcasts_alone_whatever_is_forecast(
    database: Database, tmp_path: Path
) -> None:
    today = layer_of(tmp_path)
    ahead = [
        layer_of(tmp_path, DAY + timedelta(days=lead), lead=lead, status=LayerStatus.PROVISIONAL)
        for lead in (1, 2, 3)
    ]
    migrated(database, today)
    exporter = writer(database)
    for layer in (*ahead, today):  # in whatever order they come
        exporter.deliver(layer)

    assert rows(database.reader_dsn, "SELECT id, lead FROM layer ORDER BY lead") == [
        (layer.id, layer.lead) for layer in (today, *ahead)
    ]
    assert rows(database.reader_dsn, "SELECT id, lead FROM latest_layer") == [(today.id, 0)]
    for view in ("latest_zone_class_area", "latest_hotspot"):
        assert rows(database.reader_dsn, f"SELECT DISTINCT layer_id FROM {view}") == [(today.id,)], view  # noqa: S608
    exporter.withdraw(today)
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == []
    assert shown(database) == []


def test_an_unknown_new_map_takes_the_place_of_a_known_old_one(database: Database, tmp_path: Path) -> None:
    known = layer_of(tmp_path, stored=even(120))
    unknown = layer_of(tmp_path, NEXT, stored=even(NODATA), status=LayerStatus.DEGRADED)
    migrated(database, known)
    exporter = writer(database)
    exporter.deliver(known)

    exporter.deliver(unknown)

    assert rows(database.reader_dsn, "SELECT id, status FROM latest_layer") == [(unknown.id, "degraded")]
    count = "SELECT layer_id, ST_Count(rast, 1), ST_Count(rast, 2) FROM latest_susceptibility"
    assert rows(database.reader_dsn, count) == [(unknown.id, 0, 0)]


def test_a_layer_row_says_all_that_a_reader_needs(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120), unconfirmed=True)
    migrated(database, layer)
    writer(database).deliver(layer)

    (row,) = rows(
        database.reader_dsn,
        "SELECT day, lead, revision, status, unconfirmed, data_until, issued_at, valid_from, valid_to,"
        " coverage, cells, model_name, model_version, may_warn, breaks, notes, synthetic, attribution"
        " FROM latest_layer",
    )
    assert row == (
        layer.day, 0, 1, "complete", True, layer.data_until, layer.issued_at, layer.valid_from,
        layer.valid_to, layer.coverage, layer.cells, "toy", "1", False, list(layer.classes.breaks),
        ["a note"], True,
        "Survey of Demo",
    )  # fmt: skip


def test_zone_areas_carry_change_and_outline_and_the_region_has_none(
    database: Database, tmp_path: Path
) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    writer(database).deliver(layer)

    found = rows(
        database.reader_dsn,
        "SELECT zone, name, class, area_m2, ratio, unknown_m2, change_1d_m2, change_7d_m2, change_1d_ratio,"
        " ST_AsText(geom) FROM latest_zone_class_area WHERE class = 'high' ORDER BY zone",
    )
    left, _, _, top = layer.bounds
    outline = shapely.MultiPolygon([shapely.box(left, top - 300, left + 300, top)])
    assert [row[:9] for row in found] == [
        ("", "whole region", "high", 2_700.0, 0.3, 1_800.0, 900.0, None, 0.1),
        ("a", "Alpha", "high", 2_700.0, 0.3, 1_800.0, 900.0, None, 0.1),
    ]
    assert found[0][9] is None
    assert shapely.from_wkt(found[1][9]).equals(outline)
    assert rows(database.reader_dsn, "SELECT count(*), count(DISTINCT id) FROM latest_zone_class_area") == [
        (8, 8)
    ]


def test_zones_are_kept_once_for_all_layers_that_share_them(database: Database, tmp_path: Path) -> None:
    days = [layer_of(tmp_path, DAY + timedelta(days=n), stored=even(100 + n)) for n in range(3)]
    migrated(database, days[0])
    for layer in days:
        writer(database).deliver(layer)

    assert rows(database.reader_dsn, "SELECT zone, name, ST_SRID(geom) FROM zone") == [("a", "Alpha", 32632)]


def test_hotspots_come_from_the_layers_file(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)

    writer(database).deliver(layer.model_copy(update={"hotspots": ()}))  # as the ledger gives it

    found = rows(
        database.reader_dsn,
        "SELECT hotspot, zone, area_m2, mean_susceptibility, maximum_susceptibility, growth_m2,"
        " ST_Area(geom), ST_SRID(geom) FROM latest_hotspot",
    )
    assert found == [(1, "a", 3_600.0, 0.7, 0.9, None, 3_600.0, 32632)]


def test_the_history_can_be_walked_by_moment(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    writer(database).deliver(layer)

    found = rows(database.reader_dsn, "SELECT day, valid_from, lead, tile FROM susceptibility")

    assert found == [(layer.day, layer.valid_from, 0, 1)]


def test_a_layer_of_another_region_is_refused(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120), region="elsewhere")

    with pytest.raises(ExportRefused, match=r"desk: .*region elsewhere, not demo"):
        writer(database).deliver(layer)


def test_a_schema_that_holds_another_region_is_left_alone(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    writer(database).deliver(layer)
    stranger = PostgisExporter("desk", "elsewhere", SCHEMA, ConnectionSettings(database.writer_dsn))

    with pytest.raises(ExportUnavailable, match=r"holds layers of region demo.*another schema"):
        stranger.deliver(layer_of(tmp_path, NEXT, stored=even(120), region="elsewhere", id="elsewhere-1"))

    assert shown(database) == [layer.id]


def test_a_zone_drawn_with_heights_is_published_without(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    (layer.folder / AREAS).unlink()
    zone, name, wkb = ZONE
    raised = shapely.to_wkb(shapely.force_3d(shapely.from_wkb(wkb), 812.0))
    write_areas(layer.folder / AREAS, layer, [(zone, name, raised)])

    writer(database).deliver(layer)

    ((found, outline),) = rows(database.reader_dsn, "SELECT zone, ST_AsBinary(geom) FROM zone")
    assert (found, shapely.from_wkb(outline).has_z) == (zone, False)
    assert shapely.from_wkb(outline).equals(shapely.from_wkb(wkb))


def test_another_layer_under_a_known_id_is_refused(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    exporter = writer(database)
    exporter.deliver(layer)

    with pytest.raises(ExportRefused, match=r"holds another layer under the id .*another schema"):
        exporter.deliver(layer.model_copy(update={"digest": "other"}))


@pytest.mark.parametrize("missing", [SUSCEPTIBILITY, AREAS])
def test_a_layer_whose_files_are_gone_is_refused_and_changes_nothing(
    database: Database, tmp_path: Path, missing: str
) -> None:
    first, second = (layer_of(tmp_path, day, stored=even(120)) for day in (DAY, NEXT))
    migrated(database, first)
    exporter = writer(database)
    exporter.deliver(first)
    (second.folder / missing).unlink()

    with pytest.raises(ExportRefused, match=f"{second.folder.name}.*make {second.id} again"):
        exporter.deliver(second)

    assert shown(database) == [first.id]
    assert set(exporter.holdings()) == {first.id}


def test_a_layer_whose_areas_lack_a_table_is_refused(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    migrated(database, layer)
    with closing(sqlite3.connect(layer.folder / AREAS)) as file, file:
        file.execute("DELETE FROM gpkg_contents WHERE table_name = 'hotspot'")
        file.execute("DROP TABLE hotspot")

    with pytest.raises(ExportRefused, match=f"make {layer.id} again"):
        writer(database).deliver(layer)


def test_rasters_of_another_shape_than_the_layer_says_are_refused(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(120))
    other = layer_of(tmp_path, NEXT, stored=even(120, (SMALL[0] + 1, SMALL[1])))
    migrated(database, layer)
    shutil.copytree(other.folder, layer.folder, dirs_exist_ok=True)

    with pytest.raises(ExportRefused, match=r"\(21, 30\).*not cells of 30 x 20"):
        writer(database).deliver(layer)


def test_every_table_view_and_column_is_commented(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path))

    silent = rows(
        database.dsn,
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0"
        " WHERE relnamespace = 'demo'::regnamespace AND relkind = 'r' AND NOT attisdropped"
        " AND col_description(pg_class.oid, attnum) IS NULL"
        " UNION ALL SELECT relname, '' FROM pg_class WHERE relnamespace = 'demo'::regnamespace"
        " AND relkind IN ('r', 'v') AND obj_description(oid, 'pg_class') IS NULL",
    )
    count = rows(database.dsn, "SELECT count(*) FROM pg_tables WHERE schemaname = 'demo'")

    assert silent == []
    assert count[0][0] >= 12


def test_overviews_go_on_until_one_fits_a_tile() -> None:
    def factors(width: int, height: int) -> tuple[int, ...]:
        return overview_factors(GridOfRegion(32632, 30, 0, 0, width, height, "EPSG:32632"))

    assert factors(256, 256) == ()
    assert factors(257, 10) == (2,)
    assert factors(4096, 300) == (2, 4, 8, 16)


def test_a_table_holds_the_day_as_a_date_and_the_map_no_other_day(database: Database, tmp_path: Path) -> None:
    layers = [layer_of(tmp_path, DAY + timedelta(days=n), stored=even(40 * n)) for n in range(1, 4)]
    migrated(database, layers[0])
    for layer in layers:
        writer(database).deliver(layer)

    found = rows(database.reader_dsn, "SELECT ST_Value(rast, 1, 1, 1) FROM latest_susceptibility")
    by_day = rows(database.reader_dsn, "SELECT day, ST_Value(rast, 1, 1, 1) FROM susceptibility ORDER BY day")

    assert found == [(120.0,)]
    assert by_day == [(date(2026, 3, 1 + n), 40.0 * n) for n in range(1, 4)]
    assert np.all(even(40) == 40)
