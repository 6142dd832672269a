"""Inventories of vectors, wrong CRSs, and rows that the grid or other rows speak against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from service.errors import InputError
from service.region import Grid
from trainer.inventory import InventorySource, read_inventory
from trainer.inventory_screen import Screened, screen

UTM32 = CRS.from_epsg(32632)
ROME = ZoneInfo("Europe/Rome")
GRID = Grid(UTM32, 700_000.0, 4_910_000.0, 30.0, 300, 400)  # 12 km wide, 9 km high, near 11.5 E 44.3 N
EAST, NORTH = 705_000.0, 4_905_000.0

DRIVERS = {".geojson": "GeoJSON", ".gpkg": "GPKG", ".shp": "ESRI Shapefile"}


def write(
    path: Path,
    geometries: Sequence[shapely.Geometry | None],
    fields: dict[str, Any] | None = None,
    crs: str | None = "EPSG:32632",
    layer: str | None = None,
) -> InventorySource:
    """Write a file of vectors; by default each feature has an id and a date of the type Date."""
    count = len(geometries)
    data = {
        "id": np.array([f"e{n}" for n in range(count)], np.object_),
        "date": np.full(count, "2020-02-03", "datetime64[D]"),
        **(fields or {}),
    }
    wkb = np.array([None if one is None else shapely.to_wkb(one) for one in geometries], np.object_)
    kind = "Unknown" if path.suffix != ".shp" else geometries[0].geom_type if geometries[0] else "Point"
    pyogrio.raw.write(
        path, wkb, list(data.values()), np.array(list(data), np.object_), geometry_type=kind, crs=crs,
        driver=DRIVERS[path.suffix], layer=layer, append=path.exists(),
    )  # fmt: skip
    return InventorySource(path=path)


def square(x: float, y: float, side: float) -> shapely.Geometry:
    return shapely.box(x, y, x + side, y + side)


def degrees(x: float, y: float) -> tuple[float, float]:
    lon, lat = transform(UTM32, CRS.from_epsg(4326), [x], [y])
    return float(lon[0]), float(lat[0])


@pytest.mark.parametrize("suffix", [".gpkg", ".shp"])
def test_points_and_their_dates_come_out_of_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / f"events{suffix}", [shapely.Point(EAST, NORTH)])
    inventory = read_inventory(source, UTM32, ROME)
    (event,) = inventory.events
    assert (event.id, event.x, event.y, event.day) == ("e0", EAST, NORTH, date(2020, 2, 3))
    assert (event.accuracy_m, event.time_accuracy, event.area_m2) == (100.0, "day", None)


def test_a_geojson_is_in_degrees_and_comes_into_the_regions_metres(tmp_path: Path) -> None:
    source = write(tmp_path / "events.geojson", [shapely.Point(degrees(EAST, NORTH))], crs="EPSG:4326")
    (event,) = read_inventory(source, UTM32, ROME).events
    assert (event.x, event.y) == pytest.approx((EAST, NORTH), abs=0.1)


def test_an_outline_becomes_its_centroid_with_its_area_and_the_reach_of_its_corners(tmp_path: Path) -> None:
    source = write(tmp_path / "events.gpkg", [square(EAST, NORTH, 60)])
    (event,) = read_inventory(source, UTM32, ROME).events
    assert (event.x, event.y) == (EAST + 30, NORTH + 30)
    assert event.area_m2 == pytest.approx(3600)
    assert event.accuracy_m == pytest.approx(30 * np.sqrt(2))


def test_a_stated_accuracy_counts_where_it_is_worse_than_the_outline(tmp_path: Path) -> None:
    fields = {"error_m": np.array([500.0, 5.0])}
    source = write(tmp_path / "events.gpkg", [square(EAST, NORTH, 60), square(EAST, NORTH, 300)], fields)
    events = read_inventory(source.model_copy(update={"accuracy_column": "error_m"}), UTM32, ROME).events
    assert [event.accuracy_m for event in events] == pytest.approx([500, 150 * np.sqrt(2)])


def test_a_bent_outline_gives_a_place_on_the_landslide_not_beside_it(tmp_path: Path) -> None:
    bend = shapely.LineString([(EAST, NORTH + 300), (EAST, NORTH), (EAST + 300, NORTH)]).buffer(20)
    source = write(tmp_path / "events.gpkg", [bend])
    (event,) = read_inventory(source, UTM32, ROME).events
    assert not bend.contains(bend.centroid)
    assert bend.contains(shapely.Point(event.x, event.y))


def test_an_outline_of_two_parts_is_one_landslide_on_the_larger_part(tmp_path: Path) -> None:
    scar, deposit = square(EAST, NORTH, 40), square(EAST + 500, NORTH, 100)
    source = write(tmp_path / "events.gpkg", [shapely.MultiPolygon([scar, deposit])])
    (event,) = read_inventory(source, UTM32, ROME).events
    assert deposit.contains(shapely.Point(event.x, event.y))
    assert event.area_m2 == pytest.approx(40**2 + 100**2)
    assert event.accuracy_m > 500  # the scar, where it began, lies within it


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (None, "the geometry is missing"),
        (shapely.LineString([(0, 0), (1, 1)]), "a LineString is neither one point nor a polygon"),
        (shapely.MultiPoint([(0, 0), (1, 1)]), "a MultiPoint is neither"),
        (shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]), "Self-intersection"),
    ],
)
def test_a_geometry_that_is_no_landslide_is_reported_by_feature(
    tmp_path: Path, geometry: shapely.Geometry | None, reason: str
) -> None:
    source = write(tmp_path / "events.gpkg", [shapely.Point(EAST, NORTH), geometry])
    inventory = read_inventory(source, UTM32, ROME)
    assert [event.id for event in inventory.events] == ["e0"]
    (problem,) = inventory.problems
    assert problem.words.startswith("feature 2: ")
    assert reason in problem.reason


def test_features_without_a_date_are_reported_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    points = [shapely.Point(EAST, NORTH), shapely.Point(EAST + 900, NORTH)]
    some = {"date": np.array(["2020-02-03", "NaT"], "datetime64[D]")}
    inventory = read_inventory(write(tmp_path / "some.gpkg", points, some), UTM32, ROME)
    assert [problem.words for problem in inventory.problems] == [
        "feature 2: date is empty: a landslide without a day has no window"
    ]
    none = {"date": np.array(["NaT", "NaT"], "datetime64[D]")}
    with pytest.raises(InputError, match=r"none of its 2 rows has a date in date; name .* by day_column"):
        read_inventory(write(tmp_path / "none.gpkg", points, none), UTM32, ROME)


def test_text_numbers_and_moments_are_dates_too(tmp_path: Path) -> None:
    fields = {
        "text": np.array(["31.12.2019"], np.object_),
        "number": np.array([20191231], np.int32),
        "moment": np.array(["2019-12-31T23:30"], "datetime64[ms]"),
    }
    source = write(tmp_path / "events.gpkg", [shapely.Point(EAST, NORTH)], fields)
    for column, form, timezone, day, accuracy in (
        ("text", "%d.%m.%Y", None, date(2019, 12, 31), "day"),
        ("number", "%Y%m%d", None, date(2019, 12, 31), "day"),
        ("moment", "", None, date(2019, 12, 31), "hour"),
        ("moment", "", "UTC", date(2020, 1, 1), "hour"),  # half past midnight in Rome
    ):
        named = {"day_column": column, "day_format": form, "timezone": timezone}
        (event,) = read_inventory(source.model_copy(update=named), UTM32, ROME).events
        assert (event.day, event.time_accuracy) == (day, accuracy)


def test_a_stated_accuracy_of_time_is_taken_and_one_worse_than_a_day_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("id,lon,lat,date,when\na,11,44,2020-01-01,part of day\nb,11,44,2020-01-05,month\n")
    inventory = read_inventory(InventorySource(path=path, time_accuracy_column="when"), UTM32, ROME)
    assert [event.time_accuracy for event in inventory.events] == ["part of day"]
    assert [problem.row for problem in inventory.problems] == [3]
    assert "'month' is not one of hour, part of day, day" in inventory.problems[0].reason


def test_the_features_own_number_can_be_the_id_and_a_missing_column_says_so(tmp_path: Path) -> None:
    source = write(tmp_path / "events.gpkg", [shapely.Point(EAST, NORTH)])
    own = source.model_copy(update={"id_column": "fid"})
    assert [event.id for event in read_inventory(own, UTM32, ROME).events] == ["1"]
    wrong = source.model_copy(update={"id_column": "name"})
    with pytest.raises(InputError, match=r'no column name; it has: id, date \(id_column = "fid"'):
        read_inventory(wrong, UTM32, ROME)


def test_of_several_layers_one_must_be_named(tmp_path: Path) -> None:
    path = tmp_path / "events.gpkg"
    write(path, [shapely.Point(EAST, NORTH)], layer="slides")
    source = write(path, [shapely.Point(0, 0)], {"id": np.array(["tree"], np.object_)}, layer="trees")
    with pytest.raises(InputError, match=r"2 layers \(slides, trees\); name one by layer"):
        read_inventory(source, UTM32, ROME)
    with pytest.raises(InputError, match="no layer 'rocks'"):
        read_inventory(source.model_copy(update={"layer": "rocks"}), UTM32, ROME)
    named = source.model_copy(update={"layer": "slides"})
    assert [event.id for event in read_inventory(named, UTM32, ROME).events] == ["e0"]


def test_a_file_of_another_form_or_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "events.gpkg", [shapely.Point(EAST, NORTH)])
    with pytest.raises(InputError, match="is a GPKG, not a shapefile"):
        read_inventory(InventorySource(path=tmp_path / "events.gpkg", form="shapefile"), UTM32, ROME)
    with pytest.raises(InputError, match="no such file"):
        read_inventory(InventorySource(path=tmp_path / "none.shp"), UTM32, ROME)
    with pytest.raises(InputError, match="its suffix does not tell its form"):
        read_inventory(InventorySource(path=tmp_path / "events.xlsx"), UTM32, ROME)
    (tmp_path / "broken.gpkg").write_bytes(b"not a database")
    with pytest.raises(InputError, match=r"broken\.gpkg cannot be read"):
        read_inventory(InventorySource(path=tmp_path / "broken.gpkg"), UTM32, ROME)


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")  # of the writer; it is the point
def test_a_file_without_a_crs_needs_one_stated_and_one_with_it_may_not_be_contradicted(
    tmp_path: Path,
) -> None:
    bare = write(tmp_path / "bare.shp", [shapely.Point(EAST, NORTH)], crs=None)
    with pytest.raises(InputError, match="does not say its CRS; set crs"):
        read_inventory(bare, UTM32, ROME)
    stated = bare.model_copy(update={"crs": "EPSG:32632"})
    assert read_inventory(stated, UTM32, ROME).events[0].x == EAST
    own = write(tmp_path / "own.gpkg", [shapely.Point(EAST, NORTH)])
    with pytest.raises(InputError, match=r"is in EPSG:32632, the settings say EPSG:32633"):
        read_inventory(own.model_copy(update={"crs": "EPSG:32633"}), UTM32, ROME)


def test_metres_under_degrees_and_degrees_under_metres_are_told(tmp_path: Path) -> None:
    feature = {"type": "Feature", "properties": {"id": "a", "date": "2020-01-01"}}
    metres = {**feature, "geometry": {"type": "Point", "coordinates": [EAST, NORTH]}}
    other = {**metres, "properties": {"id": "b", "date": "2020-01-01"}}
    path = tmp_path / "metres.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [metres, other]}), "utf-8")
    with pytest.raises(InputError, match=r"look like metres, not like the degrees of EPSG:4326; set crs"):
        read_inventory(InventorySource(path=path), UTM32, ROME)
    lonlat = write(tmp_path / "degrees.gpkg", [shapely.Point(11.5, 44.3)])
    with pytest.raises(InputError, match=r"look like degrees, not like the metres of EPSG:32632"):
        read_inventory(lonlat, UTM32, ROME)


def table(path: Path, rows: Sequence[tuple[str, float, float, str]], crs: str = "EPSG:32632") -> Screened:
    lines = [f"{identity},{x!r},{y!r},{day}" for identity, x, y, day in rows]
    path.write_text("\n".join(["id,lon,lat,date", *lines]) + "\n", "utf-8")
    return screen(read_inventory(InventorySource(path=path, crs=crs), UTM32, ROME), GRID)


PLACES = [(EAST + 40 * n, NORTH + 90 * n) for n in range(5)]


@pytest.mark.parametrize(
    ("crs", "xy", "says"),
    [
        ("EPSG:4326", [degrees(x, y)[::-1] for x, y in PLACES], "x and y look exchanged"),
        ("EPSG:32632", [(y, x) for x, y in PLACES], "x and y look exchanged"),
        ("EPSG:32633", PLACES, 'look like EPSG:32632: set crs to "EPSG:32632"'),
        ("EPSG:3857", PLACES, 'set crs to "EPSG:32632"'),
        ("EPSG:3857", [(y, x) for x, y in PLACES], 'set crs to "EPSG:32632".*, and exchange x_column'),
        ("EPSG:32632", [(x + 5e5, y) for x, y in PLACES], "nothing tells another CRS"),
    ],
)
def test_an_inventory_in_the_wrong_crs_is_refused_with_what_it_looks_like(
    tmp_path: Path, crs: str, xy: list[tuple[float, float]], says: str
) -> None:
    rows = [(f"e{n}", x, y, "2020-01-01") for n, (x, y) in enumerate(xy)]
    with pytest.raises(InputError, match=rf"none of the 5 events of .* on the region's grid;.*{says}"):
        table(tmp_path / "events.csv", rows, crs)


def test_rows_off_the_grid_are_reported_by_line_and_kept_for_negatives_to_stay_clear_of(
    tmp_path: Path,
) -> None:
    left, bottom, right, top = GRID.bounds
    screened = table(
        tmp_path / "events.csv",
        [
            ("corner", left, top, "2020-01-01"),
            ("west", left - 60, NORTH, "2020-01-02"),
            ("edge", right, NORTH, "2020-01-03"),
            ("south", EAST, bottom, "2020-01-04"),
        ],
    )
    assert [event.id for event in screened.events] == ["corner"]
    assert [event.id for event in screened.around] == ["corner", "west", "edge", "south"]
    assert [problem.words for problem in screened.problems] == [
        "line 3: 60 m off the region's grid",
        "line 4: 0 m off the region's grid",
        "line 5: 0 m off the region's grid",
    ]


def test_one_landslide_said_twice_is_reported_by_line_and_used_once(tmp_path: Path) -> None:
    screened = table(
        tmp_path / "events.csv",
        [
            ("a", EAST, NORTH, "2020-01-01"),
            ("again", EAST + 90, NORTH, "2020-01-01"),  # within the accuracy of both, 100 m
            ("later", EAST, NORTH, "2020-01-02"),
            ("other", EAST + 110, NORTH, "2020-01-01"),
        ],
    )
    assert [event.id for event in screened.events] == ["a", "later", "other"]
    assert screened.around == screened.events
    assert [problem.words for problem in screened.problems] == [
        "line 3: the same day and 90 m from line 2 (a): one landslide said twice"
    ]


def test_vague_places_kilometres_apart_are_two_landslides(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        f"id,lon,lat,date\na,{EAST},{NORTH},2020-01-01\nb,{EAST + 2000},{NORTH},2020-01-01\n"
        f"c,{EAST},{NORTH},2020-01-01\n",
        "utf-8",
    )
    source = InventorySource(path=path, crs="EPSG:32632", accuracy_m=10_000.0)
    screened = screen(read_inventory(source, UTM32, ROME), GRID)
    assert [event.id for event in screened.events] == ["a", "b"]


def test_how_near_is_the_same_place_can_be_stated_and_is_never_less_than_a_cell_by_itself(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        f"id,lon,lat,date\na,{EAST},{NORTH},2020-01-01\nb,{EAST + 25},{NORTH},2020-01-01\n", "utf-8"
    )
    inventory = read_inventory(InventorySource(path=path, crs="EPSG:32632", accuracy_m=1.0), UTM32, ROME)
    assert [event.id for event in screen(inventory, GRID).events] == ["a"]
    assert [event.id for event in screen(inventory, GRID, within_m=10.0).events] == ["a", "b"]


def test_events_outside_the_mask_are_reported_and_all_of_them_are_refused(tmp_path: Path) -> None:
    mask = tmp_path / "mask.tif"
    inside = np.ones((GRID.height, GRID.width), np.uint8)
    inside[:, 200:] = 0
    with rasterio.open(mask, "w", **GRID.profile("uint8", 1, None)) as raster:
        raster.write(inside, 1)
    source = write(
        tmp_path / "events.gpkg", [shapely.Point(EAST, NORTH), shapely.Point(GRID.left + 9_000, NORTH)]
    )
    screened = screen(read_inventory(source, UTM32, ROME), GRID, mask)
    assert [event.id for event in screened.events] == ["e0"]
    assert [problem.words for problem in screened.problems] == ["feature 2: outside the region's mask"]
    beyond = write(tmp_path / "beyond.gpkg", [shapely.Point(GRID.left + 9_000, NORTH)])
    with pytest.raises(InputError, match="lies inside the region's mask"):
        screen(read_inventory(beyond, UTM32, ROME), GRID, mask)


def test_an_inventory_of_a_country_is_screened_down_to_the_region(tmp_path: Path) -> None:
    far = [(f"far{n}", EAST + 2e5 + 1000 * n, NORTH, "2020-01-01") for n in range(20)]
    screened = table(tmp_path / "events.csv", [("here", EAST, NORTH, "2020-01-01"), *far])
    assert [event.id for event in screened.events] == ["here"]
    assert len(screened.problems) == 20
