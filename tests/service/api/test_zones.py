"""/zones and /hotspots: what the layer says, where it lies, and what fell there."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.warp
import shapely
from fastapi.testclient import TestClient

from exporters.layer import Layer
from service.api import layers, zones
from service.areas_file import read_hotspots
from service.region import open_region
from tests.fix_places import change_settings, client_of, strict_json
from tests.fix_region import Clock, ToyRegion, read_rain

LAST = date(2026, 3, 5)  # of the published toy


def latest(toy: ToyRegion) -> Layer:
    with toy.ledger() as ledger:
        found = ledger.latest()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def http(published_template: Path) -> TestClient:
    """The API of the published region."""
    return client_of(ToyRegion(published_template, Clock()))


def get(http: TestClient, path: str, **query: Any) -> Any:
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/geo+json"
    return strict_json(answer.text)


def to_grid(geometry: dict[str, Any]) -> shapely.Geometry:
    """Bring GeoJSON back into the grid's CRS."""

    def back(lonlat: np.ndarray) -> np.ndarray:
        x, y = rasterio.warp.transform("EPSG:4326", "EPSG:32632", lonlat[:, 0], lonlat[:, 1])
        return np.array([x, y]).T

    return shapely.transform(shapely.geometry.shape(geometry), back)


def test_zones_have_the_areas_of_the_layer_and_their_own_outlines(
    published: ToyRegion, http: TestClient
) -> None:
    layer = latest(published)
    found = get(http, "/zones")
    assert (found["layer"], found["day"]) == (layer.id, LAST.isoformat())
    assert [feature["id"] for feature in found["features"]] == ["west", "east"]
    outlines = {zone.id: zone.geometry for zone in open_region(published.settings).zones}
    for feature in found["features"]:
        said = feature["properties"]
        areas = {area.label: area for area in layer.areas if area.zone == feature["id"]}
        for label, area in areas.items():
            assert said["areas"][label]["area_m2"] == area.area_m2
            assert said["areas"][label]["change_m2"] == {str(k): v for k, v in area.change_m2.items()}
        assert "1" in said["areas"]["high"]["change_m2"]
        high = areas["high"].area_m2 + areas["very_high"].area_m2
        assert said["high_ratio"] == pytest.approx(high / sum(a.area_m2 for a in areas.values()), abs=1e-6)
        assert said["unknown_m2"] == areas["low"].unknown_m2
        assert said["warning_level"] is None
        drawn = to_grid(feature["geometry"])
        distance = shapely.hausdorff_distance(drawn, outlines[feature["id"]])
        assert distance <= found["simplified_to_m"] + 0.2


def test_a_zone_has_its_history_by_day_and_leaves_out_what_does_not_exist_yet(http: TestClient) -> None:
    found = get(http, "/zones/east")["properties"]
    days = {}
    for day in (LAST - timedelta(days=1), LAST):
        (feature,) = [f for f in get(http, "/zones", day=day.isoformat())["features"] if f["id"] == "east"]
        days[day.isoformat()] = feature["properties"]["high_ratio"]
    assert {item["day"]: item["high_ratio"] for item in found["history"]} == days
    assert [item["status"] for item in found["history"]] == ["complete", "complete"]
    assert (found["warning_level"], found["leads"], found["track_record"]) == (None, [], None)
    assert get(http, "/zones/east", days=1)["properties"]["history"][0]["day"] == LAST.isoformat()
    for link in ("self", "zones", "hotspots"):
        assert http.get(found["links"][link]).status_code == 200


def test_why_a_zone_is_as_it_is_tells_the_rain_of_its_gauges_against_a_week_before(
    changing: ToyRegion,
) -> None:
    # The same rain at both gauges: whatever the weights, that is what fell everywhere.
    rain = {day: 1.0 + day.toordinal() % 7 for day, _ in read_rain(changing.folder / "rain.csv")}
    changing.set_rain({(day, gauge): amount for day, amount in rain.items() for gauge in ("north", "south")})
    # Rain that is equal everywhere and comes back each week is what these checks are there to doubt.
    off = '[quality]\noff = ["duplicate_series", "repeated_block"]\n\n[bundle]'
    change_settings(changing, "[bundle]", off)
    changing.ingest()
    changing.refresh(LAST)

    why = get(client_of(changing), "/zones/west")["properties"]["why"]

    def total(days: int, back: int) -> float:
        return sum(rain[LAST - timedelta(days=1 + back + number)] for number in range(days))

    assert why["window_days"] == 30
    assert why["rain_window_mm"] == pytest.approx(total(30, 0))
    assert why["rain_3d_mm"] == pytest.approx(total(3, 0))
    assert why["week_before"]["rain_window_mm"] == pytest.approx(total(30, 7))
    assert why["week_before"]["rain_3d_mm"] == pytest.approx(total(3, 7))
    assert why["points"] > 1


def test_why_is_not_told_where_rain_is_withheld_out_of_reach_or_no_model_is_loaded(
    changing: ToyRegion,
) -> None:
    text = changing.config.read_text("utf-8")
    change_settings(changing, 'name = "gauges"', 'name = "gauges"\nredistribute = false')
    withheld = get(client_of(changing), "/zones/west")["properties"]
    assert withheld["why"] is None
    assert withheld["why_missing"]["code"] == "withheld"
    assert "gauges" in withheld["why_missing"]["says"]

    changing.config.write_text(text.replace("max_distance_km = 5", "max_distance_km = 0.01"), "utf-8")
    assert get(client_of(changing), "/zones/west")["properties"]["why_missing"]["code"] == "no_rain_in_reach"

    bare = client_of(changing, loaded=False).get("/zones/west").json()["properties"]
    assert bare["why_missing"]["code"] == "no_bundle"


def test_hotspots_are_those_of_the_layer_s_file_with_filters(published: ToyRegion, http: TestClient) -> None:
    layer = latest(published)
    spots = read_hotspots(layer.folder / "areas.gpkg")
    assert len(spots) > 1
    found = get(http, "/hotspots")
    assert found["matched"] == len(spots)
    areas = [feature["properties"]["area_m2"] for feature in found["features"]]
    assert areas == sorted(areas, reverse=True) == [spot.area_m2 for spot in spots]
    for feature, spot in zip(found["features"], spots, strict=True):
        said = feature["properties"]
        assert (said["growth_m2"], said["zone"], said["day"]) == (spot.growth_m2, spot.zone, "2026-03-05")
        assert said["first_seen"] == (spot.first_seen.isoformat() if spot.first_seen else None)
        assert (said["mean"], said["maximum"]) == pytest.approx((spot.mean, spot.maximum), abs=1e-6)
        drawn = to_grid(feature["geometry"])
        distance = shapely.hausdorff_distance(drawn, shapely.from_wkb(spot.geometry_wkb))
        assert distance <= found["simplified_to_m"] + 0.2

    limited = get(http, "/hotspots", limit=1)
    assert limited["features"] == found["features"][:1]
    assert limited["matched"] == len(spots)
    middle = spots[1].area_m2
    assert get(http, "/hotspots", min_area_m2=middle)["matched"] == sum(
        spot.area_m2 >= middle for spot in spots
    )
    for zone in ("west", "east", "nowhere"):
        expected = [spot.id for spot in spots if spot.zone == zone]
        assert [f["id"] for f in get(http, "/hotspots", zone=zone)["features"]] == expected


@pytest.mark.parametrize("path", ["/zones", "/hotspots", "/zones/west"])
def test_an_answer_is_sent_again_only_when_the_layer_changed(changing: ToyRegion, path: str) -> None:
    http = client_of(changing)
    first = http.get(path)
    same = {"If-None-Match": first.headers["etag"]}
    assert http.get(path, headers=same).status_code == 304
    changing.refresh(LAST + timedelta(days=1))
    assert http.get(path, headers=same).status_code == 200


def test_what_another_release_would_say_is_sent_again(
    published: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client_of(published)
    paths = ["/zones", "/hotspots", f"/layers/{latest(published).id}/areas.csv"]
    same = [{"If-None-Match": http.get(path).headers["etag"]} for path in paths]
    assert [http.get(path, headers=known).status_code for path, known in zip(paths, same, strict=True)] == [
        304
    ] * 3
    monkeypatch.setattr(zones, "_high_ratio", lambda _: 0.123)
    monkeypatch.setattr(zones, "rounded", lambda _: 0.123)
    monkeypatch.setattr(zones, "to_geojson", lambda shapes, *_: [None] * len(shapes))
    monkeypatch.setattr(layers, "areas_csv", lambda _: "another head")
    assert [http.get(path, headers=known).status_code for path, known in zip(paths, same, strict=True)] == [
        200
    ] * 3


@pytest.mark.parametrize("path", ["/zones", "/hotspots", "/zones/west"])
def test_a_day_without_a_layer_is_not_found_and_a_withdrawn_one_is_gone(
    changing: ToyRegion, path: str
) -> None:
    http = client_of(changing)
    assert http.get(path, params={"day": "2020-01-01"}).status_code == 404
    with changing.ledger() as ledger:
        ledger.withdraw(latest(changing), "tester", "test", [])
    assert http.get(path, params={"day": LAST}).status_code == 410
    assert http.get(path).status_code == 200  # the day before is on display again


@pytest.mark.parametrize(
    "address",
    [
        "/zones?day=yesterday", "/hotspots?limit=0", "/hotspots?limit=1001", "/hotspots?min_area_m2=-1",
        "/hotspots?min_area_m2=nan", "/zones/west?days=0", "/zones/west?days=367",
        "/hotspots?zone=" + "x" * 201, "/zones/" + "x" * 201,
    ],
)  # fmt: skip
def test_parameters_have_bounds(http: TestClient, address: str) -> None:
    assert http.get(address).status_code == 422


def test_an_unknown_zone_is_not_found(http: TestClient) -> None:
    for zone in ("nowhere", "..%2Fledger.sqlite", "west%00", "west' OR 1=1"):
        assert http.get(f"/zones/{zone}").status_code == 404


def test_a_lost_areas_file_is_named(changing: ToyRegion) -> None:
    (latest(changing).folder / "areas.gpkg").unlink()
    http = client_of(changing)
    for path in ("/zones", "/hotspots"):
        answer = http.get(path)
        assert answer.status_code == 503
        assert "areas.gpkg" in answer.json()["detail"]


def test_the_examples_of_the_description_are_answers() -> None:
    from service.api import examples
    from service.api.zone_models import HotspotCollection, ZoneCollection, ZoneDetailFeature

    for model, example in (
        (ZoneCollection, examples.ZONES),
        (ZoneDetailFeature, examples.ZONE),
        (HotspotCollection, examples.HOTSPOTS),
    ):
        assert model.model_validate(example).model_dump(mode="json", by_alias=True) == example
