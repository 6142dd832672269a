"""/point: the published value, the place's own past, and what stands behind it."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from exporters.layer import NODATA, SCALE
from service.place import find_cell
from service.region import open_region
from tests.fix_places import (
    DAY,
    DRY_CELL,
    LAKE_CELL,
    MASKED_CELL,
    change_settings,
    client_of,
    lonlat_of,
    look,
    make_valley,
    raster_of,
    set_levels,
    strict_json,
)
from tests.fix_region import GAUGES, LAST_DAY, SHAPE, ToyRegion, read_rain
from tests.service.api.conftest import VALLEY_DAYS as DAYS
from tests.service.api.conftest import layers_by_day

CELLS = (LAKE_CELL, DRY_CELL, (20, 55), (50, 15))


def test_the_value_is_the_published_one_today_and_on_every_day_of_the_past(valley: ToyRegion) -> None:
    published = layers_by_day(valley)
    http = client_of(valley)
    for row, column in CELLS:
        found = look(http, (row, column), days=7)
        assert (found["where"]["row"], found["where"]["column"]) == (row, column)
        calendar = [DAY - timedelta(days=back) for back in range(6, -1, -1)]
        assert found["past"]["days"] == [day.isoformat() for day in calendar]
        for day, value, label in zip(
            calendar, found["past"]["susceptibility"], found["past"]["class"], strict=True
        ):
            if day not in published:
                assert (value, label) == (None, None)
                continue
            stored = raster_of(published[day], "susceptibility.tif")[row, column]
            assert value == pytest.approx(stored * SCALE, abs=1e-9)
            code = raster_of(published[day], "class.tif")[row, column]
            assert label == ("low", "moderate", "high", "very_high")[code - 1]
        assert found["value"]["susceptibility"] == found["past"]["susceptibility"][-1]
        assert found["value"]["class"] == found["past"]["class"][-1]
        assert found["value"]["unknown"] is None
        assert found["layer"]["id"] == published[DAY].id


def test_the_rank_is_the_share_of_the_place_s_own_earlier_days_below_today(valley: ToyRegion) -> None:
    stack = {
        day: raster_of(layer, "susceptibility.tif").astype(int)
        for day, layer in layers_by_day(valley).items()
    }
    http = client_of(valley)
    for row, column in CELLS:
        earlier = [stack[day][row, column] for day in DAYS[:-1]]
        now = stack[DAY][row, column]
        rank = look(http, (row, column))["rank"]
        assert rank["share_below"] == pytest.approx(np.mean([value < now for value in earlier]), abs=1e-6)
        assert rank["share_equal"] == pytest.approx(np.mean([value == now for value in earlier]), abs=1e-6)
        assert (rank["days"], rank["since"], rank["other_model_days"]) == (5, DAYS[0].isoformat(), 0)
    # Of a past of one day there is nothing to rank against.
    assert look(http, DRY_CELL, days=1)["rank"] is None
    assert look(http, DRY_CELL, days=3)["rank"]["days"] == 2


def test_an_earlier_day_is_shown_with_what_came_before_it(valley: ToyRegion) -> None:
    day = DAYS[3]
    found = look(client_of(valley), DRY_CELL, day=day.isoformat(), days=5)
    stored = raster_of(layers_by_day(valley)[day], "susceptibility.tif")[DRY_CELL]
    assert found["layer"]["day"] == day.isoformat()
    assert found["value"]["susceptibility"] == pytest.approx(stored * SCALE)
    assert found["past"]["days"][-1] == day.isoformat()
    assert found["reasons"]["agrees"]


# --- the window ---


def test_kinds_of_days_are_told_apart(tmp_path: Path) -> None:
    toy = make_valley(tmp_path / "valley")
    shutil.rmtree(toy.data)  # an archive that never held what is missing now
    # The lake has the southern gauge in reach alone, the middle both.
    change_settings(toy, "max_distance_km = 5", "max_distance_km = 1.35")
    change_settings(toy, "min_coverage = 0.8", "min_coverage = 0.1")
    # The gauges' numbers are independent of one another, which the check on units may doubt.
    change_settings(toy, "[bundle]", '[quality]\noff = ["rain_unit"]\n\n[bundle]')
    newest = DAY - timedelta(days=1)
    gap, silent, unread = (newest - timedelta(days=back) for back in (10, 4, 20))
    toy.set_rain({(gap, "north"): None, (silent, "south"): None})
    set_levels(toy, {unread: None, **dict.fromkeys(_until(LAST_DAY, newest - timedelta(days=1)))})
    toy.ingest()
    toy.refresh(DAY)
    http = client_of(toy)

    middle = _kinds(look(http, (26, 26)))["rain"]
    assert {day for day, kind in middle.items() if kind != "observed"} == {gap}
    assert middle[gap] == "filled"

    lake = look(http, LAKE_CELL)
    kinds = _kinds(lake)
    assert {day: kind for day, kind in kinds["rain"].items() if kind != "observed"} == {silent: "missing"}
    values = lake["window"]["variables"][0]["values"]
    assert [value is None for value in values] == [day == silent for day in kinds["rain"]]
    assert {day: kind for day, kind in kinds["level_below_full"].items() if kind != "observed"} == {
        unread: "filled", newest - timedelta(days=1): "carried", newest: "carried",
    }  # fmt: skip
    assert len(set(lake["window"]["variables"][1]["values"][-3:])) == 1
    assert lake["value"]["unknown"]["code"] == "no_rain_in_reach"


def _kinds(found: dict[str, Any]) -> dict[str, dict[date, str]]:
    days = [date.fromisoformat(day) for day in found["window"]["days"]]
    return {
        said["name"]: dict(zip(days, said["kinds"], strict=True)) for said in found["window"]["variables"]
    }


def _until(last: date, first: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def test_the_window_is_the_rain_of_the_gauges_at_the_place(valley: ToyRegion) -> None:
    rain = read_rain(valley.folder / "rain.csv")
    (x, y) = GAUGES["south"]
    row, column = int((5_000_000.0 - y) // 30), int((x - 500_000.0) // 30)
    found = look(client_of(valley), (row, column))
    (said, *_) = found["window"]["variables"]
    days = [date.fromisoformat(day) for day in found["window"]["days"]]
    assert days == [DAY - timedelta(days=back) for back in range(30, 0, -1)]
    assert said["values"] == pytest.approx([rain[day, "south"] for day in days], rel=0.05, abs=1.0)
    assert said["nearest_gauge"] == "gauges/south"
    assert 0 <= said["nearest_gauge_km"] < 0.03
    assert set(said["kinds"]) == {"observed"}


def test_no_number_of_a_withheld_feed_is_anywhere(own_valley: ToyRegion) -> None:
    shown = look(client_of(own_valley), LAKE_CELL)
    change_settings(own_valley, 'name = "gauges"', 'name = "gauges"\nredistribute = false')
    change_settings(own_valley, 'name = "dams"', 'name = "dams"\nredistribute = false')

    found = look(client_of(own_valley), LAKE_CELL)

    text = str(found)
    for before, after in zip(shown["window"]["variables"], found["window"]["variables"], strict=True):
        assert set(after["values"]) == {None}
        assert after["kinds"] == before["kinds"]
        assert after["withheld"]
        for value in before["values"]:
            if value and abs(value) > 0.01:
                assert str(value) not in text
    assert found["window"]["variables"][0]["nearest_gauge"] is None
    assert found["window"]["variables"][0]["nearest_gauge_km"] is None
    assert found["reasons"] == shown["reasons"]
    for (_, _), value in read_rain(own_valley.folder / "rain.csv").items():
        assert value < 10 or f" {value}" not in text


# --- factors ---


def test_factors_are_those_of_the_stack_with_units_ranges_and_categories(
    own_valley: ToyRegion,
) -> None:
    with rasterio.open(own_valley.folder / "factors.tif", "r+") as stack:
        band = stack.read(1)
        band[DRY_CELL] = 140.0  # beyond what the toy was trained on
        stack.write(band, 1)
        values = stack.read()
    http = client_of(own_valley)
    for cell in (DRY_CELL, LAKE_CELL):
        found = look(http, cell)["factors"]
        assert [factor["name"] for factor in found] == ["f0", "f1", "cover"]
        for factor, value in zip(found[:2], values[:2, cell[0], cell[1]], strict=True):
            assert factor["value"] == pytest.approx(float(value), abs=1e-4)
            assert (factor["minimum"], factor["maximum"], factor["unit"]) == (0.0, 100.0, "m")
            assert factor["outside_range"] == (value > 100)
            assert factor["category"] is None
        code = int(values[2, cell[0], cell[1]])
        assert found[2]["category"] == {1: "forest", 2: "field", 3: "rock"}[code]
        assert found[2]["value"] is None
        assert not found[2]["outside_range"]


# --- places without a value ---


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ((-400, -300), "outside_region"),
        (MASKED_CELL, "outside_mask"),
        ((4, 30), "incomplete_patch"),
    ],
)
def test_a_place_without_a_value_says_why(valley: ToyRegion, cell: tuple[int, int], code: str) -> None:
    found = look(client_of(valley), cell)
    assert found["value"]["susceptibility"] is None
    assert found["value"]["class"] is None
    assert found["value"]["unknown"]["code"] == code
    assert set(found["past"]["susceptibility"]) == {None}
    assert found["rank"] is None
    assert found["reasons"] is None
    assert found["reasons_missing"]["code"] == "unknown_value"
    if code == "outside_region":
        assert found["where"]["row"] is None
    if code != "incomplete_patch":
        assert found["window"] is None
        assert found["window_missing"]["code"] == code
        assert found["factors"] == []
        assert not found["where"]["inside"]


def test_every_unknown_cell_says_why_and_no_known_one_does(own_valley: ToyRegion) -> None:
    change_settings(own_valley, "max_distance_km = 5", "max_distance_km = 0.8")
    change_settings(own_valley, "min_coverage = 0.8", "min_coverage = 0.1")
    own_valley.refresh(DAY + timedelta(days=1))
    stored = raster_of(layers_by_day(own_valley)[DAY + timedelta(days=1)], "susceptibility.tif")
    http = client_of(own_valley)
    random = np.random.default_rng(5)
    codes = set()
    for row, column in random.integers((0, 0), SHAPE, (24, 2)).tolist():
        found = look(http, (row, column), days=1)
        assert (found["value"]["unknown"] is None) == (stored[row, column] != NODATA)
        if found["value"]["unknown"]:
            codes.add(found["value"]["unknown"]["code"])
        else:
            assert found["reasons"]["agrees"]
    assert {"no_rain_in_reach", "incomplete_patch"} <= codes <= {
        "no_rain_in_reach", "incomplete_patch", "outside_mask",
    }  # fmt: skip


def test_a_place_on_the_edge_of_the_mask_is_inside_or_outside_as_the_mask_says(valley: ToyRegion) -> None:
    region = open_region(valley.settings)
    with rasterio.open(region.mask_path) as raster:
        mask = raster.read(1)
    edge = [(row, column) for row, column in np.argwhere(mask[:12] == 0).tolist() if column >= 69][:6]
    http = client_of(valley)
    for row, column in edge:
        for cell in ((row, column), (row, column - 1)):
            assert look(http, cell)["where"]["inside"] == bool(mask[cell])
            found = find_cell(region, *lonlat_of(*cell))
            assert found is not None


# --- the protocol ---


def test_a_layer_that_is_not_there_or_was_withdrawn_is_not_shown(own_valley: ToyRegion) -> None:
    http = client_of(own_valley)
    lon, lat = lonlat_of(*DRY_CELL)
    place = {"lon": lon, "lat": lat}
    assert http.get("/point", params=place | {"day": DAYS[1] + timedelta(days=1)}).status_code == 404
    with own_valley.ledger() as ledger:
        layer = ledger.current(DAY)
        assert layer is not None
        ledger.withdraw(layer, "tester", "test", [])
    gone = http.get("/point", params=place | {"day": DAY})
    assert gone.status_code == 410
    assert layer.id in gone.json()["detail"]
    assert look(http, DRY_CELL)["layer"]["day"] == DAYS[-2].isoformat()
    assert look(http, DRY_CELL)["past"]["days"][-1] == DAYS[-2].isoformat()


def test_a_layer_that_lost_its_raster_is_unavailable_and_a_past_one_is_a_gap(
    own_valley: ToyRegion,
) -> None:
    (layers_by_day(own_valley)[DAYS[1]].folder / "susceptibility.tif").unlink()
    assert look(client_of(own_valley), DRY_CELL, days=6)["past"]["susceptibility"][0] is None
    (layers_by_day(own_valley)[DAY].folder / "susceptibility.tif").unlink()
    lon, lat = lonlat_of(*DRY_CELL)
    answer = client_of(own_valley).get("/point", params={"lon": lon, "lat": lat})
    assert answer.status_code == 503
    assert "susceptibility.tif" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {}, {"lon": 9}, {"lon": 181, "lat": 0}, {"lon": 0, "lat": -90.1}, {"lon": "nan", "lat": 0},
        {"lon": "inf", "lat": 0}, {"lon": 9, "lat": 45, "days": 0}, {"lon": 9, "lat": 45, "days": 367},
        {"lon": 9, "lat": 45, "day": "latest; DROP TABLE layer"}, {"lon": "9;ls", "lat": 45},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(valley: ToyRegion, query: dict[str, Any]) -> None:
    answer = client_of(valley).get("/point", params=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "place", [(180, 90), (-180, -90), (0, 0), (9, 90), (-171.0, 0), (99.0, 0), (9.0, -45.1)]
)
def test_any_place_on_earth_has_an_answer(valley: ToyRegion, place: tuple[float, float]) -> None:
    answer = client_of(valley).get("/point", params={"lon": place[0], "lat": place[1]})
    assert answer.status_code == 200
    assert strict_json(answer.text)["value"]["unknown"]["code"] == "outside_region"


def test_an_answer_is_sent_again_only_when_it_changed(own_valley: ToyRegion) -> None:
    http = client_of(own_valley)
    lon, lat = lonlat_of(*DRY_CELL)
    first = http.get("/point", params={"lon": lon, "lat": lat})
    same = {"If-None-Match": first.headers["etag"]}
    assert http.get("/point", params={"lon": lon, "lat": lat}, headers=same).status_code == 304
    own_valley.refresh(DAY + timedelta(days=1))
    assert http.get("/point", params={"lon": lon, "lat": lat}, headers=same).status_code == 200


def test_before_the_first_layer_there_is_none(tmp_path: Path) -> None:
    http = client_of(make_valley(tmp_path / "new"))
    assert http.get("/point", params={"lon": 9, "lat": 45}).status_code == 404


def test_the_example_of_the_description_is_an_answer(valley: ToyRegion) -> None:
    from service.api import examples
    from service.api.point_models import PointAnswer

    found = look(client_of(valley), LAKE_CELL)
    assert set(examples.POINT) == set(found)
    for part in ("where", "layer", "value", "past", "rank", "reasons"):
        assert set(examples.POINT[part]) == set(found[part])
    assert PointAnswer.model_json_schema(mode="serialization")["examples"] == [examples.POINT]
