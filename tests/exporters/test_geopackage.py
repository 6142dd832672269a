from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely

from exporters.geopackage import HOTSPOT_TABLE, WARNING_TABLE, ZONE_TABLE, write_areas
from exporters.layer import CLASS_LABELS
from tests.exporters.fix_layer import CRS_TEXT, ZONE, make_layer
from tests.fix_warnings import NUMBERS, RULE, warning


def read(path: Path, table: str) -> tuple[list[Any], dict[str, Any]]:
    meta, _, geometries, columns = pyogrio.raw.read(path, layer=table)
    assert meta["crs"] == CRS_TEXT
    shapes = [None if wkb is None else shapely.from_wkb(wkb) for wkb in geometries]
    return shapes, dict(zip(meta["fields"], columns, strict=True))


def test_zone_areas_carry_the_polygon_of_their_zone(tmp_path: Path) -> None:
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
    shapes, columns = read(tmp_path / "areas.gpkg", ZONE_TABLE)
    assert columns["zone"].tolist() == [""] * 4 + ["a"] * 4
    assert columns["class"].tolist() == [*CLASS_LABELS] * 2
    assert columns["name"].tolist()[4:] == ["Alpha"] * 4
    assert shapes[:4] == [None] * 4
    assert all(shape.equals(shapely.from_wkb(ZONE[2])) for shape in shapes[4:])
    assert columns["area_m2"].tolist() == [900.0, 1_800.0, 2_700.0, 3_600.0] * 2
    assert columns["unknown_m2"].tolist() == [1_800.0] * 8
    assert columns["change_1d_m2"].tolist() == [-900.0, 0.0, 900.0, 1_800.0] * 2
    assert set(columns["layer"]) == {"demo-2026-03-01-l0-r1"}
    assert set(columns["synthetic"]) == {True}


def test_what_is_unknown_is_null_and_never_zero(tmp_path: Path) -> None:
    layer = make_layer(tmp_path)
    areas = tuple(area.model_copy(update={"ratio": None}) for area in layer.areas)
    write_areas(tmp_path / "areas.gpkg", layer.model_copy(update={"areas": areas}), [ZONE])
    with closing(sqlite3.connect(tmp_path / "areas.gpkg")) as db:
        rows = db.execute("SELECT ratio, change_7d_m2, change_7d_ratio FROM zone_class_area").fetchall()
        growth = db.execute("SELECT growth_m2, first_seen FROM hotspot").fetchall()
    assert set(rows) == {(None, None, None)}
    assert growth == [(None, None)]


def test_hotspots_are_listed_with_their_outlines(tmp_path: Path) -> None:
    layer = make_layer(tmp_path)
    seen = tuple(spot.model_copy(update={"first_seen": date(2026, 2, 27)}) for spot in layer.hotspots)
    write_areas(tmp_path / "areas.gpkg", layer.model_copy(update={"hotspots": seen}), [ZONE])
    (shape,), columns = read(tmp_path / "areas.gpkg", HOTSPOT_TABLE)
    assert columns["first_seen"].tolist() == ["2026-02-27"]
    assert shape.area == columns["area_m2"][0] == 3_600.0
    assert columns["hotspot"].tolist() == [1]
    assert columns["zone"].tolist() == ["a"]
    assert columns["mean_susceptibility"].tolist() == [0.7]
    assert np.isnan(columns["growth_m2"]).tolist() == [True]


def test_warning_levels_carry_rule_numbers_and_the_polygon_of_their_zone(tmp_path: Path) -> None:
    levels = (warning("a", 2, name="Alpha", unconfirmed=True), warning("", 0, name="whole region"))
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path, warnings=levels), [ZONE])
    shapes, columns = read(tmp_path / "areas.gpkg", WARNING_TABLE)
    assert columns["zone"].tolist() == ["a", ""]
    assert columns["level"].tolist() == [2, 0]
    assert columns["label"].tolist() == ["orange", "green"]
    assert columns["unconfirmed"].tolist() == [True, False]
    assert columns["rule"].tolist() == [RULE] * 2
    assert json.loads(columns["numbers"][0]) == NUMBERS
    assert shapes[0].equals(shapely.from_wkb(ZONE[2]))
    assert shapes[1] is None


def test_a_level_that_is_not_known_is_null_and_never_green(tmp_path: Path) -> None:
    layer = make_layer(tmp_path, warnings=(warning("a", None, previous=None),))
    write_areas(tmp_path / "areas.gpkg", layer, [ZONE])
    with closing(sqlite3.connect(tmp_path / "areas.gpkg")) as db:
        rows = db.execute("SELECT zone, level, label, previous, reference_share FROM warning").fetchall()
    assert rows == [("a", None, None, None, None)]


def test_where_the_model_may_not_warn_no_zone_has_a_level(tmp_path: Path) -> None:
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
    shapes, columns = read(tmp_path / "areas.gpkg", WARNING_TABLE)
    assert shapes == []
    assert "level" in columns


def test_a_layer_without_hotspots_or_zones_still_has_every_table(tmp_path: Path) -> None:
    layer = make_layer(tmp_path)
    layer = layer.model_copy(update={"hotspots": (), "areas": layer.areas[:4]})
    write_areas(tmp_path / "areas.gpkg", layer, [])
    assert pyogrio.list_layers(tmp_path / "areas.gpkg")[:, 0].tolist() == [
        ZONE_TABLE,
        HOTSPOT_TABLE,
        WARNING_TABLE,
    ]
    shapes, columns = read(tmp_path / "areas.gpkg", HOTSPOT_TABLE)
    assert shapes == []
    assert len(columns["area_m2"]) == 0


def test_a_mended_zone_keeps_all_of_its_ground(tmp_path: Path) -> None:
    bow_with_a_spike = shapely.from_wkt("POLYGON ((0 0, 10 10, 20 10, 10 10, 10 0, 0 10, 0 0))")
    mended = shapely.make_valid(bow_with_a_spike)
    assert mended.geom_type == "GeometryCollection"

    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [("a", "Alpha", shapely.to_wkb(mended))])

    shapes, _ = read(tmp_path / "areas.gpkg", ZONE_TABLE)
    assert shapes[-1].area == mended.area == 50.0


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
    for table in (ZONE_TABLE, HOTSPOT_TABLE, WARNING_TABLE):
        said = pyogrio.read_info(tmp_path / "areas.gpkg", layer=table)["layer_metadata"]
        assert said["synthetic"] == "yes"
        assert "not a probability" in said["note"]
        assert said["attribution"] == "Survey of Demo"


def test_the_same_layer_gives_the_same_file(tmp_path: Path) -> None:
    digests = set()
    for name in ("a.gpkg", "b.gpkg"):
        write_areas(tmp_path / name, make_layer(tmp_path), [ZONE])
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    with closing(sqlite3.connect(tmp_path / "a.gpkg")) as db:
        dates = {row[0] for row in db.execute("SELECT last_change FROM gpkg_contents")}
    assert dates == {"2026-03-01T06:00:00.000Z"}


def test_the_clock_of_other_files_is_left_alone(tmp_path: Path) -> None:
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


def test_a_finished_file_is_never_rewritten(tmp_path: Path) -> None:
    write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
    with pytest.raises(FileExistsError, match="never rewritten"):
        write_areas(tmp_path / "areas.gpkg", make_layer(tmp_path), [ZONE])
