"""Forecasts in the API: asked for by lead, marked as what they are, and never in a nowcast's place."""

from __future__ import annotations

import csv
from datetime import timedelta

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.layer import CLASS_LABELS, Layer
from service.forecast_scores import AreaScore, ForecastScores, RainScore
from tests.fix_forecasts import FEED, MEMBERS, SPREAD, STEP, add_forecasts
from tests.fix_places import client_of, lonlat_of, look, raster_of
from tests.fix_region import ToyRegion
from tests.fix_site import decode, layers_of, site_of
from tests.service.api.conftest import DAY, ISSUED

CELL = (30, 20)
LEADS = (1, 2, 3)


def by_lead(toy: ToyRegion) -> dict[int, Layer]:
    return {layer.lead: layer for layer in layers_of(toy) if layer.lead or layer.day == DAY}


# What is asked for by a day or by `latest`; every one of them takes `lead`.
BY_DAY = ("/zones", "/hotspots", "/point?lon={lon}&lat={lat}", "/zones/west")
OF_LATEST = (
    "/layers/latest",
    "/layers/latest/tilejson.json",
    "/layers/latest/item.json",
    "/layers/latest/areas.csv",
    "/layers/latest/susceptibility.tif",
    "/layers/latest/tiles/11/1075/735.png",
    "/statistics?polygon={polygon}",
    "/map.png",
    "/preview.png",
)


def address(pattern: str, **query: object) -> str:
    lon, lat = lonlat_of(*CELL)
    corners = [lonlat_of(*cell) for cell in ((20, 10), (20, 30), (40, 30), (40, 10))]
    polygon = ",".join(f"{value:.6f}" for corner in corners for value in corner)
    place = pattern.format(lon=lon, lat=lat, polygon=polygon)
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{place}{'&' if '?' in place else '?'}{asked}" if asked else place


def test_the_current_forecasts_are_listed_by_lead_with_their_issue(forecast: ToyRegion) -> None:
    said = site_of(forecast).get("/forecasts").json()

    assert said["nowcast"] == f"toy-{DAY}-l0-r1"
    assert said["today"] == DAY.isoformat()
    assert [layer["lead"] for layer in said["forecasts"]] == list(LEADS)
    for layer in said["forecasts"]:
        assert layer["day"] == (DAY + timedelta(days=layer["lead"])).isoformat()
        assert layer["issue_day"] == DAY.isoformat()
        assert layer["status"] == "provisional"
        assert (layer["forecast"]["feed"], layer["forecast"]["members"]) == (FEED, MEMBERS)
        assert layer["links"]["quantiles"].endswith(f"{layer['id']}/quantiles.tif")


@pytest.mark.parametrize("pattern", [*BY_DAY, *OF_LATEST])
def test_without_a_lead_it_is_the_nowcast_and_with_one_that_forecast(
    forecast: ToyRegion, pattern: str
) -> None:
    http = site_of(forecast)

    plain = http.get(address(pattern))
    nowcast = http.get(address(pattern, lead=0))
    ahead = [http.get(address(pattern, lead=lead)) for lead in LEADS]

    assert {answer.status_code for answer in (plain, nowcast, *ahead)} == {200}
    assert plain.content == nowcast.content
    assert len({answer.content for answer in (plain, *ahead)}) == 4


@pytest.mark.parametrize("pattern", BY_DAY)
def test_no_forecast_takes_the_place_of_a_nowcast_that_is_not_there(
    forecast: ToyRegion, pattern: str
) -> None:
    http, tomorrow = site_of(forecast), DAY + timedelta(days=1)

    assert http.get(address(pattern, day=tomorrow)).status_code == 404
    assert http.get(address(pattern, day=tomorrow, lead=1)).status_code == 200
    wrong = http.get(address(pattern, day=tomorrow, lead=2))
    assert wrong.status_code == 404
    assert "forecast" in wrong.json()["detail"]
    for name in ("preview.png", "wmts/class"):
        place = f"/{name}?day={tomorrow}" if "png" in name else f"/{name}/{tomorrow}/11/735/1075.png"
        assert http.get(place).status_code == 404


def test_latest_and_the_newest_files_stay_with_the_nowcast(forecast: ToyRegion) -> None:
    http, layers = site_of(forecast), by_lead(forecast)

    assert http.get("/latest/item.json").json()["id"] == layers[0].id
    assert http.get("/readyz").json().get("layer") in (None, layers[0].id)
    assert http.get("/status").json()["latest"] == layers[0].id
    for name in ("susceptibility.tif", "class.tif"):
        assert http.get(f"/latest/{name}").content == (layers[0].folder / name).read_bytes()


def test_an_id_says_its_lead_itself_and_another_one_is_refused(forecast: ToyRegion) -> None:
    http, layers = site_of(forecast), by_lead(forecast)

    assert http.get(f"/layers/{layers[2].id}").json()["id"] == layers[2].id
    assert http.get(f"/layers/{layers[2].id}?lead=2").status_code == 200
    refused = http.get(f"/layers/{layers[2].id}?lead=0")
    assert refused.status_code == 404
    assert "lead 2" in refused.json()["detail"]


def test_tiles_of_a_lead_show_its_own_cells(forecast: ToyRegion) -> None:
    http, layers = site_of(forecast), by_lead(forecast)
    place = "tiles/11/1075/735.png?shows=susceptibility"

    by_name = {lead: http.get(f"/layers/{layers[lead].id}/{place}").content for lead in (0, *LEADS)}
    for lead in LEADS:
        assert http.get(f"/layers/latest/{place}&lead={lead}").content == by_name[lead]
    assert not np.array_equal(decode(by_name[0]), decode(by_name[1]))


def test_a_place_has_the_forecast_value_its_spread_and_a_past_of_nowcasts(forecast: ToyRegion) -> None:
    http, layers = client_of(forecast), by_lead(forecast)
    stored = int(raster_of(layers[0], "susceptibility.tif")[CELL])

    said = look(http, CELL, lead=2, days=5)

    value = round((stored + 2 * STEP) * 0.004, 3)
    assert said["layer"]["lead"] == 2
    assert said["layer"]["forecast"]["feed"] == FEED
    assert said["value"]["susceptibility"] == value
    spread = said["forecast_spread"]
    assert (spread["p50"], spread["members"]) == (value, MEMBERS)
    assert spread["p90"] - spread["p10"] == pytest.approx(2 * SPREAD * 0.004)
    # Days -1 and 0 have nowcasts, day 1 has a forecast only: it is not part of the past.
    assert said["past"]["days"][-1] == (DAY + timedelta(days=2)).isoformat()
    assert said["past"]["susceptibility"][-3:] == [round(stored * 0.004, 3), None, value]
    assert said["reasons"] is None
    assert said["reasons_missing"]["code"] == said["window_missing"]["code"] == "forecast"
    assert said["factors"]
    assert look(http, CELL)["forecast_spread"] is None


def test_one_run_knows_no_spread(own_forecast: ToyRegion) -> None:
    add_forecasts(own_forecast, [1], members=1, revision=2)
    http = client_of(own_forecast)

    assert look(http, CELL, lead=1)["forecast_spread"] is None
    missing = http.get("/layers/latest/quantiles.tif?lead=1")
    assert missing.status_code == 404
    assert "members" in missing.json()["detail"]


def test_a_zone_tells_the_days_ahead_and_keeps_its_history_of_nowcasts(forecast: ToyRegion) -> None:
    http = site_of(forecast)

    said = http.get("/zones/west").json()["properties"]
    ahead = http.get("/zones/west?lead=3").json()["properties"]

    assert [(one["lead"], one["day"]) for one in said["leads"]] == [
        (lead, (DAY + timedelta(days=lead)).isoformat()) for lead in LEADS
    ]
    assert said["lead"] == 0
    assert ahead["lead"] == 3
    assert [day["day"] for day in ahead["history"]] == [day["day"] for day in said["history"]]
    assert ahead["why_missing"]["code"] == "forecast"
    assert "lead=3" in ahead["links"]["self"]
    assert http.get(ahead["links"]["self"]).json()["properties"]["layer"] == ahead["layer"]


def test_a_table_and_a_tilejson_say_that_they_are_of_a_forecast(forecast: ToyRegion) -> None:
    http = site_of(forecast)

    rows = list(csv.DictReader(http.get("/layers/latest/areas.csv?lead=1").text.splitlines()))
    assert {row["lead"] for row in rows} == {"1"}
    assert {row["lead"] for row in csv.DictReader(http.get("/latest/areas.csv").text.splitlines())} == {"0"}
    tiles = http.get("/layers/latest/tilejson.json?lead=1").json()
    assert tiles["lead"] == 1
    assert "FORECAST 1 day ahead of 2026-03-05" in tiles["name"]
    assert "l1" in tiles["tiles"][0]


def test_wmts_has_forecasts_as_layers_of_their_own(forecast: ToyRegion) -> None:
    http, layers = site_of(forecast), by_lead(forecast)
    document = http.get("/wmts/1.0.0/WMTSCapabilities.xml").text

    for lead in LEADS:
        assert f"<ows:Identifier>class-lead-{lead}</ows:Identifier>" in document
        day = layers[lead].day
        for when in (day, "latest"):
            tile = http.get(f"/wmts/class/lead-{lead}/{when}/11/735/1075.png")
            same = http.get(f"/layers/{layers[lead].id}/tiles/11/1075/735.png")
            assert tile.content == same.content
    # The days of the nowcasts' own dimension hold no day to come.
    first = document.split("<Layer>")[1]
    assert (DAY + timedelta(days=1)).isoformat() not in first


def test_the_list_of_layers_can_be_narrowed_to_one_lead(forecast: ToyRegion) -> None:
    http = site_of(forecast)
    for lead, count in ((0, 2), (1, 1), (3, 1), (4, 0)):
        assert len(http.get(f"/layers?lead={lead}").json()["layers"]) == count


def test_a_forecast_whose_day_has_passed_is_no_longer_current(own_forecast: ToyRegion) -> None:
    own_forecast.clock.now = ISSUED + timedelta(days=2)
    http = site_of(own_forecast)

    listed = http.get("/forecasts").json()
    assert [layer["lead"] for layer in listed["forecasts"]] == [2, 3]
    assert http.get("/layers/latest?lead=1").status_code == 404
    past = http.get(f"/layers/toy-{DAY + timedelta(days=1)}-l1-r1")
    assert past.status_code == 200  # kept, and found by its own name
    assert http.get(f"/zones?day={DAY + timedelta(days=1)}&lead=1").status_code == 200


def test_a_newer_nowcast_ends_the_forecasts_that_were_issued_before_it(own_forecast: ToyRegion) -> None:
    own_forecast.clock.now = ISSUED + timedelta(days=1)
    own_forecast.refresh(DAY + timedelta(days=1))

    assert site_of(own_forecast).get("/forecasts").json()["forecasts"] == []
    assert site_of(own_forecast).get("/layers/latest?lead=2").status_code == 404


def test_a_withdrawn_forecast_is_gone_and_no_older_revision_comes_back(own_forecast: ToyRegion) -> None:
    (newer,) = add_forecasts(own_forecast, [2], revision=2)
    with own_forecast.ledger() as ledger:
        ledger.withdraw(newer, "A. Rossi", "wrong issue", [])
    http = site_of(own_forecast)

    assert [layer["lead"] for layer in http.get("/forecasts").json()["forecasts"]] == [1, 3]
    assert http.get(f"/zones?day={newer.day}&lead=2").status_code == 410
    assert http.get("/layers/latest?lead=2").status_code == 404


def test_an_unconfirmed_layer_says_so_wherever_it_is_told_of(own_forecast: ToyRegion) -> None:
    note = "UNCONFIRMED: with suspect readings taken as true, area rises"
    add_forecasts(own_forecast, [1], revision=2, unconfirmed=True, notes=(note,))
    http = client_of(own_forecast)

    for pattern in ("/zones", "/hotspots", "/layers/latest/tilejson.json"):
        assert http.get(address(pattern, lead=1)).json()["unconfirmed"] is True, pattern
    (listed, *_) = http.get("/forecasts").json()["forecasts"]
    assert (listed["unconfirmed"], listed["notes"]) == (True, [note])
    place = look(http, CELL, lead=1)["layer"]
    assert (place["unconfirmed"], place["notes"]) == (True, [note])
    item = http.get("/layers/latest?lead=1").json()["properties"]
    assert item["colluvium:unconfirmed"] is True
    assert item["description"].count("Unconfirmed") == 1
    assert "unconfirmed" in http.get("/plain").text


def test_a_link_to_a_forecast_is_previewed_as_one(forecast: ToyRegion) -> None:
    http = site_of(forecast)

    page = http.get("/?lead=2&day=2026-03-04").text
    assert "/preview.png?lead=2&amp;" in page
    assert "lead" not in http.get("/?lead=0").text.split("og:image")[1].split(">")[0]
    picture = http.get("/preview.png?lead=2").content
    assert picture != http.get("/preview.png").content


def test_the_plain_page_lists_forecasts_below_the_map_of_the_nowcast(forecast: ToyRegion) -> None:
    page = site_of(forecast).get("/plain").text

    assert f"map of {DAY}" in page
    assert "not what was measured" in page
    for lead in LEADS:
        assert f"forecast of {DAY + timedelta(days=lead)}" in page


def test_scores_are_null_before_they_are_measured_and_then_told_by_lead(own_forecast: ToyRegion) -> None:
    http = site_of(own_forecast)
    assert http.get("/forecasts/scores").json() == {"scores": None}
    rain = RainScore(
        ahead=1,
        days=40,
        pairs=80,
        hits=9,
        misses=3,
        false_alarms=4,
        forecast_mm=6.0,
        observed_mm=5.0,
        factor=0.9,
    )
    area = AreaScore(lead=1, days=39, forecast_ratio=0.25, nowcast_ratio=0.2)
    scores = ForecastScores(
        feed=FEED, made_at=ISSUED, since=DAY, until=DAY, wet_mm=10.0, rain=(rain,), areas=(area,)
    )
    with own_forecast.ledger() as ledger:
        ledger.keep_scores(DAY, scores.model_dump_json())

    said = http.get("/forecasts/scores").json()["scores"]

    assert said["feed"] == FEED
    (told,) = said["rain"]
    assert (told["hit_rate"], told["bias"], told["factor"]) == (0.75, 1.2, 0.9)
    assert told["false_alarm_ratio"] == pytest.approx(4 / 13, abs=1e-6)
    assert [(one["lead"], one["days"], one["bias"]) for one in said["areas"]] == [(1, 39, 1.25)]
    metrics = http.get("/metrics").text
    assert 'colluvium_forecast_rain_hit_rate{ahead="1"} 0.75' in metrics
    assert 'colluvium_forecast_high_area_bias_ratio{lead="1"} 1.25' in metrics


def test_metrics_have_areas_and_status_by_lead_and_the_nowcast_keeps_its_names(forecast: ToyRegion) -> None:
    layers = by_lead(forecast)

    text = site_of(forecast).get("/metrics").text
    samples = {
        (sample.name.removeprefix("colluvium_"), *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    for lead in (0, *LEADS):
        for label in CLASS_LABELS:
            assert ("class_area_square_meters", ("class", label), ("lead", str(lead))) in samples
    assert samples["layer_status", ("status", "complete")] == 1
    assert samples[("layer_day_timestamp_seconds",)] == layers[0].valid_from.timestamp()
    for lead in LEADS:
        ahead = ("lead", str(lead))
        assert samples["forecast_status", ahead, ("status", "provisional")] == 1
        assert samples["forecast_status", ahead, ("status", "degraded")] == 0
        issued = samples["forecast_issued_timestamp_seconds", ahead]
        assert issued == pytest.approx(layers[lead].issued_at.timestamp())
        assert samples["forecast_day_timestamp_seconds", ahead] == layers[lead].valid_from.timestamp()


def test_without_forecasts_there_are_none_and_that_is_no_error(published: ToyRegion) -> None:
    http = site_of(published)
    said = http.get("/forecasts").json()
    assert (said["forecasts"], said["leads"]) == ([], 0)
    assert 'class_area_square_meters{class="low",lead="1"}' not in http.get("/metrics").text
    assert not (published.data / "forecasts.json").exists()
