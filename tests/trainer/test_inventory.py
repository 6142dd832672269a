from __future__ import annotations

from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rasterio.crs import CRS

from service.errors import InputError
from trainer.inventory import InventorySource, read_inventory

UTM32 = CRS.from_epsg(32632)
ROME = ZoneInfo("Europe/Rome")

ITALICA_HEADER = (
    "id;information_source;landslide_type;lon;lat;municipality;province;region;geographic_accuracy;"
    "day;month;year;local_time;local_date;utc_date;temporal_accuracy\n"
)
GRIZZANA = (
    "ITA_1;IR;SL;11.15;44.26;Grizzana;Bologna;ER;P0;10;02;2014;00:30;10/02/2014 00:30;09/02/2014 23:30;T1\n"
)


def italica(tmp_path: Path, *rows: str) -> InventorySource:
    path = tmp_path / "italica.csv"
    path.write_text(ITALICA_HEADER + "".join(rows), "utf-8")
    return InventorySource(path=path, form="italica")


def test_italica_event_has_the_local_day_and_the_accuracy_of_its_place(tmp_path: Path) -> None:
    other = GRIZZANA.replace("ITA_1", "ITA_2").replace("P0", "P10").replace("T1", "T3")
    inventory = read_inventory(italica(tmp_path, GRIZZANA, other), UTM32, ROME)
    first, second = inventory.events
    assert first.day == date(2014, 2, 10)  # half past midnight in Rome, still the 9th in UTC
    assert (first.accuracy_m, first.time_accuracy) == (100.0, "hour")
    assert (second.accuracy_m, second.time_accuracy) == (10_000.0, "day")
    # 11.15 E lies 2.15 degrees east of the zone's meridian (500 km): about 171.7 km at 44.26 N.
    assert first.x == pytest.approx(671_700, abs=500)
    assert first.y == pytest.approx(4_903_000, abs=1_500)


def test_an_event_falls_on_the_day_of_the_region_where_that_is_another_zone(tmp_path: Path) -> None:
    inventory = read_inventory(italica(tmp_path, GRIZZANA), UTM32, ZoneInfo("UTC"))
    assert inventory.events[0].day == date(2014, 2, 9)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("11.15", "11,15", "lon '11,15' is not a number"),
        ("44.26", "144.26", "not longitude and latitude"),
        ("P0", "exact", "geographic_accuracy 'exact'"),
        ("10/02/2014 00:30", "2014-02-10", "local_date '2014-02-10'"),
        (";10;02;2014;", ";11;02;2014;", "local_date says 2014-02-10, day, month and year say 2014-02-11"),
        (";10;02;2014;", ";31;02;2014;", "is not a date"),
        (";T1", ";T9", "temporal_accuracy 'T9'"),
        (";IR;SL;11.15;44.26;Grizzana;Bologna;ER;P0;10;02;2014;00:30;", ";IR", "the row ends before"),
    ],
)
def test_an_unusable_row_is_reported_by_line_and_the_others_stay(
    tmp_path: Path, before: str, after: str, reason: str
) -> None:
    broken = GRIZZANA.replace(before, after)
    inventory = read_inventory(italica(tmp_path, broken, GRIZZANA.replace("ITA_1", "ITA_2")), UTM32, ROME)
    assert [event.id for event in inventory.events] == ["ITA_2"]
    (problem,) = inventory.problems
    assert problem.row == 2
    assert reason in problem.reason


def test_a_second_row_with_the_same_id_is_reported(tmp_path: Path) -> None:
    inventory = read_inventory(italica(tmp_path, GRIZZANA, GRIZZANA), UTM32, ROME)
    assert len(inventory.events) == 1
    assert [(problem.row, "second time" in problem.reason) for problem in inventory.problems] == [(3, True)]


def test_csv_columns_are_mapped_and_projected_coordinates_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("name|east|north|when|error\nslide a|700000.5|4900000|31.12.2019|25\n", "utf-8")
    source = InventorySource(
        path=path, separator="|", crs="EPSG:32632", id_column="name", x_column="east", y_column="north",
        day_column="when", day_format="%d.%m.%Y", accuracy_column="error",
    )  # fmt: skip
    (event,) = read_inventory(source, UTM32, ROME).events
    assert (event.id, event.day, event.accuracy_m) == ("slide a", date(2019, 12, 31), 25.0)
    assert (event.x, event.y) == pytest.approx((700000.5, 4900000.0))


def test_a_bare_date_does_not_move_with_the_time_zone_but_a_time_does(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("id,lon,lat,date\na,11,44,2020-01-01\n", "utf-8")
    bare = InventorySource(path=path, timezone="Pacific/Auckland")
    assert read_inventory(bare, UTM32, ROME).events[0].day == date(2020, 1, 1)
    path.write_text("id,lon,lat,date\na,11,44,2020-01-01 05:00\n", "utf-8")
    timed = bare.model_copy(update={"day_format": "%Y-%m-%d %H:%M"})
    assert read_inventory(timed, UTM32, ROME).events[0].day == date(2019, 12, 31)


def test_a_file_without_the_columns_says_which_and_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("id,x,y,date\na,1,2,2020-01-01\n", "utf-8")
    with pytest.raises(InputError, match=r"no column lon, lat; it has: id, x, y, date"):
        read_inventory(InventorySource(path=path), UTM32, ROME)


def test_a_missing_file_and_a_file_without_usable_rows_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_inventory(InventorySource(path=tmp_path / "none.csv"), UTM32, ROME)
    with pytest.raises(InputError, match="no usable event; line 2: lon 'x'"):
        read_inventory(italica(tmp_path, GRIZZANA.replace("11.15", "x")), UTM32, ROME)


def test_rows_without_a_date_are_reported_and_a_file_without_any_says_which_column(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("id,lon,lat,date,when\na,11,44,,2020-01-01\nb,11,44,2020-01-01,2020-01-01\n", "utf-8")
    inventory = read_inventory(InventorySource(path=path), UTM32, ROME)
    assert [event.id for event in inventory.events] == ["b"]
    assert [problem.words for problem in inventory.problems] == [
        "line 2: date is empty: a landslide without a day has no window"
    ]
    path.write_text("id,lon,lat,date,when\na,11,44,,2020-01-01\nb,11,44, ,2020-01-01\n", "utf-8")
    with pytest.raises(InputError, match=r"none of its 2 rows has a date in date; name .* by day_column"):
        read_inventory(InventorySource(path=path), UTM32, ROME)
