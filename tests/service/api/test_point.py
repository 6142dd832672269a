"""/point: the published value, the place's own past, what stands behind it, and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from exporters.layer import NODATA, SCALE, Layer
from service.place import find_cell
from service.region import open_region
from tests.fix_bundle import write_toy_bundle
from tests.fix_places import (
    DAY,
    DRY_CELL,
    LAKE_CELL,
    MASKED_CELL,
    NETWORK,
    change_settings,
    client_of,
    lonlat_of,
    look,
    make_valley,
    raster_of,
    set_levels,
    strict_json,
)
from tests.fix_region import GAUGES, LAST_DAY, NOW, SHAPE, Clock, ToyRegion, read_rain

DAYS = [DAY - timedelta(days=back) for back in (6, 5, 3, 2, 1, 0)]  # the fourth day before has no layer
CELLS = (LAKE_CELL, DRY_CELL, (20, 55), (50, 15))


@pytest.fixture(scope="session")
def valley_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valley with six layers within a week; never changed by a test."""
    toy = make_valley(tmp_path_factory.mktemp("places") / "valley")
    toy.refresh(*DAYS)
    return toy.folder


@pytest.fixture
def valley(valley_template: Path) -> ToyRegion:
    """The valley, to look at."""
    return ToyRegion(valley_template, Clock())


@pytest.fixture
def changing(valley_template: Path, tmp_path: Path) -> ToyRegion:
    """The valley as a copy of the test's own."""
    shutil.copytree(valley_template, tmp_path / "valley")
    return ToyRegion(tmp_path / "valley", Clock(NOW + timedelta(hours=1)))


def layers(toy: ToyRegion) -> dict[date, Layer]:
    with toy.ledger() as ledger:
        return {layer.day: layer for layer in ledger.layers()}


def test_the_value_is_the_published_one_today_and_on_every_day_of_the_past(valley: ToyRegion) -> None:
    published = layers(valley)
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
    stack = {day: raster_of(layer, "susceptibility.tif").astype(int) for day, layer in layers(valley).items()}
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
    stored = raster_of(layers(valley)[day], "susceptibility.tif")[DRY_CELL]
    assert found["layer"]["day"] == day.isoformat()
    assert found["value"]["susceptibility"] == pytest.approx(stored * SCALE)
    assert found["past"]["days"][-1] == day.isoformat()
    assert found["reasons"]["agrees"]


# --- reasons ---


def test_the_parts_add_up_to_the_published_value_at_every_kind_of_place(valley: ToyRegion) -> None:
    http = client_of(valley)
    for cell in CELLS:
        found = look(http, cell)
        reasons = found["reasons"]
        assert reasons["agrees"]
        assert reasons["published"] == found["value"]["susceptibility"]
        assert abs(reasons["explained"] - reasons["published"]) <= SCALE
        known = [part for part in reasons["parts"].values() if part is not None]
        assert sum(known) == pytest.approx(reasons["explained"], abs=1e-5)
        assert (reasons["parts"]["reservoir"] is None) == (found["where"]["reservoir"] is None)
        change = reasons["change"]
        assert change["since"] == (DAY - timedelta(days=1)).isoformat()
        assert change["parts"]["terrain"] == 0
        moved = [part for part in change["parts"].values() if part is not None]
        assert sum(moved) == pytest.approx(change["change"], abs=SCALE)
        assert change["before"] == found["past"]["susceptibility"][-2]
    lake = look(http, LAKE_CELL)
    assert lake["where"]["reservoir"] == {"id": "lake", "name": "Lake"}
    assert lake["reasons"]["parts"]["reservoir"] != 0
    assert look(http, DRY_CELL)["where"]["reservoir"] is None


def test_a_correction_that_came_later_leaves_the_published_value_explained(changing: ToyRegion) -> None:
    before = look(client_of(changing), DRY_CELL)
    changing.set_rain({(DAY - timedelta(days=2), gauge): 190.0 for gauge in GAUGES})
    changing.ingest()

    after = look(client_of(changing), DRY_CELL)

    assert after["reasons"] == before["reasons"]
    assert after["window"] == before["window"]


def test_settings_that_changed_since_are_said_and_not_explained_away(changing: ToyRegion) -> None:
    # Other weights of the gauges: the windows of the layer can no longer be rebuilt.
    change_settings(changing, "max_distance_km = 5", "max_distance_km = 5\npower = 0.1")
    http = client_of(changing)
    found = [look(http, cell)["reasons"] for cell in CELLS]
    assert any(not reasons["agrees"] for reasons in found)
    for reasons in found:
        assert (reasons["says"] is None) == reasons["agrees"]


def test_without_a_layer_of_the_day_before_nothing_is_said_to_have_changed(valley: ToyRegion) -> None:
    reasons = look(client_of(valley), DRY_CELL, day=DAYS[2].isoformat())["reasons"]
    assert reasons["change"] is None
    assert reasons["change_missing"]["code"] == "no_layer_before"


def test_a_new_model_is_said_and_neither_ranked_against_nor_compared_with_the_old_one(
    changing: ToyRegion,
) -> None:
    old = client_of(changing)
    new = replace(NETWORK, seed=9)
    shutil.rmtree(changing.folder / "bundle")
    write_toy_bundle(changing.folder / "bundle", new)
    stale = look(old, DRY_CELL, day=DAY.isoformat())
    assert stale["reasons"] is not None  # the daemon has the layer's bundle in memory still

    other = look(client_of(changing), DRY_CELL)
    assert other["value"]["susceptibility"] is not None
    assert other["reasons"] is None
    assert other["reasons_missing"]["code"] == other["window_missing"]["code"] == "other_bundle"
    assert other["factors"] == []

    changing.refresh(DAY + timedelta(days=1))
    found = look(client_of(changing), DRY_CELL)
    assert found["reasons"]["agrees"]
    assert found["reasons"]["change"]["parts"] is None
    assert found["reasons"]["change"]["says"]
    assert found["rank"] is None
    assert found["past"]["model_changes"] == [(DAY + timedelta(days=1)).isoformat()]


def _lose_state(toy: ToyRegion) -> None:
    shutil.rmtree(toy.data / "state")


def _derive_factors_again(toy: ToyRegion) -> None:
    with rasterio.open(toy.folder / "factors.tif", "r+") as stack:
        stack.update_tags(digest="another")


@pytest.mark.parametrize(
    ("change", "code"), [(_lose_state, "no_state"), (_derive_factors_again, "inputs_changed")]
)
def test_what_a_layer_was_made_from_may_be_gone_and_the_value_stays(
    changing: ToyRegion, change: Callable[[ToyRegion], None], code: str
) -> None:
    before = look(client_of(changing), DRY_CELL)
    change(changing)
    found = look(client_of(changing), DRY_CELL)
    assert found["value"] == before["value"]
    assert found["past"] == before["past"]
    assert found["reasons"] is None
    assert found["reasons_missing"]["code"] == code
    assert not (changing.data / "state").exists() or code != "no_state"  # looking builds nothing


def test_without_a_bundle_the_value_is_there_and_the_reasons_are_not(valley: ToyRegion) -> None:
    found = look(client_of(valley, loaded=False), DRY_CELL)
    assert found["value"]["susceptibility"] is not None
    assert found["reasons_missing"]["code"] == found["window_missing"]["code"] == "no_bundle"


# --- the window ---


def test_kinds_of_days_are_told_apart(tmp_path: Path) -> None:
    toy = make_valley(tmp_path / "valley")
    shutil.rmtree(toy.data)  # an archive that never held what is missing now
    # The lake has the southern gauge in reach alone, the middle both.
    change_settings(toy, "max_distance_km = 5", "max_distance_km = 1.35")
    change_settings(toy, "min_coverage = 0.8", "min_coverage = 0.1")
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


def test_no_number_of_a_withheld_feed_is_anywhere(changing: ToyRegion) -> None:
    shown = look(client_of(changing), LAKE_CELL)
    change_settings(changing, 'name = "gauges"', 'name = "gauges"\nredistribute = false')
    change_settings(changing, 'name = "dams"', 'name = "dams"\nredistribute = false')

    found = look(client_of(changing), LAKE_CELL)

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
    for (_, _), value in read_rain(changing.folder / "rain.csv").items():
        assert value < 10 or f" {value}" not in text


# --- factors ---


def test_factors_are_those_of_the_stack_with_units_ranges_and_categories(changing: ToyRegion) -> None:
    with rasterio.open(changing.folder / "factors.tif", "r+") as stack:
        band = stack.read(1)
        band[DRY_CELL] = 140.0  # beyond what the toy was trained on
        stack.write(band, 1)
        values = stack.read()
    http = client_of(changing)
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


def test_every_unknown_cell_says_why_and_no_known_one_does(changing: ToyRegion) -> None:
    change_settings(changing, "max_distance_km = 5", "max_distance_km = 0.8")
    change_settings(changing, "min_coverage = 0.8", "min_coverage = 0.1")
    changing.refresh(DAY + timedelta(days=1))
    stored = raster_of(layers(changing)[DAY + timedelta(days=1)], "susceptibility.tif")
    http = client_of(changing)
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


def test_a_layer_that_is_not_there_or_was_withdrawn_is_not_shown(changing: ToyRegion) -> None:
    http = client_of(changing)
    lon, lat = lonlat_of(*DRY_CELL)
    place = {"lon": lon, "lat": lat}
    assert http.get("/point", params=place | {"day": DAYS[1] + timedelta(days=1)}).status_code == 404
    with changing.ledger() as ledger:
        layer = ledger.current(DAY)
        assert layer is not None
        ledger.withdraw(layer, "tester", "test", [])
    gone = http.get("/point", params=place | {"day": DAY})
    assert gone.status_code == 410
    assert layer.id in gone.json()["detail"]
    assert look(http, DRY_CELL)["layer"]["day"] == DAYS[-2].isoformat()
    assert look(http, DRY_CELL)["past"]["days"][-1] == DAYS[-2].isoformat()


def test_a_layer_that_lost_its_raster_is_unavailable_and_a_past_one_is_a_gap(changing: ToyRegion) -> None:
    (layers(changing)[DAYS[1]].folder / "susceptibility.tif").unlink()
    assert look(client_of(changing), DRY_CELL, days=6)["past"]["susceptibility"][0] is None
    (layers(changing)[DAY].folder / "susceptibility.tif").unlink()
    lon, lat = lonlat_of(*DRY_CELL)
    answer = client_of(changing).get("/point", params={"lon": lon, "lat": lat})
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


def test_an_answer_is_sent_again_only_when_it_changed(changing: ToyRegion) -> None:
    http = client_of(changing)
    lon, lat = lonlat_of(*DRY_CELL)
    first = http.get("/point", params={"lon": lon, "lat": lat})
    same = {"If-None-Match": first.headers["etag"]}
    assert http.get("/point", params={"lon": lon, "lat": lat}, headers=same).status_code == 304
    changing.refresh(DAY + timedelta(days=1))
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
